"""Runtime `torch`: .onnx and .tflite by PyTorch, in FP16 with CUDA graphs on an NVIDIA card, in float32 on the CPU (needs the extra `torch`).

A network is built once (`_torch_build`), recorded once, and replayed for each frame: its inputs are copied into the same places, its outputs come
from the same places. `TorchRuntime.tensors` are those places on the card, for whoever fills them there (livecam.gpu) and calls `replay` instead of
`run`.

Options: "shapes": {input: shape}; "device": "auto" (a card if there is one), "cuda", "cuda:1", "cpu"; "precision": "auto" (fp16 on a card), "fp16",
"fp32"; "graphs": False calls each operator anew; "compile": True has torch.compile fuse what is around the convolutions (a minute at the start).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from livecam.errors import MissingExtraError, ModelFileError, ModelShapeError, StageError, UsageError
from livecam.runtimes import TensorSpec, _fold, _gate, _network_onnx, _network_tflite, named
from livecam.runtimes._network import Graph

try:
    import torch
    from torch import Tensor

    from livecam.runtimes import _torch_build as build
    from livecam.runtimes._torch_replay import Called, CudaGraphs, Recorder
except ModuleNotFoundError as error:
    raise MissingExtraError(error.name or "torch", "torch", "the runtime torch") from error

PRECISIONS = {"fp16": torch.float16, "fp32": torch.float32}


class TorchRuntime:
    """A network run by PyTorch. Not to be used by two threads at once."""

    def __init__(self, network: torch.nn.Module, graph: Graph, given: Sequence[Tensor], recorder: Recorder) -> None:
        """network: on the device of `given`, which are its inputs from now on, in the graph's order; both may be called and filled by others."""
        self.network = network
        self.given = tuple(given)
        self._results: tuple[Tensor, ...] = ()
        self.inputs = tuple(TensorSpec(s.name, tuple(t.shape), s.dtype) for s, t in zip(graph.inputs, given, strict=True))
        self._replay = recorder.record(self._forward)
        self._replay()
        self.outputs = tuple(TensorSpec(s.name, tuple(t.shape), s.dtype) for s, t in zip(graph.outputs, self._results, strict=True))
        self._on_card = bool(given) and given[0].is_cuda
        self._sent = {s.name: _host(t, self._on_card) for s, t in zip(self.inputs, given, strict=True)}
        self._got = {s.name: _host(t, self._on_card) for s, t in zip(self.outputs, self._results, strict=True)}

    @torch.inference_mode()
    def _forward(self) -> None:
        results = self.network(*self.given)
        if self._results:
            # In a graph the results are the graph's own; called each time they are put where they were before.
            for place, result in zip(self._results, results, strict=True):
                place.copy_(result)
        else:
            self._results = tuple(result.clone(memory_format=torch.contiguous_format) for result in results)

    @property
    def tensors(self) -> dict[str, Tensor]:
        """Inputs and outputs where the network reads and writes them, by name: to be filled on the card before `replay`, and read after it."""
        names = [s.name for s in (*self.inputs, *self.outputs)]
        return dict(zip(names, (*self.given, *self._results), strict=True))

    def replay(self) -> None:
        """One forward pass from and to `tensors`, on the current stream; on a card it is not waited for."""
        self._replay()

    def run(self, inputs: Mapping[str, NDArray[np.generic]]) -> dict[str, NDArray[Any]]:
        """One forward pass. Raises StageError for a missing or unknown input, for a shape that the network does not take, and when the card fails."""
        if inputs.keys() != self._sent.keys():
            raise StageError(f"the network takes the inputs {sorted(self._sent)}, given were {sorted(inputs)}")
        for spec in self.inputs:
            if inputs[spec.name].shape != spec.shape:
                shapes = {name: array.shape for name, array in inputs.items()}
                wanted = ", ".join(f"{s.name} {list(s.shape)} {s.dtype}" for s in self.inputs)
                raise StageError(f"PyTorch could not run on {shapes}; the network takes {wanted}")
        try:
            for spec, place in zip(self.inputs, self.given, strict=True):
                held = self._sent[spec.name]
                np.copyto(held.numpy(), inputs[spec.name], casting="unsafe")
                place.copy_(held, non_blocking=True)
            self._replay()
            for spec, result in zip(self.outputs, self._results, strict=True):
                self._got[spec.name].copy_(result, non_blocking=True)
            if self._on_card:
                torch.cuda.current_stream(self.given[0].device).synchronize()
        except RuntimeError as error:
            raise StageError(f"PyTorch {torch.__version__} could not run the network: {_first_line(error)}") from error
        return {name: held.numpy() for name, held in self._got.items()}


