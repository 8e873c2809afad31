"""Triton kernels of the frame path.

Convention:
    As in livecam/types.py: pixel centres at integers, x right, y down. Pictures are uint8, rows without gaps.
    What changes from frame to frame (matrices, places, colours) is read from float32 tables on the card and not passed as arguments, so that a launch
    can be recorded in a CUDA graph and replayed. Rows of the tables: livecam/gpu/ops.py writes them, and names them.
    Matrices are float32 here: on pictures up to 8192 px wide a place is exact to 1/1000 px.
Formats of a frame: BGR (H, W, 3); NV12, I420 (H * 3 / 2, W), H and W even; YUYV (H, W, 2), W even; the YUV ones in BT.601, limited range, with
OpenCV's own integer arithmetic, so that both paths give the same grey levels.
"""

from __future__ import annotations

import triton
import triton.language as tl

BGR = tl.constexpr(0)
NV12 = tl.constexpr(1)
I420 = tl.constexpr(2)
YUYV = tl.constexpr(3)

TO_Y, TO_BLUE_U, TO_GREEN_U, TO_GREEN_V, TO_RED_V = (tl.constexpr(n) for n in (1220542, 2116026, -409993, -852492, 1673527))
Y_RED, Y_GREEN, Y_BLUE = (tl.constexpr(n) for n in (269484, 528482, 102760))
U_RED, U_GREEN, U_BLUE, V_GREEN, V_BLUE = (tl.constexpr(n) for n in (-155188, -305135, 460324, -385875, -74448))
SHIFT = tl.constexpr(20)
HALF = tl.constexpr(1 << 19)
AT_16, AT_128 = tl.constexpr((16 << 20) + (1 << 19)), tl.constexpr((128 << 20) + (1 << 19))
"""OpenCV's BT.601 in fixed point of 20 bits (modules/imgproc/src/color_yuv.simd.hpp); offsets with their half for rounding."""


@triton.jit
def _round_down(x):
    """floor, as int32."""
    whole = x.to(tl.int32)
    return tl.where(x < whole.to(tl.float32), whole - 1, whole)


@triton.jit
def _byte(x):
    """Rounded and clipped, as float32."""
    return _round_down(tl.minimum(tl.maximum(x, 0.0), 255.0) + 0.5).to(tl.float32)


@triton.jit
def _clip_int(x):
    return tl.minimum(tl.maximum(x, 0), 255)


