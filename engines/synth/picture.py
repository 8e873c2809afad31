"""One scene drawn twice: the wearer, and the truth that differs from it in the face alone; and what
each pixel of it is.

Convention: picture coordinates as in `labels`; both pictures have one camera.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from engines.synth import camera as webcam
from engines.synth import hybrid, occluders, raster
from engines.synth import skin as sk
from engines.synth.assets import Bytes, Floats, Ints
from engines.synth.cast import Actor
from engines.synth.face_maps import lips_mask, mouth_line, regions
from engines.synth.film import expose, over
from engines.synth.identity import base_mesh
from engines.synth.labels import FaceLabels, face_vertices, label_face
from engines.synth.person import Person, Points
from engines.synth.scene import Camera, Drawn
from engines.synth.scenes import Scene, backdrop
from engines.synth.shade import CLOTH, EYE, SKIN, TEETH, TONGUE

BACKGROUND, SKIN_CLASS, BROWS, EYES, MOUTH, HAIR, GLASSES, OCCLUDER, LIPS, BODY = range(10)
"""Classes of a pixel."""
CLASS_OF_MATERIAL = {SKIN: SKIN_CLASS, EYE: EYES, TEETH: MOUTH, TONGUE: MOUTH, CLOTH: BODY}
FACE_WIDTH_DM = 1.45
FRAME_SHARE = 2.25
"""Side of the frame over the width of the face: the crop and some more."""
REACH, SOFTNESS = 0.018, 0.014
"""The oval grows by these shares of the face's width, and is blurred by those: lashes and outlines."""
JAW_Z_DM, JAW_Y_DM = (-0.5, 0.0, 0.5, 1.0, 1.45), (7.0, 6.8, 6.5, 6.3, 6.2)
"""The jaw's edge from the side: what lies lower is neck."""
MOUTH_REACH_DM = (0.42, 0.24)
BROW_FROM, HAIR_FROM = 0.35, 0.5
"""Coverage from which a pixel is brow or hair."""
BALD_SCALP = 0.3
LANDMARK_STEP = 6
"""Every so-manieth vertex of the face is a dense landmark."""


@dataclass(frozen=True, slots=True)
class Shot:
    """One scene. wearer, truth (H, W, 3) uint8 BGR before the camera; oval, veil (H, W) float32
    0..1: where the face may be drawn, and what is in front of it; classes (H, W) uint8; samples of
    the label planes are the picture's pixels. of_wearer, of_truth: labels; dense (K, 2): landmarks
    of the truth."""

    wearer: Bytes
    truth: Bytes
    oval: Floats
    veil: Floats
    classes: Bytes
    of_wearer: FaceLabels
    of_truth: FaceLabels
    dense: Floats

    def filmed(self, settings: webcam.Settings, noise_seed: int) -> tuple[Bytes, Bytes]:
        """Wearer and truth through one camera with the same noise."""
        return (webcam.apply(self.wearer, settings, noise_seed),
                webcam.apply(self.truth, settings, noise_seed))


@lru_cache(maxsize=1)
def landmark_vertices() -> tuple[int, ...]:
    """Base vertices of the dense landmarks."""
    return tuple(face_vertices()[::LANDMARK_STEP].tolist())


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


def frame_side(scene: Scene) -> int:
    """Side of a scene's square picture, even."""
    return 2 * round(scene.face_px * FRAME_SHARE / 2)


def camera_of(scene: Scene, points: Points) -> Camera:
    """The camera that sees a posed face at the scene's size near the middle of the picture."""
    side = frame_side(scene)
    middle = points.base[face_vertices()].mean(0)
    eye = points.eyes[:, :3].mean(0)
    focal = scene.face_px / FACE_WIDTH_DM * scene.distance_dm
    position = (float(middle[0]), float((middle[1] + eye[1]) / 2), float(eye[2]) + scene.distance_dm)
    centre = (side - 1) / 2
    camera = Camera(focal, (centre, centre), position, (side, side))
    box = label_face(points.base, camera).box_px
    off = (box[:2] + box[2:]) / 2 - centre - np.array(scene.shift) * scene.face_px
    return Camera(focal, (centre - float(off[0]), centre - float(off[1])), position, (side, side))


def _weight_plane(person: Person, drawn: Drawn, side: int) -> Floats:
    """How far each pixel (side, side) shows the face that is exchanged, 0..1."""
    out = np.zeros((side, side), np.float32)
    planes = drawn.planes
    if planes is not None:
        samples = np.zeros(planes.ids.shape, np.float32)
        raster.interpolate(planes.ids, planes.bary, person.tri, hybrid.point_weight(person), samples)
        height, width = drawn.rgba.shape[:2]
        x, y = drawn.origin
        out[y:y + height, x:x + width] = cv2.resize(samples, (width, height),
                                                    interpolation=cv2.INTER_AREA)
    return out


