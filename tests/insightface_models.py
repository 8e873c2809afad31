"""Tiny ONNX graphs with the inputs and outputs of insightface's detector and landmark network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from onnx import helper
from onnx_models import floats, save

STRIDES = (8, 16, 32)
BOX_CELLS = 1.5
"""The fake detector's boxes reach so many cells from the anchor, to each side."""


def scrfd(path: Path, outputs: int = 9) -> Path:
    """Says "face" where the picture is white over a whole cell of stride 32; its nose is at the anchor."""
    nodes, weights, given = [], {}, []
    weights["flat1"], weights["flat4"], weights["flat10"] = (np.array([-1, k], np.int64) for k in (1, 4, 10))
    five = np.array([[-0.5, -0.5], [0.5, -0.5], [0, 0], [-0.4, 0.6], [0.4, 0.6]], np.float32).ravel()
    heads = (("score", 1, np.full((2, 3, 1, 1), 20.0, np.float32)), ("box", 4, np.zeros((8, 3, 1, 1), np.float32)))
    heads = (*heads, ("point", 10, np.zeros((20, 3, 1, 1), np.float32)))
    for stride in STRIDES:
        nodes.append(helper.make_node("AveragePool", ["input.1"], [f"mean{stride}"], kernel_shape=[stride] * 2, strides=[stride] * 2))
    for name, numbers, weight in heads:
        for stride in STRIDES:
            bias = {"score": np.full(2, -55.0 if stride == 32 else -1000.0), "box": np.full(8, BOX_CELLS), "point": np.tile(five, 2)}[name]
            weights[f"{name}{stride}_w"], weights[f"{name}{stride}_b"] = weight, bias.astype(np.float32)
            nodes.append(helper.make_node("Conv", [f"mean{stride}", f"{name}{stride}_w", f"{name}{stride}_b"], [f"{name}{stride}_map"]))
            nodes.append(helper.make_node("Transpose", [f"{name}{stride}_map"], [f"{name}{stride}_last"], perm=[0, 2, 3, 1]))
            end = f"{name}{stride}" if name != "score" else f"{name}{stride}_logit"
            nodes.append(helper.make_node("Reshape", [f"{name}{stride}_last", f"flat{numbers}"], [end]))
            if name == "score":
                nodes.append(helper.make_node("Sigmoid", [end], [f"{name}{stride}"]))
            given.append(floats(f"{name}{stride}", [None, numbers]))
    return save(path, nodes, [floats("input.1", [1, 3, None, None])], given[:outputs], weights)


def points106(path: Path, side: int = 192, numbers: int = 212) -> Path:
    """Always the same shape, in the middle of its crop."""
    rng = np.random.default_rng(0)
    shape = rng.uniform(-0.66, 0.66, (numbers // 2, 2))
    if numbers == 212:
        shape[[38, 88, 86, 52, 61]] = [[-0.25, -0.2], [0.25, -0.2], [0, 0.05], [-0.2, 0.35], [0.2, 0.35]]
    weights = {"w": np.zeros((3, numbers), np.float32), "b": shape.ravel().astype(np.float32)}
    nodes = [
        helper.make_node("GlobalAveragePool", ["data"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["three"]),
        helper.make_node("Gemm", ["three", "w", "b"], ["fc1"]),
    ]
    return save(path, nodes, [floats("data", [1, 3, side, side])], [floats("fc1", [1, numbers])], weights)
