"""The worker process: a capture thread that keeps the newest frame, and this thread, which finishes frames and hands them to main.

Everything heavy is imported inside `worker_main`, after the folder for compiled code is set, so that main can import this module for nothing.

Says to main, beside what guard/link.py lists: ["camera", {...}], ["lost", why], ["note", text], ["progress", text], ["ready", {...}],
["persona", id], ["status", {...}] once a second, ["ended"], ["fatal", text, exit_code].
Takes from main: ["persona", id], ["pause"], ["resume"], ["taken", seq], ["quit"].
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from livecam.app.governor import Governor, Step, parse_budget
from livecam.config import Config
from livecam.errors import EndOfStreamError, LivecamError
from livecam.guard.link import MainGoneError, WorkerLink

if TYPE_CHECKING:
    from livecam.app.engine_room import EngineRoom
    from livecam.app.wardrobe import Wardrobe
    from livecam.capture import Newest
    from livecam.pipeline import Finished, Pipeline
    from livecam.types import Frame

TAKE_S = 0.1
"""Longest wait for a frame before commands are looked at again."""
STATUS_S = 1.0
LOADING_S = 120.0
"""Longest time for loading and compiling, announced to main so that it is no stall. The first start of all compiles."""
LOCKSTEP_S = 5.0
"""Main is given up when it does not take a frame of a lossless run for so long."""


class QuitError(Exception):
    """Main asked this worker to end."""


def prepare_process(config: Config) -> None:
    """Folders and threads of this process; before kernels are imported."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is main's to handle: it ends this worker in order
    os.environ.setdefault("NUMBA_CACHE_DIR", str(config.run.cache_dir / "numba"))
    import cv2
    import numba

    numba.config.reload_config()  # pyright: ignore[reportPrivateImportUsage] - numba may have been loaded before the folder was known
    cv2.setNumThreads(1)


def opens_own_files(config: Config) -> bool:
    """Whether networks of the user's own are run: such a worker's memory is bounded."""
    named = config.swap.swap == "onnx" or bool(config.swap.model or config.swap.embedder)
    return named or config.detect.detector == "scrfd" or config.track.tracker == "insightface"


def worker_main(link: WorkerLink, config: Config) -> None:
    """Runs until main says quit or goes away."""
    prepare_process(config)
    if opens_own_files(config):
        from livecam.runtimes import _memory

        _memory.bound_process()
    try:
        Worker(link, config).run()
    except (MainGoneError, QuitError):
        pass
    except LivecamError as error:
        link.say("fatal", str(error), error.exit_code)


