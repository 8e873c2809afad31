"""The training set: pictures of random people, the same with another face, and exact labels.

A set is a folder of `pairs-00000.npz` (SHARD samples each), `set.json`, and `people/NNN.safetensors`,
persona files of everybody whose face is put on. A shard depends on the set's seed and its number
alone, so a stopped set goes on, and several processes may share one.

Per sample, S = 256 or --size, crops as in `live`: wearer, truth, mesh (S, S, 3) uint8 BGR; mesh_mask,
oval, occluder, classes (S, S) uint8; landmarks (478, 3), true_five (5, 2), wearer_five (5, 2),
true_landmarks (K, 2) float32 crop pixels; gaze (2,) yaw, pitch deg, signs as in livecam (pitch > 0
downwards), head (3,) yaw, pitch, roll deg (pitch > 0 upwards, as in `expression`); actions (52,);
eye_open (2,), tracker_gaze (2, 2) of the tracker; face_px width in
the frame; a, b indices of wearer and persona; seed. With twins also wearer2, truth2, mesh2,
mesh_mask2, landmarks2: the same scene and crop with new noise.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.synth import sampler, scenes
from engines.synth.assets import AssetsError, Floats
from engines.synth.cast import Cast
from engines.synth.expression import action_names
from engines.synth.landmarks import Landmarker
from engines.synth.live import SPEC, Live, Seen
from engines.synth.people import PEOPLE, Someone
from engines.synth.person import Look
from engines.synth.personas import make_persona
from engines.synth.picture import Shot, landmark_vertices, shoot
from engines.synth.scene import Renderer
from livecam import geometry, image

Row = dict[str, NDArray[np.generic]]

FORMAT = "livecam-pairs"
VERSION = 1
SHARD = 64
WEARERS_A_SHARD, PERSONAS_A_SHARD = 8, 8
"""Few people in a shard, so that what is built for them is used several times."""
PAIRS_A_PERSONA = 2
SHIPPED = 10
"""The personas that ship first come first among the personas of a training set."""
PERSONA_SEEDS_FROM = 5_000
SECOND_TRY = 1_000
"""Somebody whose portrait the tracker does not find is replaced by the seed so much higher."""
MOST_TRIES = 6
BARE_FRINGE_DM = 0.6
TWIN_NOISE = 1 << 30
MOST_SIZE_PX = 1024


@dataclass(frozen=True, slots=True)
class Settings:
    """What a set is made of. identities: wearers; personas: faces put on; held_out: people that no
    training set holds; twins: a second frame of each scene; size: of the crops; face_px: width of
    all faces, 0 for random ones; part, parts: this process' share; spread: personas in a shard."""

    out: Path
    count: int
    seed: int = 1
    identities: int = 60
    personas: int = 40
    size: int = 256
    face_px: float = 0.0
    held_out: bool = False
    twins: bool = False
    part: int = 0
    parts: int = 1
    spread: int = PERSONAS_A_SHARD

    @property
    def shards(self) -> int:
        """Number of shards."""
        return -(-self.count // SHARD)


def wearer(settings: Settings, index: int) -> sampler.Somebody:
    """Wearer `index` of a set; of a set that goes on, as it shows them already."""
    somebody = sampler.sample(index + (sampler.HELD_OUT_FROM if settings.held_out else 0))
    return sampler.as_in_set(somebody, known_flags(settings.out).get(index, {}))


@lru_cache(maxsize=4)
def known_flags(folder: Path) -> dict[int, dict[str, object]]:
    """What a stored set tells of its wearers; nothing when there is none yet."""
    path = folder / "set.json"
    if not path.is_file():
        return {}
    return {int(w["index"]): w["flags"] for w in json.loads(path.read_text(encoding="utf-8")).get("wearers", [])}


def persona_seed(settings: Settings, index: int, attempt: int) -> int:
    """Seed of persona `index` at a given attempt."""
    start = PERSONA_SEEDS_FROM + (sampler.HELD_OUT_FROM if settings.held_out else 0)
    return start + index + SECOND_TRY * attempt * 20


def bare_forehead(look: Look) -> Look:
    """The same look without glasses and with hair that leaves the face free: a portrait is to show it, and the
    hair and the glasses of a persona are never worn."""
    hair = look.hair
    if hair in sampler.FRINGED_HAIR:
        hair = "ponytail01" if look.shape.gender < 0.5 else "short01"
    return replace(look, hair=hair, fringe=max(look.fringe or 0.0, BARE_FRINGE_DM), glasses=None)


class Studio:
    """Draws the samples of a set; keeps people and persona files."""

    def __init__(self, settings: Settings, assets: Path) -> None:
        self._settings = settings
        self._assets = assets
        self._people = settings.out / "people"
        self._cast = Cast(assets, settings.out / "people-cache")
        self._landmarker = Landmarker()
        self._live = Live(self._people, settings.size)
        self._names = action_names()

    def persona(self, index: int) -> Look:
        """The look of persona `index`; its file is made when it is not there."""
        if not self._settings.held_out and index < SHIPPED:
            someone = PEOPLE[index]
            look, name, text = someone.look, someone.name, someone.description
            self._file(index, look, name, text)
            return look
        for attempt in range(MOST_TRIES):
            seed = persona_seed(self._settings, index, attempt)
            look = bare_forehead(sampler.sample(seed).look)
            if (self._people / f"{index:03d}.skip{attempt}").is_file():
                continue
            try:
                self._file(index, look, f"Person {seed}", f"Random person of seed {seed}")
            except AssetsError:
                self._people.mkdir(parents=True, exist_ok=True)
                (self._people / f"{index:03d}.skip{attempt}").touch()
                continue
            return look
        raise AssetsError(f"expected a persona whose portraits are found as faces in {MOST_TRIES} "
                          f"tries, found none for number {index}; use another --seed")

    def _file(self, index: int, look: Look, name: str, description: str) -> None:
        if (self._people / f"{index:03d}.safetensors").is_file():
            return
        actor = self._cast.actor(look)
        someone = Someone(f"{index:03d}", name, description, look)
        make_persona(someone, self._assets, self._landmarker, self._people,
                     Renderer(actor.person, actor.occlusion, 2, True))

    def sample(self, a: int, b: int, seed: int) -> Row | None:
        """One sample; None when the tracker finds no face."""
        somebody, look = wearer(self._settings, a), self.persona(b)
        actor = self._cast.actor(somebody.look)
        scene = scenes.sample(np.random.default_rng([seed, 0x5C]), self._settings.face_px or None)
        shot = shoot(actor, self._cast.hybrid(somebody.look, look), scene)
        frame, truth = shot.filmed(scene.camera, scene.noise_seed)
        seen = self._live.see(frame, shot.of_wearer)
        if seen is None:
            return None
        row = _labels(shot, seen, scene, self._names)
        row.update({"a": np.int32(a), "b": np.int32(b), "seed": np.int64(seed)})
        row.update(self._crops(frame, truth, seen, (a, b), ""))
        if self._settings.twins:
            frame, truth = shot.filmed(scene.camera, scene.noise_seed + TWIN_NOISE)
            face = self._live.follow(frame)
            if face is None:
                return None
            again = Seen(face, seen.alignment)
            row["landmarks2"] = again.landmarks()
            row.update(self._crops(frame, truth, again, (a, b), "2"))
        return row

    def _crops(self, frame: NDArray[np.uint8], truth: NDArray[np.uint8], seen: Seen,
               pair: tuple[int, int], ending: str) -> Row:
        crop = image.crop(frame, seen.alignment)
        actor = self._cast.actor(wearer(self._settings, pair[0]).look)
        drawn = self._live.swap(*pair, actor, crop, seen)
        return {f"wearer{ending}": crop, f"truth{ending}": image.crop(truth, seen.alignment),
                f"mesh{ending}": drawn.crop, f"mesh_mask{ending}": drawn.mask}

    def shard(self, number: int) -> tuple[dict[str, NDArray[np.generic]], int]:
        """The arrays of a shard, and how many scenes were left out."""
        s = self._settings
        rng = np.random.default_rng([s.seed, number, 0xA7])
        some = rng.permutation(s.identities)[:WEARERS_A_SHARD]
        others = rng.permutation(s.personas)[:s.spread]
        if s.spread > PERSONAS_A_SHARD:
            pairs = [(int(rng.choice(some)), int(other)) for other in others]
        else:
            count = PAIRS_A_PERSONA * PERSONAS_A_SHARD
            pairs = [(int(rng.choice(some)), int(rng.choice(others))) for _ in range(count)]
        wanted = min(SHARD, s.count - number * SHARD)
        rows: list[Row] = []
        tried = 0
        while len(rows) < wanted:
            # Pairs one after the other: what is kept of a pair is used while it is kept.
            pair = pairs[len(rows) * len(pairs) // SHARD]
            seed = (s.seed * 1_000_003 + number) * 10_000 + tried
            tried += 1
            row = self.sample(*pair, seed)
            if row is not None:
                rows.append(row)
        order = rng.permutation(len(rows))
        return {key: np.stack([rows[k][key] for k in order]) for key in rows[0]}, tried - wanted

    def describe(self) -> dict[str, object]:
        """What set.json holds. The personas' files must be there or can be made."""
        s = self._settings
        people = [{"index": k, **_described(wearer(s, k))} for k in range(s.identities)]
        return {"format": FORMAT, "version": VERSION, "seed": s.seed, "count": s.count,
                "size": s.size, "shard": SHARD, "held_out": s.held_out, "twins": s.twins,
                "commit": _commit(), "crop": asdict(replace(SPEC, size_px=s.size)), "face_px": s.face_px, "actions": list(self._names),
                "landmark_vertices": list(landmark_vertices()), "wearers": people,
                "personas": [self._describe_persona(k) for k in range(s.personas)]}

    def _describe_persona(self, index: int) -> dict[str, object]:
        if not self._settings.held_out and index < SHIPPED:
            someone = PEOPLE[index]
            return {"index": index, "id": someone.id, "flags": sampler.flags_of(someone.look)}
        attempt = sum((self._people / f"{index:03d}.skip{k}").is_file() for k in range(MOST_TRIES))
        seed = persona_seed(self._settings, index, attempt)
        somebody = sampler.sample(seed)
        return {"index": index, "seed": seed, "flags": {**somebody.flags, "glasses": False}}


def _described(somebody: sampler.Somebody) -> dict[str, object]:
    return {"seed": somebody.seed, "flags": somebody.flags}


def _commit() -> str:
    try:
        done = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True,
                              check=True, cwd=Path(__file__).parent, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return done.stdout.strip()


def _in_crop(points: Floats, seen: Seen) -> Floats:
    return geometry.apply(seen.alignment.matrix, points).astype(np.float32)


def _plane(values: Floats, seen: Seen) -> NDArray[np.uint8]:
    size = seen.alignment.size_px
    out = cv2.warpAffine(values, seen.alignment.matrix, (size, size), flags=cv2.INTER_LINEAR)
    return np.rint(255 * np.clip(out, 0, 1)).astype(np.uint8)


def _labels(shot: Shot, seen: Seen, scene: scenes.Scene, names: tuple[str, ...]) -> Row:
    size = seen.alignment.size_px
    pose, face = scene.pose, seen.face
    assert face.eye_open is not None
    assert face.gaze_deg is not None
    classes = cv2.warpAffine(shot.classes, seen.alignment.matrix, (size, size),
                             flags=cv2.INTER_NEAREST)
    return {
        "oval": _plane(shot.oval, seen), "occluder": _plane(shot.veil, seen),
        "classes": np.asarray(classes, np.uint8), "landmarks": seen.landmarks(),
        "true_five": _in_crop(shot.of_truth.five_px, seen),
        "wearer_five": _in_crop(shot.of_wearer.five_px, seen),
        "true_landmarks": _in_crop(shot.dense, seen),
        "gaze": np.array([pose.gaze_deg[0], -pose.gaze_deg[1]], np.float32),
        "head": np.array(pose.head_deg, np.float32),
        "actions": np.array([pose.actions.get(n, 0.0) for n in names], np.float32),
        "eye_open": face.eye_open.astype(np.float32),
        "tracker_gaze": face.gaze_deg.astype(np.float32), "face_px": np.float32(scene.face_px)}


def check(settings: Settings) -> None:
    """Raise AssetsError when the set cannot be made as asked."""
    if not SPEC.size_px <= settings.size <= MOST_SIZE_PX:
        raise AssetsError(f"expected --size {SPEC.size_px} to {MOST_SIZE_PX}, found {settings.size}; "
                          "readers make pictures smaller")
    if settings.face_px and not 40 <= settings.face_px <= settings.size:
        raise AssetsError(f"expected --face 40 to {settings.size} (--size), found {settings.face_px}")
    if settings.count < 1 or settings.identities < 1 or settings.personas < 1:
        raise AssetsError("expected at least one sample, wearer and persona; raise --count, "
                          "--identities, --personas")
    if not PERSONAS_A_SHARD <= settings.spread <= SHARD:
        raise AssetsError(f"expected --spread {PERSONAS_A_SHARD} to {SHARD}, found {settings.spread}")
    if not 0 <= settings.part < settings.parts:
        raise AssetsError(f"expected --part K/N with 0 <= K < N, found "
                          f"{settings.part}/{settings.parts}")
    if settings.held_out != _known_held_out(settings):
        raise AssetsError(f"{settings.out} holds a set of other people; choose another --out")


def _known_held_out(settings: Settings) -> bool:
    path = settings.out / "set.json"
    if not path.is_file():
        return settings.held_out
    return bool(json.loads(path.read_text(encoding="utf-8"))["held_out"])


def make_pairs(settings: Settings, assets: Path, resume: bool = False) -> int:
    """Write this process' shards that are not there yet; how many were written.

    Raises AssetsError for settings that cannot be met, or a folder with shards without `resume`.
    """
    check(settings)
    settings.out.mkdir(parents=True, exist_ok=True)
    if not resume and any(settings.out.glob("pairs-*.npz")):
        raise AssetsError(f"{settings.out} already holds shards; pass --resume to go on with them")
    studio = Studio(settings, assets)
    written = 0
    for number in range(settings.part, settings.shards, settings.parts):
        path = settings.out / f"pairs-{number:05d}.npz"
        if path.is_file():
            continue
        start = time.monotonic()
        arrays, skipped = studio.shard(number)
        part = path.with_name(f"{path.stem}.part.npz")
        np.savez(part, **arrays)
        part.rename(path)
        if written == 0:
            _write(settings.out / "set.json", studio.describe())
        written += 1
        took = time.monotonic() - start
        print(f"{path.name}: {len(arrays['seed'])} samples in {took:.0f} s, {skipped} left out",
              file=sys.stderr, flush=True)
    _write(settings.out / "set.json", studio.describe())
    return written


def _write(path: Path, data: dict[str, object]) -> None:
    part = path.with_name(f"{path.name}.{time.monotonic_ns()}.part")
    part.write_text(json.dumps(data, indent=1, default=str) + "\n", encoding="utf-8")
    part.replace(path)
