"""The hidden mark: drawn as said, invisible enough, read back after what happens to pictures, and never seen where it is not."""

from __future__ import annotations

import math
from functools import cache

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from livecam.config import Config, MarkConfig
from livecam.errors import StageError
from livecam.guard import cover
from livecam.mark import Marker, Payload, _align, _code, _draw, _layout, badge, files, read, short_id
from livecam.types import F32, U8

RUN = 4321
SIGNS = [1, 1, -1, 1, -1, -1, -1, -1, 1, -1, 1, 1, 1, -1, -1, -1]
PLACES = [-1, -1, -1, -1, 63, 28, 24, 12]


@cache
def _scene(width: int = 1280, height: int = 720) -> U8:
    """A room: soft light, a few edges, texture in places, a camera's noise."""
    random = np.random.default_rng(3)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    base = 90 + 60 * x / width + 30 * np.sin(y / height * 3)
    base[height // 3 : height // 2, width // 2 : width * 3 // 4] += 50
    texture = cv2.resize(random.normal(0, 18, (height // 6, width // 6)).astype(np.float32), (width, height))
    base[height // 2 :, : width // 3] += texture[height // 2 :, : width // 3]
    base = cv2.GaussianBlur(base, (0, 0), 1.5)
    colours = np.stack([base * 0.9, base, base * 1.05], axis=2) + random.normal(0, 1.2, (height, width, 1))
    picture = np.clip(colours, 0, 255).astype(np.uint8)
    picture.flags.writeable = False
    return picture


def _marked(picture: U8, persona: str = "noor", **config: str) -> U8:
    marker = Marker(MarkConfig(**config), RUN)  # type: ignore[arg-type]
    marker.wear(persona)
    image = picture.copy()
    marker.mark(image)
    return image


def _read(image: U8) -> read.Reading:
    height, width = image.shape[:2]
    return files.Detector(quick=True).answer([files.Window(0.0, 0.0, read.luma(image))]).best if width and height else pytest.fail()


def _says(reading: read.Reading, persona: str = "noor") -> None:
    assert reading.present, reading.false_alarm
    assert reading.payload == Payload(RUN, short_id(persona))


@given(st.integers(0, 2**_code.MESSAGE_BITS - 1))
@settings(max_examples=40, deadline=None)
def test_a_payload_is_its_number_and_survives_its_code(number: int) -> None:
    payload = Payload.of(number)
    assert payload.number() == number
    soft = 1.0 - 2.0 * _code.encode(number)
    wrong = np.random.default_rng(number).permutation(_code.BITS)[:21]  # as many as the code corrects
    soft[wrong] *= -0.8
    assert _code.decode(soft)[0] == number


def test_the_code_is_the_bch_code_of_length_127() -> None:
    """Its generator divides x**127 - 1, and the first 42 powers of a primitive element are its roots: the least distance is then 43 (BCH bound)."""
    rest = (1 << 127) | 1
    for power in range(127, 97, -1):
        if rest >> power & 1:
            rest ^= _code.GENERATOR << (power - 98)
    assert rest == 0
    exponents = [1]
    for _ in range(126):  # GF(128) by x**7 + x**3 + 1
        value = exponents[-1] << 1
        exponents.append(value ^ 0b10001001 if value & 128 else value)
    for root in range(1, 43):
        value = 0
        for power in range(99):
            if _code.GENERATOR >> power & 1:
                value ^= exponents[power * root % 127]
        assert value == 0, root


def test_a_field_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="run expected 0 to 16383, found 16384"):
        Payload(1 << 14, 0).number()


def test_every_run_has_a_number_of_its_own() -> None:
    assert len({Config().run_number for _ in range(20)}) > 10


def test_the_layout_is_balanced_and_fixed() -> None:
    made = _layout.layout()
    assert np.bincount(made.bit[made.bit >= 0]).tolist() == [_layout.CHIPS_A_BIT] * _layout.BITS
    assert int((made.bit < 0).sum()) == _layout.CHIPS - _layout.BITS * _layout.CHIPS_A_BIT
    assert abs(float(made.signs.mean())) < 4 / math.sqrt(_layout.CHIPS)
    assert made.signs[0, :16].astype(int).tolist() == SIGNS and made.bit[0, :8].tolist() == PLACES, "docs/mark.md gives these: never change them"


@pytest.mark.parametrize("size", [(1280, 720), (640, 480), (854, 480), (161, 91), (100, 60), (1920, 1080)])
def test_the_compiled_drawing_is_the_plain_one(size: tuple[int, int]) -> None:
    picture = cv2.resize(_scene(), size)
    grid, signs = _draw.grid(*size), _layout.chips(_code.encode(12345))
    fast, plain = picture.copy(), picture.copy()
    fast_activity, plain_activity = np.zeros((2, _layout.ROWS, _layout.COLUMNS), np.float32)
    for share in (1.0, 0.25, 0.25):
        _draw.draw(fast, signs, fast_activity, grid, share)
        _draw.draw_plain(plain, signs, plain_activity, grid, share)
        assert np.array_equal(fast, plain)
    assert np.array_equal(fast_activity, plain_activity)


def test_black_and_white_do_not_wrap_around() -> None:
    for level in (0, 255):
        image = np.full((90, 160, 3), level, np.uint8)
        Marker(MarkConfig(badge="off"), RUN).mark(image)
        assert np.abs(image.astype(int) - level).max() <= 3


@pytest.mark.parametrize("noise", [0.0, 2.0, 8.0, 40.0])
def test_the_picture_changes_little(noise: float) -> None:
    picture = np.clip(_scene() + np.random.default_rng(1).normal(0, noise, _scene().shape), 0, 255).astype(np.uint8)
    change = _marked(picture, badge="off").astype(np.float64) - picture
    assert 10 * math.log10(255**2 / np.mean(change**2)) >= 42.0
    assert np.abs(change).max() <= 3
    inside = ((picture > 3) & (picture < 252)).all(axis=2)
    assert np.array_equal(change[..., 0][inside], change[..., 2][inside]), "grey only"


def test_flat_places_change_by_one_level_and_a_blurred_edge_counts_as_flat() -> None:
    ramp = np.repeat(np.repeat(np.linspace(20, 230, 1280, dtype=np.float32)[None, :, None], 720, 0), 3, 2).astype(np.uint8)
    change = _marked(ramp, badge="off").astype(int) - ramp
    assert float((np.abs(change) <= 1).mean()) > 0.95
    assert 0.4 < np.abs(change).mean() < 0.85


def test_a_picture_that_does_not_fit_is_refused() -> None:
    marker = Marker(MarkConfig(), RUN)
    with pytest.raises(StageError, match="8 bits"):
        marker.mark(np.zeros((90, 160, 3), np.float32))  # type: ignore[arg-type]
    with pytest.raises(StageError, match="at least"):
        marker.mark(np.zeros((4, 160, 3), np.uint8))


@pytest.mark.parametrize("quality", [90, 50])
@pytest.mark.parametrize("scale", [1.0, 0.5, 0.3])
def test_a_jpeg_of_any_size_says_its_payload(quality: int, scale: float) -> None:
    image = cv2.resize(_marked(_scene()), None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    packed = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    _says(_read(cv2.imdecode(packed, cv2.IMREAD_COLOR)))


def test_in_bars_mirrored_and_covered_it_is_read_too() -> None:
    marked = cv2.resize(_marked(_scene()), (960, 540), interpolation=cv2.INTER_AREA)
    _says(_read(cv2.copyMakeBorder(marked, 90, 90, 160, 160, cv2.BORDER_CONSTANT, value=(0, 0, 0))))
    _says(_read(np.ascontiguousarray(marked[:, ::-1])))
    covered = _scene().copy()
    cover.pixelate(covered)
    marker = Marker(MarkConfig(), RUN)
    marker.wear("noor")
    marker.mark_flat(covered)
    _says(_read(covered))
    assert not _read(cover.slate(1280, 720, "no camera")).present


def _searched(image: U8) -> read.Reading:
    return files.Detector().answer([files.Window(0.0, 0.0, read.luma(image))]).best


def test_a_cut_picture_is_found() -> None:
    _says(_searched(np.ascontiguousarray(_marked(_scene())[80:640, 100:1124])))


def test_a_small_tilted_window_is_found_by_its_badge() -> None:
    turn = cv2.getRotationMatrix2D((640, 360), 3.0, 0.8)
    image = cv2.warpAffine(_marked(_scene()), turn, (1280, 720), flags=cv2.INTER_AREA, borderValue=(60, 70, 80))
    assert len(_align.badge_scales(read.luma(cv2.resize(image, (800, 450), interpolation=cv2.INTER_AREA))))
    _says(_searched(image))


@pytest.mark.parametrize("kind", ["noise", "chess", "scene", "flat"])
def test_nothing_is_found_where_there_is_nothing(kind: str) -> None:
    y, x = np.mgrid[0:720, 0:1280]
    pictures = {
        "noise": np.random.default_rng(5).integers(0, 256, (720, 1280), np.uint8),
        "chess": (((x // 8 + y // 8) % 2) * 255).astype(np.uint8),
        "scene": _scene()[..., 1],
        "flat": np.full((720, 1280), 128, np.uint8),
    }
    assert not _read(pictures[kind]).present


def test_the_false_alarm_bound_holds_for_random_signs() -> None:
    """Without a mark, a fixed codeword's z exceeds k as rarely as Hoeffding says, whatever the picture: here a heavy-tailed one."""
    random = np.random.default_rng(2)
    carrying = _layout.layout().bit >= 0
    values = (random.standard_cauchy(int(carrying.sum())).clip(-2, 2)).astype(np.float64)
    signs = random.integers(0, 2, (4000, values.size), np.int8) * 2 - 1
    z = signs @ values / math.sqrt(float(values @ values))
    for k in (1.0, 2.0, 3.0):
        assert float((z >= k).mean()) <= math.exp(-k * k / 2)
    assert read.bound(20.0) == pytest.approx(2.0 * 2.0**29 * math.exp(-200.0))
    assert read.bound(20.0, 7) / read.bound(20.0) == pytest.approx(28.0)
    assert read.bound(1.0) == 1.0


@pytest.mark.parametrize("corner", badge.CORNERS)
@pytest.mark.parametrize("size", list(badge.SIZES))
def test_the_badge_stands_in_its_corner_and_can_be_read(corner: str, size: str) -> None:
    image = np.full((720, 1280, 3), 120, np.uint8)
    badge.Badge(MarkConfig(badge=corner, badge_size=size)).draw(image)  # type: ignore[arg-type]
    changed = (image != 120).any(axis=2)
    x, y, w, h = cv2.boundingRect(changed.view(np.uint8))
    assert (x, y, x + w, y + h) == badge.place(1280, 720, corner, size)
    assert (x < 640) == corner.endswith("left") and (y < 360) == corner.startswith("top")
    assert int(image.max()) > 225 and int(image.min()) < 60, "light words on a dark plate"


def test_without_a_badge_the_hidden_mark_stays() -> None:
    _says(_read(_marked(_scene(), badge="off")))


def test_a_picture_too_small_for_the_words_stays_without_badge() -> None:
    image = np.full((40, 50, 3), 120, np.uint8)
    badge.Badge(MarkConfig()).draw(image)
    assert (image == 120).all()


def _film(frames: list[U8], path: str, fps: float = 15.0) -> None:
    writer = cv2.VideoWriter(path, cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"mp4v"), fps, (frames[0].shape[1], frames[0].shape[0]))
    assert writer.isOpened()
    for frame in frames:
        writer.write(frame)
    writer.release()


def test_a_film_says_when_it_is_marked_and_by_which_persona(tmp_path) -> None:  # type: ignore[no-untyped-def]
    plain: F32 | U8 = cv2.resize(_scene(), (640, 360), interpolation=cv2.INTER_AREA)
    first, second = _marked(plain), _marked(plain, "ada")
    _film([plain] * 30 + [first] * 60 + [second] * 30, str(tmp_path / "film.mp4"))
    answer = files.detect(tmp_path / "film.mp4", quick=True)
    assert [(round(s.start_s), round(s.end_s)) for s in answer.stretches] == [(2, 6), (6, 8)]
    assert [s.reading.payload.persona for s in answer.stretches] == [short_id("noor"), short_id("ada")]
    assert answer.marked_s == pytest.approx(6.0)
