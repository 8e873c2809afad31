"""ONNX's operators as functions of torch tensors.

Precision: convolutions and matrix products run in the type of their weights; sums, means, powers, roots and quotients of them run in float32, and
what is worked out from them stays float32 up to the next convolution: AdaIN's statistics overflow in half. Attributes that are not known are refused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as nnf

from livecam.errors import ModelFileError

TYPES = {1: torch.float32, 2: torch.uint8, 3: torch.int8, 6: torch.int32, 7: torch.int64, 9: torch.bool, 10: torch.float16, 11: torch.float64}
"""ONNX's TensorProto.DataType."""


@dataclass(frozen=True, slots=True)
class Op:
    """call(*tensors, **attributes); static: positions of inputs that are lists of numbers, known when the network is built; weights: positions that
    take the network's precision; ignored: attributes that say nothing here."""

    call: Callable[..., Any]
    static: tuple[int, ...] = ()
    weights: tuple[int, ...] = ()
    ignored: tuple[str, ...] = ()


def conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    strides: Sequence[int] = (1, 1),
    dilations: Sequence[int] = (1, 1),
    pads: Sequence[int] = (0, 0, 0, 0),
    group: int = 1,
    kernel_shape: Sequence[int] = (),
    auto_pad: str = "NOTSET",
) -> Tensor:
    """2D convolution; pads: top, left, bottom, right."""
    if weight.ndim != 4 or auto_pad != "NOTSET":
        raise ModelFileError(f"a convolution of weights {tuple(weight.shape)} with auto_pad {auto_pad} is not supported; 2D with stated pads is")
    del kernel_shape
    x = x.to(weight.dtype)
    top, left, bottom, right = pads
    if (top, left) != (bottom, right):
        x, top, left = nnf.pad(x, (left, right, top, bottom)), 0, 0
    return nnf.conv2d(x, weight, bias, tuple(strides), (top, left), tuple(dilations), group)


def conv_transpose(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    strides: Sequence[int] = (1, 1),
    dilations: Sequence[int] = (1, 1),
    pads: Sequence[int] = (0, 0, 0, 0),
    output_padding: Sequence[int] = (0, 0),
    group: int = 1,
    kernel_shape: Sequence[int] = (),
) -> Tensor:
    """Transposed 2D convolution with even pads."""
    del kernel_shape
    if list(pads[:2]) != list(pads[2:]):
        raise ModelFileError(f"a transposed convolution with pads {list(pads)} is not supported; even ones are")
    arguments = (tuple(strides), tuple(pads[:2]), tuple(output_padding), group, tuple(dilations))
    return nnf.conv_transpose2d(x.to(weight.dtype), weight, bias, *arguments)


def gemm(a: Tensor, b: Tensor, c: Tensor | None = None, *, alpha: float = 1.0, beta: float = 1.0, transA: int = 0, transB: int = 0) -> Tensor:
    """alpha * A B + beta * C."""
    a, b = a.to(b.dtype), b.t() if transB else b
    out = (a.t() if transA else a) @ b
    out = out * alpha if alpha != 1.0 else out
    return out if c is None else out + (c * beta if beta != 1.0 else c)


def matmul(a: Tensor, b: Tensor) -> Tensor:
    return a.to(b.dtype) @ b


def batch_norm(x: Tensor, scale: Tensor, shift: Tensor, mean: Tensor, variance: Tensor, *, epsilon: float = 1e-5) -> Tensor:
    """In the mode of inference: one factor and one offset a channel."""
    factor = scale.float() * torch.rsqrt(variance.float() + epsilon)
    offset = shift.float() - mean.float() * factor
    shape = (1, -1) + (1,) * (x.ndim - 2)
    return (x * factor.reshape(shape).to(x.dtype) + offset.reshape(shape).to(x.dtype)).to(x.dtype)


def instance_norm(x: Tensor, scale: Tensor, shift: Tensor, *, epsilon: float = 1e-5) -> Tensor:
    return nnf.instance_norm(x.float(), weight=scale.float(), bias=shift.float(), eps=epsilon)


def prelu(x: Tensor, slope: Tensor) -> Tensor:
    return torch.where(x > 0, x, x * slope.to(x.dtype))


def clip(x: Tensor, min: Sequence[float] | float | None = None, max: Sequence[float] | float | None = None) -> Tensor:
    return torch.clamp(x, *(v[0] if isinstance(v, Sequence) else v for v in (min, max)))


