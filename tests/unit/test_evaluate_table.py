"""The table on a set whose every figure is known, with estimators that read it exactly."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pairs_fixture
import pytest

from engines.evaluate import page, perceptual, subjects, table
from engines.evaluate.dataset import Pairs
from engines.evaluate.estimate import Reading, gaze_error_deg, pose_error_deg, yaw_pitch_deg
from engines.evaluate.identity import Identity, fit_calibration
from livecam.errors import UsageError

SIDE = pairs_fixture.SIZE


class _Estimator:
    """Reads brightness as pose: a darker face seems turned."""

    def read(self, picture: np.ndarray, near: np.ndarray) -> Reading:
        inside = picture[24:40, 24:40].astype(float)
        angle = math.radians(float(inside.mean()))
        turn = np.array([[math.cos(angle), 0, math.sin(angle)], [0, 1, 0], [-math.sin(angle), 0, math.cos(angle)]])
        mesh = np.asarray(near, np.float64).copy()
        mesh[:, 0] += inside.mean() * 0.01
        gaze = np.full((2, 2), inside.mean() * 0.1, np.float32)
        return Reading(mesh, 0.9, turn, gaze, gaze, np.ones(2, np.float32))


class _Judge:
    name, licence = "blobs", "none"

    def embed(self, picture: np.ndarray, five_px: np.ndarray) -> np.ndarray:
        small = picture[16:48:4, 22:42:4].astype(float).reshape(-1)
        small -= small.mean()
        return small / np.linalg.norm(small)


class _Lpips:
    def map(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        return np.abs(first.astype(np.float32) - second).mean(axis=2) / 255


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Pairs:
    return Pairs.open(pairs_fixture.write(tmp_path_factory.mktemp("set")))


def _bench() -> table.Bench:
    return table.Bench(_Estimator(), Identity([_Judge()]), lambda size: _Lpips())  # type: ignore[arg-type, return-value]


def test_truth_meets_every_goal_that_is_measured(pairs: Pairs) -> None:
    records = _bench().run(subjects.make("identity", pairs), pairs)
    rows = table.summary(records, None)["table"]
    assert rows["psnr_db"]["value"] == 60.0
    assert rows["pose_deg"]["value"] == pytest.approx(0.0, abs=1e-5)
    assert rows["identity_share"]["value"] == 1.0
    assert rows["flicker_ratio"]["value"] == pytest.approx(1.0)
    assert rows["seam_de2000"]["value"] == pytest.approx(0.0, abs=1e-5)
    assert all(row["met"] is not False for row in rows.values())
    assert rows["large_lpips"]["value"] is None
    assert rows["large_lpips"]["met"] is None


def test_a_drawing_six_levels_darker_is_measured_as_such(pairs: Pairs) -> None:
    records = _bench().run(subjects.make("mesh", pairs), pairs)
    rows = table.summary(records, None)["table"]
    # Six levels and the noise of both pictures, and in the soft rim of alpha the wearer in the persona's place.
    assert 27.0 < rows["psnr_db"]["value"] < 20 * math.log10(255 / math.sqrt(36 + 18))
    assert rows["pose_deg"]["value"] == pytest.approx(6.0, abs=0.5)
    assert rows["pose_deg"]["met"] is False
    assert rows["gaze_deg"]["value"] == pytest.approx(0.85, abs=0.1)
    assert rows["identity_share"]["value"] == 1.0
    assert rows["flicker_ratio"]["value"] == pytest.approx(0.95, abs=0.07)
    assert rows["seam_de2000"]["value"] > 0.3


def test_the_wearer_is_taken_for_no_persona(pairs: Pairs) -> None:
    records = _bench().run(subjects.make("wearer", pairs), pairs)
    rows = table.summary(records, None)["table"]
    assert rows["identity_share"]["value"] < 0.8
    assert rows["identity_share"]["met"] is False
    assert rows["psnr_db"]["met"] is False


def test_splits_hold_all_samples_and_name_their_groups(pairs: Pairs) -> None:
    parts = table.splits(_bench().run(subjects.make("mesh", pairs), pairs))
    assert {"tone", "glasses", "beard_wearer", "beard_persona", "fringe", "yaw", "occluder"} == set(parts)
    assert sum(group["samples"] for group in parts["tone"].values()) == 12
    assert set(parts["tone"]) == {"light", "middle", "dark"}
    assert set(parts["yaw"]) == {"0-15", "15-30", "30+"}
    assert "psnr_db" in parts["glasses"]["yes"]["rows"]


def test_other_form_of_the_network_is_compared(pairs: Pairs) -> None:
    records = _bench().run(subjects.make("mesh", pairs), pairs, against=subjects.make("identity", pairs))
    assert table.summary(records, None)["table"]["int8_psnr_db"]["value"] == pytest.approx(28.5, abs=1.5)


def test_a_subject_that_cannot_draw_is_counted_and_left_out(pairs: Pairs) -> None:
    class Refuses(subjects.Truth):
        def draw(self, sample: subjects.Sample, second: bool = False) -> subjects.Drawn:
            if sample.index == 3:
                raise subjects.StageError("not this one")
            return super().draw(sample, second)

    records = _bench().run(Refuses(), pairs)
    assert len(records.personas) == 11
    assert table.summary(records, None)["refusals"] == ["3: not this one"]


def test_large_faces_are_measured_at_the_sets_size(pairs: Pairs) -> None:
    large = _bench().large(subjects.make("identity", pairs), pairs)
    rows = table.summary(_bench().run(subjects.make("identity", pairs), pairs), large)["table"]
    assert rows["large_gradient_ratio"]["value"] == pytest.approx(1.0)
    assert rows["large_gradient_ratio"]["met"] is True


def test_page_and_json_stand_alone(pairs: Pairs, tmp_path: Path) -> None:
    gallery = page.Gallery(pairs, 5)
    records = _bench().run(subjects.make("mesh", pairs), pairs, seen=gallery.see)
    judges = {"perceptual": perceptual.NAME}
    result = {"swap": "<mesh>", "data": {"samples": 12, "personas": 4}, "judges": judges, **table.summary(records, None)}
    json.dumps(result, allow_nan=False)
    page.write(tmp_path / "q.html", {**result, "splits": table.splits(records)}, gallery.rows)
    text = (tmp_path / "q.html").read_text("utf-8")
    assert text.count("data:image/jpeg;base64,") == 15
    assert "<mesh>" not in text
    assert "http" not in text
    assert gallery.sheet().shape == (3 * page.TILE_PX, 5 * page.TILE_PX, 3)


def test_a_folder_that_is_no_set_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="engines synth pairs"):
        Pairs.open(tmp_path)
    (tmp_path / "pairs-00000.npz").write_bytes(b"PK\x03\x04 no")
    with pytest.raises(UsageError, match="pairs-00000"):
        list(Pairs.open(tmp_path).samples())


def test_unknown_subject_names_the_choices(pairs: Pairs) -> None:
    with pytest.raises(UsageError, match="mesh"):
        subjects.make("nothing", pairs)


def test_angles() -> None:
    quarter = np.array([[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]])
    assert pose_error_deg(np.eye(3), quarter) == pytest.approx(90.0)
    # The face, which looked at the camera (-z), now looks to image-left.
    assert yaw_pitch_deg(quarter)[0] == pytest.approx(-90.0)
    ahead, aside = np.zeros((2, 2), np.float32), np.array([[10, 0], [20, 0]], np.float32)
    assert gaze_error_deg(aside, ahead) == pytest.approx(15.0, abs=1e-3)
    assert gaze_error_deg(aside, ahead, (True, False)) == pytest.approx(10.0, abs=1e-3)
    assert math.isnan(gaze_error_deg(aside, ahead, (False, False)))


def test_calibration_lets_what_changes_within_one_person_count_less() -> None:
    rng = np.random.default_rng(0)

    def people(first: int) -> tuple[np.ndarray, np.ndarray]:
        who = np.repeat(np.arange(first, first + 10), 12)
        rows = rng.normal(0, 1, (10, 24))[who - first] + rng.normal(0, 0.2, (120, 24))
        # Light, the same two directions for everybody, and stronger than identity.
        return rows + rng.normal(0, 8, (120, 2)) @ np.eye(24)[:2], who

    (known, whose), (rows, who) = people(0), people(10)
    calibration = fit_calibration(known, whose)

    def right(made: np.ndarray) -> float:
        scores = made @ made.T - 9 * np.eye(len(made))
        return float((who[scores.argmax(axis=1)] == who).mean())

    plain = rows - rows.mean(axis=0)
    assert right(plain / np.linalg.norm(plain, axis=1, keepdims=True)) < 0.85
    assert right(calibration.apply(rows)) > 0.95
