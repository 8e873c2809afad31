"""The picture of landmark lines that the generator sees."""

from __future__ import annotations

import numpy as np

from livecam.persona import load, names
from livecam.swap import _lite_lines as lines
from livecam.types import F32

SIZE = 128


def _landmarks() -> F32:
    mesh = load(names()[0]).meshes["neutral"][:, :2].copy()
    mesh -= mesh.min(axis=0)
    return (mesh * (0.8 * SIZE / mesh.max()) + 0.1 * SIZE).astype(np.float32)


def test_each_channel_has_its_parts() -> None:
    points = _landmarks()
    picture = lines.draw(points, SIZE)
    assert picture.shape == (SIZE, SIZE, 3) and picture.dtype == np.uint8
    for channel, indices in ((0, lines.OVAL), (1, lines.EYES[0]), (1, lines.EYES[1]), (2, lines.OUTER_LIPS), (2, lines.INNER_LIPS)):
        x, y = np.rint(points[indices]).astype(int).T
        assert (picture[y, x, channel] > 100).mean() > 0.9
    chin = np.rint(points[152]).astype(int)
    assert picture[chin[1], chin[0], 1:].max() == 0


def test_the_iris_follows_the_gaze_and_hides_behind_closed_lids() -> None:
    points = _landmarks()
    aside = points.copy()
    aside[468:473, 0] -= 3
    for p, q in ((points, aside), (aside, points)):
        x, y = np.rint(p[468]).astype(int)
        assert lines.draw(p, SIZE)[y, x, 1] >= lines.draw(q, SIZE)[y, x, 1]
    assert not np.array_equal(lines.draw(points, SIZE)[..., 1], lines.draw(aside, SIZE)[..., 1])
    shut = points.copy()
    for eye in lines.EYES:
        shut[eye, 1] = points[eye, 1].mean()
    rows = np.flatnonzero(lines.draw(shut, SIZE)[:, : SIZE // 2, 1].max(axis=1))
    assert np.ptp(rows) <= 3


def test_sub_pixel_motion_shows() -> None:
    points = _landmarks()
    assert not np.array_equal(lines.draw(points, SIZE), lines.draw(points + np.float32(0.25), SIZE))


def test_wild_landmarks_are_drawn_without_error() -> None:
    wild = _landmarks()
    wild[:100] = np.nan
    wild[100:200] = 1e9
    wild[200:300] = -np.inf
    assert lines.draw(wild, SIZE).shape == (SIZE, SIZE, 3)
    assert lines.draw(_landmarks()[:468], SIZE)[..., 1].max() > 200
