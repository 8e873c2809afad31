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
from engines.synth import occluders, raster
from engines.synth.assets import Bytes, Floats, Ints
from engines.synth.cast import Actor
from engines.synth.film import over, plain
from engines.synth.labels import FaceLabels, face_vertices, label_face
from engines.synth.parsing import BACKGROUND, BROWS, GLASSES, HAIR, OCCLUDER
from engines.synth.person import Points
from engines.synth.scene import Camera, Drawn
from engines.synth.scenes import Scene, backdrop

FACE_WIDTH_DM = 1.45
FRAME_SHARE = 2.25
"""Side of the frame over the width of the face: the crop and some more."""
REACH, SOFTNESS = 0.018, 0.014
"""The oval grows by these shares of the face's width, and is blurred by those: lashes and outlines."""
BROW_FROM, HAIR_FROM = 0.35, 0.5
"""Coverage from which a pixel is brow or hair."""
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


@dataclass(frozen=True, slots=True)
class Portrait:
    """One scene with one person; fields as in `Shot`: `dense` (K, 2) are the wearer's own landmarks."""

    wearer: Bytes
    oval: Floats
    veil: Floats
    classes: Bytes
    of_wearer: FaceLabels
    dense: Floats

    def filmed(self, settings: webcam.Settings, noise_seed: int) -> Bytes:
        """The picture through a camera."""
        return webcam.apply(self.wearer, settings, noise_seed)


@lru_cache(maxsize=1)
def landmark_vertices() -> tuple[int, ...]:
    """Base vertices of the dense landmarks."""
    return tuple(face_vertices()[::LANDMARK_STEP].tolist())


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


def _weight_plane(actor: Actor, drawn: Drawn, side: int) -> Floats:
    """How far each pixel (side, side) shows the face that is exchanged, 0..1."""
    out = np.zeros((side, side), np.float32)
    planes = drawn.planes
    if planes is not None:
        samples = np.zeros(planes.ids.shape, np.float32)
        raster.interpolate(planes.ids, planes.bary, actor.person.tri, actor.face_weight, samples)
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


def _labels(actor: Actor, drawn: Drawn, side: int) -> tuple[Bytes, Floats]:
    """Class and hair's coverage of each pixel (side, side); of hair behind glasses too, which are no veil themselves."""
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
    out[part] = np.where(ids >= 0, actor.classes[np.maximum(ids, 0)], BACKGROUND)
    size = (width, height)
    out[part][cv2.resize(planes.veils[0], size, interpolation=cv2.INTER_AREA) > BROW_FROM] = BROWS
    if actor.person.look.hair:
        hair[part] = cv2.resize(planes.veils[-1], size, interpolation=cv2.INTER_AREA)
        out[part][hair[part] > HAIR_FROM] = HAIR
    if planes.glasses is not None:
        out[part][planes.glasses[::step, ::step] > 0] = GLASSES
    return out, hair


def _face_clip(camera: Camera, *people: tuple[Actor, Points]) -> tuple[int, int, int, int]:
    """The part of the picture that holds all that is exchanged."""
    low, high = [], []
    for actor, points in people:
        used = actor.face_weight > 0
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
    drawn = wearer.renderer.draw(scene.pose, camera, scene.light, points=ours)
    clip = _face_clip(camera, (wearer, ours), (hybrid_, theirs))
    other = hybrid_.renderer.draw(scene.pose, camera, scene.light, points=theirs, clip=clip)
    behind = backdrop(scene.backdrop_seed, side, scene.light)
    own = over(drawn.rgba, drawn.origin, behind)
    oval = _oval(_weight_plane(wearer, drawn, side),
                 _weight_plane(hybrid_, other, side), scene.face_px)
    swapped = own.copy()
    x, y = other.origin
    height, width = other.rgba.shape[:2]
    part = np.s_[y:y + height, x:x + width]
    inside = np.clip(oval[part] * 8, 0, 1)[..., None]
    swapped[part] += inside * (over(other.rgba, (0, 0), behind[part]) - own[part])
    classes, hair = _labels(wearer, drawn, side)
    of_wearer, of_truth = label_face(ours.base, camera), label_face(theirs.base, camera)
    pictures, veil = _finished((own, swapped), scene, oval, hair, classes, of_wearer)
    return Shot(pictures[0], pictures[1], oval, veil, classes, of_wearer, of_truth,
                _dense(theirs, camera))


def portray(wearer: Actor, scene: Scene) -> Portrait:
    """Draw a scene with the wearer alone, with all labels; the picture is `shoot`'s."""
    side = frame_side(scene)
    points = wearer.person.pose(scene.pose)
    camera = camera_of(scene, points)
    drawn = wearer.renderer.draw(scene.pose, camera, scene.light, points=points)
    picture = over(drawn.rgba, drawn.origin, backdrop(scene.backdrop_seed, side, scene.light))
    weight = _weight_plane(wearer, drawn, side)
    oval = _oval(weight, weight, scene.face_px)
    classes, hair = _labels(wearer, drawn, side)
    labels = label_face(points.base, camera)
    pictures, veil = _finished((picture,), scene, oval, hair, classes, labels)
    return Portrait(pictures[0], oval, veil, classes, labels, _dense(points, camera))


def _dense(points: Points, camera: Camera) -> Floats:
    """The dense landmarks (K, 2) of posed points."""
    x, y, _ = camera.project(points.base[list(landmark_vertices())])
    return np.stack([x, y], 1)


def _finished(linear: tuple[Floats, ...], scene: Scene, oval: Floats, hair: Floats, classes: Bytes,
              face: FaceLabels) -> tuple[list[Bytes], Floats]:
    """Pictures (H, W, 3) uint8 of linear ones of one scene, with what stands before the face (of which
    `classes` are told, in place); and the veil (H, W)."""
    pictures = [plain(p, scene.light.exposure) for p in linear]
    veil = np.where(oval > 0, hair, 0).astype(np.float32)
    if scene.occluder_seed >= 0:
        thing = _thing(scene, pictures[0], face, oval.shape[0])
        pictures = [occluders.over(p, thing) for p in pictures]
        alpha = thing.alpha.astype(np.float32) / 255
        veil = np.maximum(veil, alpha)
        classes[alpha > 0.5] = OCCLUDER
    return pictures, veil


def _thing(scene: Scene, picture: Bytes, face: FaceLabels, side: int) -> occluders.Occluder:
    rng = np.random.default_rng([scene.occluder_seed, 3])
    x, y = np.clip(np.rint(face.five_px[2]), 3, side - 4).astype(int).tolist()
    b, g, r = picture[y - 3:y + 4, x - 3:x + 4].reshape(-1, 3).mean(0).tolist()
    return occluders.place(rng, face.five_px, (side, side), (r, g, b), light=scene.light)
