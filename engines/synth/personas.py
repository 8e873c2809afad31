"""The personas that ship with livecam: who they are, their portraits and their files."""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from engines.synth.assets import AssetsError, Bytes, Floats, Ints
from engines.synth.expression import Pose
from engines.synth.film import develop, over, tone
from engines.synth.labels import OVAL_VERTICES, label_face
from engines.synth.landmarks import Landmarker
from engines.synth.light import SOFT_FRONT
from engines.synth.people import PEOPLE, Someone
from engines.synth.person import UPPER_TEETH_FROM, Person
from engines.synth.scene import ALL, Camera, Parts, Renderer
from engines.synth.shade import EYE, TEETH, TONGUE
from livecam.config import RunConfig
from livecam.persona.embed import Embedders
from livecam.store import Store
from livecam.swap._mesh_parts import find_iris

SIZE = 640
FACE_SHARE = 0.60
"""Chin to brow, as a share of the portrait's height."""
CHIN_Y = 0.865
"""Where the chin stands, as a share of the height."""
DISTANCE_DM = 7.0
EYE_SIZE = 192
GREY = 0.20
JPEG_QUALITY = 92
MAX_BYTES = 500_000
IRIS_FROM = 468
IRIS_SHARE = 0.408
"""Radius of the iris over that of the eyeball, seen from the front, in all eye textures."""
EMBEDDER = "sface"
"""Model card of the network whose embedding goes into the files."""
MIN_SCORE = 0.9
"""Below this landmark score a portrait is not taken."""

_CALM = {"eyeBlinkLeft": 0.05, "eyeBlinkRight": 0.05, "mouthSmileLeft": 0.20,
         "mouthSmileRight": 0.20, "browInnerUp": 0.14, "browOuterUpLeft": 0.12,
         "browOuterUpRight": 0.12}
POSES: dict[str, Pose] = {
    "neutral": Pose(_CALM),
    "open_mouth": Pose({**_CALM, "jawOpen": 1.0, "mouthUpperUpLeft": 0.95,
                        "mouthUpperUpRight": 0.95, "mouthLowerDownLeft": 0.6,
                        "mouthLowerDownRight": 0.6, "mouthStretchLeft": 0.2,
                        "mouthStretchRight": 0.2}),
    "closed_eyes": Pose({**_CALM, "eyeBlinkLeft": 1.0, "eyeBlinkRight": 1.0}),
}


@dataclass(frozen=True, slots=True)
class Portraits:
    """pictures by pose name (640, 640, 3) uint8 BGR; boxes: face boxes (4,) in them."""

    pictures: dict[str, Bytes]
    boxes: dict[str, Floats]


def portrait_camera(person: Person) -> Camera:
    """The camera of all portraits of a person."""
    chin = person.neutral[OVAL_VERTICES[18]].astype(np.float64)
    brow_y = float(person.neutral[[4854, 11471], 1].mean()) + 0.20
    height = brow_y - float(chin[1])
    focal = FACE_SHARE * SIZE * (DISTANCE_DM - 0.15) / height
    eyes_z = float(person.head_centre()[2])
    middle_y = (brow_y + float(chin[1])) / 2
    centre_y = SIZE * (CHIN_Y - FACE_SHARE / 2) - 0.5
    return Camera(focal, ((SIZE - 1) / 2, centre_y), (0.0, middle_y, eyes_z + DISTANCE_DM),
                  (SIZE, SIZE))


def draw_portraits(renderer: Renderer, camera: Camera) -> Portraits:
    """The three portraits before plain grey."""
    pictures: dict[str, Bytes] = {}
    boxes: dict[str, Floats] = {}
    back = np.full((SIZE, SIZE, 3), GREY, np.float32)
    for name, pose in POSES.items():
        drawn = renderer.draw(pose, camera, SOFT_FRONT)
        pictures[name] = develop(over(drawn.rgba, drawn.origin, back), blur_px=0.4, noise=0.7,
                                 sharpen=0.2, seed=1)
        boxes[name] = label_face(drawn.points.base, camera).box_px
    return Portraits(pictures, boxes)


def straight_alpha(rgba: Floats) -> Bytes:
    """Premultiplied linear (H, W, 4) as straight BGRA uint8; colours run under the clear part."""
    alpha = np.clip(rgba[..., 3:4], 0, 1)
    colour = rgba[..., :3] / np.maximum(alpha, 1e-3)
    solid = (alpha > 0.5).astype(np.float32)
    spread = cv2.GaussianBlur(colour * solid, (0, 0), 3) / np.maximum(
        cv2.GaussianBlur(solid, (0, 0), 3)[..., None], 1e-3)
    colour = np.where(alpha > 0.5, colour, spread)
    out = np.concatenate([tone(colour)[..., ::-1], 255 * alpha], 2)
    return np.clip(out + 0.5, 0, 255).astype(np.uint8)


