"""A card under measurement: copies, kernels, networks by each runtime, the whole frame in one CUDA graph, and the real frame path end to end.

Device time is read from events on the card, around work that is replayed `rounds` times; ends of frames from the clock. Each section that cannot be
measured says why instead of a figure. On the CPU (Triton's interpreter) the same code runs to be tested; its times mean nothing and say so.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import cv2
import numpy as np
import torch

from livecam import align, detect, mask, persona, runtimes, swap, track
from livecam.bench import machine
from livecam.bench._gpu_chain import Chain, ChainPlan
from livecam.capture import demo
from livecam.config import Config, SwapConfig
from livecam.errors import LivecamError
from livecam.gpu import card as cards
from livecam.gpu import ops
from livecam.pipeline import Pipeline
from livecam.runtimes import torch as torch_runtime
from livecam.runtimes._torch_replay import Called, CudaGraphs
from livecam.store import Store
from livecam.telemetry import Telemetry
from livecam.types import U8, CropSpec, Frame, Verdict

FLOORS_MS = {
    "inswapper_128": {"RTX 3060": (6.8, 13.6), "RTX 4090": (1.1, 2.1), "H200": (0.35, 0.35)},
    "simswap224": {"RTX 3060": (1.9, 3.8), "RTX 4090": (0.29, 0.58), "H200": (0.10, 0.10)},
}
"""FLOPs over FP16 peak: lower and upper figure, derived, by card."""
SHIPPED: dict[str, tuple[str, dict[str, Any]]] = {
    "yunet": ("fp32", {"shapes": {"input": (1, 3, 192, 320)}}),
    "face_landmark": ("fp32", {}),
    "iris_landmark": ("fp32", {}),
    "gaze": ("fp32", {}),
    "parser": ("fp16", {}),
    "lite128": ("fp16", {}),
    "lite256": ("fp16", {}),
}
"""Networks that ship, with the precision that the frame path runs them in."""
PEAK_SIDE = 8192
PERCENTS = (50, 95, 99)


class Clock:
    """Times work on a device."""

    def __init__(self, device: torch.device, rounds: int) -> None:
        self.device, self.rounds = device, rounds
        self._events = device.type == "cuda"

    def each(self, work: Callable[[], object]) -> dict[str, float]:
        """Percentiles of `work` in ms, after a tenth as many rounds to warm up."""
        for _ in range(max(1, self.rounds // 10)):
            work()
        if not self._events:
            return percentiles(self._walls(work))
        torch.cuda.synchronize()
        pairs = [(torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)) for _ in range(self.rounds)]
        for begin, end in pairs:
            begin.record()
            work()
            end.record()
        torch.cuda.synchronize()
        return percentiles([begin.elapsed_time(end) for begin, end in pairs])

    def _walls(self, work: Callable[[], object]) -> list[float]:
        times: list[float] = []
        for _ in range(self.rounds):
            start = time.perf_counter()
            work()
            times.append((time.perf_counter() - start) * 1e3)
        return times

    def replayed(self, work: Callable[[], None]) -> dict[str, float]:
        """`each` of work recorded as a CUDA graph."""
        recorder = CudaGraphs(self.device) if self._events else Called()
        with torch.inference_mode():
            return self.each(recorder.record(work))


def percentiles(values: Iterable[float]) -> dict[str, float]:
    """{"p50", "p95", "p99"} in ms."""
    ordered = np.asarray(list(values), np.float64)
    return {f"p{p}": round(float(np.percentile(ordered, p)), 4) for p in PERCENTS}


def describe(device: torch.device) -> dict[str, Any]:
    """The card, its driver and what drives it; what it draws and holds now, where nvidia-smi says so."""
    out: dict[str, Any] = {"torch": torch.__version__, "device": str(device)}
    if device.type != "cuda":
        return out | {"name": "none: Triton's interpreter on the CPU; times mean nothing"}
    about = torch.cuda.get_device_properties(device)
    out |= {"name": about.name, "architecture": f"sm_{about.major}{about.minor}", "memory_mb": about.total_memory >> 20, "cuda": torch.version.cuda}
    return out | _smi(("driver_version", "power.draw", "power.limit", "clocks.sm", "memory.used"))


def _smi(fields: Sequence[str]) -> dict[str, str]:
    words = ["nvidia-smi", f"--query-gpu={','.join(fields)}", "--format=csv,noheader"]
    try:
        line = subprocess.run(words, capture_output=True, text=True, timeout=10, check=True).stdout.strip().splitlines()[0]
    except (OSError, subprocess.SubprocessError, IndexError) as error:
        return {"nvidia_smi": f"not readable: {type(error).__name__}"}
    return dict(zip(fields, (part.strip() for part in line.split(",")), strict=False))


def peak_tflops(clock: Clock) -> float:
    """What a product of two FP16 matrices reaches: the roof."""
    side = PEAK_SIDE if clock.device.type == "cuda" else 64
    kind = torch.float16 if clock.device.type == "cuda" else torch.float32
    a, b = (torch.randn(side, side, device=clock.device, dtype=kind) for _ in range(2))
    short = Clock(clock.device, 20 if clock.device.type == "cuda" else 2)
    return round(2 * side**3 / (short.each(lambda: a @ b)["p50"] * 1e-3) / 1e12, 2)


def copies(clock: Clock, height: int, width: int) -> dict[str, Any]:
    """Pinned memory to the card and back, in each format of a frame."""
    out: dict[str, Any] = {}
    for form in ops.FORMATS:
        block = cards.Block(clock.device, {"frame": (ops.coded_shape(height, width, form), np.uint8)})  # pyright: ignore[reportArgumentType]
        out[form] = {"up": clock.each(block.send), "down": clock.each(block.fetch)}
    return out


def kernels(clock: Clock, height: int, width: int, face_px: float) -> dict[str, Any]:
    """The frame path's own kernels for a face of `face_px` in the middle, one by one; and crop, colour, blend and conversion in one graph."""
    rng = np.random.default_rng(0)
    device, size = clock.device, 256
    frame = torch.from_numpy(rng.integers(0, 255, (height, width, 3)).astype(np.uint8)).to(device)
    five = (np.array([[-1, -0.6], [1, -0.6], [0, 0.2], [-0.7, 1], [0.7, 1]]) * face_px * 0.24 + (width / 2, height / 2)).astype(np.float32)
    alignment = align.align(five, CropSpec(size))
    alpha = np.zeros((size, size), np.uint8)
    cv2.ellipse(alpha, (size // 2, size // 2), (int(size * 0.36), int(size * 0.45)), 0, 0, 360, 255, -1)
    crop = rng.integers(0, 255, (size, size, 3)).astype(np.uint8)
    from livecam.image import paste_plan

    roi, matrix, factor = paste_plan(np.zeros((height, width, 3), np.uint8), alignment, crop, alpha)
    colour = ops.colour_of_plane(np.array([[4.0, -3.0, 2.0], [1.0, 2.0, -1.0], [0.5, -1.0, 1.0]]), size)
    row = torch.from_numpy(ops.paste_row(roi, matrix, factor, size, colour)).to(device)
    where = torch.from_numpy(ops.sample_row(alignment.matrix, ops.Blocks.whole(height, width), (size, size))).to(device)
    drawn, share = (torch.from_numpy(part).to(device) for part in (crop, alpha))
    picture, planes = torch.empty_like(drawn), torch.empty((1, 3, size, size), dtype=torch.float16, device=device)
    coded = {form: torch.empty(ops.coded_shape(height, width, form), dtype=torch.uint8, device=device) for form in ("NV12", "I420", "YUYV")}  # pyright: ignore[reportArgumentType]
    back = torch.empty(height * width * 3, dtype=torch.uint8, device=device)

    def cut() -> None:
        ops.sample(frame, "BGR", where, (size, size), picture, planes)

    def put() -> None:
        ops.paste(frame, drawn, share, row, copy=back)

    def code(form: Any) -> Callable[[], None]:
        return lambda: ops.encode(frame, form, coded[form])

    def decoded(form: Any) -> Callable[[], None]:
        return lambda: ops.decode(coded[form], form, frame)

    def all_of_it() -> None:
        cut()
        put()
        ops.encode(frame, "I420", coded["I420"])

    out = {"crop": clock.replayed(cut), "colour_and_blend": clock.replayed(put), "crop_colour_blend_I420": clock.replayed(all_of_it)}
    out |= {f"encode_{form}": clock.replayed(code(form)) for form in coded}
    return out | {f"decode_{form}": clock.replayed(decoded(form)) for form in coded}


def network(clock: Clock, model: torch.nn.Module, given: Sequence[torch.Tensor], peak: float, compile_too: bool) -> dict[str, Any]:
    """A network of torch in FP16 (or as it is): called each time, as a CUDA graph, and compiled as a graph; with its FLOPs and the roof's time."""
    from torch.utils.flop_counter import FlopCounterMode

    with torch.inference_mode():
        counter = FlopCounterMode(display=False)
        with counter:
            model(*given)
        gflop = counter.get_total_flops() / 1e9
        start = time.perf_counter()
        out: dict[str, Any] = {"gflop": round(gflop, 3), "roof_ms": round(gflop / peak, 4) if peak else None}
        out["called"] = clock.each(lambda: model(*given))
        out["graph"] = clock.replayed(lambda: model(*given))
        out["graph_recorded_s"] = round(time.perf_counter() - start, 2)
        if compile_too and clock.device.type == "cuda":
            start = time.perf_counter()
            try:
                compiled = torch.compile(model)
                out["compiled_graph"] = clock.replayed(lambda: compiled(*given))
                out["compiled_s"] = round(time.perf_counter() - start, 2)
            except Exception as error:  # noqa: BLE001 - the compiler raises what it likes, and its row then says so
                out["compiled_graph"] = f"failed: {type(error).__name__}: {str(error).splitlines()[0][:120]}"
    return out


def shipped(clock: Clock, store: Store, peak: float, compile_too: bool) -> dict[str, Any]:
    """Every network that ships, by every runtime that is here."""
    out: dict[str, Any] = {}
    for name, (precision, options) in SHIPPED.items():
        if name not in store.cards or not store.file_path(name).exists():
            out[name] = {"skipped": "the file is not here: livecam models fetch --all"}
            continue
        rows: dict[str, Any] = {"weights": "trained"}
        for kind in dict.fromkeys((precision, "fp16")):
            half = kind if clock.device.type == "cuda" else "fp32"
            opened = torch_runtime.open(store.file_path(name), 1, None, {"device": str(clock.device), "precision": half, "graphs": False, **options})
            rows[f"torch_{kind}"] = network(clock, opened.network, opened.given, peak, compile_too and kind == precision)
        rows |= _by_other_runtimes(store, name, options, min(clock.rounds, 30))
        out[name] = rows
    return out


def _by_other_runtimes(store: Store, name: str, options: Mapping[str, Any], rounds: int) -> dict[str, Any]:
    """The CPU's runtimes, wall time; whatever is not installed or cannot read the file says so."""
    out: dict[str, Any] = {}
    for kind in ("openvino", "onnx"):
        try:
            opened = runtimes.load(kind, store.file_path(name), 1, None, options if kind == "openvino" else None)
            given = {spec.name: np.zeros(spec.shape, spec.dtype) for spec in opened.inputs}
            times = []
            for _ in range(rounds):
                start = time.perf_counter()
                opened.run(given)
                times.append((time.perf_counter() - start) * 1e3)
            out[f"{kind}_cpu"] = percentiles(times)
        except (LivecamError, ImportError) as error:
            out[f"{kind}_cpu"] = f"not here: {str(error).splitlines()[0][:120]}"
    return out


def chains(
    clock: Clock, plans: Mapping[str, ChainPlan], store: Store, height: int, width: int, counts: Sequence[int] = (1, 4)
) -> dict[str, Any]:
    """The whole frame on the card in one graph: up, search, landmarks, crop, generator, blend, I420, down. Landmarks' own arithmetic on the CPU, and
    what mesh draws, are inputs here: they are measured in `end_to_end`."""
    out: dict[str, Any] = {}
    for name, plan in plans.items():
        for faces in counts:
            with torch.inference_mode():
                chain = Chain(clock.device, store, plan, height, width, faces)
                out[f"{name}, {faces} face{'s' if faces > 1 else ''}"] = {
                    "weights": plan.weights,
                    "graph": clock.replayed(chain.work),
                    "called": Clock(clock.device, max(2, clock.rounds // 5)).each(chain.work),
                    "launches": chain.describe(),
                }
    return out


def end_to_end(device: torch.device, store: Store, height: int, width: int, frames: int, generator: str) -> dict[str, Any]:
    """The real frame path on demo pictures, JPEG decode included, from the frame's arrival to the finished picture: on the card; with the networks
    called one by one there and everything else on the CPU (how popular tools do it); and the first frame's time."""
    missing = [name for name in ("yunet", "face_landmark", "iris_landmark") if not store.file_path(name).exists()]
    if missing:
        return {"skipped": f"models are not here: {', '.join(missing)}"}
    jpegs = _jpegs(height, width, min(frames, 60))
    out: dict[str, Any] = {}
    for name, on_card in (("card", True), ("called_one_by_one", False)):
        card = cards.Card(device) if on_card else None

        def eager(model: Any, threads: int, folder: Any, options: Any) -> Any:
            del folder
            return torch_runtime.open(model, threads, None, {"precision": "fp16" if device.type == "cuda" else "fp32", **(options or {}),
                                                             "device": str(device), "graphs": False})  # fmt: skip

        store.elsewhere = card.open if card is not None else eager
        start = time.perf_counter()
        made = _pipeline(store, generator, card)
        made.process(Frame(cv2.imdecode(jpegs[0], cv2.IMREAD_COLOR), 0, 0))
        first_s = time.perf_counter() - start
        if card is not None:
            card.events = []
        out[name] = _run(made, jpegs, frames) | {"load_and_first_frame_s": round(first_s, 2)}
        if card is not None and card.events:
            torch.cuda.synchronize()
            out["device_ms"] = _by_stage(card.events)
    if "p50" in out["card"]["age_ms"] and out["card"]["age_ms"]["p50"]:
        out["times_faster"] = round(out["called_one_by_one"]["age_ms"]["p50"] / out["card"]["age_ms"]["p50"], 2)
    return out


def _pipeline(store: Store, generator: str, card: cards.Card | None) -> Pipeline:
    config = Config(swap=SwapConfig(swap=generator))
    swapper = swap.load(generator, config.swap, store)
    swap.warm_up(generator)
    names = persona.names()
    swapper.wear(persona.load(names[0]))
    detector, tracker = detect.load("yunet", config.detect, store), track.load("mediapipe", config.track, store)
    return Pipeline(detector, tracker, swapper, config, Telemetry(), mask.load_occlusion(store), card)


def _jpegs(height: int, width: int, count: int) -> list[U8]:
    from livecam.config import CaptureConfig

    with demo.open("demo", CaptureConfig(camera="demo", width_px=width, height_px=height, realtime=False)) as camera:
        return [np.asarray(cv2.imencode(".jpg", camera.read().image)[1], np.uint8) for _ in range(count)]


def _run(made: Pipeline, jpegs: list[U8], frames: int) -> dict[str, Any]:
    ages: list[float] = []
    live = 0
    for i in range(frames):
        start = time.perf_counter()
        picture = cv2.imdecode(jpegs[i % len(jpegs)], cv2.IMREAD_COLOR)
        done = made.process(Frame(np.asarray(picture, np.uint8), (i + 1) * 33_000_000, i + 1))
        ages.append((time.perf_counter() - start) * 1e3)
        live += done.verdict is Verdict.LIVE
    stages = {stage: ring.percentiles() for stage, ring in made.telemetry.wall_ms.items()}
    return {"frames": frames, "live": live, "age_ms": percentiles(ages[min(10, frames // 2) :]), "stages_wall_ms": stages}


def _by_stage(events: Sequence[tuple[str, Any, Any]]) -> dict[str, Any]:
    times: dict[str, list[float]] = {}
    for name, begin, end in events:
        times.setdefault(name, []).append(begin.elapsed_time(end))
    return {name: percentiles(values) | {"calls": len(values)} for name, values in times.items()}


def memory(device: torch.device) -> dict[str, Any]:
    """What this process took of the card at the most, and what the card says of power now."""
    if device.type != "cuda":
        return {}
    most = {"allocated_mb": torch.cuda.max_memory_allocated(device) >> 20, "reserved_mb": torch.cuda.max_memory_reserved(device) >> 20}
    return most | _smi(("memory.used", "power.draw", "clocks.sm", "temperature.gpu"))


def shipped_plans(device: torch.device, store: Store) -> dict[str, ChainPlan]:
    """The generators whose trained weights come with livecam."""
    out: dict[str, ChainPlan] = {}
    for name in ("lite128", "lite256"):
        if name in store.cards and store.file_path(name).exists():
            half = "fp16" if device.type == "cuda" else "fp32"
            opened = torch_runtime.open(store.file_path(name), 1, None, {"device": str(device), "precision": half, "graphs": False})
            out[name] = ChainPlan("lite", 256, opened.network, opened.given, "trained")
    return out


def measure(name: str, store: Store, sizes: Mapping[str, tuple[int, int]], rounds: int, frames: int) -> dict[str, Any]:
    """Everything that can be measured with what comes with livecam: the result of `livecam bench --device cuda`. name: of the device."""
    device = torch_runtime.device_of(name)
    clock = Clock(device, rounds)
    peak = peak_tflops(clock)
    return {
        "format": "livecam-gpu",
        "version": 1,
        "card": describe(device),
        "machine": machine.describe(),
        "peak_fp16_tflops": peak,
        "copies": {which: copies(clock, *size) for which, size in sizes.items()},
        "kernels": {which: kernels(clock, *size, face_px=0.53 * size[0]) for which, size in sizes.items()},
        "chains": {which: chains(clock, shipped_plans(device, store), store, *size) for which, size in sizes.items()},
        "networks": shipped(clock, store, peak, False),
        "end_to_end": {
            f"{which}, {generator}": end_to_end(device, store, *size, frames=frames, generator=generator)
            for which, size in sizes.items()
            for generator in ("lite", "mesh")
        },
        "floors_ms": FLOORS_MS,
        "memory": memory(device),
    }
