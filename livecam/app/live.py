"""The main process of a run: it owns the outputs and the controls, and never receives a raw frame."""

from __future__ import annotations

import signal
import threading
import time
from collections import deque
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Self

import numpy as np
import psutil

from livecam import persona
from livecam.app import control
from livecam.app.keep import Keeper
from livecam.app.outputs import Outputs
from livecam.app.stats import Stats
from livecam.config import Config
from livecam.errors import LivecamError, UsageError
from livecam.guard import cover
from livecam.guard.reveal import RevealGrant
from livecam.guard.shm import Published
from livecam.guard.start import Begun
from livecam.guard.states import Air, News, OnAir, Picture
from livecam.guard.supervisor import Supervisor
from livecam.mark import Marker
from livecam.stages import STAGES
from livecam.types import U8, State, VideoFormat

WORKER = "livecam.app.worker:worker_main"
FORMAT_WAIT_S = 15.0
"""Outputs open with the camera's own format when it is known by then, else with the one asked for."""
TICK_S = 0.1
SNAPSHOT_S = 0.2
WATCH_S = 0.25
"""How often outputs are asked whether anybody looks."""
EARLY = 0.3
"""With an output rate of its own, a new frame may go out this share of a period before its time."""
KEEP_NOTES = 20
Tap = Callable[[U8, int, State], None]
IDLE = "nobody is looking; the camera is off"


