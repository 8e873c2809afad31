"""Which class (skin, lips, eyes, …) each triangle of a person belongs to.

Convention: as in `identity`: decimetres, y up, z towards the viewer; on the base mesh, so that the
classes' borders are the same on everybody.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from engines.synth import hybrid
from engines.synth import skin as sk
from engines.synth.assets import Bytes, Floats
from engines.synth.face_maps import lips_mask, mouth_line, regions
from engines.synth.identity import base_mesh
from engines.synth.person import Person
from engines.synth.shade import CLOTH, EYE, SKIN, TEETH, TONGUE

BACKGROUND, SKIN_CLASS, BROWS, EYES, MOUTH, HAIR, GLASSES, OCCLUDER, LIPS, BODY = range(10)
"""Classes of a pixel."""
CLASS_OF_MATERIAL = {SKIN: SKIN_CLASS, EYE: EYES, TEETH: MOUTH, TONGUE: MOUTH, CLOTH: BODY}
JAW_Z_DM, JAW_Y_DM = (-0.5, 0.0, 0.5, 1.0, 1.45), (7.0, 6.8, 6.5, 6.3, 6.2)
"""The jaw's edge from the side: what lies lower is neck."""
MOUTH_REACH_DM = (0.42, 0.24)
BALD_SCALP = 0.3
"""A painted scalp without hair counts as hair from this strength on."""


@lru_cache(maxsize=1)
def _lips() -> Floats:
    """Lips in texture space, from the redness of one skin."""
    from engines.synth.assets import find_assets, read_texture

    raw = read_texture(find_assets() / "skins" / "young_lightskinned_female_diffuse2.jpg")
    return lips_mask(sk.from_bytes(raw[..., :3]), regions()["face"])


@lru_cache(maxsize=1)
def _base_classes() -> Bytes:
    """Class of each triangle of the base mesh, were it skin."""
    mesh = base_mesh()
    middle = mesh.vertices[mesh.tri].mean(1)
    out = np.full(len(mesh.tri), SKIN_CLASS, np.uint8)
    out[middle[:, 1] < np.interp(middle[:, 2], JAW_Z_DM, JAW_Y_DM)] = BODY
    inside = hybrid.inside_parts()
    mouth = inside & (mesh.uvs[mesh.tri_uv].mean(1)[:, 0] > hybrid.FACE_ISLAND_U)
    out[inside] = SKIN_CLASS
    out[mouth] = MOUTH
    return out


def classes_of(person: Person) -> Bytes:
    """Class (T,) uint8 of each opaque triangle of a person."""
    out = np.array([CLASS_OF_MATERIAL[k] for k in range(len(CLASS_OF_MATERIAL))], np.uint8)[
        person.material]
    count = len(person.refinement.tri)
    skin = _base_classes()[person.skin_triangles]
    uv = person.refinement.uv.mean(1)
    size = _lips().shape[0]
    column = np.clip((uv[:, 0] * size).astype(int), 0, size - 1)
    row = np.clip(((1 - uv[:, 1]) * size).astype(int), 0, size - 1)
    on_face = (skin == SKIN_CLASS) & (uv[:, 0] > hybrid.FACE_ISLAND_U)
    middle = base_mesh().vertices[base_mesh().tri[person.skin_triangles]].mean(1)
    around_mouth = np.hypot(middle[:, 0] / MOUTH_REACH_DM[0],
                            (middle[:, 1] - mouth_line(base_mesh())[0]) / MOUTH_REACH_DM[1]) < 1
    skin[on_face & around_mouth & (_lips()[row, column] > 0.5)] = LIPS
    if not person.look.hair and person.look.skin.scalp > BALD_SCALP:
        skin[on_face & (regions()["scalp"][row, column] > 0.5)] = HAIR
    out[:count] = skin
    return out
