"""A network of SCRFD-10G's shape with random weights: what the popular tools' detector costs, without its weights, which nobody may ship.

Guo et al., "Sample and Computation Redistribution for Efficient Face Detection", ICLR 2022, and its published configuration: stem 28, 28, 56; basic
blocks 3, 4, 2, 3 of 56, 88, 88, 224 channels; path aggregation neck of 56; at strides 8, 16, 32 three convolutions of 80 and the outputs. That is
13.3 G multiplications at 640x640, the 10 G of its name at 640x480. Normalisation is folded into the convolutions, as runtimes do it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import openvino
from openvino import opset1
from openvino import opset13 as ops

from livecam.types import U8

SIDE_PX = 640
STEM = (28, 28, 56)
STAGES = ((3, 56), (4, 88), (2, 88), (3, 224))
NECK, HEAD, STACKED = 56, 80, 3
OUTPUTS = 2 * (1 + 4 + 10)
"""Two anchors: score, box, five points."""


class Standin:
    """Runs the network; what it says means nothing. One thread, OpenVINO (which is no slower than what the tools use)."""

    def __init__(self) -> None:
        core = openvino.Core()
        options = {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1, "PERFORMANCE_HINT": "LATENCY"}
        self._request: Any = core.compile_model(_model(), "CPU", options).create_infer_request()
        self._input = np.zeros((1, 3, SIDE_PX, SIDE_PX), np.float32)

    def run(self, square: U8) -> None:
        """square: (640, 640, 3) uint8, normalised as insightface does it."""
        np.copyto(self._input[0], square.transpose(2, 0, 1))
        self._input -= np.float32(127.5)
        self._input *= np.float32(1 / 128)
        self._request.infer([self._input])


class _Layers:
    """What the network is put together from; random weights, kept small enough that nothing overflows."""

    def __init__(self) -> None:
        self._random = np.random.default_rng(1)

    def conv(self, x: Any, channels: int, size: int = 3, stride: int = 1, relu: bool = True) -> Any:
        inputs = x.output(0).get_shape()[1]
        weights = self._random.normal(0, (2 / (inputs * size * size)) ** 0.5, (channels, inputs, size, size)).astype(np.float32)
        pad = [size // 2] * 2
        out = ops.convolution(x, ops.constant(weights), [stride] * 2, pad, pad, [1, 1])
        out = ops.add(out, ops.constant(np.zeros((1, channels, 1, 1), np.float32)))
        return ops.relu(out) if relu else out

    def block(self, x: Any, channels: int, stride: int) -> Any:
        aside = x if stride == 1 and x.output(0).get_shape()[1] == channels else self.conv(x, channels, 1, stride, relu=False)
        return ops.relu(ops.add(self.conv(self.conv(x, channels, 3, stride), channels, relu=False), aside))

    def neck(self, levels: list[Any]) -> list[Any]:
        out = [self.conv(level, NECK, 1, relu=False) for level in levels]
        for n in (1, 0):
            out[n] = ops.add(out[n], _twice(out[n + 1]))
        out = [self.conv(level, NECK, relu=False) for level in out]
        for n in (1, 2):
            out[n] = self.conv(ops.add(out[n], self.conv(out[n - 1], NECK, stride=2, relu=False)), NECK, relu=False)
        return out

    def head(self, level: Any) -> Any:
        for _ in range(STACKED):
            level = self.conv(level, HEAD)
        return self.conv(level, OUTPUTS, relu=False)


def _twice(x: Any) -> Any:
    sizes = np.array([2 * side for side in x.output(0).get_shape()[2:]])
    return ops.interpolate(x, ops.constant(sizes), "nearest", "sizes", axes=ops.constant(np.array([2, 3])))


def _model() -> Any:
    layers = _Layers()
    image: Any = ops.parameter([1, 3, SIDE_PX, SIDE_PX], np.float32)
    x = image
    for n, channels in enumerate(STEM):
        x = layers.conv(x, channels, stride=2 if n == 0 else 1)
    x = opset1.max_pool(x, [2, 2], [0, 0], [1, 1], [3, 3])
    levels: list[Any] = []
    for n, (blocks, channels) in enumerate(STAGES):
        for k in range(blocks):
            x = layers.block(x, channels, 2 if n and not k else 1)
        levels.append(x)
    model: Any = openvino.Model
    return model([layers.head(level) for level in layers.neck(levels[1:])], [image], "scrfd_size")