@triton.jit
def _pixel(frame, x, y, width, height, keep, FORMAT: tl.constexpr):
    """Blue, green, red (int32) of whole pixels inside the frame."""
    if FORMAT == BGR:
        at = frame + (y * width + x) * 3
        blue = tl.load(at, mask=keep, other=0).to(tl.int32)
        green = tl.load(at + 1, mask=keep, other=0).to(tl.int32)
        red = tl.load(at + 2, mask=keep, other=0).to(tl.int32)
    else:
        if FORMAT == YUYV:
            light = tl.load(frame + (y * width + x) * 2, mask=keep, other=16).to(tl.int32)
            pair = frame + (y * width + x // 2 * 2) * 2
            u = tl.load(pair + 1, mask=keep, other=128).to(tl.int32) - 128
            v = tl.load(pair + 3, mask=keep, other=128).to(tl.int32) - 128
        else:
            light = tl.load(frame + y * width + x, mask=keep, other=16).to(tl.int32)
            colour = frame + height * width
            if FORMAT == NV12:
                pair = colour + (y // 2) * width + x // 2 * 2
                u = tl.load(pair, mask=keep, other=128).to(tl.int32) - 128
                v = tl.load(pair + 1, mask=keep, other=128).to(tl.int32) - 128
            else:
                at = (y // 2) * (width // 2) + x // 2
                u = tl.load(colour + at, mask=keep, other=128).to(tl.int32) - 128
                v = tl.load(colour + (height // 2) * (width // 2) + at, mask=keep, other=128).to(tl.int32) - 128
        base = tl.maximum(light - 16, 0) * TO_Y + HALF
        blue = _clip_int((base + u * TO_BLUE_U) >> SHIFT)
        green = _clip_int((base + u * TO_GREEN_U + v * TO_GREEN_V) >> SHIFT)
        red = _clip_int((base + v * TO_RED_V) >> SHIFT)
    return blue, green, red


@triton.jit
def _block(frame, x, y, factor, x0, y0, width, height, keep, FORMAT: tl.constexpr):
    """Mean colour (float32, whole grey levels) of the block (x, y) of factor x factor pixels, the first of which begins at (x0, y0)."""
    blue, green, red = _pixel(frame, x0 + x * factor, y0 + y * factor, width, height, keep, FORMAT)
    if factor > 1:
        k = 1
        while k < factor * factor:
            b, g, r = _pixel(frame, x0 + x * factor + k % factor, y0 + y * factor + k // factor, width, height, keep, FORMAT)
            blue += b
            green += g
            red += r
            k += 1
        area = factor * factor
        blue = (2 * blue + area) // (2 * area)
        green = (2 * green + area) // (2 * area)
        red = (2 * red + area) // (2 * area)
    return blue.to(tl.float32), green.to(tl.float32), red.to(tl.float32)


@triton.jit
def _mirrored(t, count):
    """Places before 0 and from `count` on, seen in the edges (0 1 2 -> 1 0 | 0 1 2 | 2 1)."""
    t = tl.where(t < 0, -t - 1, t)
    return tl.where(t >= count, 2 * count - 1 - t, t)


@triton.jit
def sample(
    frame, table, picture, tensor, width, height, out_width, out_height, scale_blue, scale_green, scale_red, add_blue, add_green, add_red,
    FORMAT: tl.constexpr, PICTURE: tl.constexpr, TENSOR: tl.constexpr, PLANES: tl.constexpr, RGB: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """A part of `frame`, bilinear, what lies outside as at the edge: as a picture (out_height, out_width, 3) BGR (PICTURE), and as a network's
    input (TENSOR), (3, H, W) with PLANES, else (H, W, 3), each channel times its scale plus what is added.

    table: float32 a, b, x, c, d, y (output -> blocks of the frame), factor (side of a block), x and y of the first block, blocks across and down,
    left, top, width and height of what is sampled in the output; around that it is mirrored.
    """
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    keep = i < out_width * out_height
    factor = tl.load(table + 6).to(tl.int32)
    x0, y0 = tl.load(table + 7).to(tl.int32), tl.load(table + 8).to(tl.int32)
    across, down = tl.load(table + 9).to(tl.int32), tl.load(table + 10).to(tl.int32)
    u = _mirrored(i % out_width - tl.load(table + 11).to(tl.int32), tl.load(table + 13).to(tl.int32)).to(tl.float32)
    v = _mirrored(i // out_width - tl.load(table + 12).to(tl.int32), tl.load(table + 14).to(tl.int32)).to(tl.float32)
    x = tl.load(table) * u + tl.load(table + 1) * v + tl.load(table + 2)
    y = tl.load(table + 3) * u + tl.load(table + 4) * v + tl.load(table + 5)
    x = tl.minimum(tl.maximum(x, 0.0), (across - 1).to(tl.float32))
    y = tl.minimum(tl.maximum(y, 0.0), (down - 1).to(tl.float32))
    left, top = _round_down(x), _round_down(y)
    right, bottom = tl.minimum(left + 1, across - 1), tl.minimum(top + 1, down - 1)
    fx, fy = x - left.to(tl.float32), y - top.to(tl.float32)
    b00, g00, r00 = _block(frame, left, top, factor, x0, y0, width, height, keep, FORMAT)
    b01, g01, r01 = _block(frame, right, top, factor, x0, y0, width, height, keep, FORMAT)
    b10, g10, r10 = _block(frame, left, bottom, factor, x0, y0, width, height, keep, FORMAT)
    b11, g11, r11 = _block(frame, right, bottom, factor, x0, y0, width, height, keep, FORMAT)
    w00, w01, w10, w11 = (1.0 - fx) * (1.0 - fy), fx * (1.0 - fy), (1.0 - fx) * fy, fx * fy
    blue = _byte(b00 * w00 + b01 * w01 + b10 * w10 + b11 * w11)
    green = _byte(g00 * w00 + g01 * w01 + g10 * w10 + g11 * w11)
    red = _byte(r00 * w00 + r01 * w01 + r10 * w10 + r11 * w11)
    if PICTURE:
        tl.store(picture + i * 3, blue.to(tl.uint8), mask=keep)
        tl.store(picture + i * 3 + 1, green.to(tl.uint8), mask=keep)
        tl.store(picture + i * 3 + 2, red.to(tl.uint8), mask=keep)
    if TENSOR:
        blue, green, red = blue * scale_blue + add_blue, green * scale_green + add_green, red * scale_red + add_red
        apart = out_width * out_height if PLANES else 1
        at = tensor + (i if PLANES else i * 3)
        kind = tensor.dtype.element_ty
        tl.store(at + (2 * apart if RGB else 0), blue.to(kind), mask=keep)
        tl.store(at + apart, green.to(kind), mask=keep)
        tl.store(at + (0 if RGB else 2 * apart), red.to(kind), mask=keep)


@triton.jit
def _coloured(value, table, channel, u, v):
    """One channel of the crop (float32, whole levels) with its colour mended: factor, offset, slopes along u and v."""
    changed = value * tl.load(table + 15 + channel) + tl.load(table + 18 + channel)
    return _byte(changed + tl.load(table + 21 + channel) * u + tl.load(table + 24 + channel) * v)


@triton.jit
def _drawn(crop, alpha, table, i, j, size, factor, count, keep):
    """Blue, green, red and alpha (float32, whole levels) of the crop's block (i, j) of factor x factor pixels; alpha is 0 on the outermost blocks
    when there is more than one pixel in a block."""
    blue = (i * 0).to(tl.float32)
    green, red, share = blue, blue, blue
    k = 0
    while k < factor * factor:
        column, row = i * factor + k % factor, j * factor + k // factor
        at = row * size + column
        u, v = column.to(tl.float32), row.to(tl.float32)
        blue += _coloured(tl.load(crop + at * 3, mask=keep, other=0).to(tl.float32), table, 0, u, v)
        green += _coloured(tl.load(crop + at * 3 + 1, mask=keep, other=0).to(tl.float32), table, 1, u, v)
        red += _coloured(tl.load(crop + at * 3 + 2, mask=keep, other=0).to(tl.float32), table, 2, u, v)
        share += tl.load(alpha + at, mask=keep, other=0).to(tl.float32)
        k += 1
    if factor > 1:
        area = 1.0 / (factor * factor).to(tl.float32)
        blue, green, red, share = _byte(blue * area), _byte(green * area), _byte(red * area), _byte(share * area)
        rim = (i == 0) | (j == 0) | (i == count - 1) | (j == count - 1)
        share = tl.where(rim, 0.0, share)
    return blue, green, red, share


@triton.jit
def _lay(at, out, over, weight, keep, inside, COPY: tl.constexpr):
    """One channel of `over` over what is at `at`, and with COPY the result to `out`."""
    under = tl.load(at, mask=keep, other=0).to(tl.float32)
    value = _byte(under + (over - under) * weight).to(tl.uint8)
    tl.store(at, value, mask=inside)
    if COPY:
        tl.store(out, value, mask=keep)


@triton.jit
def paste(frame, crop, alpha, table, picture, width, WIDE: tl.constexpr, HIGH: tl.constexpr, COPY: tl.constexpr):
    """Colour, inverse warp, mask and blend of a crop (S, S, 3) with alpha (S, S) into `frame` (H, W, 3) BGR in place, inside its region only.
    With COPY the region is also written to `picture`, row after row without gaps: what goes back to the CPU.

    table: float32 a, b, u, c, d, v (region -> blocks of the crop), x0, y0, x1, y1 of the region, S, factor (side of a block), blocks along a side,
    two unused; then B, G, R each: factor, offset, slope along u, along v.
    Programs beyond the region end at once: the grid is that of the largest region, a recorded launch cannot have another.
    """
    x0, y0 = tl.load(table + 6).to(tl.int32), tl.load(table + 7).to(tl.int32)
    x1, y1 = tl.load(table + 8).to(tl.int32), tl.load(table + 9).to(tl.int32)
    first_x, first_y = x0 + tl.program_id(0) * WIDE, y0 + tl.program_id(1) * HIGH
    if (first_x < x1) & (first_y < y1):
        i = tl.arange(0, WIDE * HIGH)
        x, y = first_x + i % WIDE, first_y + i // WIDE
        keep = (x < x1) & (y < y1)
        size, factor, count = tl.load(table + 10).to(tl.int32), tl.load(table + 11).to(tl.int32), tl.load(table + 12).to(tl.int32)
        dx, dy = (x - x0).to(tl.float32), (y - y0).to(tl.float32)
        u = tl.load(table) * dx + tl.load(table + 1) * dy + tl.load(table + 2)
        v = tl.load(table + 3) * dx + tl.load(table + 4) * dy + tl.load(table + 5)
        last = (count - 1).to(tl.float32)
        inside = keep & (u >= 0.0) & (v >= 0.0) & (u <= last) & (v <= last)
        u, v = tl.minimum(tl.maximum(u, 0.0), last), tl.minimum(tl.maximum(v, 0.0), last)
        left, top = _round_down(u), _round_down(v)
        right, bottom = tl.minimum(left + 1, count - 1), tl.minimum(top + 1, count - 1)
        fx, fy = u - left.to(tl.float32), v - top.to(tl.float32)
        b00, g00, r00, a00 = _drawn(crop, alpha, table, left, top, size, factor, count, inside)
        b01, g01, r01, a01 = _drawn(crop, alpha, table, right, top, size, factor, count, inside)
        b10, g10, r10, a10 = _drawn(crop, alpha, table, left, bottom, size, factor, count, inside)
        b11, g11, r11, a11 = _drawn(crop, alpha, table, right, bottom, size, factor, count, inside)
        w00, w01, w10, w11 = (1.0 - fx) * (1.0 - fy), fx * (1.0 - fy), (1.0 - fx) * fy, fx * fy
        weight = (a00 * w00 + a01 * w01 + a10 * w10 + a11 * w11) * (1.0 / 255.0)
        weight = tl.where(inside, weight, 0.0)
        at = frame + (y * width + x) * 3
        out = picture + ((y - y0) * (x1 - x0) + x - x0) * 3
        _lay(at, out, b00 * w00 + b01 * w01 + b10 * w10 + b11 * w11, weight, keep, inside, COPY)
        _lay(at + 1, out + 1, g00 * w00 + g01 * w01 + g10 * w10 + g11 * w11, weight, keep, inside, COPY)
        _lay(at + 2, out + 2, r00 * w00 + r01 * w01 + r10 * w10 + r11 * w11, weight, keep, inside, COPY)


@triton.jit
def decode(coded, frame, width, height, FORMAT: tl.constexpr, BLOCK: tl.constexpr):
    """`coded` in FORMAT as BGR (H, W, 3)."""
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    keep = i < width * height
    blue, green, red = _pixel(coded, i % width, i // width, width, height, keep, FORMAT)
    tl.store(frame + i * 3, blue.to(tl.uint8), mask=keep)
    tl.store(frame + i * 3 + 1, green.to(tl.uint8), mask=keep)
    tl.store(frame + i * 3 + 2, red.to(tl.uint8), mask=keep)


@triton.jit
def _luma(blue, green, red):
    return (red * Y_RED + green * Y_GREEN + blue * Y_BLUE + AT_16) >> SHIFT


@triton.jit
def encode(frame, coded, width, height, FORMAT: tl.constexpr, BLOCK: tl.constexpr):
    """`frame` (H, W, 3) BGR in FORMAT; each program two rows (one of YUYV) of some pairs of pixels. As OpenCV does, I420 and NV12 take the colour of
    a block's first pixel, YUYV the mean of a pair's sums."""
    ROWS: tl.constexpr = 1 if FORMAT == YUYV else 2
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    half = width // 2
    keep = i < half * (height // ROWS)
    x, y = i % half * 2, i // half * ROWS
    b0, g0, r0 = _pixel(frame, x, y, width, height, keep, BGR)
    b1, g1, r1 = _pixel(frame, x + 1, y, width, height, keep, BGR)
    if FORMAT == YUYV:
        b, g, r = b0 + b1, g0 + g1, r0 + r1
        u = _clip_int((r * U_RED + g * U_GREEN + b * U_BLUE + 2 * AT_128) >> 21)
        v = _clip_int((r * U_BLUE + g * V_GREEN + b * V_BLUE + 2 * AT_128) >> 21)
        at = coded + (y * width + x) * 2
        tl.store(at, _luma(b0, g0, r0).to(tl.uint8), mask=keep)
        tl.store(at + 1, u.to(tl.uint8), mask=keep)
        tl.store(at + 2, _luma(b1, g1, r1).to(tl.uint8), mask=keep)
        tl.store(at + 3, v.to(tl.uint8), mask=keep)
    else:
        b2, g2, r2 = _pixel(frame, x, y + 1, width, height, keep, BGR)
        b3, g3, r3 = _pixel(frame, x + 1, y + 1, width, height, keep, BGR)
        at = coded + y * width + x
        tl.store(at, _luma(b0, g0, r0).to(tl.uint8), mask=keep)
        tl.store(at + 1, _luma(b1, g1, r1).to(tl.uint8), mask=keep)
        tl.store(at + width, _luma(b2, g2, r2).to(tl.uint8), mask=keep)
        tl.store(at + width + 1, _luma(b3, g3, r3).to(tl.uint8), mask=keep)
        u = _clip_int((r0 * U_RED + g0 * U_GREEN + b0 * U_BLUE + AT_128) >> SHIFT).to(tl.uint8)
        v = _clip_int((r0 * U_BLUE + g0 * V_GREEN + b0 * V_BLUE + AT_128) >> SHIFT).to(tl.uint8)
        colour = coded + height * width
        if FORMAT == NV12:
            tl.store(colour + y // 2 * width + x, u, mask=keep)
            tl.store(colour + y // 2 * width + x + 1, v, mask=keep)
        else:
            tl.store(colour + y // 2 * half + x // 2, u, mask=keep)
            tl.store(colour + (height // 2) * half + y // 2 * half + x // 2, v, mask=keep)


@triton.jit
def _spread(field, channel, x, y, side, keep):
    """Bilinear sample of one channel of a field (C, side, side) at (x, y), clamped."""
    last = (side - 1).to(tl.float32)
    x, y = tl.minimum(tl.maximum(x, 0.0), last), tl.minimum(tl.maximum(y, 0.0), last)
    left, top = _round_down(x), _round_down(y)
    right, bottom = tl.minimum(left + 1, side - 1), tl.minimum(top + 1, side - 1)
    fx, fy = x - left.to(tl.float32), y - top.to(tl.float32)
    plane = field + channel * side * side
    upper = tl.load(plane + top * side + left, mask=keep, other=0.0).to(tl.float32) * (1.0 - fx)
    upper += tl.load(plane + top * side + right, mask=keep, other=0.0).to(tl.float32) * fx
    lower = tl.load(plane + bottom * side + left, mask=keep, other=0.0).to(tl.float32) * (1.0 - fx)
    lower += tl.load(plane + bottom * side + right, mask=keep, other=0.0).to(tl.float32) * fx
    return upper * (1.0 - fy) + lower * fy


@triton.jit
def _veil_at(veil, channel, i, j, ratio, own, keep, CHANNELS: tl.constexpr):
    """One channel of a picture (own, own, CHANNELS) enlarged by 1 / ratio, at its whole pixel (i, j)."""
    last = (own - 1).to(tl.float32)
    x = tl.minimum(tl.maximum((i.to(tl.float32) + 0.5) * ratio - 0.5, 0.0), last)
    y = tl.minimum(tl.maximum((j.to(tl.float32) + 0.5) * ratio - 0.5, 0.0), last)
    left, top = _round_down(x), _round_down(y)
    right, bottom = tl.minimum(left + 1, own - 1), tl.minimum(top + 1, own - 1)
    fx, fy = x - left.to(tl.float32), y - top.to(tl.float32)
    upper = tl.load(veil + (top * own + left) * CHANNELS + channel, mask=keep, other=0).to(tl.float32) * (1.0 - fx)
    upper += tl.load(veil + (top * own + right) * CHANNELS + channel, mask=keep, other=0).to(tl.float32) * fx
    lower = tl.load(veil + (bottom * own + left) * CHANNELS + channel, mask=keep, other=0).to(tl.float32) * (1.0 - fx)
    lower += tl.load(veil + (bottom * own + right) * CHANNELS + channel, mask=keep, other=0).to(tl.float32) * fx
    return upper * (1.0 - fy) + lower * fy


@triton.jit
def mix(veil, drawing, mask, base, size, own, BLOCK: tl.constexpr):
    """The drawing (size, size, 3) where its mask says so, else the wearer's veil (own, own, 3), to base (size, size, 3)."""
    n = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    keep = n < size * size * 3
    pixel, channel = n // 3, n % 3
    share = tl.load(mask + pixel, mask=keep, other=0).to(tl.float32)
    over = tl.load(drawing + n, mask=keep, other=0).to(tl.float32)
    under = _veil_at(veil, channel, pixel % size, pixel // size, own.to(tl.float32) / size.to(tl.float32), own, keep, 3)
    tl.store(base + n, _byte((over * share + under * (255.0 - share)) * (1.0 / 255.0)).to(tl.uint8), mask=keep)


@triton.jit
def fill(veil, drawing, mask, lines, tensor, own, factor, BLOCK: tl.constexpr):
    """The generator lite's input (10, own, own) of the wearer's veil (own, own, 3), what mesh drew (size, size, 3) with its mask, averaged (size is
    own * factor), and the lines (own, own, 3). As `livecam.swap._lite_tensor.fill`."""
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    plane = own * own
    keep = i < plane
    size = own * factor
    x, y = i % own * factor, i // own * factor
    blue = (i * 0).to(tl.float32)
    green, red, share = blue, blue, blue
    k = 0
    while k < factor * factor:
        at = (y + k // factor) * size + x + k % factor
        blue += tl.load(drawing + at * 3, mask=keep, other=0).to(tl.float32)
        green += tl.load(drawing + at * 3 + 1, mask=keep, other=0).to(tl.float32)
        red += tl.load(drawing + at * 3 + 2, mask=keep, other=0).to(tl.float32)
        share += tl.load(mask + at, mask=keep, other=0).to(tl.float32)
        k += 1
    mean, unit = 1.0 / (factor * factor).to(tl.float32), 1.0 / 255.0
    kind = tensor.dtype.element_ty
    for c in tl.static_range(3):
        tl.store(tensor + c * plane + i, (tl.load(veil + i * 3 + 2 - c, mask=keep, other=0).to(tl.float32) * unit).to(kind), mask=keep)
        tl.store(tensor + (7 + c) * plane + i, (tl.load(lines + i * 3 + c, mask=keep, other=0).to(tl.float32) * unit).to(kind), mask=keep)
    tl.store(tensor + 3 * plane + i, (_byte(red * mean) * unit).to(kind), mask=keep)
    tl.store(tensor + 4 * plane + i, (_byte(green * mean) * unit).to(kind), mask=keep)
    tl.store(tensor + 5 * plane + i, (_byte(blue * mean) * unit).to(kind), mask=keep)
    tl.store(tensor + 6 * plane + i, (_byte(share * mean) * unit).to(kind), mask=keep)


@triton.jit
def compose(base, eyes, light, flow, added, mask, crop, alpha, broken, size, own, coarse, fine, limit, BLOCK: tl.constexpr):
    """What lite's outputs make of `mix`'s base (size, size, 3) and the drawing's mask: crop and alpha of the same size. light (3, coarse, coarse),
    flow and added (2 and 4, fine, fine); eyes (own, own): see `livecam.swap._lite_tensor.compose`. limit: greatest displacement in pixels.
    broken (1,) int32 becomes 1 when a value is not finite."""
    n = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    keep = n < size * size
    i, j = n % size, n // size
    x, y = i.to(tl.float32), j.to(tl.float32)
    to_own = own.to(tl.float32) / size.to(tl.float32)
    to_fine, to_coarse = fine.to(tl.float32) / size.to(tl.float32), coarse.to(tl.float32) / size.to(tl.float32)
    fine_x, fine_y = (x + 0.5) * to_fine - 0.5, (y + 0.5) * to_fine - 0.5
    coarse_x, coarse_y = (x + 0.5) * to_coarse - 0.5, (y + 0.5) * to_coarse - 0.5
    move_x = _spread(flow, 0, fine_x, fine_y, fine, keep) / to_own
    move_y = _spread(flow, 1, fine_x, fine_y, fine, keep) / to_own
    total = tl.abs(move_x) + tl.abs(move_y)
    # What is not finite is told by `broken`; as a place it would be an address outside of everything.
    move_x, move_y = tl.where(total < 1e30, move_x, 0.0), tl.where(total < 1e30, move_y, 0.0)
    last = (size - 1).to(tl.float32)
    from_x = tl.minimum(tl.maximum(x + tl.minimum(tl.maximum(move_x, -limit), limit), 0.0), last)
    from_y = tl.minimum(tl.maximum(y + tl.minimum(tl.maximum(move_y, -limit), limit), 0.0), last)
    left, top = _round_down(from_x), _round_down(from_y)
    right, bottom = tl.minimum(left + 1, size - 1), tl.minimum(top + 1, size - 1)
    fx, fy = from_x - left.to(tl.float32), from_y - top.to(tl.float32)
    skin = 1.0 - _veil_at(eyes, 0, i, j, to_own, own, keep, 1) * (1.0 / 255.0)
    for c in tl.static_range(3):
        upper = tl.load(base + (top * size + left) * 3 + c, mask=keep, other=0).to(tl.float32) * (1.0 - fx)
        upper += tl.load(base + (top * size + right) * 3 + c, mask=keep, other=0).to(tl.float32) * fx
        lower = tl.load(base + (bottom * size + left) * 3 + c, mask=keep, other=0).to(tl.float32) * (1.0 - fx)
        lower += tl.load(base + (bottom * size + right) * 3 + c, mask=keep, other=0).to(tl.float32) * fx
        moved = upper * (1.0 - fy) + lower * fy
        lit = _spread(light, 2 - c, coarse_x, coarse_y, coarse, keep)
        more = _spread(added, 2 - c, fine_x, fine_y, fine, keep)
        total += tl.abs(lit) + tl.abs(more)
        tl.store(crop + n * 3 + c, _byte(moved + skin * (moved * lit + more * 255.0)).to(tl.uint8), mask=keep)
    more = _spread(added, 3, fine_x, fine_y, fine, keep)
    total += tl.abs(more)
    share = tl.load(mask + n, mask=keep, other=0).to(tl.float32)
    tl.store(alpha + n, _byte(share + tl.maximum(more, 0.0) * 255.0).to(tl.uint8), mask=keep)
    tl.store(broken + n * 0, n * 0 + 1, mask=keep & ((total >= 1e30) | (total != total)))