def draw_eye(renderer: Renderer, right: bool) -> tuple[Bytes, float, float]:
    """One eyeball (192, 192) BGRA, and its radius and its iris' radius in pixels."""
    person = renderer.person
    rest = person.pose(Pose())
    x, y, z = (float(v) for v in rest.eyes[0 if right else 1, :3])
    radius = float(rest.eyes[0, 6])
    distance = 20.0
    focal = 0.97 * EYE_SIZE / 2 / radius * distance
    middle = (EYE_SIZE - 1) / 2
    camera = Camera(focal, (middle, middle), (x, y, z + distance), (EYE_SIZE, EYE_SIZE))
    eye = np.flatnonzero(person.material == EYE)
    side = rest.opaque[person.tri[eye], 0].mean(1)
    eye = eye[(side < 0) == (x < 0)].astype(np.int32)
    image = _draw_alone(renderer, Pose(), camera, eye)
    ball = focal * radius / distance
    return image, ball, ball * IRIS_SHARE


def _draw_alone(renderer: Renderer, pose: Pose, camera: Camera, triangles: Ints) -> Bytes:
    drawn = renderer.draw(pose, camera, SOFT_FRONT, Parts(False, triangles, False))
    canvas = np.zeros((camera.size[1], camera.size[0], 4), np.float32)
    height, width = drawn.rgba.shape[:2]
    x, y = drawn.origin
    canvas[y:y + height, x:x + width] = drawn.rgba
    return straight_alpha(canvas)


def mouth_parts(person: Person) -> dict[str, Ints]:
    """Triangles of teeth_upper, teeth_lower and tongue."""
    teeth = np.flatnonzero(person.material == TEETH)
    start = person.part_start[2]
    helper = person.teeth.binding.corners.mean(1)
    upper = (helper[person.tri[teeth] - start].mean(1) >= UPPER_TEETH_FROM)
    return {"teeth_upper": teeth[upper].astype(np.int32),
            "teeth_lower": teeth[~upper].astype(np.int32),
            "tongue": np.flatnonzero(person.material == TONGUE).astype(np.int32)}


def draw_mouth(renderer: Renderer, camera: Camera) -> dict[str, tuple[Bytes, list[int]]]:
    """Each part of the open mouth alone: cropped BGRA, and its x, y, width, height in the picture."""
    out: dict[str, tuple[Bytes, list[int]]] = {}
    for name, triangles in mouth_parts(renderer.person).items():
        image = _draw_alone(renderer, POSES["open_mouth"], camera, triangles)
        ys, xs = np.nonzero(image[..., 3] > 8)
        x0, x1, y0, y1 = int(xs.min()), int(xs.max()) + 1, int(ys.min()), int(ys.max()) + 1
        out[name] = (np.ascontiguousarray(image[y0:y1, x0:x1]), [x0, y0, x1 - x0, y1 - y0])
    return out


def irises(person: Person, camera: Camera, pictures: tuple[Bytes, Bytes], mesh: Floats) -> Floats:
    """(10, 3) centre and four points of the edge of the portrait's right, then left iris, where the scene has them: the
    tracker reads them up to a tenth of the eyeball's radius aside, and their size up to a quarter too small.

    pictures: of the two eyeballs, as draw_eye makes them: an iris may sit aside of the ball's axis. mesh: (478, 3) as
    the tracker reads it, whose irises' depths are kept."""
    out = mesh[IRIS_FROM:].copy()
    middle, ball_px = (EYE_SIZE - 1) / 2, 0.97 * EYE_SIZE / 2
    for k, eye in enumerate(person.pose(POSES["neutral"]).eyes.astype(np.float64)):
        found = find_iris(pictures[k], middle, 0.97 * ball_px, IRIS_SHARE * ball_px)
        aside, down = ((place - middle) / ball_px for place in found)
        ahead = math.sqrt(1.0 - IRIS_SHARE**2 - aside**2 - down**2)
        iris = eye[:3] + eye[6] * np.array([aside, -down, ahead])
        edge = IRIS_SHARE * eye[6]
        steps = np.array([[0, 0, 0], [edge, 0, 0], [0, edge, 0], [-edge, 0, 0], [0, -edge, 0]])
        x, y, _ = camera.project(iris + steps)
        out[5 * k:5 * k + 5, 0], out[5 * k:5 * k + 5, 1] = x, y
    return out


def _encoded(image: Bytes, kind: str) -> NDArray[np.uint8]:
    flags = ([cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY] if kind == ".jpg"
             else [cv2.IMWRITE_PNG_COMPRESSION, 9])
    return cv2.imencode(kind, image, flags)[1].ravel()


