"""The parser that livecam runs: what it finds before a face, by kind of thing, and what it opens for nothing.

Stills: things drawn before held-out people (rendered, and generated photos of people who do not exist), and those that the set itself was
rendered with. Counted are pixels of the zone in which a generator draws, and all pixels; the map's threshold is one half. `opened`: what the
mask room makes of pictures with nothing before the face, steadied and confirmed as in the live loop.

Film: things that come before the demo presenter's face, rest and leave, through the whole live loop.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.synth import occluders
from engines.train import _parser_data as data
from engines.train.errors import DataError
from livecam import detect, image, mask, persona, runtimes, swap, track
from livecam.capture import demo
from livecam.config import CaptureConfig, Config, RunConfig
from livecam.mask import Occluded, Occlusion
from livecam.mask.parser import wrap
from livecam.pipeline import Pipeline
from livecam.runtimes import Runtime
from livecam.store import Store
from livecam.telemetry import Telemetry
from livecam.types import F32, U8, Alignment, Face, Frame, Verdict

THRESHOLD = 0.5
LEAST_SHARE = 0.01
"""Of a picture: with less of a thing in the zone, its own IoU says nothing."""
PHOTOS_HELD = 220
"""As in the training: the first photos are judged by."""
POOL, POOL_SEED = 48, 7100
LOOKS = 8
"""Pictures of one crop, with new noise, in which an opening may show."""
MOST_BARE = 220
"""Renders with nothing before the face that are looked at."""
DEMO_FRAMES = 600
NOISE_LEVELS = 2.0
FILM_FRAMES, COMES, STAYS = 75, 18, 54
"""Frames of a film; until when a thing comes, from when it leaves."""
FILM_START = 60
FILM_KINDS = ("hand", "cup", "microphone", "phone", "thing", "paper")
WARM_UP = 8
OVAL = 0.92
"""The face's oval is drawn in by this factor: at its edge persona and wearer fade into each other."""
EDGE_PX = 9
"""Pixels around a thing that belong to its soft edge, in a frame of 720 rows."""
STRIP_PX, STRIP_EVERY = 220, 6
HIDES, TRIES = (0.12, 0.4), 12
"""Share of the face's oval that a thing in a film hides; a thing is drawn anew so many times until it does."""


class Options(Protocol):
    """What the command line says."""

    data: Path
    photos: Path | None
    model: Path | None
    count: int
    film: bool
    swap: str
    strip: Path | None


@dataclass(slots=True)
class Tally:
    """Pixels found and true, over pictures."""

    hit: int = 0
    union: int = 0
    each: list[float] = field(default_factory=list[float])

    def add(self, found: np.ndarray, truth: np.ndarray) -> None:
        """found, truth: (P, P) bool."""
        hit, union = int((found & truth).sum()), int((found | truth).sum())
        self.hit, self.union = self.hit + hit, self.union + union
        if truth.mean() >= LEAST_SHARE:
            self.each.append(hit / max(union, 1))

    def row(self) -> dict[str, Any]:
        """JSON-ready; None where there was nothing to count."""
        each = round(float(np.mean(self.each)), 4) if self.each else None
        return {"iou": round(self.hit / self.union, 4) if self.union else None, "iou_each": each, "pictures": len(self.each)}


def run(options: Options) -> dict[str, Any]:
    """The result, JSON-ready; writes the strip. Raises DataError (data), LivecamError (model files)."""
    store = Store(RunConfig().cache_dir)
    occlusion = _occlusion(store, options.model)
    held = data.read_shards(sorted(options.data.glob("pairs-*.npz")))
    bare = held.only(np.flatnonzero(held.kinds == ""))
    result: dict[str, Any] = {"model": options.model.name if options.model else "as shipped", "set": options.data.name,
                              "cpu_ms_a_look": _cost(occlusion.network, occlusion.size_px)}
    result["rendered_with_the_set"] = _rendered(occlusion, held)
    result["renders"] = _drawn(occlusion, bare, options.count)
    result["opened_on_renders"] = _opened(occlusion, bare.only(np.arange(min(len(bare), MOST_BARE))))
    if options.photos is not None:
        pictures = sorted(p for p in options.photos.glob("*") if p.suffix.lower() in (".jpg", ".png"))
        photos = data.read_photos(pictures[:PHOTOS_HELD])
        result["photos"] = _drawn(occlusion, photos, options.count)
        result["opened_on_photos"] = _opened(occlusion, photos)
    if options.film:
        result["film"] = _film(options, store)
    return result


