"""The hidden mark under what happens to pictures: codecs, scaling, cutting, bars, a filmed screen; its cost, its change, its false alarms.

    python benchmarks/mark.py [--clips 24] [--only cost,codecs,...] [--unmarked 20000] [--out benchmarks/results/mark.json]

Needs the extra `audio` (PyAV with libx264 and libvpx) and the test group (scikit-image). Sections are kept in the file one by one, so that a run
that was ended goes on with `--only`; the trial of unmarked frames adds to the frames tried before.
Clips: the demo presenter from many places, as it is and with a camera's noise, and slow pans over photographs of things (coffee, a cat, bricks,
grass; scikit-image's, free), all 1280x720, marked by `Marker` as a run does. Tests are `livecam detect`'s own.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import av
import cv2
import numpy as np
import skimage.data

from livecam.bench import machine
from livecam.capture.demo import DATA
from livecam.config import MarkConfig
from livecam.mark import Marker, Payload, files, read, short_id
from livecam.mark._code import encode
from livecam.types import F64, U8

SIZE = (1280, 720)
FPS = 30
PERSONA = "noor"
CHUNK = 200
"""Unmarked frames between two writes of the result."""
NOISE = (0.0, 1.5, 2.5)
"""Standard deviation of the camera's noise, grey levels: none, a good webcam, a poor one."""
THINGS = ("coffee", "chelsea", "brick", "grass")
Change = Callable[[list[U8]], list[U8]]
Encode = Callable[[list[U8]], list[U8]]


