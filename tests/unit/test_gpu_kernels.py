"""Every kernel of the card against the plain CPU version, in Triton's interpreter (or on a card, where there is one); and that each compiles."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pasted import at, oval

torch = pytest.importorskip("torch", reason="the extra torch is not installed")
pytest.importorskip("triton", reason="the extra torch is not installed (triton)")
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
if DEVICE == "cpu":
    os.environ["TRITON_INTERPRET"] = "1"

from livecam import geometry, image  # noqa: E402
from livecam.blend import colour as colour_match  # noqa: E402
from livecam.blend import offset  # noqa: E402
from livecam.detect._boxes import Fit  # noqa: E402
from livecam.errors import StageError  # noqa: E402
from livecam.gpu import ops  # noqa: E402
from livecam.swap import _lite_tensor as lite  # noqa: E402
from livecam.track import _region  # noqa: E402
from livecam.types import Alignment  # noqa: E402

QUICK = settings(max_examples=12, deadline=None, derandomize=True)
ROOT = Path(__file__).resolve().parents[2]


def smooth(height: int, width: int, seed: int, channels: int = 3) -> np.ndarray:
    noise = np.random.default_rng(seed).random((height, width, channels), np.float32)
    return cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 1.5), None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8).reshape(height, width, channels)


def up(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array).copy()).to(DEVICE)


def off(a: torch.Tensor, b: np.ndarray) -> int:
    return int(np.abs(a.cpu().numpy().astype(int) - b.astype(int)).max())


def coded(picture: np.ndarray, form: str) -> tuple[np.ndarray, np.ndarray]:
    """A frame in `form`, and what OpenCV makes of it again."""
    if form == "BGR":
        return picture, picture
    if form == "YUYV":
        made = cv2.cvtColor(picture, cv2.COLOR_BGR2YUV_YUY2)
        return made, cv2.cvtColor(made, cv2.COLOR_YUV2BGR_YUY2)
    made = cv2.cvtColor(picture, cv2.COLOR_BGR2YUV_I420)
    back = cv2.cvtColor(made, cv2.COLOR_YUV2BGR_I420)
    if form == "NV12":
        height, width = picture.shape[:2]
        planes = made.reshape(-1)[height * width :].reshape(2, -1)
        made = np.concatenate([made.reshape(-1)[: height * width], planes.T.reshape(-1)]).reshape(made.shape)
    return made, back


places = st.tuples(st.floats(-20, 110), st.floats(-20, 80), st.floats(12, 260), st.floats(-180, 180))


@QUICK
@given(places, st.integers(9, 65), st.integers(8, 70), st.integers(8, 96), st.integers(0, 99))
def test_crop_is_the_plain_one_whatever_the_size_and_the_turn(place: tuple, size: int, height: int, width: int, seed: int) -> None:
    frame, alignment = smooth(height, width, seed), at(*place, size)
    assert off(ops.crop(up(frame), "BGR", alignment), image.crop_plain(frame, alignment)) <= 1


@pytest.mark.parametrize("form", ["NV12", "I420", "YUYV"])
@pytest.mark.parametrize("place", [(48, 30, 50, 20), (2, 60, 80, -100)])
def test_crop_out_of_the_cameras_own_format(form: str, place: tuple) -> None:
    frame, back = coded(smooth(62, 98, 5), form)
    alignment = at(*place, 48)
    assert off(ops.crop(up(frame), form, alignment), image.crop_plain(back, alignment)) <= 1


@pytest.mark.parametrize("form", ["NV12", "I420", "YUYV"])
@pytest.mark.parametrize("size", [(2, 2), (38, 62), (30, 66)])
def test_formats_there_and_back_as_opencv(form: str, size: tuple[int, int]) -> None:
    picture = np.random.default_rng(7).integers(0, 256, (*size, 3)).astype(np.uint8)
    wanted, back = coded(picture, form)
    out, again = up(np.zeros_like(wanted)), up(np.zeros_like(picture))
    ops.encode(up(picture), form, out)
    assert off(out, wanted) <= 1
    ops.decode(up(wanted), form, again)
    assert off(again, back) <= 1


def test_odd_sides_are_refused_where_a_format_has_none() -> None:
    with pytest.raises(StageError, match="even sides"):
        ops.encode(up(smooth(9, 8, 0)), "I420", up(np.zeros((13, 8), np.uint8)))
    with pytest.raises(StageError, match="63x40"):
        ops.coded_shape(40, 63, "YUYV")


@QUICK
@given(places, st.integers(12, 64), st.integers(8, 70), st.integers(8, 96), st.integers(0, 99))
def test_paste_is_the_plain_one_within_a_grey_level(place: tuple, size: int, height: int, width: int, seed: int) -> None:
    frame, alignment = smooth(height, width, seed), at(*place, size)
    crop, alpha = smooth(size, size, seed + 1), oval(size)
    plain, ours = frame.copy(), up(frame)
    roi = image.paste_plain(plain, alignment, crop, alpha)
    assert ops.paste_now(ours, alignment, crop, alpha) == roi
    assert off(ours, plain) <= 1
    x0, y0, x1, y1 = roi
    outside = np.ones((height, width), bool)
    outside[y0:y1, x0:x1] = False
    assert np.array_equal(ours.cpu().numpy()[outside], frame[outside])


def test_paste_hands_back_the_region_and_ends_outside_of_it() -> None:
    frame, alignment, size = smooth(70, 96, 1), at(40, 30, 40, 15, 48), 48
    crop, alpha = smooth(size, size, 2), oval(size)
    roi, matrix, factor = image.paste_plan(frame, alignment, crop, alpha)
    ours, copy = up(frame), up(np.full(70 * 96 * 3, 7, np.uint8))
    ops.paste(ours, up(crop), up(alpha), up(ops.paste_row(roi, matrix, factor, size)), copy=copy)  # the grid of a whole frame
    x0, y0, x1, y1 = roi
    count = (y1 - y0) * (x1 - x0) * 3
    assert np.array_equal(copy[:count].cpu().numpy(), ours[y0:y1, x0:x1].cpu().numpy().reshape(-1))
    assert (copy[count:] == 7).all()
    assert off(ours, frame) > 20


@pytest.mark.parametrize("place", [(48, 30, 50, 20), (30, 30, 9, 0), (5, 60, 90, 170)])
def test_colour_and_paste_in_one(place: tuple) -> None:
    """The seam's plane, and a factor with an offset, in the kernel as before the paste on the CPU."""
    size = 64
    frame, crop, alpha, alignment = smooth(70, 96, 3), smooth(size, size, 4), oval(size), at(*place, size)
    plane = np.array([[9.0, -14.0, 3.5], [4.0, 6.0, -8.0], [-3.0, 5.0, 7.0]])
    affine = np.array([[1.2, 0.8, 1.0], [-9.0, 20.0, 3.0]])
    for changed, row in (
        (offset.apply_plain(crop, plane), ops.colour_of_plane(plane, size)),
        (colour_match.apply_plain(crop, affine), ops.colour_of_affine(affine)),
    ):
        plain, ours = frame.copy(), up(frame)
        image.paste_plain(plain, alignment, changed, alpha)
        ops.paste_now(ours, alignment, crop, alpha, row)
        assert off(ours, plain) <= 1