class Live:
    """A run. A context manager: entering starts the worker and opens the outputs; `run` is the main loop; it is the outputs' `Surface` too."""

    def __init__(
        self,
        config: Config,
        progress: Callable[[str], object],
        reveal: RevealGrant | None = None,
        worker: str = WORKER,
        tap: Tap | None = None,
        begun: Begun | None = None,
    ) -> None:
        """progress: told what goes on while starting. worker: another worker function (fault tests). tap: called with every picture that was sent.
        begun: a worker process that loads already."""
        self._config, self._progress, self._tap = config, progress, tap
        asked = config.capture
        self._supervisor = Supervisor(
            worker,
            (config,),
            width_px=asked.width_px,
            height_px=asked.height_px,
            stages=STAGES,
            config=config.guard,
            reveal=reveal,
            begun=begun,
        )
        self._air = Air(config.guard.hold_ms, 1e3 / asked.fps)
        self.stats = Stats()
        self._outputs: Outputs | None = None
        self._control: control.ControlSocket | None = None
        self._personas = _personas()
        self._persona = ""
        self._camera: dict[str, Any] = {}
        self._licences: dict[str, str] = {}
        self._ready, self._ending, self._quit = False, False, threading.Event()
        self._lost: str | None = None
        self._why = "the filter is starting"
        self._covered = False
        self._idle_since: float | None = None
        self._paused = False
        self._notes: deque[str] = deque(maxlen=KEEP_NOTES)
        self._picture: U8 | None = None
        self._pixelated: U8 | None = None
        self._marker = Marker(config.mark, config.run_number)
        self._keeper = Keeper(config, self.note)
        self._unmasked: U8 | None = None
        self._capture_ns = 0
        self._persona_wanted = ""
        self._slates: dict[str, U8] = {}
        self._on = OnAir(State.SLATE, Picture.SLATE, False, self._why)
        self._due_send = self._due_snapshot = self._due_watch = 0.0
        self._snapshot: dict[str, Any] = {}
        self._lossless = not asked.realtime
        self.first_masked_s: float | None = None
        """From the start of this process to the first masked picture sent."""

    # -- life ------------------------------------------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        signal.signal(signal.SIGTERM, self._on_sigterm)
        self._supervisor.__enter__()
        try:
            self._wait_for_format()
            conversion = self._config.capture.camera if self._lossless else ""
            self._outputs = Outputs(self._config.output, self._output_format(), self, self.note, conversion, self._keeper.sign)
            self._outputs.open()
            self._control = control.opened(self, self.note) if self._config.output.control else None
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Finishes the outputs, ends the worker. May be called again."""
        if self._control is not None:
            self._control.close()
        if self._outputs is not None:
            self._outputs.close()
        self._keeper.close()
        self._supervisor.close()

    def _on_sigterm(self, number: int, frame: FrameType | None) -> None:
        self._quit.set()

    def _wait_for_format(self) -> None:
        until = time.monotonic() + FORMAT_WAIT_S
        while not self._camera and time.monotonic() < until:
            self._supervisor.poll(TICK_S)
            self._hear_all()

    def _output_format(self) -> VideoFormat:
        asked, seen = self._config.capture, self._camera.get("format") or {}
        width, height = int(seen.get("width_px") or asked.width_px), int(seen.get("height_px") or asked.height_px)
        if self._config.output.output_size:
            width, height = parse_size(self._config.output.output_size)
        fps = self._config.output.output_fps or float(seen.get("fps") or asked.fps)
        return VideoFormat(width - width % 2, height - height % 2, fps)

    # -- main loop -------------------------------------------------------------------------------------------------------------------------

    def run(self, seconds: float = 0.0, each_second: Callable[[dict[str, Any]], None] | None = None) -> None:
        """Until quit, Ctrl-C, the end of a file played once, or `seconds`. Raises LivecamError when it cannot go on."""
        begin = time.monotonic()
        next_second = begin + 1.0
        try:
            while not self._quit.is_set() and not (seconds and time.monotonic() - begin >= seconds):
                self.tick()
                if each_second and time.monotonic() >= next_second:
                    next_second += 1.0
                    each_second(self._fresh_snapshot())
        except KeyboardInterrupt:
            pass
        if each_second:
            each_second({**self._fresh_snapshot(), "ending": True})

    def tick(self) -> State:
        """One turn: news from the worker, the decision, the outputs. Returns what is on air."""
        published = self._supervisor.poll(self._patience_s())
        self._hear_all()
        now_ns = time.monotonic_ns()
        news = None if published is None else News(published.verdict, published.capture_ns, published.commit_ns)
        self._on = self._decide(now_ns, news)
        if published is not None:
            self._keep(published)
        self._send(now_ns / 1e9, published is not None)
        self._ask_watched()
        if self._ending and published is None:
            self._quit.set()
        if now_ns / 1e9 >= self._due_snapshot:
            self._due_snapshot = now_ns / 1e9 + SNAPSHOT_S
            self._fresh_snapshot()
        return self._on.state

    def _decide(self, now_ns: int, news: News | None) -> OnAir:
        why = self._lost or ("" if self._ready else self._why)
        if not self._supervisor.up:
            why = f"the filter is starting again ({self._supervisor.last_death})" if self._supervisor.starts else self._why
        if self._lossless and news is not None:
            news = News(news.verdict, now_ns, now_ns)  # a file read as fast as it goes has no lateness
        camera = self._lost is None and not self._paused
        return self._air.tick(
            now_ns,
            news,
            worker=self._supervisor.up,
            camera=camera,
            cover=self._covered,
            reveal=self._supervisor.revealing,
            why=IDLE if self._paused else why,
        )

    def _keep(self, published: Published) -> None:
        """The reader's picture is valid until its next one is accepted: one that is not taken must not cost us the one that is on air."""
        if self._on.take:
            self._picture, self._capture_ns, self._pixelated = published.image, published.capture_ns, None
            self.stats.frame(published)
        elif self._picture is not None:
            self._picture = self._picture.copy()

    def _patience_s(self) -> float:
        return TICK_S if self._lossless else min(TICK_S, max(0.0, self._due_send - time.monotonic()))

    def _send(self, now_s: float, fresh: bool) -> None:
        outputs = self._outputs
        if outputs is None or not self._is_due(now_s, fresh, outputs.format.fps):
            return
        image = self._image(outputs.format)
        wall, cpu = time.perf_counter_ns(), time.thread_time_ns()
        outputs.send(image, self._capture_ns, self._on.state)
        sent_ns = time.monotonic_ns()
        if self._tap is not None:
            self._tap(image, self._capture_ns, self._on.state)
        self.stats.sent(
            self._on.state, fresh, (time.perf_counter_ns() - wall) / 1e6, (time.thread_time_ns() - cpu) / 1e6, (sent_ns - self._capture_ns) / 1e6
        )
        if self.first_masked_s is None and self._on.state is State.LIVE:
            self.first_masked_s = round(time.time() - psutil.Process().create_time(), 2)
        if self._lossless and fresh:
            self._supervisor.send("taken")
        if outputs.lost_for_good is not None:
            raise UsageError(outputs.lost_for_good)

    def _is_due(self, now_s: float, fresh: bool, fps: float) -> bool:
        """A new frame goes out when it comes, within the outputs' own rate; without one the last picture is repeated, half a period late."""
        period = 1.0 / fps
        if self._lossless:
            return fresh
        own_rate = self._config.output.output_fps > 0
        early = EARLY * period if own_rate else period
        if not (fresh and now_s >= self._due_send - 0.5 * period - early) and now_s < self._due_send:
            return False
        step = self._due_send + period if own_rate and now_s < self._due_send + period else now_s + 1.5 * period
        self._due_send = step
        return True

    def _image(self, fmt: VideoFormat) -> U8:
        kind = self._on.picture
        if kind is Picture.UNMASKED:
            shown = self._supervisor.reveal_newest()
            self._unmasked = self._unmasked if shown is None else shown.image
            if self._unmasked is not None:
                return self._unmasked
        if self._picture is None or kind is Picture.SLATE:
            return self._slate(fmt)
        if kind is Picture.NEWEST:
            return self._picture
        if self._pixelated is None:
            self._pixelated = np.ascontiguousarray(self._picture).copy()
            cover.pixelate(self._pixelated, self._config.guard.cover_blocks)
            self._marker.mark_flat(self._pixelated)
        return self._pixelated

    def _slate(self, fmt: VideoFormat) -> U8:
        text = self._on.reason
        if text not in self._slates:
            self._slates.clear()
            self._slates[text] = cover.slate(fmt.width_px, fmt.height_px, text)
        return self._slates[text]

    def _ask_watched(self) -> None:
        """Closes the camera when nobody has looked for a while, opens it when somebody looks."""
        now = time.monotonic()
        if self._config.capture.always_on or self._lossless or self._outputs is None or now < self._due_watch:
            return
        self._due_watch = now + WATCH_S
        if self._outputs.watched():
            self._idle_since = None
            if self._paused and self._supervisor.send("resume"):
                self._paused = False
            return
        self._idle_since = self._idle_since or now
        if not self._paused and self._ready and now - self._idle_since >= self._config.guard.idle_close_s:
            self._paused = self._supervisor.send("pause")

    # -- what the worker says --------------------------------------------------------------------------------------------------------------

    def _hear_all(self) -> None:
        for name, *values in self._supervisor.messages():
            hear = getattr(self, f"_on_{name}", None)
            if hear is None:
                continue
            try:
                hear(*values)
            except (TypeError, ValueError, AttributeError, KeyError, OverflowError) as error:
                # What main goes on is never what the worker says: one that says nonsense is as good as dead.
                self._supervisor.restart(f"it said {str(name)[:20]!r} in a form that is not known: {error}")

    def _on_camera(self, what: dict[str, Any]) -> None:
        before, self._camera = self._camera, what
        try:
            self._output_format()
            for text in what.get("notes", ()):
                self.note(str(text))
        except BaseException:
            self._camera = before
            raise

    def _on_ready(self, licences: dict[str, str]) -> None:
        licences = {str(part): str(licence) for part, licence in licences.items()}
        self._licences, self._ready, self._lost, self._paused = licences, True, None, False
        self._keeper.drawn_by(licences.get("generator", ""))
        if self._persona_wanted:
            self._supervisor.send("persona", self._persona_wanted)

    def _on_lost(self, why: str | None) -> None:
        self._lost = None if why is None else str(why)
        self.note(self._lost or "the camera is back")

    def _on_persona(self, which: str) -> None:
        self._marker.wear(which)
        self._persona = which
        self._keeper.worn(which, self._marker)

    def _on_note(self, text: str) -> None:
        self.note(str(text))

    def _on_progress(self, text: str) -> None:
        self._why = str(text)
        self._progress(self._why)

    def _on_status(self, status: dict[str, Any]) -> None:
        texts = {key: str(status.get(key, "")) for key in ("reason", "governor")}
        self.stats.worker = {"drops": int(status.get("drops", 0)), **texts}

    def _on_ended(self) -> None:
        self._ending = True

    def _on_fatal(self, text: str, exit_code: int) -> None:
        if not self._ready:
            error = LivecamError(text)
            error.exit_code = int(exit_code)
            raise error
        self.note(text)

    def note(self, text: str) -> None:
        """Keeps a line for the table and the page; the same one twice in a row is kept once."""
        if not self._notes or self._notes[-1] != text:
            self._notes.append(text)

    # -- Surface ---------------------------------------------------------------------------------------------------------------------------

    def command(self, name: str, value: str = "") -> None:
        """See `livecam.output.Surface`."""
        self._supervisor_ends_reveal()
        if name == "cover":
            self._covered = not self._covered if value not in ("on", "off") else value == "on"
        elif name == "persona":
            self._wear(value or "next")
        elif name == "snapshot":
            self._take_snapshot()
        elif name == "quit":
            self._quit.set()
        else:
            raise UsageError(f"command {name!r} is unknown; expected cover, persona, snapshot or quit")

    def _take_snapshot(self) -> None:
        """Of what is on air, if that is a finished, marked picture."""
        if self._outputs is None or self._picture is None or self._on.picture not in (Picture.NEWEST, Picture.PIXELATED):
            self.note("no snapshot: there is no finished picture on air")
        else:
            self._keeper.snapshot(self._image(self._outputs.format))

    def _supervisor_ends_reveal(self) -> None:
        if self._supervisor.revealing:
            self._supervisor.end_reveal()

    def _wear(self, which: str) -> None:
        ids = [p["id"] for p in self._personas]
        if which in ("next", "previous") and ids:
            step = 1 if which == "next" else -1
            now = self._persona_wanted or self._persona  # a key pressed twice goes on twice, also while the first persona is made ready
            which = ids[(ids.index(now) + step) % len(ids)] if now in ids else ids[0]
        if which not in ids:
            raise UsageError(f"persona {which!r} is unknown; expected one of: {', '.join(ids)}")
        self._persona_wanted = which
        self._supervisor.send("persona", which)

    def press(self, key: str) -> None:
        """A key of the terminal."""
        if self._supervisor.revealing:
            self._supervisor.end_reveal()
            return
        act = {
            " ": ("cover", ""),
            "c": ("cover", ""),
            "n": ("persona", "next"),
            "p": ("persona", "previous"),
            "s": ("snapshot", ""),
            "q": ("quit", ""),
            "\x1b": ("quit", ""),
        }.get(key.lower())
        if act:
            self.command(*act)

    def snapshot(self) -> dict[str, Any]:
        """See `livecam.output.Surface`; not older than SNAPSHOT_S."""
        return self._snapshot

    def portrait_jpeg(self, persona_id: str) -> bytes | None:
        """A persona's portrait as JPEG, None if unknown."""
        return persona.portrait_jpeg(persona_id) if any(p["id"] == persona_id for p in self._personas) else None

    def _fresh_snapshot(self) -> dict[str, Any]:
        self._snapshot = {
            "state": self._on.state.name,
            "reason": self._on.reason or self.stats.worker.get("reason", ""),
            "covered": self._covered,
            **self.stats.figures(),
            "restarts": max(0, self._supervisor.starts - 1),
            "first_masked_s": self.first_masked_s,
            "persona": self._persona,
            "personas": self._personas,
            "camera": str(self._camera.get("name", "")),
            "outputs": list(self.outputs),
            "notes": list(self._notes),
        }
        return self._snapshot

    @property
    def worn(self) -> str:
        """Id of the persona in the pictures, "" before the first."""
        return self._persona

    @property
    def outputs(self) -> tuple[str, ...]:
        """One line for each open output."""
        return self._outputs.describe() if self._outputs else ()

    # -- texts -----------------------------------------------------------------------------------------------------------------------------

    def banner(self) -> str:
        """What runs, and why: shown once at the start."""
        lines = [f"camera   {self._camera.get('name', 'not open yet')}", *(f"         {note}" for note in self._camera.get("notes", ()))]
        lines += [f"output   {text}" for text in self.outputs]
        lines += [f"control  livecam ctl ({self._control.path})"] if self._control is not None else []
        lines += [f"{part:<8} {licence}" for part, licence in self._licences.items()]
        lines += [f"note     {note}" for note in self._notes if note not in self._camera.get("notes", ())]
        return "\n".join(lines)

    def farewell(self) -> str:
        """Figures of the run, and what became of its files: at the end."""
        return "\n".join([self.stats.farewell(), *self._keeper.said])


def _personas() -> list[dict[str, str]]:
    known = {which: persona.metadata(which) for which in persona.names()}
    return [{"id": which, "name": texts.get("name", which), "description": texts.get("description", "")} for which, texts in known.items()]


def parse_size(text: str) -> tuple[int, int]:
    """(width, height) from a text such as 1920x1080. Raises UsageError."""
    try:
        width, height = (int(word) for word in text.lower().split("x"))
    except ValueError:
        raise UsageError(f"--output-size expected a size such as 1920x1080, found {text!r}") from None
    if not (64 <= width <= 7680 and 64 <= height <= 4320):
        raise UsageError(f"--output-size expected 64x64 to 7680x4320, found {text!r}")
    return width, height
