"""The bench's parts that need no run: stamps, schema, table, picture, comparison; and the committed results."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from rich.console import Console

from livecam.bench import _scrfd_size, machine, measure, reference, report
from livecam.capture import stamped
from livecam.cli import bench as bench_cli
from livecam.config import Config, SwapConfig
from livecam.errors import UsageError
from livecam.types import Detection

SCHEMA = json.loads(report.SCHEMA.read_text(encoding="utf-8"))
RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"


def percentiles(value: float) -> dict[str, float]:
    return {"p50": value, "p95": value * 1.5, "p99": value * 2}


def made() -> dict[str, object]:
    stage = {"wall_ms": percentiles(1.2), "cpu_ms": percentiles(1.0)}
    run = {
        "frames": 10, "seconds": 1.0, "fps": 10.0, "cpu_ms_per_frame": 12.0, "stages": {"search": stage, "swap": stage},
        "frame_age_ms": percentiles(20.0), "states": {"LIVE": 10}, "drops": {}, "rss_mb": 500.0, "pss_mb": None, "start_to_first_masked_s": 2.0,
    }  # fmt: skip
    size = {
        "throughput": run,
        "live": run,
        "reference": {"frames": 5, "cpu_ms_per_frame": 120.0, "stages": {"paste": stage}},
        "ratio": {
            "livecam_cpu_ms": 11.0, "reference_cpu_ms": 120.0, "times": 10.9, "reference_light_detector_cpu_ms": 66.0, "times_light_detector": 6.0,
        },
    }
    return {
        "format": report.FORMAT,
        "version": 1,
        "time": "2026-01-01T00:00:00+00:00",
        "command": "livecam bench",
        "machine": machine.describe(),
        "sizes": {"720p": size},
    }


@given(st.integers(1, 2**63 - 1))
def test_a_stamp_reads_back(time_ns: int) -> None:
    image = np.full((32, stamped.WIDTH_PX + 7, 3), 90, np.uint8)
    stamped.write(image, time_ns)
    assert stamped.read(image) == time_ns


def test_no_stamp_is_no_time() -> None:
    noise = np.random.default_rng(1).integers(0, 255, (720, 1280, 3), np.uint8)
    assert stamped.read(noise) is None
    assert stamped.read(np.zeros((720, 1280, 3), np.uint8)) is None
    assert stamped.read(noise[:3]) is None


def test_a_damaged_stamp_is_no_time() -> None:
    image = np.zeros((32, stamped.WIDTH_PX, 3), np.uint8)
    stamped.write(image, 123456789)
    image[:, 8:16] = 255 - image[:, 8:16]
    assert stamped.read(image) is None


def test_result_table_picture_and_comparison(tmp_path: Path) -> None:
    result = made()
    jsonschema.validate(result, SCHEMA)
    report.write(result, tmp_path / "a.json")
    report.picture(result, tmp_path / "a.svg")
    assert "usual way" in (tmp_path / "a.svg").read_text(encoding="utf-8").replace("&#160;", " ")
    faster = copy.deepcopy(result)
    faster["sizes"]["720p"]["throughput"]["fps"] = 20.0  # type: ignore[index]
    console = Console(record=True, width=160)
    console.print(report.compare(report.read(tmp_path / "a.json"), faster))
    assert "2.00" in console.export_text()


def test_another_json_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("[1]", encoding="utf-8")
    with pytest.raises(UsageError, match="expected a result"):
        report.read(tmp_path / "x.json")


def test_the_reference_paste_changes_the_face_and_keeps_the_far_frame() -> None:
    picture = np.full((360, 640, 3), 50, np.uint8)
    matrix = np.array([[0.5, 0.0, -100.0], [0.0, 0.5, -40.0]])
    out = reference.paste_full_frame(picture, np.full((128, 128, 3), 200, np.uint8), matrix)
    assert abs(int(out[208, 328, 0]) - 200) <= 1
    assert np.array_equal(out[:60], picture[:60])


@pytest.mark.parametrize("path", sorted(RESULTS.glob("bench*.json")), ids=lambda p: p.name)
def test_committed_results_keep_to_the_schema(path: Path) -> None:
    jsonschema.validate(json.loads(path.read_text(encoding="utf-8")), SCHEMA)


class OneFace:
    """A detector that sees one face in the middle of the bright part of what it is shown."""

    licence = "none"

    def detect(self, image: NDArray[np.uint8]) -> tuple[Detection, ...]:
        assert image.shape == (640, 640, 3)
        ys, xs = np.nonzero(image[:, :, 0] > 100)
        box = np.array([xs.min() - 0.5, ys.min() - 0.5, xs.max() + 0.5, ys.max() + 0.5], np.float32)
        return (Detection(box, 0.9, np.repeat(box[None, :2], 5, axis=0)),)


def test_the_reference_searches_a_square_and_answers_in_frame_pixels() -> None:
    picture = np.zeros((720, 1280, 3), np.uint8)
    picture[200:400, 600:840] = 255
    (found,) = reference.search_square(picture, OneFace())
    assert np.allclose(found.box_px, [599.5, 199.5, 839.5, 399.5], atol=1.0)
    assert found.five_px is not None and np.allclose(found.five_px[0], found.box_px[:2])


def test_the_detector_that_stands_for_theirs_is_of_its_published_size() -> None:
    products = 0
    for node in _scrfd_size._model().get_ops():
        if node.get_type_name() == "Convolution":
            products += int(np.prod(node.input(1).get_shape())) * int(np.prod(node.output(0).get_shape()[2:]))
    assert products / 1e9 == pytest.approx(10.0 * 640 / 480, rel=0.02), "SCRFD-10G: 10 G multiplications at 640x480"


def test_only_the_run_in_real_time_is_stamped() -> None:
    assert measure.settings(Config(), "720p", realtime=True).capture.camera == "stamped:demo"
    assert measure.settings(Config(), "720p", realtime=False).capture.camera == "demo"


def test_the_result_says_what_was_asked_of_the_generator() -> None:
    assert bench_cli.given(SwapConfig()) == ""
    assert bench_cli.given(SwapConfig(tier="256", model="/home/someone/weights")) == " --model weights --tier 256"