@pytest.mark.parametrize(("side", "mirrored"), [(30.0, False), (70.0, True), (150.0, False)])
def test_a_landmark_networks_view(side: float, mirrored: bool) -> None:
    """Averaged over blocks when the region is much larger than the network's picture; RGB 0..1, channels last."""
    frame, region, size = smooth(160, 200, 6), _region.Region(90.0, 70.0, side, 23.0), 32
    wanted = _region.crop_rgb(frame, region, size, mirrored)
    matrix, blocks = ops.view_of(region.matrix(size, mirrored), region.side_px, (160, 200), size)
    tensor = up(np.zeros((1, size, size, 3), np.float32))
    ops.sample(up(frame), "BGR", up(ops.sample_row(matrix, blocks, (size, size))), (size, size), tensor=tensor, normal=ops.Normal(planes=False))
    assert np.abs(tensor.cpu().numpy()[0] - wanted).max() * 255.0 <= 1.01 + (3.0 if blocks.factor == 1 else 0.0)  # OpenCV's own steps of 1/32 px


@pytest.mark.parametrize("size", [(360, 640), (240, 320), (331, 275), (300, 300)])
def test_the_detectors_picture(size: tuple[int, int]) -> None:
    frame, fit = cv2.GaussianBlur(smooth(*size, 9), (0, 0), 2.0), Fit.of(*size, 160)
    wanted = fit.picture(frame).transpose(2, 0, 1).astype(np.float32)
    tensor = up(np.zeros((1, 3, fit.height_px, fit.width_px), np.float32))
    ops.see_whole(up(frame), "BGR", fit, tensor)
    # Odd sides are halved by OpenCV into shares of pixels, here into whole ones: the picture lies the same, an edge may be a little softer.
    assert np.abs(tensor.cpu().numpy()[0] - wanted).max() <= (1.01 if not any(n % 2 for n in size) else 8.0)


