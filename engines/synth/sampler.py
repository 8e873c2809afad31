"""Random adults: a look from a seed, and what the look is like (flags)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from engines.synth import glasses
from engines.synth.identity import Shape
from engines.synth.person import Look
from engines.synth.skin import SkinLook

RGB = tuple[float, float, float]

AGE_YEARS = (18.0, 75.0)
BEARD_SHARE, STUBBLE_SHARE = 0.35, 0.30
"""Shares of men."""
MAKE_UP_SHARE = 0.6
"""Share of women."""
GREY_FROM_YEARS = 42.0
HELD_OUT_FROM = 10_000
"""Seeds of held-out people start here."""

HAIR_SRGB: tuple[RGB, ...] = (
    (24, 20, 18), (30, 24, 21), (44, 32, 25), (62, 44, 33), (84, 60, 42), (112, 78, 50),
    (168, 130, 84), (190, 156, 108), (118, 66, 38), (140, 78, 44))
DARK_HAIR = 5
"""The first of HAIR_SRGB: the only ones of dark-skinned and East Asian people."""
GREY_SRGB: RGB = (172, 168, 163)
IRIS: tuple[tuple[str, RGB, float], ...] = (
    ("brown_eye", (52, 33, 23), 1.0), ("brown_eye", (66, 42, 28), 1.0),
    ("brownlight_eye", (98, 70, 40), 0.8), ("green_eye", (80, 94, 60), 0.85),
    ("blue_eye", (78, 100, 122), 0.9), ("lightblue_eye", (94, 120, 140), 0.9),
    ("grey_eye", (100, 108, 114), 0.9), ("bluegreen_eye", (82, 108, 108), 0.9))
BROWN_IRISES = 2
LIPS: tuple[RGB, ...] = ((176, 82, 84), (172, 44, 56), (150, 60, 62), (104, 34, 46), (186, 98, 104))
SHADOWS: tuple[RGB, ...] = ((90, 62, 60), (60, 42, 40), (88, 60, 52), (72, 62, 78), (110, 82, 70))
FEMALE_HAIR = ("long01", "bob02", "braid01", "ponytail01", "short03", "short01")
MALE_HAIR = ("short01", "short02", "short03", "short04", "short02", "")
FEMALE_CLOTHES = ("female_casualsuit01", "female_elegantsuit01", "female_sportsuit01")
MALE_CLOTHES = ("male_casualsuit02", "male_casualsuit04", "male_casualsuit05", "male_elegantsuit01")
FEMALE_SKINS = ("young_lightskinned_female_diffuse2", "young_lightskinned_female_diffuse3")
OLDER_FEMALE_SKINS = ("middleage_lightskinned_female_diffuse2",)
MALE_SKINS = ("young_lightskinned_male_diffuse", "young_lightskinned_male_diffuse2",
              "young_lightskinned_male_diffuse3")
OLDER_MALE_SKINS = ("middleage_lightskinned_male_diffuse", "middleage_lightskinned_male_diffuse2",
                    "middleage_darkskinned_male_diffuse")
DARK_MALE_SKINS = ("young_darkskinned_male_diffuse", "middleage_darkskinned_male_diffuse")
FRINGED_HAIR = ("bob02", "braid01", "long01", "short02", "short03")
"""Hair that hangs before the forehead."""


@dataclass(frozen=True, slots=True)
class Somebody:
    """A random person: seed, look, and flags for later tables."""

    seed: int
    look: Look
    flags: dict[str, float | int | str | bool]


def sample(seed: int) -> Somebody:
    """The person of a seed; always the same one."""
    rng = np.random.default_rng([seed, 0x51])
    female = bool(rng.random() < 0.5)
    age = float(rng.uniform(*AGE_YEARS))
    races = rng.dirichlet((0.45, 0.45, 0.55))
    shape = Shape(
        gender=float(np.clip((0.08 if female else 0.92) + rng.normal(0, 0.08), 0, 1)),
        age_years=age, muscle=float(np.clip(rng.normal(0.5, 0.12), 0.15, 0.85)),
        weight=float(np.clip(rng.normal(0.53, 0.12), 0.2, 0.9)), height=0.5,
        proportions=float(rng.uniform(0.45, 0.75)), african=float(races[0]),
        asian=float(races[1]), caucasian=float(races[2]), seed=100_000 + seed)
    melanin = _melanin(rng, races)
    hair_srgb, grey = _hair_colour(rng, age, melanin, races)
    skin = _skin(rng, female, age, melanin, hair_srgb, seed)
    hair = str(rng.choice(FEMALE_HAIR if female else MALE_HAIR))
    fringe = None
    if hair in FRINGED_HAIR and rng.random() < 0.75:
        fringe = float(rng.uniform(0.22, 0.5))
    eye_file, iris, amount = _iris(rng, melanin, races)
    look = Look(
        shape, _skin_file(rng, female, age, melanin), skin, hair=hair, hair_srgb=hair_srgb,
        hair_shine=float(rng.uniform(0.15, 0.4)), fringe=fringe,
        brows=f"eyebrow{int(rng.integers(1, 13)):03d}", brows_srgb=_scaled(hair_srgb, 0.72),
        brows_gain=float(rng.uniform(0.85, 1.5)), lashes=f"eyelashes{int(rng.integers(1, 5)):02d}",
        lashes_gain=float(rng.uniform(0.6, 1.0) if female else rng.uniform(0.35, 0.7)),
        eye_file=eye_file, iris_srgb=iris, iris_amount=amount, clothes=str(rng.choice(
            FEMALE_CLOTHES if female else MALE_CLOTHES)),
        clothes_srgb=_cloth_colour(rng), glasses=glasses.sample(seed))
    return Somebody(seed, look, flags_of(look, grey))


def as_in_set(somebody: Somebody, flags: Mapping[str, object]) -> Somebody:
    """Somebody as a stored set that has these flags of them shows them: in sets from before glasses nobody wears any."""
    if somebody.look.glasses is None or flags.get("glasses", True):
        return somebody
    return replace(somebody, look=replace(somebody.look, glasses=None), flags={**somebody.flags, "glasses": False})


def flags_of(look: Look, grey: float = 0.0) -> dict[str, float | int | str | bool]:
    """What tables are split by: tone (melanin 0..1), beard, fringe, glasses, gender, age, hair."""
    return {"tone": round(look.skin.melanin, 3), "beard": look.skin.beard > 0.2,
            "stubble": look.skin.stubble > 0.2,
            "fringe": look.hair in FRINGED_HAIR and (look.fringe is None or look.fringe < 0.34),
            "glasses": look.glasses is not None, "gender": round(look.shape.gender, 2),
            "age": round(look.shape.age_years, 1), "hair": look.hair, "grey": round(grey, 2)}


def _scaled(colour: RGB, factor: float) -> RGB:
    r, g, b = (float(c) * factor for c in colour)
    return (r, g, b)


def _melanin(rng: np.random.Generator, races: np.ndarray) -> float:
    typical = float(races @ np.array([0.75, 0.25, 0.15]))
    mixed = 0.6 * typical + 0.4 * float(rng.random())
    return float(np.clip(mixed + rng.normal(0, 0.10), 0.02, 0.97))


def _hair_colour(rng: np.random.Generator, age: float, melanin: float, races: np.ndarray
                 ) -> tuple[RGB, float]:
    dark = melanin > 0.42 or races[1] > 0.5
    pick = HAIR_SRGB[int(rng.integers(DARK_HAIR if dark else len(HAIR_SRGB)))]
    over = max(age - GREY_FROM_YEARS, 0.0) / 30.0
    grey = float(np.clip(rng.normal(over, 0.25), 0, 1)) if age > GREY_FROM_YEARS else 0.0
    mixed = (1 - grey) * np.array(pick) + grey * np.array(GREY_SRGB)
    r, g, b = (mixed * rng.uniform(0.88, 1.12)).round(1).tolist()
    return (r, g, b), grey


def _skin(rng: np.random.Generator, female: bool, age: float, melanin: float, hair_srgb: RGB,
          seed: int) -> SkinLook:
    beard = stubble = 0.0
    if not female and rng.random() < BEARD_SHARE:
        beard = float(rng.uniform(0.55, 0.95))
    elif not female and rng.random() < STUBBLE_SHARE / (1 - BEARD_SHARE):
        stubble = float(rng.uniform(0.2, 0.5))
    made_up = female and rng.random() < MAKE_UP_SHARE
    lips, shade = (LIPS[int(rng.integers(len(LIPS)))], SHADOWS[int(rng.integers(len(SHADOWS)))])
    return SkinLook(
        melanin=melanin, blood=float(rng.uniform(-0.03, 0.12) * (1 - 0.6 * melanin)),
        detail=float(np.clip(rng.normal(0.9 + age / 300, 0.12), 0.7, 1.35)), beard=beard,
        stubble=stubble, hair_srgb=_scaled(hair_srgb, 0.9),
        lipstick=float(rng.uniform(0.2, 0.7)) if made_up else 0.0, lipstick_srgb=lips,
        eyeshadow=float(rng.uniform(0.0, 0.45)) if made_up else 0.0, eyeshadow_srgb=shade,
        blush=float(rng.uniform(0, 0.12)) if made_up else 0.0,
        freckles=float(rng.uniform(0.15, 0.5)) if melanin < 0.3 and rng.random() < 0.25 else 0.0,
        scalp=float(rng.uniform(0.5, 0.85)), seed=1000 + seed)


def _skin_file(rng: np.random.Generator, female: bool, age: float, melanin: float) -> str:
    if female:
        return str(rng.choice(OLDER_FEMALE_SKINS if age > 42 else FEMALE_SKINS))
    if melanin > 0.65:
        return str(rng.choice(DARK_MALE_SKINS))
    return str(rng.choice(OLDER_MALE_SKINS[:2] if age > 42 else MALE_SKINS))


def _iris(rng: np.random.Generator, melanin: float, races: np.ndarray) -> tuple[str, RGB, float]:
    dark = melanin > 0.45 or races[1] > 0.5
    file, colour, amount = IRIS[int(rng.integers(BROWN_IRISES if dark else len(IRIS)))]
    return file, _scaled(colour, float(rng.uniform(0.85, 1.15))), amount


def _cloth_colour(rng: np.random.Generator) -> RGB | None:
    if rng.random() < 0.25:
        return None
    base = rng.uniform(30, 220)
    r, g, b = np.clip(base + rng.normal(0, 28, 3), 15, 235).round(1).tolist()
    return (r, g, b)
