"""The second check's threshold, false accepts and misses: `python benchmarks/second_check.py --photos FOLDER --pairs FOLDER`.

photos: pictures of people who do not exist, one each. Everybody is masked by the live pipeline, personas in turn, and what the check would be given
(the wearer's crop, the same crop of the finished picture) is embedded. pairs: rendered held-out pairs (`python -m engines synth pairs --held-out`).

different_people   cosine of two people's faces in different pictures: the threshold for a false-accept rate of 1e-4 is read off here. Photographs of
                   which the faces are all but the same picture (their correlation, not the network, says so) are one person's, and left out
masked             finished face and wearer's: what a healthy run sees; a COVER takes three in five above the threshold
planted            the same with a swap that returns the wearer's own crop
half               the same with half of the wearer let through
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from healthy import made
from numpy.typing import NDArray

from livecam import capture, geometry, persona
from livecam.app.second_check import MODEL
from livecam.bench import machine
from livecam.config import Config, SwapConfig
from livecam.guard import second
from livecam.persona.embed import Embedders, aligned_by_five
from livecam.pipeline import Pipeline
from livecam.store import Store
from livecam.types import F32, U8, Frame, Swapped

RATE = 1e-4
SIZE_PX = (1280, 720)
PERIOD_NS = 33_333_333
COST_ROUNDS = 40
DEMO_FRAMES, DEMO_STEP = 590, 30
"""Of the demo, a pair a second."""
THUMB_PX, ONE_PICTURE = 48, 0.85
"""Correlation of two faces' fine structure from which they are one picture, all but the same."""
FRAMES = 2
"""Of each photograph: the second one is tracked."""
RESULT = Path(__file__).parent / "results" / "second_check.json"


class Collector:
    """Takes what the check would be given."""

    def __init__(self) -> None:
        self.pair: second.Pair | None = None

    def is_due(self, now_ns: int) -> bool:
        return True

    def offer(self, pair: second.Pair, now_ns: int) -> None:
        self.pair = pair

    def reason(self) -> str:
        return ""