def source(number: int, frames: int) -> list[U8]:
    """Clip `number`: three of four show the presenter, one of four a pan over a thing."""
    random = np.random.default_rng((number, 77))
    noise = NOISE[number % 3]
    if number % 4 == 3:
        clip = _pan(THINGS[number // 4 % len(THINGS)], frames, random)
        noise = max(noise, NOISE[1])  # shrunk photographs have none of their own
    else:
        clip = _presenter(int(random.integers(0, 1140 - frames)), frames)
    return [_noisy(image, noise, random) for image in clip]


def _presenter(start: int, frames: int) -> list[U8]:
    film = cv2.VideoCapture(str(DATA / "presenter.mp4"))
    film.set(cv2.CAP_PROP_POS_FRAMES, start)
    return [np.asarray(film.read()[1], np.uint8) for _ in range(frames)]


def _pan(name: str, frames: int, random: np.random.Generator) -> list[U8]:
    picture = np.asarray(getattr(skimage.data, name)(), np.uint8)
    picture = cv2.cvtColor(picture, cv2.COLOR_GRAY2BGR if picture.ndim == 2 else cv2.COLOR_RGB2BGR)
    scale = max(1500 / picture.shape[1], 860 / picture.shape[0])
    large = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    turns = random.uniform(0, 2 * math.pi, 2)
    moves = [(-60 - 50 * math.sin(turns[0] + k / 40), -60 - 50 * math.cos(turns[1] + k / 33)) for k in range(frames)]
    return [np.asarray(cv2.warpAffine(large, np.array(((1, 0, x), (0, 1, y))), SIZE), np.uint8) for x, y in moves]


def _noisy(image: U8, deviation: float, random: np.random.Generator) -> U8:
    if not deviation:
        return image
    return np.clip(image + np.rint(random.normal(0.0, deviation, (*image.shape[:2], 1))), 0, 255).astype(np.uint8)


def marked(clip: list[U8], run: int) -> list[U8]:
    """The clip as a run puts it out."""
    marker = Marker(MarkConfig(), run)
    marker.wear(PERSONA)
    out = [image.copy() for image in clip]
    for image in out:
        marker.mark(image)
    return out


def coded(codec: str, size: tuple[int, int], bitrate: int = 0, **options: str) -> Encode:
    """Encodes a clip, scaled to `size`, and decodes it again."""

    def run(clip: list[U8]) -> list[U8]:
        buffer = io.BytesIO()
        with av.open(buffer, "w", format="webm" if codec == "libvpx" else "mp4") as out:
            stream = out.add_stream(codec, rate=Fraction(FPS))
            stream.width, stream.height, stream.pix_fmt, stream.options = *size, "yuv420p", options
            if bitrate:
                stream.bit_rate = bitrate
            for image in clip:
                small = cv2.resize(image, size, interpolation=cv2.INTER_AREA) if (image.shape[1], image.shape[0]) != size else image
                out.mux(stream.encode(av.VideoFrame.from_ndarray(small, format="bgr24")))
            out.mux(stream.encode(None))
        buffer.seek(0)
        with av.open(buffer) as film:
            return [frame.to_ndarray(format="bgr24") for frame in film.decode(video=0)]

    return run


def cut(clip: list[U8]) -> list[U8]:
    return [np.ascontiguousarray(image[72:648, 128:1152]) for image in clip]


def zoomed(clip: list[U8]) -> list[U8]:
    x, y = round(SIZE[0] / 22), round(SIZE[1] / 22)
    return [np.asarray(cv2.resize(image[y:-y, x:-x], SIZE, interpolation=cv2.INTER_LINEAR), np.uint8) for image in clip]


def boxed(clip: list[U8]) -> list[U8]:
    return [cv2.copyMakeBorder(cv2.resize(image, (960, 540), interpolation=cv2.INTER_AREA), 90, 90, 0, 0, cv2.BORDER_CONSTANT) for image in clip]


def filmed(number: int) -> Change:
    """A screen before a still camera: turned and tilted by up to 5 degrees, a dark room around, gamma, blur, the camera's noise."""
    random = np.random.default_rng((number, 99))
    turn, yaw, pitch = np.radians(random.uniform(-5.0, 5.0, 3))
    scale, gamma, blur = random.uniform(0.75, 0.95), random.uniform(0.85, 1.2), random.uniform(0.6, 1.2)
    corners = np.array(((-640, -360), (640, -360), (-640, 360), (640, 360)), np.float64)
    spun = corners @ np.array(((math.cos(turn), math.sin(turn)), (-math.sin(turn), math.cos(turn))))
    depth = 1.0 + (spun[:, 0] * math.sin(yaw) + spun[:, 1] * math.sin(pitch)) / 1600.0
    there = spun * np.array((math.cos(yaw), math.cos(pitch))) * scale / depth[:, None] + np.array((640.0, 360.0)) + random.uniform(-15, 15, 2)
    matrix = cv2.getPerspectiveTransform((corners + np.array((640.0, 360.0))).astype(np.float32), there.astype(np.float32))
    table = np.rint(255 * (np.arange(256) / 255.0) ** gamma).astype(np.uint8)

    def run(clip: list[U8]) -> list[U8]:
        seen = [cv2.warpPerspective(image, matrix, SIZE, flags=cv2.INTER_LINEAR, borderValue=(38, 34, 33)) for image in clip]
        return [_noisy(cv2.GaussianBlur(cv2.LUT(image, table), (0, 0), blur), 1.5, random) for image in seen]

    return run


HALF, QUARTER = (640, 360), (320, 180)
CALL = {"deadline": "realtime", "cpu-used": "8"}
CONDITIONS: dict[str, tuple[float, str, Callable[[int], Change], Encode]] = {
    "x264 CRF 28, half size": (2.0, "quick", lambda _: list, coded("libx264", HALF, crf="28")),
    "VP8 250 kbit/s, 180p": (4.0, "quick", lambda _: list, coded("libvpx", QUARTER, 250_000, **CALL)),
    "x264 CRF 33, half size": (4.0, "quick", lambda _: list, coded("libx264", HALF, crf="33")),
    "cut to 80 %, x264 CRF 23": (4.0, "", lambda _: cut, coded("libx264", (1024, 576), crf="23")),
    "zoom 110 %, x264 CRF 23": (4.0, "", lambda _: zoomed, coded("libx264", SIZE, crf="23")),
    "letterbox, x264 CRF 23": (4.0, "", lambda _: boxed, coded("libx264", (960, 720), crf="23")),
    "filmed screen, x264 CRF 23": (4.0, "", filmed, coded("libx264", SIZE, crf="23")),
}
"""Seconds of a clip, how to look for the mark, what is done to the pictures, how they are encoded."""


def one(name: str, number: int) -> dict[str, float | bool]:
    """One clip under one condition."""
    seconds, how, change, encode_clip = CONDITIONS[name]
    run = int(np.random.default_rng((number, 5)).integers(0, 1 << 14))
    came = encode_clip(change(number)(marked(source(number, round(seconds * FPS)), run)))
    windows = [
        files.Window(start / FPS, (start + len(part)) / FPS, np.mean([read.luma(image) for image in part], axis=0, dtype=np.float32))
        for start in range(0, len(came), 2 * FPS)
        if len(part := came[start : start + 2 * FPS]) >= FPS // 2
    ]
    answer = files.Detector(quick=how == "quick").answer(windows)
    truth = Payload(run, short_id(PERSONA))
    signs = 1.0 - 2.0 * encode(truth.number())
    raw = float(np.mean(np.sign(answer.best.bits) == signs))
    return {"right": answer.present and answer.best.payload == truth, "present": answer.present, "raw_bits": raw, "z": answer.best.z}


def trials(name: str, clips: int, tell: Callable[[str], None]) -> dict[str, float | int | list[int]]:
    """All clips under one condition."""
    results = []
    for number in range(clips):
        results.append(one(name, number))
        tell(f"{name}: {number + 1}/{clips} {results[-1]}")
    right = [bool(r["right"]) for r in results]
    wrong = sum(bool(r["present"]) and not r["right"] for r in results)
    return {
        "clips": clips,
        "seconds_each": CONDITIONS[name][0],
        "payload_right": sum(right),
        "payload_right_share": round(sum(right) / clips, 4),
        "wrong_payload_reported": int(wrong),
        "raw_bits_mean": round(float(np.mean([r["raw_bits"] for r in results])), 4),
        "raw_bits_least": round(float(min(r["raw_bits"] for r in results)), 4),
        "z_median": round(float(np.median([r["z"] for r in results])), 1),
        "missed_clips": [number for number, ok in enumerate(right) if not ok],
    }


def cost() -> dict[str, dict[str, float]]:
    """CPU milliseconds of a frame's mark and badge, after a run's other stages had the cache: a copy of the frame is made before each."""
    made: dict[str, dict[str, float]] = {}
    for name, size in {"720p": SIZE, "1080p": (1920, 1080)}.items():
        frame = cv2.resize(source(1, 1)[0], size)
        marker = Marker(MarkConfig(), 7)
        marker.mark(frame.copy())
        times = []
        for _ in range(600):
            image = frame.copy()
            begin = time.thread_time_ns()
            marker.mark(image)
            times.append((time.thread_time_ns() - begin) / 1e6)
        made[name] = {f"p{p}_cpu_ms": round(float(np.percentile(times, p)), 3) for p in (5, 50, 95, 99)}
    return made


def picture_change(clips: int) -> dict[str, float]:
    """PSNR of the hidden mark alone, every 15th frame of each clip."""
    values: list[float] = []
    for number in range(clips):
        marker = Marker(MarkConfig(badge="off"), number)
        for k, image in enumerate(source(number, 46)):
            after = image.copy()
            marker.mark(after)
            if k % 15 == 0:
                values.append(10 * math.log10(255**2 / float(np.mean((after.astype(np.float32) - image) ** 2))))
    return {"frames": len(values), "psnr_mean_db": round(float(np.mean(values)), 2), "psnr_least_db": round(min(values), 2)}


def _unmarked(seed: int) -> Iterator[U8]:
    """Different pictures without end: frames of the sources, cut, scaled, mirrored, with other gain and noise."""
    random = np.random.default_rng((seed, 123))
    while True:
        for image in source(int(random.integers(0, 1 << 30)), 12):
            for _ in range(8):
                wide = int(random.integers(500, 1281))
                high = wide * 9 // 16
                x, y = int(random.integers(0, 1281 - wide)), int(random.integers(0, 721 - high))
                part = cv2.resize(image[y : y + high, x : x + wide, 1], (640, 360), interpolation=cv2.INTER_AREA)
                part = part[:, ::-1] if random.random() < 0.5 else part
                out = part * random.uniform(0.6, 1.3) + random.normal(0, random.uniform(0, 2), part.shape)
                yield np.clip(out, 0, 255).astype(np.uint8)


def unmarked(frames: int, before: dict[str, float | int], tell: Callable[[str], None]) -> dict[str, float | int]:
    """Tests unmarked frames with the payload test; adds to what was tried before."""
    tried, alarms, highest = int(before.get("frames", 0)), int(before.get("false_alarms", 0)), float(before.get("highest_z", 0.0))
    placing: F64 = read.whole(640, 360)
    for number, image in enumerate(_unmarked(tried)):
        if number == frames:
            break
        reading = read.prove(read.whiten(read.sample(read.luma(image), placing)), placing, 1)
        alarms += reading.present
        highest = max(highest, reading.z)
        if number % 2000 == 0:
            tell(f"unmarked {number}: highest z {highest:.2f}")
    tried += frames
    needed = math.sqrt(2 * math.log(2 * 2.0**29 / read.FALSE_ALARM))
    return {
        "frames": tried,
        "false_alarms": alarms,
        "highest_z": round(highest, 3),
        "z_of_an_alarm": round(needed, 3),
        "bound_a_test": read.FALSE_ALARM,
        "rate_below_with_95_percent": round(3 / tried, 9) if not alarms else -1.0,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/mark.json"))
    parser.add_argument("--clips", type=int, default=24)
    parser.add_argument("--unmarked", type=int, default=20000)
    parser.add_argument("--only", default="cost,change,conditions,unmarked", help="sections; or names of conditions, with semicolons")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    result = json.loads(args.out.read_text(encoding="utf-8")) if args.out.exists() else {}
    said = result.setdefault("commands", [])
    said.append({"command": " ".join(["python benchmarks/mark.py", *sys.argv[1:]]), "machine": machine.describe()})
    wanted = set(args.only.split(","))

    def tell(text: str) -> None:
        print(text, flush=True)

    def keep(section: str, what: object) -> None:
        result[section] = what
        args.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        tell(f"{section}: {what}")

    if "cost" in wanted:
        keep("cost", cost())
    if "change" in wanted:
        keep("change", picture_change(min(args.clips, 24)))
    for name in CONDITIONS:
        if "conditions" in wanted or name in args.only.split(";"):
            keep(name, trials(name, args.clips, tell))
    if "unmarked" in wanted:
        for _ in range(0, args.unmarked, CHUNK):
            keep("unmarked", unmarked(min(CHUNK, args.unmarked), result.get("unmarked", {}), tell))
    return 0


if __name__ == "__main__":
    sys.exit(main())