def _spread(pads: Sequence[int]) -> list[int]:
    """ONNX's pads (all begins, all ends, first axis first) as torch wants them (begin, end, last axis first), without axes that get none."""
    half = len(pads) // 2
    pairs = [(pads[i], pads[half + i]) for i in range(half)]
    while pairs and pairs[0] == (0, 0):
        pairs.pop(0)
    return [n for pair in reversed(pairs) for n in pair]


def pad(x: Tensor, pads: Sequence[int], value: Sequence[float] | None = None, *, mode: str = "constant") -> Tensor:
    names = {"constant": "constant", "reflect": "reflect", "edge": "replicate"}
    if mode not in names:
        raise ModelFileError(f"padding of the mode {mode} is not supported; known are {', '.join(names)}")
    spread = _spread(pads)
    if mode == "constant":
        return nnf.pad(x, spread, value=float(value[0]) if value else 0.0)
    return nnf.pad(x, spread + [0] * (2 * (x.ndim - 2) - len(spread)), mode=names[mode])


def _pooled(x: Tensor, pads: Sequence[int], fill: float) -> Tensor:
    """x with ONNX's pads around it, so that the pooling itself needs none."""
    return nnf.pad(x, (pads[1], pads[3], pads[0], pads[2]), value=fill) if any(pads) else x


def max_pool(
    x: Tensor, *, kernel_shape: Sequence[int], strides: Sequence[int] = (1, 1), pads: Sequence[int] = (0, 0, 0, 0), ceil_mode: int = 0
) -> Tensor:
    return nnf.max_pool2d(_pooled(x, pads, float("-inf")), tuple(kernel_shape), tuple(strides), ceil_mode=bool(ceil_mode))


def average_pool(
    x: Tensor,
    *,
    kernel_shape: Sequence[int],
    strides: Sequence[int] = (1, 1),
    pads: Sequence[int] = (0, 0, 0, 0),
    ceil_mode: int = 0,
    count_include_pad: int = 0,
) -> Tensor:
    if any(pads) and not count_include_pad and list(pads[:2]) != list(pads[2:]):
        raise ModelFileError(f"an average over uneven pads {list(pads)} is not supported")
    if count_include_pad:
        return nnf.avg_pool2d(_pooled(x, pads, 0.0), tuple(kernel_shape), tuple(strides), ceil_mode=bool(ceil_mode))
    return nnf.avg_pool2d(x, tuple(kernel_shape), tuple(strides), tuple(pads[:2]), bool(ceil_mode), count_include_pad=False)


def reduce_mean(x: Tensor, axes: Sequence[int] | None = None, *, keepdims: int = 1) -> Tensor:
    return x.float().mean(dim=tuple(axes) if axes else tuple(range(x.ndim)), keepdim=bool(keepdims))


def reduce_sum(x: Tensor, axes: Sequence[int] | None = None, *, keepdims: int = 1) -> Tensor:
    wide = x.float() if x.is_floating_point() else x
    return wide.sum(dim=tuple(axes) if axes else tuple(range(x.ndim)), keepdim=bool(keepdims))


def global_average(x: Tensor) -> Tensor:
    return x.float().mean(dim=tuple(range(2, x.ndim)), keepdim=True)


def divide(a: Tensor, b: Tensor) -> Tensor:
    if not a.is_floating_point() and not b.is_floating_point():
        return torch.div(a, b, rounding_mode="trunc")
    return a.float() / b.float()


def power(a: Tensor, b: Tensor) -> Tensor:
    return torch.pow(a.float(), b.float())


def root(x: Tensor) -> Tensor:
    return torch.sqrt(x.float())


def reciprocal(x: Tensor) -> Tensor:
    return torch.reciprocal(x.float())


def exponential(x: Tensor) -> Tensor:
    return torch.exp(x.float())


def logarithm(x: Tensor) -> Tensor:
    return torch.log(x.float())


def concat(*parts: Tensor, axis: int) -> Tensor:
    return torch.cat(parts, dim=axis)