def _occlusion(store: Store, model: Path | None) -> Occlusion:
    if model is not None:
        return wrap(runtimes.load("openvino", model, 1, store.compiled_dir))
    shipped = mask.load_occlusion(store, 1)
    if shipped is None:
        raise DataError("expected a parser in livecam/weights with its card, found none; name a file with --model")
    return shipped


def _cost(network: Runtime, size: int) -> float:
    """Least mean CPU ms of a run, over blocks of runs: other work on the machine only adds."""
    blob = np.random.default_rng(0).random((1, 3, size, size), np.float32)
    network.run({"x": blob})
    means: list[float] = []
    for _ in range(8):
        begin = time.process_time()
        for _ in range(10):
            network.run({"x": blob})
        means.append((time.process_time() - begin) * 100)
    return round(min(means), 2)


def _share(network: Runtime, picture: U8) -> np.ndarray:
    blob = cv2.dnn.blobFromImage(picture, 1.0 / 255.0, swapRB=True)
    return np.asarray(network.run({"x": blob})["occluder"][0, 0] >= THRESHOLD)


def _rendered(occlusion: Occlusion, held: data.Samples) -> dict[str, Any]:
    """Things that the set was rendered with: light, shadow and camera are the scene's own."""
    tallies: dict[str, Tally] = {}
    pool = data.make_pool(1, 0, data.standard_five(), ("thing",))
    for k, kind in enumerate(held.kinds.tolist()):
        if not kind or kind in data.HAIR_KINDS:
            continue
        picture, _, alpha, zone = data.one_sample(held, k, pool, np.random.default_rng(k), occlusion.size_px, data.Change(0.0, 0.0))
        found, truth, inside = _share(occlusion.network, picture), alpha >= 128, zone >= 128
        for name in (kind, "all"):
            tallies.setdefault(name, Tally()).add(found & inside, truth & inside)
        tallies.setdefault("all, everywhere", Tally()).add(found, truth)
    return {name: tally.row() for name, tally in tallies.items()}


def _drawn(occlusion: Occlusion, samples: data.Samples, count: int) -> dict[str, Any]:
    """Things drawn before these people: `count` pictures of each kind, and of the mix that a scene takes from."""
    five = data.standard_five()
    strands = next(iter(data.HAIR_KINDS))
    out: dict[str, Any] = {}
    groups: dict[str, tuple[str, ...]] = {kind: (kind,) for kind in (*occluders.KINDS, *occluders.HELD_OUT)}
    groups |= {"all things, as often as in scenes": (), "all things and strands": ()}
    for name, kinds in groups.items():
        pool = data.make_pool(POOL if kinds else 4 * POOL, POOL_SEED, five, kinds)
        if not kinds and "strands" not in name:
            pool = pool.without_hair()
        pool.hair[:] = False  # strands are judged as things here, in rows of their own
        zone, everywhere = _judge(occlusion, samples, pool, count if kinds else 3 * count)
        out[name] = {**zone.row(), "iou_everywhere": everywhere.row()["iou"]}
        if name == strands:
            out[name]["note"] = "hair, which is not to be opened"
        if name in occluders.HELD_OUT:
            out[name]["note"] = "never trained on"
    return out


def _judge(occlusion: Occlusion, samples: data.Samples, pool: data.Pool, count: int) -> tuple[Tally, Tally]:
    zone_tally, all_tally = Tally(), Tally()
    for k in range(count):
        rng = np.random.default_rng([POOL_SEED, k])
        picture, _, alpha, zone = data.one_sample(samples, k % len(samples), pool, rng, occlusion.size_px, data.Change(1.0, 0.0))
        found, truth, inside = _share(occlusion.network, picture), alpha >= 128, zone >= 128
        zone_tally.add(found & inside, truth & inside)
        all_tally.add(found, truth)
    return zone_tally, all_tally


def _opened(occlusion: Occlusion, samples: data.Samples) -> dict[str, Any]:
    """Pictures with nothing before the face, each seen LOOKS times with new noise as a camera sees a still face: what the mask room opens."""
    size = occlusion.size_px
    pool = data.make_pool(1, 0, data.standard_five(), ("thing",))
    raw: list[float] = []
    opened: list[float] = []
    for k in range(len(samples)):
        picture, _, _, zone = data.one_sample(samples, k, pool, np.random.default_rng(k), size, data.Change(0.0, 0.0))
        inside = zone >= 128
        raw.append(float((_share(occlusion.network, picture) & inside).sum() / max(inside.sum(), 1)))
        five = (samples.five[k] + 0.5) * size / data.KEPT_PX - 0.5
        face = Face(k, np.concatenate([five.min(0), five.max(0)]).astype(np.float32), five.astype(np.float32), 1.0)
        occlusion.reset()
        worst = 0.0
        for look in range(LOOKS):
            noise = np.random.default_rng([k, look]).normal(0, NOISE_LEVELS, picture.shape)
            seen = occlusion.see(np.clip(picture + noise, 0, 255).astype(np.uint8), face, Alignment(np.eye(2, 3), size))
            worst = max(worst, 0.0 if seen is None else float(((seen.opening >= 128) & inside).sum() / max(inside.sum(), 1)))
        opened.append(worst)
    occlusion.reset()
    return {"pictures": len(samples), "network_alone_opens_in": int(np.count_nonzero(raw)), "mask_opens_in": int(np.count_nonzero(opened)),
            "mask_worst_share_of_zone": round(max(opened, default=0.0), 4), "mask_mean_share_of_zone": round(float(np.mean(opened)), 6)}


