"""The worker's objects, made from the settings."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import cast

import numpy as np

from livecam import align, capture, detect, gpu, image, mark, mask, persona, registry, swap, track
from livecam.app import second_check
from livecam.app.engine_room import EngineRoom, Refittable, maker
from livecam.app.meanwhile import Meanwhile
from livecam.app.side_by_side import Compiling
from livecam.app.wardrobe import PutOn, Wardrobe
from livecam.capture import Newest
from livecam.config import Config
from livecam.errors import DeviceLostError, ModelError, PersonaError, UsageError
from livecam.guard.link import WorkerLink
from livecam.pipeline import FrameOnCard, Pipeline
from livecam.runtimes import _choice
from livecam.store import Store
from livecam.telemetry import Telemetry
from livecam.types import CropSpec, Detection, Frame, VideoFormat

SLOW_S = 1.5
"""Compiling that took longer than this was the first start of all; say how long it took."""

CROPS_PX = (128, 256, 384)
"""Sides of the crops that a generator may ask for which does not name them."""
DEFAULT_PERSONA = "noor"
"""Worn when none is named: a calm face of middling tone, which suits most wearers."""


def open_capture(config: Config, link: WorkerLink) -> Newest:
    """The camera, opened and read by its own thread. Tells main what it is and why it was chosen."""
    source = capture.choose(config.capture)
    newest = Newest(source.open, lossless=source.lossless)
    newest.start()
    assert newest.format is not None
    notes = [text for text in (source.reason, *newest.notes) if text]
    link.say("camera", {"name": describe(source.name, newest.format), "format": asdict(newest.format), "notes": notes})
    return newest


def describe(name: str, fmt: VideoFormat) -> str:
    """One line about a camera: its name and what it really delivers."""
    return f"{name}, {fmt.width_px}x{fmt.height_px} at {fmt.fps:g} fps ({fmt.pixel_format})"


def pipeline(config: Config, link: WorkerLink) -> Pipeline:
    """Networks loaded, kernels compiled, persona on. On a card when one is asked for; when it cannot be used after all, on the CPU, and main is told
    why."""
    if gpu.chosen(config.run.device) == "cuda":
        try:
            return _pipeline(config, link, _card())
        except (ModelError, DeviceLostError, UsageError, ImportError, RuntimeError) as error:
            link.say("note", f"the card cannot be used: {error}; going on on the CPU")
    return _pipeline(config, link, None)


def _card() -> FrameOnCard:
    from livecam.gpu import card  # torch takes seconds to load, and is an extra

    return card.open("cuda")


def _warm_up(made: Pipeline, config: Config) -> None:
    """On a card: everything is compiled and recorded before the first frame, which must not wait for it. On a grey picture with nobody in it."""
    width, height = config.capture.width_px, config.capture.height_px
    picture = np.full((height, width, 3), 128, np.uint8)
    stages, middle, side = made.stages, np.array([width, height]) / 2.0, min(width, height) / 2.0
    stages.begin(picture)
    stages.search(picture)
    box = np.concatenate([middle - side / 2, middle + side / 2]).astype(np.float32)
    five = (np.array([[-1, -1], [1, -1], [0, 0], [-1, 1], [1, 1]]) * side / 6 + middle).astype(np.float32)
    stages.track(Frame(picture, 0, 0), (Detection(box, 1.0, five),))
    for size in getattr(made.swapper, "crops_px", CROPS_PX):
        alignment = align.align(five, CropSpec(size))
        crop = stages.crop(picture, alignment)
        alpha = np.zeros((size, size), np.uint8)
        alpha[size // 4 : -size // 4, size // 4 : -size // 4] = 255
        stages.blend(picture, alignment, crop, alpha)
    refine = getattr(made.swapper, "warm_up", None)
    if refine is not None:
        refine()
    made.reset()
    stages.end()


def _pipeline(config: Config, link: WorkerLink, card: FrameOnCard | None) -> Pipeline:
    begin = time.monotonic()
    store = Store(config.run.cache_dir)
    store.elsewhere = None if card is None else getattr(card, "open", None)
    link.say("progress", "compiling image kernels")
    for room, name in (("detect", config.detect.detector), ("track", config.track.tracker)):
        registry.load_module(room, name)  # here: two threads that import at once can find half a module
    finders = Meanwhile(lambda: finders_of(config, store))
    chosen = _generator(config, store, link)
    swapper = chosen.swapper
    worn = persona.load(wanted_persona(config))
    swapper.wear(worn)
    detector, tracker, occlusion = finders.result()
    made = Pipeline(detector, tracker, swapper, config, Telemetry(), occlusion, card)
    made.now_worn(worn.id)
    check = second_check.begin(config, store, lambda text: link.say("note", text))
    if check is not None:
        check.knows(worn)
        made.examiner = check
        made.notices["second check"] = store.card(second_check.MODEL).licence
    if card is not None:
        link.say("progress", "compiling for the card")
        _warm_up(made, config)
    link.say("persona", worn.id)
    took = time.monotonic() - begin
    if took > SLOW_S:
        link.say("progress", f"compiled and loaded in {took:.1f} s; the next start is faster")
    made.notices |= {"detector": detector.licence, "tracker": tracker.licence, "generator": f"{chosen.name}: {swapper.licence}"}
    if occlusion is not None:
        made.notices["occlusion"] = occlusion.licence
    made.notices["device"] = "the CPU" if card is None else f"an NVIDIA card ({getattr(card, 'name', '')}): torch, lite and parser in FP16"
    return made


def _generator(config: Config, store: Store, link: WorkerLink) -> swap.Chosen:
    """The generator, and all kernels but the finders' compiled: at the first start of all in several processes. Raises ModelError, UsageError."""
    compiling = Compiling(swap.AUTO[0] if config.swap.swap == "auto" else config.swap.swap)
    try:
        image.warm_up()
        mark.warm_up()
        chosen = swap.choose(config.swap, store, config.run.threads)
        if chosen.note:
            link.say("note", chosen.note)
        compiling.wait()
        swap.warm_up(chosen.name)
        compiling.done()
    finally:
        compiling.stop()
    return chosen


