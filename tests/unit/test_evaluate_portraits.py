"""Clips made from a portrait: what moves, moves; what is still, is still."""

from __future__ import annotations

import itertools

import cv2
import numpy as np
import pytest

from engines.evaluate import photoreal, portraits
from livecam import geometry


def _portrait() -> portraits.Portrait:
    """A grey picture with a red lower lip and blue eyes, and landmarks where they are."""
    picture = np.full((240, 240, 3), 150, np.uint8)
    picture[150:156, 100:140] = (60, 60, 200)
    mesh = np.zeros((478, 2))
    turn = np.linspace(0, 2 * np.pi, 478)
    mesh[:] = np.stack([120 + 60 * np.cos(turn), 120 + 75 * np.sin(turn)], axis=1)
    across = np.linspace(100, 140, 11)
    mesh[list(portraits.UPPER_INNER)] = np.stack([across, np.full(11, 149.5)], axis=1)
    mesh[list(portraits.LOWER_INNER)] = np.stack([across, np.full(11, 149.9)], axis=1)
    mesh[[61, 291]] = [[97, 150], [143, 150]]
    for i in (0, 37, 267, 39, 269):
        mesh[i] = [120, 144]
    for i in (84, 17, 314, 181, 405, 91, 321):
        mesh[i] = [120 + (i % 7) * 3 - 9, 153]
    for i in portraits.CHIN:
        mesh[i] = [120 + (i % 9) * 4 - 16, 190]
    for i in (4, 2, 98, 327):
        mesh[i] = [120, 125]
    for upper, lower in portraits.LIDS:
        middle = 95.0 if upper[0] == 33 else 145.0
        xs = np.linspace(middle - 10, middle + 10, 9)
        mesh[list(upper)] = np.stack([xs, 100 - 4 * np.sin(np.linspace(0, np.pi, 9))], axis=1)
        mesh[list(lower)] = np.stack([xs, 100 + 4 * np.sin(np.linspace(0, np.pi, 9))], axis=1)
        cv2.fillPoly(picture, [np.round(np.concatenate([mesh[list(upper)], mesh[list(lower)][::-1]])).astype(np.int32)], (200, 60, 60))
    return portraits.Portrait("drawn", picture, mesh)


def _middle(frame: np.ndarray, colour: str) -> tuple[np.ndarray, int]:
    values = frame.astype(int)
    b, r = values[..., 0], values[..., 2]
    rows, cols = np.nonzero(r - b > 60 if colour == "red" else b - r > 60)
    return np.array([cols.mean(), rows.mean()]), len(rows)


def test_jaw_moves_the_lower_lip_down_and_opens_a_dark_mouth() -> None:
    portrait = _portrait()
    calm, wide = portrait.draw(portraits.Moment()), portrait.draw(portraits.Moment(jaw=1.0))
    k = portraits.FACE_PX / 120
    moved = _middle(wide, "red")[0] - _middle(calm, "red")[0]
    assert moved[1] == pytest.approx(portraits.JAW_DROP * 46 * k, rel=0.3)
    assert abs(moved[0]) < 2
    x, y = _middle(calm, "red")[0]
    assert calm[int(y + 4), int(x)].mean() > 90
    assert wide[int(y + 4), int(x)].mean() < 60


def test_lids_hide_the_eyes() -> None:
    portrait = _portrait()
    seen = [_middle(portrait.draw(portraits.Moment(shut=s)), "blue")[1] for s in (0.0, 0.5, 0.9)]
    assert seen[0] > 1.4 * seen[1] > 1.4 * seen[2]


def test_pan_zoom_and_roll_go_where_the_matrix_says() -> None:
    portrait = _portrait()
    calm, moved = portraits.Moment(), portraits.Moment((40.0, -20.0), 1.1, 8.0)
    at = _middle(portrait.draw(calm), "red")[0]
    back = geometry.apply(geometry.invert(portrait.matrix(calm)), at)
    assert np.allclose(_middle(portrait.draw(moved), "red")[0], geometry.apply(portrait.matrix(moved), back), atol=1.0)


def test_wall_stands_still_and_noise_does_not() -> None:
    portrait = _portrait()
    first, second = portrait.draw(portraits.Moment()), portrait.draw(portraits.Moment((30.0, 0.0)))
    assert np.array_equal(first[:, :200], second[:, :200])
    frames = list(portrait.frames([portraits.Moment(still=True)] * 2, seed=1))
    apart = frames[0][:, :200].astype(float) - frames[1][:, :200]
    assert apart.std() == pytest.approx(portraits.NOISE_LEVELS * 2**0.5, rel=0.1)
    again = list(portrait.frames([portraits.Moment(still=True)] * 2, seed=1))
    assert np.array_equal(frames[1], again[1])


def test_script_begins_still_blinks_and_never_jumps() -> None:
    moments = portraits.script(120)
    assert all(m.still for m in moments[:20])
    assert max(m.shut for m in moments) > 0.9
    assert max(m.jaw for m in moments) > 0.9
    steps = [abs(b.shift_px[0] - a.shift_px[0]) + abs(b.shift_px[1] - a.shift_px[1]) for a, b in itertools.pairwise(moments)]
    turns = [abs(b.roll_deg - a.roll_deg) for a, b in itertools.pairwise(moments)]
    assert max(steps) < 0.08 * portraits.FACE_PX
    assert max(turns) < 2.0


def test_summary_counts_frames_and_clips() -> None:
    clips = [photoreal.Clip(str(i), "p", live=[True] * 4, found=[True, True, True, i == 0], pose_deg=[1.0, 2.0, 4.0, 1.0]) for i in range(2)]
    clips[0].changes = [(2.0, 1.0)]
    clips[1].live[0], clips[1].reasons = False, ["a face is not masked"]
    result = photoreal.summary(clips)
    assert result["table"]["found_share"]["value"] == pytest.approx(7 / 8)
    assert result["table"]["pose_kept_share"]["value"] == pytest.approx(0.75)
    assert result["table"]["flicker_ratio"]["value"] == pytest.approx(0.5)
    assert result["table"]["live_share"]["value"] == pytest.approx(7 / 8)
    assert result["covered_because"] == {"a face is not masked": 1}