@dataclass(slots=True)
class Counted:
    """A network, and how often it ran."""

    network: Runtime
    runs: int = 0

    @property
    def inputs(self) -> tuple[runtimes.TensorSpec, ...]:
        """As the network's."""
        return self.network.inputs

    @property
    def outputs(self) -> tuple[runtimes.TensorSpec, ...]:
        """As the network's."""
        return self.network.outputs

    def run(self, inputs: Mapping[str, NDArray[np.generic]]) -> dict[str, NDArray[Any]]:
        """As the network does."""
        self.runs += 1
        return self.network.run(inputs)


@dataclass(slots=True)
class Watched:
    """`Occlusion.see`, and what it said last."""

    occlusion: Occlusion
    last: tuple[Occluded | None, Alignment] | None = None
    ms: list[float] = field(default_factory=list[float])

    def see(self, wearer: U8, face: Face, alignment: Alignment) -> Occluded | None:
        """As `Occlusion.see`."""
        begin = time.thread_time()
        seen = self.occlusion.see(wearer, face, alignment)
        self.ms.append((time.thread_time() - begin) * 1000)
        self.last = (seen, alignment)
        return seen

    def opening(self, shape: tuple[int, int]) -> np.ndarray:
        """The last frame's opening (H, W) bool in the frame."""
        if self.last is None or self.last[0] is None:
            return np.zeros(shape, np.bool_)
        seen, alignment = self.last
        there = cv2.warpAffine(seen.opening, alignment.matrix, (shape[1], shape[0]), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
        return np.asarray(there >= 128)


@dataclass(slots=True)
class Shown:
    """One film, frame by frame: shares of the face's oval."""

    kind: str
    for_nothing: list[float] = field(default_factory=list[float])
    painted_over: list[float] = field(default_factory=list[float])
    live: list[bool] = field(default_factory=list[bool])
    reasons: dict[str, int] = field(default_factory=dict[str, int])
    ms: list[float] = field(default_factory=list[float])
    runs: int = 0
    strip: list[U8] = field(default_factory=list[U8])

    def row(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"kind": self.kind, "frames": len(self.live), "live_share": round(float(np.mean(self.live)), 4), "covered_because": self.reasons,
                "opened_for_nothing_mean": round(float(np.mean(self.for_nothing)), 5), "opened_for_nothing_worst": round(max(self.for_nothing), 5),
                "thing_painted_over_mean": round(float(np.mean(self.painted_over)), 4) if self.painted_over else None,
                "mask_cpu_ms_a_frame": round(float(np.mean(self.ms)), 3), "runs_a_frame": round(self.runs / max(len(self.ms), 1), 3)}


def _film(options: Options, store: Store) -> dict[str, Any]:
    image.warm_up()
    swap.warm_up(options.swap)
    films = [_play(kind, options, store, FILM_FRAMES) for kind in FILM_KINDS]
    nothing = _play("", options, store, DEMO_FRAMES)
    strips = [np.hstack(film.strip) for film in films if film.strip]
    if options.strip is not None and strips:
        options.strip.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(options.strip), np.vstack(strips))
    return {"swap": options.swap, "things": [film.row() for film in films], "demo_without_things": nothing.row()}


