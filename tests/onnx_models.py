"""Tiny ONNX graphs with the inputs and outputs of well-known networks, random weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import save_file

POOL = 8


def save(path: Path, nodes: list, inputs: list, outputs: list, weights: dict[str, np.ndarray], opset: int = 13) -> Path:
    """Checks and writes a graph; weights keep their order."""
    graph = helper.make_graph(nodes, "tiny", inputs, outputs, [numpy_helper.from_array(v, k) for k, v in weights.items()])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
    return path


def floats(name: str, shape: list) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def generator(path: Path, size: int, *, emap: np.ndarray | None = None, mask: bool = False, length: int = 512, gain: float = 0.5) -> Path:
    """output = gain * target + (source @ tint) / 4 + 0.25, per channel; with `emap` as last initializer like inswapper_128."""
    rng = np.random.default_rng(size)
    weights = {
        "gain": np.float32(gain),
        "tint": rng.normal(size=(length, 3)).astype(np.float32),
        "quarter": np.float32(0.25),
        "shape": np.array([1, 3, 1, 1], np.int64),
    }
    nodes = [
        helper.make_node("Mul", ["target", "gain"], ["dim"]),
        helper.make_node("MatMul", ["source", "tint"], ["tinted"]),
        helper.make_node("Mul", ["tinted", "quarter"], ["soft"]),
        helper.make_node("Add", ["soft", "quarter"], ["lifted"]),
        helper.make_node("Reshape", ["lifted", "shape"], ["colour"]),
        helper.make_node("Add", ["dim", "colour"], ["output"]),
    ]
    outputs = [floats("output", [1, 3, size, size])]
    if mask:
        weights["corner"] = np.pad(np.ones((1, 1, size // 2, size // 2), np.float32), ((0, 0), (0, 0), (0, size // 2), (0, size // 2)))
        nodes.append(helper.make_node("Identity", ["corner"], ["alpha"]))
        outputs.append(floats("alpha", [1, 1, size, size]))
    if emap is not None:
        weights["emap"] = emap
    return save(path, nodes, [floats("target", [1, 3, size, size]), floats("source", [1, length])], outputs, weights)


def tint(size: int, source: np.ndarray, length: int = 512) -> np.ndarray:
    """(3,) what `generator` adds for a source, RGB in 0..1."""
    return (source @ np.random.default_rng(size).normal(size=(length, 3)).astype(np.float32)).reshape(3) / 4 + 0.25


def arcface(path: Path, length: int = 512) -> Path:
    """(1, 3, 112, 112) -> (1, length): mean colours of 8-px tiles through a random matrix."""
    cells = 3 * (112 // POOL) ** 2
    nodes = [
        helper.make_node("AveragePool", ["input.1"], ["tiles"], kernel_shape=[POOL, POOL], strides=[POOL, POOL]),
        helper.make_node("Flatten", ["tiles"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["embedding"]),
    ]
    weights = {"weights": np.random.default_rng(7).normal(size=(cells, length)).astype(np.float32)}
    return save(path, nodes, [floats("input.1", [1, 3, 112, 112])], [floats("embedding", [1, length])], weights)


def lite(folder: Path, size: int = 128, *, tint: float = 0.1, nan: bool = False, film: int = 6, shift_px: float = 0.0) -> Path:
    """Writes lite{size}.onnx and its mapper into `folder`, in the form of livecam's generator, untrained.

    light = 0; flow = shift_px to the right; change = tint * film[:3] of the colour, nothing of the mask."""
    cells = size // 4
    weights: dict[str, np.ndarray] = {
        "light_": np.zeros((1, 3, 16, 16), np.float32),
        "flow_": np.stack([np.full((cells, cells), shift_px, np.float32), np.zeros((cells, cells), np.float32)])[None],
        "plain": np.zeros((1, 3, cells, cells), np.float32),
        "nothing": np.float32(0.0),
        "zero": np.array([0], np.int64),
        "three": np.array([3], np.int64),
        "one_axis": np.array([1], np.int64),
        "shape": np.array([1, 3, 1, 1], np.int64),
        "gain": np.float32(np.nan if nan else tint),
    }
    node = helper.make_node
    nodes = [
        node("Identity", ["light_"], ["light"]),
        node("Identity", ["flow_"], ["flow"]),
        node("Slice", ["film", "zero", "three", "one_axis"], ["head"]),
        node("Mul", ["head", "gain"], ["tint"]),
        node("Reshape", ["tint", "shape"], ["colour"]),
        node("Add", ["plain", "colour"], ["added"]),
        node("AveragePool", ["x"], ["coarse"], kernel_shape=[4, 4], strides=[4, 4]),
        node("Slice", ["coarse", "zero", "one_axis", "one_axis"], ["plane"]),
        node("Mul", ["plane", "nothing"], ["mask"]),
        node("Concat", ["added", "mask"], ["change"], axis=1),
    ]
    inputs = [floats("x", [1, 10, size, size]), floats("film", [1, film])]
    outputs = [floats("light", [1, 3, 16, 16]), floats("flow", [1, 2, cells, cells]), floats("change", [1, 4, cells, cells])]
    folder.mkdir(parents=True, exist_ok=True)
    save(folder / f"lite{size}.onnx", nodes, inputs, outputs, weights)
    rng = np.random.default_rng(size)
    mapper = {
        "mapper.first.weight": rng.normal(size=(8, 128)).astype(np.float32),
        "mapper.first.bias": np.zeros(8, np.float32),
        "mapper.second.weight": rng.normal(size=(film, 8)).astype(np.float32),
        "mapper.second.bias": np.zeros(film, np.float32),
    }
    save_file(mapper, str(folder / f"lite{size}-mapper.safetensors"), {"embedder": "sface"})
    return folder