def open(model: Path | bytes, threads: int = 1, cache_dir: Path | None = None, options: Mapping[str, object] | None = None) -> TorchRuntime:
    """`model` built, and recorded when it runs on a card. `threads` is the process's (torch knows no other); `cache_dir` is not used.

    Raises ModelFileError (not readable, an operator that is not known, no memory on the card), ModelShapeError, UsageError (no such device).
    """
    given = dict(options or {})
    name = named(model, options)
    device = device_of(str(given.get("device", "auto")))
    precision = _precision(str(given.get("precision", "auto")), device)
    shapes = cast("Mapping[str, Sequence[int]]", given.get("shapes") or {})
    if device.type == "cpu":
        torch.set_num_threads(max(1, threads))
    graph = read_graph(model)
    try:
        network: torch.nn.Module = build.build(graph, shapes, precision).to(device)
    except (ModelFileError, ModelShapeError) as error:
        raise type(error)(f"{name}: {error}") from error
    if given.get("compile"):
        network = torch.compile(network)  # pyright: ignore[reportAssignmentType] - it stays callable alike
    recorder = CudaGraphs(device) if device.type == "cuda" and given.get("graphs", True) else Called()
    try:
        tensors = [torch.zeros(_shape(spec, shapes), dtype=getattr(torch, spec.dtype), device=device) for spec in graph.inputs]
        return TorchRuntime(network, graph, tensors, recorder)
    except RuntimeError as error:
        raise ModelFileError(f"{name} cannot be run by PyTorch {torch.__version__} on {device}: {_first_line(error)}") from error


def read_graph(model: Path | bytes) -> Graph:
    """The network in an .onnx or .tflite file. Raises ModelFileError, naming the file."""
    data = model if isinstance(model, bytes) else _gate.read_file(model)
    name = str(model) if isinstance(model, Path) else f"the model of {len(data)} bytes"
    try:
        if data[4:8] == _network_tflite.MAGIC:
            return _network_tflite.read(data)
        _gate.check_onnx(data, name)
        return _network_onnx.read(_fold.fold_dequantize(data) if _fold.is_blockwise(data) else data)
    except ModelFileError as error:
        raise ModelFileError(str(error) if str(error).startswith(name) else f"{name}: {error}") from error


def device_of(text: str) -> torch.device:
    """The device that `text` names; "auto" is the first card, else the CPU. Raises UsageError when there is no such card."""
    if text == "auto":
        text = "cuda" if torch.cuda.is_available() else "cpu"
    if text.split(":")[0] == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        index = int(text.partition(":")[2] or 0)
        if index >= count:
            found = f"{count} of them" if count else "none"
            raise UsageError(f"the device {text!r} needs an NVIDIA card that PyTorch {torch.__version__} can use, found {found}; use --device cpu")
        return torch.device("cuda", index)
    if text != "cpu":
        raise UsageError(f"the device {text!r} is unknown; expected auto, cpu, cuda or cuda:N")
    return torch.device("cpu")


def _precision(text: str, device: torch.device) -> torch.dtype:
    if text == "auto":
        text = "fp16" if device.type == "cuda" else "fp32"
    if text not in PRECISIONS:
        raise UsageError(f"the precision {text!r} is unknown; expected auto, {' or '.join(PRECISIONS)}")
    return PRECISIONS[text]


def _shape(spec: TensorSpec, shapes: Mapping[str, Sequence[int]]) -> tuple[int, ...]:
    return tuple(int(n) for n in shapes.get(spec.name, spec.shape))


def _host(tensor: Tensor, pinned: bool) -> Tensor:
    """A tensor like this one in the computer's memory, pinned for copies that run beside the CPU."""
    return torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=pinned)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
