"""LPIPS (Zhang et al., CVPR 2018), version 0.1 on AlexNet, as an OpenVINO network; a map, so that it can be averaged inside a mask.

The layers' maps are brought to the picture's size by bilinear resampling and summed (the paper's code, `spatial=True`).
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import opset13 as op

from engines.evaluate import weights
from livecam.errors import ModelFileError
from livecam.types import F32, U8

CARD = "lpips_alex"
NAME = "LPIPS 0.1 (AlexNet)"
SHIFT = np.array([-0.030, -0.088, -0.188], np.float32)
SCALE = np.array([0.458, 0.448, 0.450], np.float32)
"""Of RGB in -1..1, from the paper's code."""
LAYERS = ((4, 2, True), (1, 2, True), (1, 1, False), (1, 1, False), (1, 1, False))
"""Stride, padding of each convolution of AlexNet, and whether a max pool comes before the next one."""
LEAST_NORM = 1e-10


class _ArraysOnly(pickle.Unpickler):
    """Reads NumPy arrays and plain containers; anything else in the file is refused."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in (("numpy.core.multiarray", "_reconstruct"), ("numpy._core.multiarray", "_reconstruct")):
            return np.zeros(0).__reduce__()[0]
        if (module, name) in (("numpy", "ndarray"), ("numpy", "dtype")):
            return getattr(np, name)
        raise ModelFileError(f"the weights file asks for {module}.{name}; only NumPy arrays are expected in it")


def read_arrays(path: Path) -> Mapping[str, Any]:
    """The nested dict of arrays in a pickle. Raises ModelFileError for anything else in it."""
    try:
        return _ArraysOnly(io.BytesIO(path.read_bytes())).load()
    except (pickle.UnpicklingError, EOFError, ValueError, TypeError, AttributeError, IndexError) as error:
        raise ModelFileError(f"{path} is no file of arrays: {error}") from error


@dataclass(frozen=True, slots=True)
class Alex:
    """AlexNet's convolutions: kernels (O, I, h, w) and biases (O,); heads: LPIPS's weight of each channel (O,)."""

    kernels: tuple[F32, ...]
    biases: tuple[F32, ...]
    heads: tuple[F32, ...]


def alex(folder: Path | None = None) -> Alex:
    """The weights of LPIPS, fetched when missing. Raises ModelFileError."""
    tree = read_arrays(weights.load(CARD, folder).paths["alexnet.ckpt"])
    try:
        layers = [tree["AlexNet_0"][f"Conv_{i}"] for i in range(len(LAYERS))]
        heads = [np.asarray(tree[f"NetLinLayer_{i}"]["Conv_0"]["kernel"], np.float32).reshape(-1) for i in range(len(LAYERS))]
        kernels = [np.ascontiguousarray(np.transpose(layer["kernel"], (3, 2, 0, 1)), np.float32) for layer in layers]
        return Alex(tuple(kernels), tuple(np.asarray(layer["bias"], np.float32) for layer in layers), tuple(heads))
    except (KeyError, ValueError) as error:
        raise ModelFileError(f"the weights of {NAME} lack {error}") from error


class Lpips:
    """The metric at one size of square pictures. Called from one thread."""

    def __init__(self, net: Alex, size_px: int, threads: int = 1) -> None:
        self.size_px = size_px
        core = ov.Core()
        settings = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
        self._request = core.compile_model(_network(net, size_px), "CPU", settings).create_infer_request()
        self._heads = net.heads

    def features(self, image: U8) -> tuple[F32, ...]:
        """Unit-length features of five layers, each (C, h, w) float32. image: (S, S, 3) uint8 BGR."""
        if image.shape != (self.size_px, self.size_px, 3):
            raise ValueError(f"LPIPS was made for ({self.size_px}, {self.size_px}, 3), found {image.shape}")
        rgb = image[..., ::-1].astype(np.float32) / 127.5 - 1.0
        self._request.infer({0: np.ascontiguousarray(((rgb - SHIFT) / SCALE).transpose(2, 0, 1)[None])})
        return tuple(self._request.get_output_tensor(i).data[0].copy() for i in range(len(self._heads)))

    def map(self, first: U8, second: U8) -> F32:
        """(S, S) float32: how different two pictures look, place by place."""
        return self.map_of(self.features(first), self.features(second))

    def map_of(self, first: tuple[F32, ...], second: tuple[F32, ...]) -> F32:
        """`map` of what `features` gave."""
        out = np.zeros((self.size_px, self.size_px), np.float32)
        for a, b, head in zip(first, second, self._heads, strict=True):
            small = np.tensordot(head, (a - b) ** 2, axes=1)
            out += cv2.resize(small, (self.size_px, self.size_px), interpolation=cv2.INTER_LINEAR)
        return out


def _network(net: Alex, size_px: int) -> ov.Model:
    image = op.parameter([1, 3, size_px, size_px], np.float32, name="image")
    x: Any = image
    outputs: list[Any] = []
    for kernel, bias, (stride, pad, pooled) in zip(net.kernels, net.biases, LAYERS, strict=True):
        x = op.convolution(x, op.constant(kernel), [stride] * 2, [pad] * 2, [pad] * 2, [1, 1])
        x = op.relu(op.add(x, op.constant(bias.reshape(1, -1, 1, 1))))
        outputs.append(_unit(x))
        if pooled:
            x = op.max_pool(x, [2, 2], [1, 1], [0, 0], [0, 0], [3, 3]).output(0)
    return ov.Model(outputs, [image], "lpips")


def _unit(x: Any) -> Any:
    squares = op.reduce_sum(op.multiply(x, x), op.constant(np.array([1])), True)
    return op.divide(x, op.add(op.sqrt(squares), op.constant(np.float32(LEAST_NORM))))


def pooled(features: tuple[F32, ...]) -> NDArray[np.float32]:
    """(sum of C,) float32: mean over the picture of each layer's features, one vector for comparing sets of pictures."""
    return np.concatenate([f.mean(axis=(1, 2)) for f in features])
