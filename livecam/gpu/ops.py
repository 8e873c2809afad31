"""Image operations on a card, as functions of torch tensors: what livecam/image.py, blend and swap do on the CPU, checked alike.

Convention: as in livecam/types.py; matrices map frame to crop. A *table* is a float32 row that a kernel reads its places and colours from; it is
written on the CPU (`sample_row`, `paste_row`) and copied with the frame's other small things, so that launches can be recorded.

The tensors of one call are on one device: a card, or the CPU in Triton's interpreter (TRITON_INTERPRET=1), where tests hold each operation to the
CPU path.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import torch
import triton
from torch import Tensor

from livecam import geometry, image
from livecam.errors import StageError
from livecam.gpu import kernels
from livecam.image import NOTHING, Roi
from livecam.types import F32, F64, U8, Alignment

Format = Literal["BGR", "NV12", "I420", "YUYV"]
FORMATS: dict[str, int] = {"BGR": 0, "NV12": 1, "I420": 2, "YUYV": 3}
"""Numbers of the formats in `kernels`."""
SAMPLE_ROW, PASTE_ROW = 16, 28
"""Numbers in a table."""
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
"""Whether Triton interprets its kernels on the CPU: it then pays for each operation of each program, so programs are made large."""
BLOCK = 1 << 16 if INTERPRETED else 256
"""Pixels of a program where pixels stand alone."""
TILE = (256, 128) if INTERPRETED else (32, 8)
"""Width and height of a program's part of the region in `paste`."""
MOST_FACTOR = 8
"""Greatest side of the blocks that a region is averaged over."""
UNCHANGED = np.array([[1.0, 1.0, 1.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
"""Colour of `paste_row` that changes nothing: rows factor, offset, slope across, slope down; columns B, G, R."""


@dataclass(frozen=True, slots=True)
class Normal:
    """What becomes of grey levels in a network's input: value * scale + add, by channel (B, G, R), in planes or not, in the order RGB or BGR."""

    scale: tuple[float, float, float] = (1 / 255, 1 / 255, 1 / 255)
    add: tuple[float, float, float] = (0.0, 0.0, 0.0)
    planes: bool = True
    rgb: bool = True


GREY_LEVELS = Normal((1.0, 1.0, 1.0), rgb=False)
"""As YuNet takes them."""


class Fit(Protocol):
    """How a frame lies in a detector's picture (`livecam.detect._boxes.Fit`): the picture's size, the frame's size in it and its place."""

    @property
    def width_px(self) -> int: ...
    @property
    def height_px(self) -> int: ...
    @property
    def inner_width_px(self) -> int: ...
    @property
    def inner_height_px(self) -> int: ...
    @property
    def left_px(self) -> int: ...
    @property
    def top_px(self) -> int: ...


def coded_shape(height: int, width: int, form: Format) -> tuple[int, ...]:
    """Shape of a frame of `form`. Raises StageError for odd sides where the format has none."""
    odd = (form in ("NV12", "I420") and (height % 2 or width % 2)) or (form == "YUYV" and width % 2)
    if odd or form not in FORMATS:
        raise StageError(f"a frame of {width}x{height} cannot be {form}: expected one of {', '.join(FORMATS)}, and even sides for all but BGR")
    return {"BGR": (height, width, 3), "YUYV": (height, width, 2)}.get(form, (height * 3 // 2, width))


@dataclass(frozen=True, slots=True)
class Blocks:
    """The part of a frame that is averaged over factor x factor pixels before it is sampled: its first pixel, and how many blocks there are."""

    factor: int
    x0: int
    y0: int
    across: int
    down: int

    @staticmethod
    def whole(height: int, width: int, factor: int = 1) -> Blocks:
        """All of a frame."""
        return Blocks(factor, 0, 0, width // factor, height // factor)


def sample_row(matrix: F64, blocks: Blocks, size: tuple[int, int], inner: tuple[int, int, int, int] | None = None, out: F32 | None = None) -> F32:
    """The table of `sample`. matrix: (2, 3) frame -> inner part of the output; size: (height, width) of the output; inner: left, top, width, height
    of what is sampled in it (else all of it). Raises StageError for a matrix without an inverse."""
    try:
        back = geometry.invert(matrix)
    except ValueError as error:
        raise StageError(f"crop expects an invertible alignment: {error}; the face is to be found again") from error
    row = np.zeros(SAMPLE_ROW, np.float32) if out is None else out
    place = back / blocks.factor
    place[:, 2] += (np.array([0.5 - blocks.x0, 0.5 - blocks.y0])) / blocks.factor - 0.5
    row[:6] = place.reshape(-1)
    row[6:11] = blocks.factor, blocks.x0, blocks.y0, blocks.across, blocks.down
    row[11:15] = inner or (0, 0, size[1], size[0])
    if not np.isfinite(row).all():
        raise StageError("crop expects a finite alignment; the face is to be found again")
    return row


def sample(
    frame: Tensor,
    form: Format,
    table: Tensor,
    size: tuple[int, int],
    picture: Tensor | None = None,
    tensor: Tensor | None = None,
    normal: Normal | None = None,
) -> None:
    """Part of `frame` (of `coded_shape`, uint8) to `picture` ((H, W, 3) uint8 BGR) and as a network's input to `tensor`, float of H * W * 3 numbers.

    table: `sample_row` on the device; size: (H, W) of the output. Bilinear; what lies outside repeats the edge.
    """
    height, width = _size_of(frame, form)
    normal = normal or Normal()
    _expect(picture, (*size, 3), torch.uint8, "the crop")
    if tensor is not None and (tensor.numel() != size[0] * size[1] * 3 or not tensor.is_contiguous()):
        raise StageError(f"sample expects a network's input of {size[0] * size[1] * 3} numbers, found {tuple(tensor.shape)}")
    some = picture if picture is not None else tensor
    if some is None:
        raise StageError("sample expects a picture or a network's input to write to, found neither")
    kernels.sample[(triton.cdiv(size[0] * size[1], BLOCK),)](
        frame, table, some if picture is None else picture, some if tensor is None else tensor, width, height, size[1], size[0],
        *normal.scale, *normal.add, FORMAT=FORMATS[form], PICTURE=picture is not None, TENSOR=tensor is not None, PLANES=normal.planes,
        RGB=normal.rgb, BLOCK=BLOCK,
    )  # fmt: skip


def view_of(matrix: F64, side_px: float, frame: tuple[int, int], size: int) -> tuple[F64, Blocks]:
    """For a landmark network's turned square of the frame: matrix and blocks for `sample_row`. matrix: frame -> picture of `size` px; side_px: the
    square's side in the frame, which is averaged over blocks when it is at least twice as large as the picture; frame: (height, width).

    As `livecam.track._region.crop_rgb`, whose blocks begin at the square's corner; here they begin at a multiple of their side."""
    height, width = frame
    factor = 1 << (max(1, min(int(side_px // size), MOST_FACTOR)).bit_length() - 1)
    return matrix, Blocks.whole(height, width, factor if min(height, width) >= 2 * factor else 1)


def see_whole(frame: Tensor, form: Format, fit: Fit, tensor: Tensor) -> None:
    """The detector's picture of a whole frame, in its own reflection, as BGR planes 0..255: tensor (1, 3, height_px, width_px). As `Fit.picture`."""
    row = torch.from_numpy(whole_row(_size_of(frame, form), fit)).to(frame.device)
    sample(frame, form, row, (fit.height_px, fit.width_px), tensor=tensor, normal=GREY_LEVELS)


def whole_row(frame: tuple[int, int], fit: Fit, out: F32 | None = None) -> F32:
    """The table of `see_whole` for frames of (height, width)."""
    height, width = frame
    factor = 1
    while width // factor >= 2 * fit.inner_width_px and height // factor >= 2 * fit.inner_height_px and min(height, width) // factor >= 4:
        factor *= 2
    sx, sy = fit.inner_width_px / width, fit.inner_height_px / height
    matrix = np.array([[sx, 0.0, 0.5 * sx - 0.5], [0.0, sy, 0.5 * sy - 0.5]])
    inner = (fit.left_px, fit.top_px, fit.inner_width_px, fit.inner_height_px)
    return sample_row(matrix, Blocks.whole(height, width, factor), (fit.height_px, fit.width_px), inner, out)


def colour_of_plane(plane: F64, size: int) -> F64:
    """What `livecam.blend.offset` adds ((3, 3), its slopes at the crop's borders) as `paste_row` wants it, for a crop of `size` px."""
    step = 2.0 / (size - 1)
    return np.stack([np.ones(3), plane[0] - plane[1] - plane[2], plane[1] * step, plane[2] * step])


def colour_of_affine(affine: F64) -> F64:
    """The factor and offset of `livecam.blend.colour` ((2, 3)) as `paste_row` wants them."""
    return np.stack([affine[0], affine[1], np.zeros(3), np.zeros(3)])


def paste_row(roi: Roi, matrix: F64, factor: int, size: int, colour: F64 = UNCHANGED, out: F32 | None = None) -> F32:
    """The table of `paste`. roi, matrix, factor: of `image.paste_plan`; size: the crop's side; colour: (4, 3), see UNCHANGED, slopes a crop pixel."""
    row = np.zeros(PASTE_ROW, np.float32) if out is None else out
    x0, y0, x1, y1 = roi
    # Counted from the region's first pixel: float32 is exact enough then, however large the frame.
    row[0:2], row[3:5] = matrix[0, :2], matrix[1, :2]
    row[2], row[5] = matrix[0] @ (x0, y0, 1.0), matrix[1] @ (x0, y0, 1.0)
    row[6:13] = x0, y0, x1, y1, size, factor, size // factor
    row[15:27] = colour.reshape(-1)
    return row


def paste(frame: Tensor, crop: Tensor, alpha: Tensor, table: Tensor, largest: tuple[int, int] | None = None, copy: Tensor | None = None) -> None:
    """Colour, inverse warp, mask and blend of crop ((S, S, 3) uint8) with alpha ((S, S) uint8) into frame ((H, W, 3) uint8 BGR) in place.

    table: `paste_row` on the device. largest: (height, width) that the region may have at most (all of the frame, if left out).
    copy: uint8 of at least as many numbers as `largest` pixels have; the region's rows are written to it as well, one after the other.
    """
    height, width = _size_of(frame, "BGR")
    _expect(crop, (alpha.shape[0], alpha.shape[0], 3), torch.uint8, "the crop")
    _expect(alpha, (crop.shape[0], crop.shape[0]), torch.uint8, "alpha")
    tall, wide = largest or (height, width)
    grid = (triton.cdiv(wide, TILE[0]), triton.cdiv(tall, TILE[1]))
    into = frame if copy is None else copy
    kernels.paste[grid](frame, crop, alpha, table, into, width, WIDE=TILE[0], HIGH=TILE[1], COPY=copy is not None)


def crop(frame: Tensor, form: Format, alignment: Alignment) -> Tensor:
    """`image.crop` on a card: (S, S, 3) uint8 BGR of a frame of any format."""
    height, width = _size_of(frame, form)
    size = (alignment.size_px, alignment.size_px)
    row = torch.from_numpy(sample_row(alignment.matrix, Blocks.whole(height, width), size)).to(frame.device)
    out = torch.empty((*size, 3), dtype=torch.uint8, device=frame.device)
    sample(frame, form, row, size, out)
    return out


def paste_now(frame: Tensor, alignment: Alignment, crop: U8, alpha: U8, colour: F64 = UNCHANGED) -> Roi:
    """`image.paste` on a card, the crop from the CPU: the region that can have changed. Raises StageError as it does."""
    roi, matrix, factor = image.paste_plan(_as_picture(frame), alignment, crop, alpha)
    if roi != NOTHING:
        row = torch.from_numpy(paste_row(roi, matrix, factor, alignment.size_px, colour)).to(frame.device)
        up = [torch.from_numpy(np.ascontiguousarray(part)).to(frame.device) for part in (crop, alpha)]
        paste(frame, up[0], up[1], row, (roi[3] - roi[1], roi[2] - roi[0]))
    return roi


def decode(coded: Tensor, form: Format, frame: Tensor) -> None:
    """A frame of `form` to BGR (H, W, 3). As `cv2.cvtColor`."""
    height, width = _size_of(frame, "BGR")
    _expect(coded, coded_shape(height, width, form), torch.uint8, f"a {form} frame")
    kernels.decode[(triton.cdiv(width * height, BLOCK),)](coded, frame, width, height, FORMAT=FORMATS[form], BLOCK=BLOCK)


def encode(frame: Tensor, form: Format, coded: Tensor) -> None:
    """A BGR frame (H, W, 3) to `form`. As `cv2.cvtColor`; NV12 is I420 with its colours in pairs."""
    height, width = _size_of(frame, "BGR")
    _expect(coded, coded_shape(height, width, form), torch.uint8, f"a {form} frame")
    if form == "BGR":
        coded.copy_(frame)
        return
    pairs = width // 2 * (height if form == "YUYV" else height // 2)
    kernels.encode[(triton.cdiv(pairs, BLOCK),)](frame, coded, width, height, FORMAT=FORMATS[form], BLOCK=BLOCK)


def fill(veil: Tensor, drawing: Tensor, mask: Tensor, lines: Tensor, tensor: Tensor) -> None:
    """`_lite_tensor.fill`, the drawing averaged down to the network's size first. tensor: (1, 10, own, own); drawing's side: a multiple of own."""
    own, size = tensor.shape[-1], mask.shape[0]
    if size % own:
        raise StageError(f"lite on a card expects a drawing of a multiple of {own} px, found {size}")
    for what, part, shape in (("the veil", veil, (own, own, 3)), ("the lines", lines, (own, own, 3)), ("the drawing", drawing, (size, size, 3))):
        _expect(part, shape, torch.uint8, what)
    kernels.fill[(triton.cdiv(own * own, BLOCK),)](veil, drawing, mask, lines, tensor, own, size // own, BLOCK=BLOCK)


def compose(
    veil: Tensor,
    eyes: Tensor,
    fields: Sequence[Tensor],
    drawing: Tensor,
    mask: Tensor,
    crop: Tensor,
    alpha: Tensor,
    base: Tensor,
    broken: Tensor,
    limit: float,
) -> None:
    """`_lite_tensor.compose` from drawing and mask to crop and alpha. fields: light, flow, change as the network gives them; base: of the drawing's
    shape, written to; limit: greatest displacement, share of the side; broken: (1,) int32, set to 1 when a value is not finite."""
    light, flow, added = fields
    own, size, coarse, fine = veil.shape[0], mask.shape[0], light.shape[-1], flow.shape[-1]
    for what, part in (("the crop", crop), ("the drawing", drawing), ("the base", base)):
        _expect(part, (size, size, 3), torch.uint8, what)
    _expect(eyes, (own, own), torch.uint8, "the eyes")
    kernels.mix[(triton.cdiv(size * size * 3, BLOCK),)](veil, drawing, mask, base, size, own, BLOCK=BLOCK)
    kernels.compose[(triton.cdiv(size * size, BLOCK),)](
        base, eyes, light, flow, added, mask, crop, alpha, broken, size, own, coarse, fine, limit * size, BLOCK=BLOCK
    )


def _size_of(frame: Tensor, form: Format) -> tuple[int, int]:
    """Height and width of a frame. Raises StageError when it is none of `form`."""
    height, width = int(frame.shape[0]), int(frame.shape[1])
    if form in ("NV12", "I420"):
        height = height * 2 // 3
    _expect(frame, coded_shape(height, width, form), torch.uint8, f"a {form} frame")
    return height, width


def _expect(tensor: Tensor | None, shape: tuple[int, ...], dtype: torch.dtype, what: str) -> None:
    if tensor is not None and (tuple(tensor.shape) != shape or tensor.dtype != dtype or not tensor.is_contiguous()):
        raise StageError(f"expected {what} {shape} {dtype} without gaps, found {tuple(tensor.shape)} {tensor.dtype}")


def _as_picture(frame: Tensor) -> U8:
    """A NumPy array of the frame's shape, for whoever looks at nothing else; holds no memory."""
    return np.broadcast_to(np.zeros(1, np.uint8), tuple(frame.shape)) if frame.is_cuda else frame.numpy()