def _play(kind: str, options: Options, store: Store, frames: int) -> Shown:
    config = Config(capture=CaptureConfig(camera="demo", loop=False, realtime=False))
    occlusion = _occlusion(store, options.model)
    counted = Counted(occlusion.network)
    occlusion.network = counted
    watched = Watched(occlusion)
    swapper = swap.load(options.swap, config.swap, store, 1)
    swapper.wear(persona.load("noor"))
    pipeline = Pipeline(detect.load(config.detect.detector, config.detect, store, 1), track.load("mediapipe", config.track, store, 1), swapper,
                        config, Telemetry(), occlusion)
    pipeline.stages.occlude = watched.see
    shown, labels = Shown(kind), demo.labels()
    thing: occluders.Occluder | None = None
    with demo.open("demo", config.capture) as source:
        for _ in range(FILM_START if kind else 0):
            source.read()
        for k in range(frames):
            frame = source.read()
            if labels.visible[frame.position] < 1:
                continue
            if kind and thing is None:
                thing = _make(kind, labels, frame.position, frame.image)
            picture, cover = _before(frame.image, thing, labels.five_px[frame.position], k)
            watched.last = None
            done = pipeline.process(Frame(picture.copy(), frame.capture_ns, frame.seq, frame.position))
            _note(shown, watched, done.verdict is Verdict.LIVE, done.reason, cover, labels.oval_px[frame.position], k)
            if kind and k % STRIP_EVERY == 0:
                shown.strip.append(np.vstack([_window(p, labels.oval_px[frame.position]) for p in (picture, done.image)]))
    shown.ms, shown.runs = watched.ms, counted.runs
    return shown


def _make(kind: str, labels: demo.Labels, at: int, picture: U8) -> occluders.Occluder:
    """A thing of this kind that hides a part of the face that the tracker can do without."""
    five, oval = labels.five_px[at], labels.oval_px[at]
    nose = np.rint(five[2]).astype(int)
    b, g, r = picture[nose[1] - 4:nose[1] + 5, nose[0] - 4:nose[0] + 5].reshape(-1, 3).mean(0).tolist()
    inside = cv2.fillPoly(np.zeros((picture.shape[0], picture.shape[1]), np.uint8), [np.rint(oval).astype(np.int32)], 1) > 0
    made = None
    for seed in range(TRIES):
        rng = np.random.default_rng([POOL_SEED, seed, ord(kind[0])])
        made = occluders.place(rng, five, (picture.shape[1], picture.shape[0]), (r, g, b), kind)
        if HIDES[0] <= float((made.alpha[inside] >= 128).mean()) <= HIDES[1]:
            return made
    assert made is not None
    return made


def _before(picture: U8, thing: occluders.Occluder | None, five: F32, k: int) -> tuple[U8, U8]:
    """The picture with the thing where it is in frame `k`, and its alpha."""
    height, width = picture.shape[:2]
    if thing is None:
        return picture, np.zeros((height, width), np.uint8)
    away = max(0.0, 1 - k / COMES, (k - STAYS) / (FILM_FRAMES - STAYS))
    reach = float(np.linalg.norm(five[1] - five[0]))
    sway = 0.06 * reach * np.array([np.sin(0.35 * k), np.cos(0.27 * k)])
    move = np.array([[1, 0, 3.4 * reach * away + sway[0]], [0, 1, 2.2 * reach * away + sway[1]]], np.float32)
    layers = [cv2.warpAffine(layer, move, (width, height)) for layer in (thing.image, thing.alpha, thing.shadow)]
    moved = occluders.Occluder(np.asarray(layers[0], np.uint8), np.asarray(layers[1], np.uint8), thing.kind, np.asarray(layers[2], np.uint8))
    return occluders.over(picture, moved), moved.alpha


def _note(shown: Shown, watched: Watched, live: bool, reason: str, cover: U8, oval: F32, k: int) -> None:
    if k < WARM_UP:
        return
    shape = (cover.shape[0], cover.shape[1])
    middle = oval.mean(0)
    inside = cv2.fillPoly(np.zeros(shape, np.uint8), [np.rint(middle + (oval - middle) * OVAL).astype(np.int32)], 1) > 0
    near = cv2.dilate((cover >= 16).astype(np.uint8), np.ones((2 * EDGE_PX + 1, 2 * EDGE_PX + 1), np.uint8)) > 0
    opening = watched.opening(shape)
    whole = max(int(inside.sum()), 1)
    shown.for_nothing.append(float((opening & inside & ~near).sum() / whole) if live else 0.0)
    there = inside & (cover >= 128)
    if there.any() and live:
        shown.painted_over.append(float((there & ~opening).sum() / there.sum()))
    shown.live.append(live)
    if not live:
        shown.reasons[reason] = shown.reasons.get(reason, 0) + 1


def _window(picture: U8, oval: F32) -> U8:
    low, high = oval.min(0), oval.max(0)
    scale = STRIP_PX / (1.5 * float((high - low).max()))
    centre = (low + high) / 2
    move = np.array([[scale, 0, STRIP_PX / 2 - scale * centre[0]], [0, scale, STRIP_PX / 2 - scale * centre[1]]])
    return np.asarray(cv2.warpAffine(picture, move, (STRIP_PX, STRIP_PX), flags=cv2.INTER_AREA), np.uint8)