class Worker:
    """One life of the worker."""

    def __init__(self, link: WorkerLink, config: Config) -> None:
        self._link, self._config = link, config
        self._lossless = not config.capture.realtime
        self._untaken = 0
        self._reason = ""
        self._paused = False
        self._next_status = 0.0
        self._lost: str | None = None
        self._size = (0, 0)
        self._wardrobe: Wardrobe | None = None
        self._worn = ""
        self._shrink = 1.0
        self._governor = Governor(0.0, ())
        self._engine_room: EngineRoom | None = None

    def run(self) -> None:
        """Opens the camera, loads the networks meanwhile, then finishes frames."""
        self._link.busy(LOADING_S, "loading")
        from livecam.app import build
        from livecam.app.meanwhile import Meanwhile

        loading = Meanwhile(lambda: build.pipeline(self._config, self._link))
        newest = build.open_capture(self._config, self._link)
        try:
            made = loading.result()
            self._worn = build.wanted_persona(self._config)
            self._wardrobe = build.wardrobe(made, self._worn)
            self._govern(made)
            self._engine_room = None if made.on_card else build.engine_room(made, self._config, self._link)
            self._link.say("ready", made.notices)
            while True:
                self._step(newest, made)
                made = self._still(made)
        finally:
            if self._wardrobe is not None:
                self._wardrobe.close()
            newest.stop()

    def _still(self, pipeline: Pipeline) -> Pipeline:
        """The pipeline to go on with: when its card failed, a new one on the CPU. Main bridges and then shows the slate meanwhile."""
        if not pipeline.device_lost:
            return pipeline
        from livecam.app import build

        self._link.say("note", f"{pipeline.device_lost}; going on on the CPU")
        self._link.busy(LOADING_S, "loading")
        worn = replace(self._config.swap, persona=self._worn)
        config = replace(self._config, run=replace(self._config.run, device="cpu"), swap=worn)
        if self._wardrobe is not None:
            self._wardrobe.close()
        build.dismiss(pipeline)
        made = build.pipeline(config, self._link)
        self._wardrobe = build.wardrobe(made, self._worn)
        self._govern(made)
        return made

    def _govern(self, pipeline: Pipeline) -> None:
        """A governor for this pipeline, with everything given back."""
        self._shrink = 1.0
        lite, most = pipeline.swapper, pipeline.most_crop_px

        def crop(size_px: int) -> Callable[[], None]:
            return lambda: setattr(pipeline, "most_crop_px", size_px)

        def size(share: float) -> Callable[[], None]:
            return lambda: setattr(self, "_shrink", share)

        steps: list[Step] = []
        if (occlusion := pipeline.occlusion) is not None:
            usual = occlusion.idle_period
            steps.append(Step("occlusion", lambda: setattr(occlusion, "idle_period", 2 * usual), lambda: setattr(occlusion, "idle_period", usual)))
        if len(tiers := getattr(lite, "tiers_px", ())) > 1:
            steps.append(Step(f"tier {tiers[0]}", lambda: setattr(lite, "most_tier_px", tiers[0]), lambda: setattr(lite, "most_tier_px", tiers[-1])))
        if getattr(lite, "any_size", False):
            steps += [Step("crop 256", crop(256), crop(most)), Step("crop 128", crop(128), crop(256))]
        if hasattr(lite, "refines"):
            steps.append(Step("no network", lambda: setattr(lite, "refines", False), lambda: setattr(lite, "refines", True)))
        steps += [Step("size 3/4", size(0.75), size(1.0)), Step("size 1/2", size(0.5), size(0.75))]
        self._governor = Governor(parse_budget(self._config.run.budget), steps)

    def _sized(self, frame: Frame) -> Frame:
        """The frame, smaller when the governor says so."""
        if self._shrink == 1.0:
            return frame
        import cv2
        import numpy as np

        width, height = (max(2, round(n * self._shrink / 2) * 2) for n in (frame.image.shape[1], frame.image.shape[0]))
        return replace(frame, image=np.asarray(cv2.resize(frame.image, (width, height), interpolation=cv2.INTER_AREA), np.uint8))

    def _step(self, newest: Newest, pipeline: Pipeline) -> None:
        for command in self._link.commands():
            self._obey(command, newest, pipeline)
        frame = self._take(newest)
        self._dress(pipeline)
        self._refit()
        if frame is None:
            self._link.alive()
        else:
            frame = self._sized(frame)
            self._adapt(frame, pipeline)
            self._finish(frame, pipeline, newest)
        self._report(newest, pipeline)

    def _take(self, newest: Newest) -> Frame | None:
        if self._paused:
            time.sleep(TAKE_S / 4)
            return None
        try:
            return newest.take(TAKE_S)
        except EndOfStreamError:
            self._link.say("ended")
            self._wait_for_quit()
            return None

    def _wait_for_quit(self) -> None:
        while True:
            for command in self._link.commands(TAKE_S):
                if command[0] == "quit":
                    raise QuitError
            self._link.alive()

    def _adapt(self, frame: Frame, pipeline: Pipeline) -> None:
        """A camera that changed its size starts over: nothing seen before holds for it."""
        size = (frame.image.shape[1], frame.image.shape[0])
        if size != self._size:
            if self._size != (0, 0):
                pipeline.reset()
                self._link.say("note", f"the picture changed from {self._size[0]}x{self._size[1]} to {size[0]}x{size[1]}")
            self._size = size

    def _finish(self, frame: Frame, pipeline: Pipeline, newest: Newest) -> None:
        if self._link.revealing:
            self._link.publish_unmasked(frame.image, frame.capture_ns)
        pipeline.telemetry.add("capture", newest.read_wall_ms, newest.read_cpu_ms)
        begin = time.perf_counter()
        done = pipeline.process(frame)
        changed = self._governor.feed((time.perf_counter() - begin) * 1e3)
        if changed:
            self._link.say("note", changed)
        self._publish(frame, done, pipeline)

    def _publish(self, frame: Frame, done: Finished, pipeline: Pipeline) -> None:
        self._reason = done.reason
        until = time.monotonic() + LOCKSTEP_S
        while self._lossless and self._untaken and time.monotonic() < until:  # main has the one before, or it would be overwritten
            self._wait_for_commands(pipeline)
        with pipeline.telemetry.span("publish"):
            fits = self._link.publish(done.image, done.verdict, frame.capture_ns, done.faces, done.stages_ms)
        while self._lossless and not fits and time.monotonic() < until:  # main makes larger segments
            self._wait_for_commands(pipeline)
            fits = self._link.publish(done.image, done.verdict, frame.capture_ns, done.faces, done.stages_ms)
        self._untaken = int(fits)

    def _wait_for_commands(self, pipeline: Pipeline) -> None:
        for command in self._link.commands(TAKE_S):
            self._obey(command, None, pipeline)

    def _obey(self, command: list[Any], newest: Newest | None, pipeline: Pipeline) -> None:
        name, *values = command
        if name == "quit":
            raise QuitError
        if name == "taken":
            self._untaken = 0
        elif name == "persona" and self._wardrobe is not None:
            self._wardrobe.ask(str(values[0]))
        elif name in ("pause", "resume") and newest is not None:
            self._paused = name == "pause"
            newest.pause() if self._paused else newest.resume()

    def _dress(self, pipeline: Pipeline) -> None:
        """The persona that was asked for goes on as soon as it is ready, between two frames; the one before is drawn until then."""
        if self._wardrobe is None:
            return
        if refusal := self._wardrobe.refusal():
            self._take_off(refusal, pipeline)
        ready = self._wardrobe.take()
        if ready is None:
            return
        if ready.put_on is None:
            self._link.say("note", ready.error)
        else:
            ready.put_on()
            self._now_wears(ready.which, ready.id, pipeline)

    def _take_off(self, refusal: str, pipeline: Pipeline) -> None:
        """A persona that may not be worn any more comes off before the next frame is drawn; the one that is worn when none is named stands in.
        Main bridges and then shows the slate while it is made ready."""
        from livecam import persona
        from livecam.app import build

        self._link.busy(LOADING_S, "loading")
        instead = build.first_persona()
        pipeline.wear(persona.load(instead))
        self._link.say("note", f"{refusal}; {instead} is worn instead")
        self._now_wears(instead, instead, pipeline)

    def _now_wears(self, which: str, persona_id: str, pipeline: Pipeline) -> None:
        """which: id or path."""
        pipeline.now_worn(persona_id)
        self._worn = which
        if self._wardrobe is not None:
            self._wardrobe.wears(which)
        self._link.say("persona", persona_id)

    def _refit(self) -> None:
        """A faster runtime takes over as soon as it is ready, between two frames; the plain one draws until then."""
        if self._engine_room is None:
            return
        while (line := self._engine_room.news()) is not None:
            self._link.say("note", line)
        made = self._engine_room.take()
        if made is not None:
            made.put_on()
            self._link.say("note", made.text)

    def _report(self, newest: Newest, pipeline: Pipeline) -> None:
        lost = newest.lost
        if lost != self._lost:
            self._lost = lost
            self._link.say("lost", lost)
            if lost is not None:
                pipeline.reset()
        now = time.monotonic()
        if now >= self._next_status:
            self._next_status = now + STATUS_S
            self._link.say("status", {"drops": newest.dropped + newest.skipped, "reason": self._reason,
                                       "governor": ", ".join(self._governor.taken)})  # fmt: skip