def make_persona(someone: Someone, assets: Path, landmarker: Landmarker, target: Path,
                 renderer: Renderer | None = None, embedders: Embedders | None = None
                 ) -> tuple[Bytes, Bytes]:
    """Render one persona into target/<id>.safetensors; return the portrait and a check picture.

    renderer: of the persona, when there is one; else one of the best quality is made. With
    `embedders` the file has the portrait's embedding too. Raises AssetsError when a portrait is
    not found as a face, or the file grows too large.
    """
    if renderer is None:
        renderer = Renderer(Person(someone.look, assets), supersample=3)
    camera = portrait_camera(renderer.person)
    portraits = draw_portraits(renderer, camera)
    eyes = [draw_eye(renderer, right) for right in (True, False)]
    tensors: dict[str, np.ndarray] = {}
    metadata = {
        "format": "livecam-persona", "version": "1", "id": someone.id, "name": someone.name,
        "kind": "synthetic", "description": someone.description,
        "age": str(round(someone.look.shape.age_years)), "licence": "CC0-1.0 renders",
        "seed": str(someone.look.shape.seed), "maker": "engines synth personas",
        "masculine": f"{someone.look.shape.gender:g}"}
    checks: list[Bytes] = []
    for name, picture in portraits.pictures.items():
        found = landmarker.find(picture, portraits.boxes[name])
        if found.score < MIN_SCORE:
            raise AssetsError(f"persona {someone.id}: expected a face score of at least "
                              f"{MIN_SCORE} on {name}, found {found.score:.2f}; change the look")
        points = found.points
        if name == "neutral":
            points[IRIS_FROM:] = irises(renderer.person, camera, (eyes[0][0], eyes[1][0]), points)
        if name == "closed_eyes":
            # Behind shut lids the irises are where they were: same head, same camera.
            points[IRIS_FROM:] = tensors["neutral_mesh"][IRIS_FROM:]
        tensors[name] = _encoded(picture, ".jpg")
        tensors[f"{name}_mesh"] = points
        checks.append(_with_points(picture, points))
    for side, (image, ball, iris) in zip(("eye_right", "eye_left"), eyes, strict=True):
        tensors[side] = _encoded(image, ".png")
        metadata["eye_ball_radius_px"], metadata["eye_iris_radius_px"] = f"{ball:.2f}", f"{iris:.2f}"
        checks.append(_on_grey(image))
    for part, (image, box) in draw_mouth(renderer, camera).items():
        tensors[part] = _encoded(image, ".png")
        metadata[f"{part}_xywh_px"] = json.dumps(box)
        checks.append(_on_grey(image))
    if embedders is not None:
        tensors["embedding"] = embedders.of_picture(
            portraits.pictures["neutral"], tensors["neutral_mesh"], EMBEDDER, someone.id)
        metadata["embedding_model"] = EMBEDDER
    target.mkdir(parents=True, exist_ok=True)
    path = target / f"{someone.id}.safetensors"
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    save_file(tensors, str(part), metadata)
    part.chmod(0o644)
    part.replace(path)
    if path.stat().st_size > MAX_BYTES:
        raise AssetsError(f"persona {someone.id}: expected at most {MAX_BYTES} bytes, found "
                          f"{path.stat().st_size}; lower JPEG_QUALITY")
    return portraits.pictures["neutral"], _strip(checks)


def _with_points(picture: Bytes, points: Floats) -> Bytes:
    out = picture.copy()
    for k, p in enumerate(points):
        colour = (0, 0, 255) if k >= 468 else (0, 255, 0)
        cv2.circle(out, (round(float(p[0])), round(float(p[1]))), 1, colour, -1)
    return out


def _on_grey(image: Bytes) -> Bytes:
    alpha = image[..., 3:4].astype(np.float32) / 255
    return (image[..., :3] * alpha + 128 * (1 - alpha)).astype(np.uint8)


def _strip(images: list[Bytes]) -> Bytes:
    out = []
    for image in images:
        scale = min(1.0, SIZE / image.shape[0])
        canvas = np.zeros((SIZE, max(int(image.shape[1] * scale), 1), 3), np.uint8)
        part = image[:SIZE]
        canvas[:part.shape[0], :part.shape[1]] = part
        out.append(canvas)
    return np.hstack(out)


def make_personas(assets: Path, out: Path, sheet: Path, only: list[str] | None = None) -> None:
    """Render the persona files, and a contact sheet (also next to it: nothing else)."""
    store = Store(RunConfig().cache_dir)
    landmarker, embedders = Landmarker(store), Embedders(store)
    faces: list[Bytes] = []
    for someone in PEOPLE:
        if only and someone.id not in only:
            continue
        portrait, check = make_persona(someone, assets, landmarker, out,
                                       embedders=embedders)
        faces.append(cv2.resize(portrait, (320, 320), interpolation=cv2.INTER_AREA))
        if only:
            cv2.imwrite(str(sheet.with_name(f"check_{someone.id}.png")), check)
        print(f"{someone.id}: {(out / f'{someone.id}.safetensors').stat().st_size} bytes",
              flush=True)
    if not only:
        write_sheet(faces, sheet)


def write_sheet(faces: list[Bytes], path: Path, columns: int = 6) -> None:
    """A contact sheet of equally sized pictures, at most 300 KB."""
    blank = np.full_like(faces[0], 124)
    rows = [faces[k:k + columns] for k in range(0, len(faces), columns)]
    rows = [row + [blank] * (columns - len(row)) for row in rows]
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.vstack([np.hstack(r) for r in rows]),
                [cv2.IMWRITE_JPEG_QUALITY, 85])


__all__ = ["ALL", "make_personas"]