def _oval(wearer: Floats, truth: Floats, face_px: float) -> Floats:
    """Union of both faces, grown and softened."""
    reach = max(1, round(REACH * face_px))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    union = cv2.dilate(np.maximum(wearer, truth), kernel)
    out = cv2.GaussianBlur(union, (0, 0), max(SOFTNESS * face_px, 0.7))
    return np.where(out < 1 / 255, 0, out).astype(np.float32)


def _labels(person: Person, drawn: Drawn, classes: Bytes, side: int) -> tuple[Bytes, Floats]:
    """Class and hair's coverage of each pixel (side, side)."""
    out = np.zeros((side, side), np.uint8)
    hair = np.zeros((side, side), np.float32)
    planes = drawn.planes
    if planes is None:
        return out, hair
    height, width = drawn.rgba.shape[:2]
    x, y = drawn.origin
    part = np.s_[y:y + height, x:x + width]
    step = planes.samples
    ids: Ints = planes.ids[::step, ::step]
    out[part] = np.where(ids >= 0, classes[np.maximum(ids, 0)], BACKGROUND)
    small = [cv2.resize(v, (width, height), interpolation=cv2.INTER_AREA) for v in planes.veils]
    out[part][small[0] > BROW_FROM] = BROWS
    if person.look.hair:
        hair[part] = small[-1]
        out[part][small[-1] > HAIR_FROM] = HAIR
    return out, hair


def _face_clip(camera: Camera, *people: tuple[Person, Points]) -> tuple[int, int, int, int]:
    """The part of the picture that holds all that is exchanged."""
    low, high = [], []
    for person, points in people:
        used = hybrid.point_weight(person) > 0
        x, y, _ = camera.project(points.opaque[used])
        low.append((x.min(), y.min()))
        high.append((x.max(), y.max()))
    margin = 12
    (x0, y0), (x1, y1) = np.min(low, 0), np.max(high, 0)
    width, height = camera.size
    return (max(int(x0) - margin, 0), max(int(y0) - margin, 0),
            min(int(x1) + margin, width), min(int(y1) + margin, height))


def shoot(wearer: Actor, hybrid_: Actor, scene: Scene) -> Shot:
    """Draw a scene with the wearer and with the truth."""
    side = frame_side(scene)
    ours, theirs = wearer.person.pose(scene.pose), hybrid_.person.pose(scene.pose)
    camera = camera_of(scene, ours)
    drawn = wearer.renderer().draw(scene.pose, camera, scene.light, points=ours)
    clip = _face_clip(camera, (wearer.person, ours), (hybrid_.person, theirs))
    other = hybrid_.renderer().draw(scene.pose, camera, scene.light, points=theirs, clip=clip)
    behind = backdrop(scene.backdrop_seed, side, scene.light)
    plain = over(drawn.rgba, drawn.origin, behind)
    oval = _oval(_weight_plane(wearer.person, drawn, side),
                 _weight_plane(hybrid_.person, other, side), scene.face_px)
    swapped = plain.copy()
    x, y = other.origin
    height, width = other.rgba.shape[:2]
    part = np.s_[y:y + height, x:x + width]
    inside = np.clip(oval[part] * 8, 0, 1)[..., None]
    swapped[part] += inside * (over(other.rgba, (0, 0), behind[part]) - plain[part])
    classes, hair = _labels(wearer.person, drawn, classes_of(wearer.person), side)
    pictures = [_developed(p, scene) for p in (plain, swapped)]
    of_wearer, of_truth = label_face(ours.base, camera), label_face(theirs.base, camera)
    dx, dy, _ = camera.project(theirs.base[list(landmark_vertices())])
    veil = np.where(oval > 0, hair, 0).astype(np.float32)
    if scene.occluder_seed >= 0:
        thing = _thing(scene, pictures[0], of_wearer, side)
        pictures = [occluders.over(p, thing) for p in pictures]
        alpha = thing.alpha.astype(np.float32) / 255
        veil = np.maximum(veil, alpha)
        classes[alpha > 0.5] = OCCLUDER
    return Shot(pictures[0], pictures[1], oval, veil, classes, of_wearer, of_truth,
                np.stack([dx, dy], 1))


def _developed(linear: Floats, scene: Scene) -> Bytes:
    image = expose(linear, scene.light.exposure, blur_px=0.0, sharpen=0.0)
    return cv2.convertScaleAbs(np.clip(image, 0, 255))


def _thing(scene: Scene, picture: Bytes, face: FaceLabels, side: int) -> occluders.Occluder:
    rng = np.random.default_rng([scene.occluder_seed, 3])
    x, y = np.clip(np.rint(face.five_px[2]), 3, side - 4).astype(int).tolist()
    b, g, r = picture[y - 3:y + 4, x - 3:x + 4].reshape(-1, 3).mean(0).tolist()
    return occluders.place(rng, face.five_px, (side, side), (r, g, b), light=scene.light)
