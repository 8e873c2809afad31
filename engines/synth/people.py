"""Who the personas are. Names and looks are made up; nobody real was a model for any."""

from __future__ import annotations

from dataclasses import dataclass

from engines.synth.identity import Shape
from engines.synth.person import Look
from engines.synth.skin import SkinLook


@dataclass(frozen=True, slots=True)
class Someone:
    """A persona: file id, first name, one sentence, and the look."""

    id: str
    name: str
    description: str
    look: Look


PEOPLE: tuple[Someone, ...] = (
    Someone("ada", "Ada", "Woman of 27, fair skin, auburn long hair, green eyes", Look(
        Shape(gender=0.0, age_years=27, seed=21, local={"head/head-oval": 0.3}),
        "young_lightskinned_female_diffuse2",
        SkinLook(melanin=0.08, blood=0.03, lipstick=0.35, lipstick_srgb=(176, 82, 84),
                 eyeshadow=0.28, blush=0.10, freckles=0.10, hair_srgb=(110, 66, 38), seed=21),
        hair="long01", hair_srgb=(118, 66, 38), brows="eyebrow001", brows_srgb=(82, 54, 38),
        eye_file="green_eye", iris_srgb=(78, 92, 58), iris_amount=0.85,
        clothes="female_elegantsuit01")),
    Someone("bruno", "Bruno", "Man of 58, tanned, grey hair and beard, blue eyes", Look(
        Shape(gender=1.0, age_years=58, seed=22, weight=0.62, muscle=0.55),
        "middleage_lightskinned_male_diffuse",
        SkinLook(melanin=0.24, blood=0.08, beard=0.8, hair_srgb=(128, 122, 116), scalp=0.6,
                 seed=22),
        hair="short02", hair_srgb=(142, 138, 132), hair_shine=0.2, brows="eyebrow009",
        brows_srgb=(100, 94, 88), brows_gain=1.2, lashes="eyelashes01", lashes_gain=0.6,
        eye_file="blue_eye", iris_srgb=(76, 98, 120), iris_amount=0.9, clothes="male_elegantsuit01")),
    Someone("kofi", "Kofi", "Man of 31, very dark skin, short black hair, dark brown eyes", Look(
        Shape(gender=1.0, age_years=31, seed=23, african=1.0, caucasian=0.0, muscle=0.6),
        "young_darkskinned_male_diffuse",
        SkinLook(melanin=0.92, stubble=0.35, hair_srgb=(18, 15, 14), detail=0.8, seed=23),
        hair="short01", hair_srgb=(26, 21, 19), brows="eyebrow012", brows_srgb=(18, 15, 13),
        brows_gain=1.2, lashes="eyelashes01", lashes_gain=0.7, eye_file="brown_eye",
        iris_srgb=(46, 30, 22), iris_amount=1.0, clothes="male_casualsuit04",
        clothes_srgb=(150, 60, 50))),
    Someone("mei", "Mei", "Woman of 36, East Asian, braided black hair, dark brown eyes, red lips", Look(
        Shape(gender=0.0, age_years=36, seed=24, asian=1.0, caucasian=0.0),
        "young_lightskinned_female_diffuse3",
        SkinLook(melanin=0.17, lipstick=0.65, lipstick_srgb=(172, 44, 56), eyeshadow=0.2,
                 blush=0.06, hair_srgb=(22, 18, 17), seed=24),
        hair="braid01", hair_srgb=(26, 22, 21), fringe=0.42, brows="eyebrow010",
        brows_srgb=(28, 22, 20), brows_gain=1.2, eye_file="brown_eye", iris_srgb=(58, 37, 26),
        iris_amount=1.0, clothes="female_casualsuit01", clothes_srgb=(206, 204, 208))),
    Someone("ingrid", "Ingrid", "Woman of 67, fair skin, silver hair tied back, grey eyes", Look(
        Shape(gender=0.0, age_years=67, seed=35, weight=0.55),
        "middleage_lightskinned_female_diffuse2",
        SkinLook(melanin=0.06, blood=0.07, lipstick=0.25, lipstick_srgb=(170, 96, 96), detail=1.25,
                 hair_srgb=(176, 170, 164), scalp=0.75, seed=25),
        hair="ponytail01", hair_srgb=(186, 181, 175), brows="eyebrow003",
        brows_srgb=(128, 116, 106), lashes_gain=0.7, eye_file="grey_eye", iris_srgb=(98, 108, 116), iris_amount=0.9,
        clothes="female_sportsuit01", clothes_srgb=(84, 74, 112))),
    Someone("amara", "Amara", "Woman of 29, dark brown skin, black hair tied back, plum lips", Look(
        Shape(gender=0.0, age_years=29, seed=26, african=1.0, caucasian=0.0),
        "young_lightskinned_female_diffuse2",
        SkinLook(melanin=0.70, lipstick=0.55, lipstick_srgb=(104, 34, 46), eyeshadow=0.25,
                 eyeshadow_srgb=(70, 40, 38), hair_srgb=(20, 16, 14), seed=26),
        hair="ponytail01", hair_srgb=(30, 23, 20), brows="eyebrow001",
        brows_srgb=(20, 16, 14), brows_gain=1.2, eye_file="brownlight_eye", iris_srgb=(60, 38, 25),
        iris_amount=1.0, clothes="female_casualsuit01", clothes_srgb=(214, 168, 62))),
    Someone("ravi", "Ravi", "Man of 44, brown skin, short black hair, full beard", Look(
        Shape(gender=1.0, age_years=44, seed=27, african=0.15, asian=0.25, caucasian=0.6,
              weight=0.58),
        "middleage_lightskinned_male_diffuse2",
        SkinLook(melanin=0.50, blood=0.02, beard=0.95, hair_srgb=(26, 20, 17), seed=27),
        hair="short04", hair_srgb=(30, 25, 22), brows="eyebrow009", brows_srgb=(22, 18, 15),
        brows_gain=1.5, lashes_gain=0.8, eye_file="brown_eye", iris_srgb=(54, 34, 23),
        iris_amount=1.0, clothes="male_casualsuit02", clothes_srgb=(62, 84, 78))),
    Someone("tomas", "Tomas", "Man of 21, fair and freckled, blond, light blue eyes", Look(
        Shape(gender=0.95, age_years=21, seed=38, muscle=0.4, weight=0.4),
        "young_lightskinned_male_diffuse",
        SkinLook(melanin=0.06, blood=0.06, freckles=0.35, hair_srgb=(168, 130, 84), scalp=0.7,
                 seed=28),
        hair="short01", hair_srgb=(172, 132, 84), brows="eyebrow008",
        brows_srgb=(124, 92, 62), brows_gain=1.1, lashes="eyelashes01", lashes_gain=0.55,
        eye_file="lightblue_eye", iris_srgb=(92, 118, 140), iris_amount=0.9, clothes="male_casualsuit04",
        clothes_srgb=(70, 82, 104))),
    Someone("lucia", "Lucia", "Woman of 45, olive skin, dark brown hair tied back, hazel eyes", Look(
        Shape(gender=0.0, age_years=45, seed=29, asian=0.1, caucasian=0.9, weight=0.55),
        "middleage_lightskinned_female_diffuse2",
        SkinLook(melanin=0.36, blood=0.02, lipstick=0.5, lipstick_srgb=(150, 60, 62),
                 eyeshadow=0.35, eyeshadow_srgb=(88, 60, 52), blush=0.08, hair_srgb=(44, 30, 23),
                 seed=29),
        hair="ponytail01", hair_srgb=(52, 35, 26), brows="eyebrow011", brows_srgb=(38, 27, 21),
        brows_gain=1.2, eye_file="brownlight_eye", iris_srgb=(96, 72, 40), iris_amount=0.8,
        clothes="female_elegantsuit01")),
    Someone("noor", "Noor", "Woman of 23, light brown skin, long black hair, amber eyes", Look(
        Shape(gender=0.05, age_years=23, seed=30, asian=0.35, african=0.15, caucasian=0.5),
        "young_lightskinned_female_diffuse3",
        SkinLook(melanin=0.44, lipstick=0.4, lipstick_srgb=(160, 84, 84), eyeshadow=0.4,
                 eyeshadow_srgb=(60, 42, 40), hair_srgb=(24, 19, 17), seed=30),
        hair="long01", hair_srgb=(30, 24, 21), brows="eyebrow001", brows_srgb=(24, 19, 16),
        brows_gain=1.4, eye_file="brownlight_eye", iris_srgb=(112, 76, 36), iris_amount=0.8,
        clothes="female_sportsuit01", clothes_srgb=(36, 96, 104))),
    Someone("kenji", "Kenji", "Man of 52, East Asian, greying black hair, dark brown eyes", Look(
        Shape(gender=1.0, age_years=52, seed=41, asian=1.0, caucasian=0.0, weight=0.55),
        "middleage_lightskinned_male_diffuse2",
        SkinLook(melanin=0.25, blood=0.03, stubble=0.12, hair_srgb=(58, 54, 52), scalp=0.7,
                 seed=31),
        hair="short04", hair_srgb=(82, 78, 76), hair_shine=0.25, brows="eyebrow001",
        brows_srgb=(38, 34, 32), brows_gain=1.2, lashes="eyelashes01", lashes_gain=0.6,
        eye_file="brown_eye", iris_srgb=(52, 33, 24), iris_amount=1.0,
        clothes="male_elegantsuit01")),
    Someone("esther", "Esther", "Woman of 61, brown skin, short grey hair, brown eyes", Look(
        Shape(gender=0.0, age_years=61, seed=42, african=0.8, caucasian=0.2, weight=0.6),
        "middleage_lightskinned_female_diffuse2",
        SkinLook(melanin=0.60, blood=0.03, lipstick=0.4, lipstick_srgb=(128, 52, 58),
                 hair_srgb=(112, 106, 102), scalp=0.7, detail=1.1, seed=32),
        hair="short02", hair_srgb=(138, 132, 128), hair_shine=0.2, brows="eyebrow001",
        brows_srgb=(58, 50, 46), brows_gain=1.1, lashes_gain=0.7, eye_file="brownlight_eye",
        iris_srgb=(70, 46, 30), iris_amount=1.0, clothes="female_casualsuit01",
        clothes_srgb=(120, 60, 92))),
)