@pytest.mark.parametrize(("size", "own"), [(32, 32), (64, 32), (96, 32)])
def test_lite_is_filled_and_composed_as_on_the_cpu(size: int, own: int) -> None:
    rng = np.random.default_rng(size)
    veil, lines, drawing, mask = cv2.GaussianBlur(smooth(own, own, 1), (0, 0), 3.0), smooth(own, own, 2), smooth(size, size, 3), oval(size)
    x, wanted = up(np.zeros((1, 10, own, own), np.float32)), np.zeros((1, 10, own, own), np.float32)
    lite.fill_plain(veil, lite.resized(drawing, own), lite.resized(mask, own), lines, wanted)
    ops.fill(up(veil), up(drawing), up(mask), up(lines), x)
    assert np.abs(x.cpu().numpy() - wanted).max() * 255.0 <= 1.01
    light, flow, added = (rng.normal(size=s).astype(np.float32) * g for s, g in (((1, 3, 8, 8), 0.1), ((1, 2, 16, 16), 2.0), ((1, 4, 16, 16), 0.05)))
    eyes = oval(own)
    crop, alpha = drawing.copy(), mask.copy()
    assert lite.compose_plain(veil, eyes, light, flow, added, crop, alpha)
    ours, share, base, broken = up(np.zeros_like(drawing)), up(np.zeros_like(mask)), up(np.zeros_like(drawing)), up(np.zeros(1, np.int32))
    fields = [up(field) for field in (light, flow, added)]
    ops.compose(up(veil), up(eyes), fields, up(drawing), up(mask), ours, share, base, broken, lite.FLOW_LIMIT)
    assert off(ours, crop) <= 1
    assert off(share, alpha) <= 1
    assert int(broken) == 0
    fields[1][0, 0, 3, 3] = float("nan")
    ops.compose(up(veil), up(eyes), fields, up(drawing), up(mask), ours, share, base, broken, lite.FLOW_LIMIT)
    assert int(broken) == 1


def test_a_table_without_an_inverse_and_wrong_shapes_are_refused() -> None:
    frame = up(smooth(20, 20, 0))
    with pytest.raises(StageError, match="invertible"):
        ops.crop(frame, "BGR", Alignment(np.zeros((2, 3)), 16))
    with pytest.raises(StageError, match="invertible"):
        ops.paste_now(frame, Alignment(np.zeros((2, 3)), 16), smooth(16, 16, 0), oval(16))
    with pytest.raises(StageError, match="the crop"):
        ops.sample(frame, "BGR", frame, (16, 16), picture=up(smooth(15, 16, 0)))
    identity = Alignment(geometry.similarity(1.0, 0.0, (0.0, 0.0)), 16)
    assert ops.paste_now(frame, identity, smooth(16, 16, 0), np.zeros((16, 16), np.uint8)) == image.NOTHING


COMPILE = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from livecam.gpu import kernels as k
P, F, I, S = "*u8", "*fp32", "i32", "fp32"
six = dict.fromkeys(("scale_blue", "scale_green", "scale_red", "add_blue", "add_green", "add_red"), S)
pair = dict(width=I, height=I)
work = [
    (k.decode, dict(coded=P, frame=P, **pair), [dict(FORMAT=f, BLOCK=256) for f in (1, 2, 3)]),
    (k.encode, dict(frame=P, coded=P, **pair), [dict(FORMAT=f, BLOCK=256) for f in (1, 3)]),
    (k.sample, dict(frame=P, table=F, picture=P, tensor="*fp16", out_width=I, out_height=I, **pair, **six),
     [dict(FORMAT=0, PICTURE=True, TENSOR=True, PLANES=True, RGB=True, BLOCK=256)]),
    (k.paste, dict(frame=P, crop=P, alpha=P, table=F, picture=P, width=I), [dict(WIDE=32, HIGH=8, COPY=True)]),
    (k.fill, dict(veil=P, drawing=P, mask=P, lines=P, tensor=F, own=I, factor=I), [dict(BLOCK=256)]),
    (k.mix, dict(veil=P, drawing=P, mask=P, base=P, size=I, own=I), [dict(BLOCK=256)]),
    (k.compose, dict(base=P, eyes=P, light=F, flow=F, added=F, mask=P, crop=P, alpha=P, broken="*i32", size=I, own=I, coarse=I, fine=I, limit=S),
     [dict(BLOCK=256)]),
]
for kernel, kinds, choices in work:
    for constants in choices:
        all_kinds = kinds | dict.fromkeys(constants, "constexpr")
        signature = {name: all_kinds[name] for name in kernel.arg_names}
        places = {(kernel.arg_names.index(name),): value for name, value in constants.items()}
        made = triton.compile(ASTSource(kernel, signature, places), target=GPUTarget("cuda", ARCHITECTURE, 32))
        assert len(made.asm["cubin"]) > 1000
print("all compiled")
"""


@pytest.mark.parametrize("architecture", [75, 120])
def test_every_kernel_compiles_ahead_of_time(architecture: int, tmp_path: Path) -> None:
    """The interpreter takes what the compiler refuses: so each is compiled for the oldest and the newest cards, without one."""
    env = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"} | {"TRITON_CACHE_DIR": str(tmp_path)}
    code = COMPILE.replace("ARCHITECTURE", str(architecture))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=280, cwd=ROOT, env=env)
    assert done.stdout.strip() == "all compiled", done.stderr[-2000:]