def split(
    x: Tensor, lengths: Sequence[int] | None = None, *, axis: int = 0, split: Sequence[int] | None = None, count: int = 0
) -> tuple[Tensor, ...]:
    """count: how many outputs the node names, when it gives no lengths."""
    stated = lengths or split
    return torch.split(x, list(stated) if stated else -(-x.shape[axis] // count), dim=axis)


def slices(x: Tensor, starts: Sequence[int], ends: Sequence[int], axes: Sequence[int] | None = None, steps: Sequence[int] | None = None) -> Tensor:
    for i, axis in enumerate(axes or range(len(starts))):
        size, step = x.shape[axis], steps[i] if steps else 1
        if step > 0:
            index = [slice(None)] * (axis % x.ndim) + [slice(starts[i], min(ends[i], size) if ends[i] >= 0 else ends[i], step)]
            x = x[tuple(index)]
        else:
            places = list(range(size))[slice(starts[i], ends[i] if ends[i] >= -size else None, step)]
            x = x.index_select(axis, torch.tensor(places, device=x.device, dtype=torch.int64))
    return x


def reshape(x: Tensor, shape: Sequence[int], *, allowzero: int = 0) -> Tensor:
    return x.reshape([x.shape[i] if n == 0 and not allowzero else n for i, n in enumerate(shape)])


def flatten(x: Tensor, *, axis: int = 1) -> Tensor:
    rows = 1
    for n in x.shape[:axis]:
        rows *= n
    return x.reshape(rows, -1)


def transpose(x: Tensor, *, perm: Sequence[int] | None = None) -> Tensor:
    return x.permute(tuple(perm) if perm else tuple(range(x.ndim))[::-1])


def unsqueeze(x: Tensor, axes: Sequence[int]) -> Tensor:
    rank = x.ndim + len(axes)
    for axis in sorted(a % rank for a in axes):
        x = x.unsqueeze(axis)
    return x


def squeeze(x: Tensor, axes: Sequence[int] | None = None) -> Tensor:
    return x.squeeze(tuple(axes)) if axes else x.squeeze()


def resize(
    x: Tensor,
    roi: Sequence[float] | None = None,
    scales: Sequence[float] | None = None,
    sizes: Sequence[int] | None = None,
    *,
    mode: str = "nearest",
    coordinate_transformation_mode: str = "half_pixel",
    nearest_mode: str = "round_prefer_floor",
) -> Tensor:
    """Enlarging by whole factors (nearest), or bilinear on pixel centres or on corners."""
    del roi
    size = list(sizes[2:]) if sizes else [int(n * s) for n, s in zip(x.shape[2:], (scales or [])[2:], strict=True)]
    if mode == "nearest":
        whole = all(new % old == 0 for new, old in zip(size, x.shape[2:], strict=True))
        # Of a whole factor all of ONNX's ways to round but "ceil" give the same pixel.
        if whole and (nearest_mode == "floor" or coordinate_transformation_mode == "half_pixel") and nearest_mode != "ceil":
            return nnf.interpolate(x, size=size, mode="nearest")
    elif mode == "linear" and coordinate_transformation_mode in ("half_pixel", "pytorch_half_pixel", "align_corners"):
        return nnf.interpolate(x, size=size, mode="bilinear", align_corners=coordinate_transformation_mode == "align_corners")
    raise ModelFileError(f"Resize {mode}, {coordinate_transformation_mode}, {nearest_mode} from {tuple(x.shape)} to {size} is not supported")


def gather(x: Tensor, indices: Tensor, *, axis: int = 0) -> Tensor:
    flat = x.index_select(axis, indices.reshape(-1) % x.shape[axis])
    axis %= x.ndim
    return flat.reshape(*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :])


def depth_to_space(x: Tensor, *, blocksize: int, mode: str = "DCR") -> Tensor:
    if mode == "CRD":
        return nnf.pixel_shuffle(x, blocksize)
    n, c, h, w = x.shape
    inner = c // blocksize**2
    return x.reshape(n, blocksize, blocksize, inner, h, w).permute(0, 3, 4, 1, 5, 2).reshape(n, inner, h * blocksize, w * blocksize)


def space_to_depth(x: Tensor, *, blocksize: int) -> Tensor:
    n, c, h, w = x.shape
    parts = x.reshape(n, c, h // blocksize, blocksize, w // blocksize, blocksize)
    return parts.permute(0, 3, 5, 1, 2, 4).reshape(n, c * blocksize**2, h // blocksize, w // blocksize)


def cast(x: Tensor, *, to: int) -> Tensor:
    if to not in TYPES:
        raise ModelFileError(f"Cast to ONNX type {to} is not supported")
    return x.to(TYPES[to])


def shape_of(x: Tensor) -> Tensor:
    return torch.tensor(x.shape, dtype=torch.int64)


def fill(shape: Sequence[int], *, value: Tensor | None = None) -> Tensor:
    return torch.full(list(shape), 0.0) if value is None else value.reshape(-1)[0].expand(list(shape)).clone()


def quantize(x: Tensor, scale: Sequence[float], zero: Sequence[int] | None = None, *, low: int, high: int) -> Tensor:
    """x within the range of `low` to `high` steps of `scale` around `zero`, but not rounded to steps: halves and floats are more exact than what the
    network was made to bear, and rounding would cost a pass over memory for each layer. One scale for all of x."""
    if len(scale) != 1:
        raise ModelFileError("activations quantised by channel are not supported")
    offset = zero[0] if zero else 0
    return torch.clamp(x, (low - offset) * scale[0], (high - offset) * scale[0])


def dequantize(x: Tensor, scale: Sequence[float], zero: Sequence[int] | None = None, *, axis: int = 1) -> Tensor:
    """(x - zero) * scale of whole numbers (weights); what `quantize` gave is no step count and stays."""
    if x.is_floating_point():
        return x
    shape = [-1 if i == axis % x.ndim else 1 for i in range(x.ndim)] if len(scale) > 1 else [1] * x.ndim
    factor = torch.tensor(scale, dtype=torch.float32).reshape(shape)
    return (x.float() - torch.tensor(zero or [0], dtype=torch.float32).reshape(shape if zero and len(zero) > 1 else [1] * x.ndim)) * factor


def softmax(x: Tensor, *, axis: int = -1) -> Tensor:
    return torch.softmax(x.float(), dim=axis)


def leaky_relu(x: Tensor, *, alpha: float = 0.01) -> Tensor:
    return nnf.leaky_relu(x, alpha)


def identity(x: Tensor, *of_training: Tensor) -> Tensor:
    """x; Dropout's further inputs say nothing at run time."""
    del of_training
    return x


def expand(x: Tensor, shape: Sequence[int]) -> Tensor:
    return x.expand(torch.broadcast_shapes(x.shape, tuple(shape)))


OPS: dict[str, Op] = {
    "Add": Op(torch.add),
    "Sub": Op(torch.sub),
    "Mul": Op(torch.mul),
    "Div": Op(divide),
    "Pow": Op(power),
    "Min": Op(torch.minimum),
    "Max": Op(torch.maximum),
    "Neg": Op(torch.neg),
    "Abs": Op(torch.abs),
    "Sqrt": Op(root),
    "Reciprocal": Op(reciprocal),
    "Exp": Op(exponential),
    "Log": Op(logarithm),
    "Relu": Op(torch.relu),
    "LeakyRelu": Op(leaky_relu),
    "PRelu": Op(prelu),
    "Clip": Op(clip, static=(1, 2)),
    "Sigmoid": Op(torch.sigmoid),
    "Tanh": Op(torch.tanh),
    "Softmax": Op(softmax),
    "Conv": Op(conv, weights=(1, 2)),
    "ConvTranspose": Op(conv_transpose, weights=(1, 2)),
    "Gemm": Op(gemm, weights=(1, 2)),
    "MatMul": Op(matmul, weights=(0, 1)),
    "BatchNormalization": Op(batch_norm, ignored=("momentum", "training_mode", "spatial")),
    "InstanceNormalization": Op(instance_norm),
    "MaxPool": Op(max_pool, ignored=("storage_order",)),
    "AveragePool": Op(average_pool),
    "GlobalAveragePool": Op(global_average),
    "ReduceMean": Op(reduce_mean, static=(1,), ignored=("noop_with_empty_axes",)),
    "ReduceSum": Op(reduce_sum, static=(1,), ignored=("noop_with_empty_axes",)),
    "Concat": Op(concat),
    "Split": Op(split, static=(1,), ignored=("num_outputs",)),
    "Slice": Op(slices, static=(1, 2, 3, 4)),
    "Reshape": Op(reshape, static=(1,)),
    "Flatten": Op(flatten),
    "Transpose": Op(transpose),
    "Unsqueeze": Op(unsqueeze, static=(1,)),
    "Squeeze": Op(squeeze, static=(1,)),
    "Resize": Op(resize, static=(1, 2, 3), ignored=("cubic_coeff_a", "exclude_outside", "extrapolation_value", "keep_aspect_ratio_policy")),
    "Pad": Op(pad, static=(1, 2)),
    "Gather": Op(gather),
    "DepthToSpace": Op(depth_to_space),
    "SpaceToDepth": Op(space_to_depth),
    "Cast": Op(cast, ignored=("saturate",)),
    "Shape": Op(shape_of),
    "ConstantOfShape": Op(fill, static=(0,)),
    "Expand": Op(expand, static=(1,)),
    "Identity": Op(identity),
    "QuantizeLinear": Op(quantize, static=(1, 2), ignored=("axis", "saturate")),
    "DequantizeLinear": Op(dequantize, static=(1, 2)),
    "Dropout": Op(identity, ignored=("ratio", "seed")),
}
"""Operators by their ONNX names."""
PRODUCTS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
"""What has weights in the network's precision."""