def finders_of(config: Config, store: Store) -> tuple[detect.Detector, track.Tracker, mask.Occlusion | None]:
    """What finds faces, follows them, and sees what stands before them when that is to be shown. Raises LivecamError."""
    return (
        detect.load(config.detect.detector, config.detect, store, config.run.threads),
        track.load(config.track.tracker, config.track, store, config.run.threads),
        mask.load_occlusion(store, config.run.threads) if config.swap.things == "show" else None,
    )


def dismiss(pipeline: Pipeline) -> None:
    """A pipeline that is not used any more: its second check ends."""
    if isinstance(pipeline.examiner, second_check.SecondCheck):
        pipeline.examiner.close()


def wardrobe(pipeline: Pipeline, worn: str) -> Wardrobe:
    """Makes further personas ready for `pipeline`'s generator while it draws. worn: id or path of the one that it wears."""

    def make(which: str) -> tuple[str, PutOn]:
        chosen = persona.load(which)
        if isinstance(pipeline.examiner, second_check.SecondCheck):
            pipeline.examiner.knows(chosen)
        return chosen.id, pipeline.swapper.prepare(chosen)

    return Wardrobe(make, persona.names(), worn, still=persona.check)


def engine_room(pipeline: Pipeline, config: Config, link: WorkerLink) -> EngineRoom | None:
    """Makes a faster runtime ready for `pipeline`'s generator while it draws; None when there is none to be had, or the generator has no network.

    Tells main what was chosen, and why. Raises UsageError (a runtime asked for by name that cannot work here)."""
    asked = config.run.runtime
    if not hasattr(pipeline.swapper, "prepare_network"):
        if asked != _choice.AUTO:
            raise UsageError(f"--runtime {asked} is for a generator with a network; {config.swap.swap!r} has none, take --swap lite or --swap onnx")
        return None
    swapper = cast(Refittable, pipeline.swapper)
    choice = _choice.choose(asked, config.run.provider, swapper.runtime)
    link.say("note", f"runtime: {choice}")
    if not choice.wanted:
        return None
    make = maker(swapper, config.run.threads, config.run.cache_dir, config.run.provider)
    return EngineRoom(make, choice.wanted, choice.plain)


def wanted_persona(config: Config) -> str:
    """Id or path of the persona that the settings ask for."""
    return first_persona() if config.swap.persona == "auto" else config.swap.persona


def first_persona() -> str:
    """The persona that is worn when none is named."""
    names = persona.names()
    if not names:
        raise PersonaError("expected personas in the installation, found none; install livecam again, or name a persona file with --persona")
    return DEFAULT_PERSONA if DEFAULT_PERSONA in names else names[0]