def framed(photo: U8) -> U8:
    """In the middle of a grey 720p frame."""
    width, height = SIZE_PX
    scale = min(width / photo.shape[1], height / photo.shape[0])
    small = cv2.resize(photo, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    frame = np.full((height, width, 3), 127, np.uint8)
    y, x = (height - small.shape[0]) // 2, (width - small.shape[1]) // 2
    frame[y : y + small.shape[0], x : x + small.shape[1]] = small
    return frame


def seen(pipeline: Pipeline, photos: list[Path], personas: tuple[str, ...]) -> Iterator[second.Pair]:
    """Each photograph's pair; personas in turn."""
    clock, collector = itertools.count(), Collector()
    pipeline.examiner = collector
    for number, path in enumerate(photos):
        if number % 10 == 0:
            pipeline.wear(persona.load(personas[number // 10 % len(personas)]))
        pipeline.reset()
        collector.pair, frame = None, framed(cv2.imread(str(path)))
        for _ in range(FRAMES):
            at = next(clock)
            pipeline.process(Frame(frame.copy(), at * PERIOD_NS, at))
        if collector.pair is not None:
            yield collector.pair


Found = tuple[F32, F32, list[str], F32]


def embedded(pairs: Iterator[second.Pair], embedders: Embedders) -> Found:
    """(N, 128) of the wearers, (N, 128) of the finished faces, personas' ids, (N, P) small pictures of the wearers, normed."""
    rows: list[tuple[F32, F32, str, F32]] = []
    for pair in pairs:
        wearer, finished = (aligned_by_five(crop, pair.five_px) for crop in (pair.wearer, pair.finished))
        rows.append((embedders.of_crop(wearer, MODEL, ""), embedders.of_crop(finished, MODEL, ""), pair.persona, small(wearer)))
    return np.stack([row[0] for row in rows]), np.stack([row[1] for row in rows]), [row[2] for row in rows], np.stack([row[3] for row in rows])


def small(face: U8) -> F32:
    """A face's fine structure as a vector of length 1."""
    grey = cv2.resize(cv2.cvtColor(face, cv2.COLOR_BGR2GRAY), (THUMB_PX, THUMB_PX), interpolation=cv2.INTER_AREA).astype(np.float32)
    fine = (grey - cv2.GaussianBlur(grey, (0, 0), THUMB_PX / 8)).reshape(-1)
    return fine / max(float(np.linalg.norm(fine)), 1e-6)


def others(own: F32, same: NDArray[np.bool_]) -> F32:
    """Cosines of all pairs of different people; same: (N, N), who is one person."""
    return (own @ own.T)[np.triu(np.ones((len(own), len(own)), bool), 1) & ~same]


def spread(values: F32) -> dict[str, float]:
    percents = {"min": 0, "p0.1": 0.1, "p1": 1, "p50": 50, "p99": 99, "p99.9": 99.9, "p99.99": 99.99, "max": 100}
    return {"count": len(values), **{name: round(float(np.percentile(values, percent)), 4) for name, percent in percents.items()}}


def judged(wearer: F32, finished: F32, worn: list[str], embedders: Embedders) -> dict[str, Any]:
    """Cosines, and how many single opinions find the wearer. worn: ids or files of the personas."""
    known = {name: embedders.embedding(persona.load(name), MODEL) for name in set(worn)}
    own = np.stack([known[name] for name in worn])
    opinions = [
        second.Opinion(float(f @ w), float(o @ w), float(f @ o), name) for f, w, o, name in zip(finished, wearer, own, worn, strict=True)
    ]
    share = sum(one.is_wearer for one in opinions) / len(opinions)
    return {
        "finished_wearer": spread((finished * wearer).sum(axis=1)),
        "persona_wearer": spread((own * wearer).sum(axis=1)),
        "finished_persona": spread((finished * own).sum(axis=1)),
        "wearer_found": share,
        "lookalikes": sum(one.is_lookalike for one in opinions) / len(opinions),
    }


def cost(embedders: Embedders) -> dict[str, float]:
    """CPU of one opinion, a second's worth: both crops aligned and embedded, all threads of the process."""
    random = np.random.default_rng(2)
    five = np.asarray(geometry.ARCFACE_112_V2) * 2.0 + 16.0
    spent: list[float] = []
    for _ in range(COST_ROUNDS):
        crops = random.integers(0, 255, (2, 256, 256, 3), np.uint8)
        begin = time.process_time()
        for crop in crops:
            embedders.of_crop(aligned_by_five(crop, five.astype(np.float32)), MODEL, "")
        spent.append((time.process_time() - begin) * 1e3)
    return {"cpu_ms_p50": round(float(np.median(spent)), 2), "cpu_ms_max": round(max(spent), 2)}


def rendered(folder: Path, embedders: Embedders) -> dict[str, Any]:
    """Rendered pairs: their wearers against each other, and the exact answers against their wearers."""
    wearers: list[F32] = []
    truths: list[F32] = []
    who: list[int] = []
    worn: list[str] = []
    for path in sorted(folder.glob("pairs-*.npz")):
        with np.load(path) as shard:
            columns = (shard[name] for name in ("wearer", "truth", "wearer_five", "a", "b"))
            for wearer, truth, five, number, other in zip(*columns, strict=True):
                wearers.append(embedders.of_crop(aligned_by_five(wearer, five), MODEL, "wearer"))
                truths.append(embedders.of_crop(aligned_by_five(truth, five), MODEL, "truth"))
                who.append(int(number))
                worn.append(str(folder / "people" / f"{int(other):03d}.safetensors"))
    own, numbers = np.stack(wearers), np.array(who)
    between = others(own, numbers[:, None] == numbers[None])
    return {
        "different_people": spread(between),
        "threshold": round(float(np.quantile(between, 1.0 - RATE)), 4),
        "exact_answer": judged(own, np.stack(truths), worn, embedders),
        "false_accepts_at_same": float((between >= second.SAME).mean()),
    }


def photographed(folder: Path, count: int, swap: str, embedders: Embedders) -> dict[str, Any]:
    pipeline, drew = made(Config(swap=SwapConfig(swap=swap)))
    photos, personas = sorted(folder.glob("*.jpg"))[:count], persona.names()
    wearer, finished, worn, pictures = embedded(seen(pipeline, photos, personas), embedders)
    same = pictures @ pictures.T > ONE_PICTURE
    between = others(wearer, same)
    few, genuine = photos[: count // 4], pipeline.stages.swap
    pipeline.stages.swap = lambda crop, face, alignment: replace(genuine(crop, face, alignment), crop=crop.copy())
    planted = embedded(seen(pipeline, few, personas), embedders)

    def half(crop: U8, face: Any, alignment: Any) -> Swapped:
        drawn = genuine(crop, face, alignment)
        return replace(drawn, crop=cv2.addWeighted(drawn.crop, 0.5, crop, 0.5, 0.0))

    pipeline.stages.swap = half
    halved = embedded(seen(pipeline, few, personas), embedders)
    return {
        "generator": drew,
        "photos": len(wearer),
        "pairs_of_one_picture": int((same.sum() - len(same)) // 2),
        "different_people": spread(between),
        "threshold": round(float(np.quantile(between, 1.0 - RATE)), 4),
        "false_accepts_at_same": float((between >= second.SAME).mean()),
        "masked": judged(wearer, finished, worn, embedders),
        "planted": judged(*planted[:3], embedders),
        "half": judged(*halved[:3], embedders),
    }


def presented(swap: str, embedders: Embedders) -> dict[str, Any]:
    """The demo's presenter, a rendered wearer, in each persona: single opinions that find the wearer, by persona, and the most of five in a row."""
    pipeline, _ = made(Config(swap=SwapConfig(swap=swap)))
    config = Config().capture
    clock, collector, out = itertools.count(), Collector(), dict[str, Any]()
    pipeline.examiner = collector
    for name in persona.names():
        pipeline.wear(persona.load(name))
        pairs: list[second.Pair] = []
        with capture.choose(replace(config, camera="demo", realtime=False)).open() as camera:
            for number in range(DEMO_FRAMES):
                shot = camera.read()
                if number % DEMO_STEP >= FRAMES:
                    continue
                pipeline.process(Frame(shot.image, next(clock) * PERIOD_NS, shot.seq))
                if number % DEMO_STEP == FRAMES - 1 and collector.pair is not None:
                    pairs.append(collector.pair)
                    collector.pair = None
                    pipeline.reset()
        wearer, finished, worn, _ = embedded(iter(pairs), embedders)
        own = embedders.embedding(persona.load(name), MODEL)
        found = [second.Opinion(float(f @ w), float(own @ w), float(f @ own), name).is_wearer for f, w in zip(finished, wearer, strict=True)]
        most = max(sum(found[i : i + second.WINDOW]) for i in range(max(1, len(found) - second.WINDOW + 1)))
        cosines = spread((finished * wearer).sum(axis=1))
        out[name] = {"opinions": len(worn), "wearer_found": sum(found), "most_of_five": most, "finished_wearer": cosines}
    return out


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--pairs", type=Path, required=True)
    parser.add_argument("--count", type=int, default=800)
    parser.add_argument("--swap", default="lite")
    parser.add_argument("--output", type=Path, default=RESULT)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    network = Embedders(Store(Config().run.cache_dir))
    result = {
        "command": f"python benchmarks/second_check.py --photos PHOTOS --pairs PAIRS --count {options.count} --swap {options.swap}",
        "same": second.SAME,
        "rate": RATE,
        "cost_of_one_opinion": cost(network),
        "rendered": rendered(options.pairs, network),
        "demo": presented(options.swap, network),
        "photographs": photographed(options.photos, options.count, options.swap, network),
        "machine": machine.describe(),
    }
    options.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))
