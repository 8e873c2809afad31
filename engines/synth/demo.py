"""The demo clip: a presenter before a webcam, with labels.

Frames are rendered to a scratch folder by number, so that a stopped render goes on where it was;
then they are encoded by ffmpeg.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from engines.synth.assets import AssetsError, Bytes, Floats
from engines.synth.film import add_noise, expose, over
from engines.synth.identity import Shape
from engines.synth.labels import FaceLabels, label_face, pose_labels
from engines.synth.light import Light
from engines.synth.motion import LOOP_S, Step, steps
from engines.synth.person import Look, Person
from engines.synth.room import make_room
from engines.synth.scene import Camera, Renderer
from engines.synth.skin import SkinLook

WIDTH, HEIGHT, FPS = 1280, 720, 30
FOCAL_PX, DISTANCE_DM = 1100.0, 5.6
EXIT_DM = 8.2
"""Sideways offset at which the presenter has left the picture."""
QUANTISER, KEYFRAME_EVERY = 2, 4 * FPS
"""MPEG-2's finest step: 13.5 MB, PSNR 41.8 dB. A picture is decoded in 1.0 CPU-ms; H.264 of the same
size and PSNR, without CABAC and deblocking, took 2.3."""
NOISE = 1.1
"""Sensor noise in grey levels: little enough to survive the codec."""

PRESENTER = Look(
    shape=Shape(gender=1, age_years=33, seed=41, caucasian=0.8, asian=0.2),
    skin_file="young_lightskinned_male_diffuse3",
    skin=SkinLook(melanin=0.22, blood=0.04, stubble=0.38, hair_srgb=(60, 44, 33), seed=9),
    hair="short02", hair_srgb=(74, 54, 40), brows="eyebrow012", brows_srgb=(48, 36, 28),
    brows_gain=1.3, lashes="eyelashes01", lashes_gain=0.75, eye_file="brownlight_eye",
    iris_srgb=(70, 55, 38), clothes="male_casualsuit05")


@dataclass(frozen=True, slots=True)
class Clip:
    """What is needed to draw any frame."""

    renderer: Renderer
    camera: Camera
    steps: list[Step]


def make_clip(assets: Path) -> Clip:
    """The presenter, their camera and their motion."""
    person = Person(PRESENTER, assets)
    centre = person.head_centre()
    camera = Camera(FOCAL_PX, ((WIDTH - 1) / 2, 345.0),
                    (0.0, float(centre[1]) - 0.05, float(centre[2]) + DISTANCE_DM),
                    (WIDTH, HEIGHT))
    return Clip(Renderer(person, sparse=True), camera, steps(FPS, EXIT_DM))


class Backgrounds:
    """The lit room, kept while the light stays the same."""

    def __init__(self) -> None:
        self._room = make_room(WIDTH, HEIGHT)
        self._light: Light | None = None
        self._lit: Floats = np.zeros((0, 0, 3), np.float32)
        self._shown: Floats = self._lit

    def lit(self, light: Light) -> tuple[Floats, Floats]:
        """The room (720, 1280, 3), linear, and as a picture without noise (float32 BGR)."""
        if light != self._light:
            self._light, self._lit = light, self._room.lit(light)
            self._shown = expose(self._lit, light.exposure)
        return self._lit, self._shown


def draw_frame(clip: Clip, backgrounds: Backgrounds, index: int) -> tuple[Bytes, FaceLabels]:
    """Frame `index` as BGR uint8 (720, 1280, 3) and its labels."""
    step = clip.steps[index]
    drawn = clip.renderer.draw(step.pose, clip.camera, step.light)
    room, shown = backgrounds.lit(step.light)
    picture = shown.copy()
    height, width = drawn.rgba.shape[:2]
    if height and width:
        x, y = drawn.origin
        place = np.s_[y:y + height, x:x + width]
        front = over(drawn.rgba, (0, 0), room[place])
        picture[place] = expose(front, step.light.exposure)
    picture = add_noise(picture, NOISE, index)
    return picture, label_face(drawn.points.base, clip.camera)


def label_arrays(clip: Clip, indices: list[int]) -> dict[str, np.ndarray]:
    """Labels of the given frames, as the clip's .npz holds them."""
    rows: dict[str, list[np.ndarray]] = {}
    for index in indices:
        step = clip.steps[index]
        face = label_face(clip.renderer.person.pose(step.pose).base, clip.camera)
        row: dict[str, np.ndarray] = {
            "visible": np.array(face.visible), "present": np.array(face.present),
            "box_px": face.box_px, "five_px": face.five_px, "oval_px": face.oval_px,
            "light": np.array(step.light_id, np.int32), **pose_labels(step.pose)}
        for name, value in row.items():
            rows.setdefault(name, []).append(value)
    out = {name: np.stack(values) for name, values in rows.items()}
    out["fps"] = np.array(float(FPS))
    return out


def render_frames(clip: Clip, scratch: Path, indices: list[int]) -> int:
    """Draw the frames that scratch does not hold yet, as numbered PNGs; how many were drawn."""
    scratch.mkdir(parents=True, exist_ok=True)
    backgrounds = Backgrounds()
    drawn = 0
    for index in indices:
        path = scratch / f"{index:05d}.png"
        if path.is_file():
            continue
        picture, _ = draw_frame(clip, backgrounds, index)
        part = path.with_suffix(".part.png")
        cv2.imwrite(str(part), picture, [cv2.IMWRITE_PNG_COMPRESSION, 1])
        part.rename(path)
        drawn += 1
        if drawn % 50 == 0:
            print(f"frame {index} of {len(clip.steps)}", flush=True)
    return drawn


def encode(scratch: Path, indices: list[int], target: Path) -> None:
    """Encode numbered frames as MPEG-2 (yuv420p, BT.601 limited range, no B-frames): cheap to decode."""
    listing = scratch / "frames.txt"
    listing.write_text("".join(f"file '{scratch / f'{i:05d}.png'}'\nduration {1 / FPS:.9f}\n"
                               for i in indices), encoding="utf-8")
    command = [
        "ffmpeg", "-y", "-loglevel", "error", "-r", str(FPS), "-f", "concat", "-safe", "0",
        "-i", str(listing), "-r", str(FPS),
        "-vf", "scale=out_color_matrix=bt601:out_range=tv:flags=accurate_rnd+full_chroma_int",
        "-c:v", "mpeg2video", "-q:v", str(QUANTISER), "-mbd", "rd", "-trellis", "1",
        "-cmp", "2", "-subcmp", "2", "-bf", "0", "-g", str(KEYFRAME_EVERY),
        "-pix_fmt", "yuv420p", "-colorspace", "smpte170m", "-color_primaries", "smpte170m",
        "-color_trc", "smpte170m", "-color_range", "tv",
        "-movflags", "+faststart", "-an", str(target)]
    try:
        subprocess.run(command, check=True)
    except FileNotFoundError as error:
        raise AssetsError("encoding needs ffmpeg; apt-get install ffmpeg") from error


def make_demo(assets: Path, scratch: Path, target: Path, start_s: float = 0.0,
              end_s: float = LOOP_S, stride: int = 1) -> None:
    """Render the clip, or a part of it, and write presenter.mp4 and presenter.npz to target."""
    clip = make_clip(assets)
    indices = list(range(round(start_s * FPS), round(end_s * FPS), stride))
    render_frames(clip, scratch, indices)
    target.mkdir(parents=True, exist_ok=True)
    encode(scratch, indices, target / "presenter.mp4")
    np.savez_compressed(target / "presenter.npz", **label_arrays(clip, indices))
