"""The contract of the room `detect`, held by every member; and what only YuNet or SCRFD promises."""

from __future__ import annotations

from pathlib import Path

import cv2
import insightface_models
import numpy as np
import pytest
from onnx_models import floats, save
from skimage import data

from livecam import detect, geometry, registry
from livecam.config import Config, DetectConfig
from livecam.detect import Detector, scrfd, yunet
from livecam.errors import MissingExtraError, ModelShapeError, StageError
from livecam.store import Store

MEMBERS = registry.names("detect")
FACE_BOX = np.array([174.0, 66.0, 270.0, 178.0])
"""The astronaut's face in her 512-px picture."""


@pytest.fixture(scope="module")
def store() -> Store:
    return Store(Config().run.cache_dir)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("insightface")
    (folder / "models" / "buffalo_l").mkdir(parents=True)
    insightface_models.scrfd(folder / "models" / "buffalo_l" / "det_10g.onnx")
    return folder


@pytest.fixture(params=MEMBERS)
def member(request: pytest.FixtureRequest, store: Store, home: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, Detector]:
    monkeypatch.setenv("INSIGHTFACE_HOME", str(home))
    return request.param, detect.load(request.param, DetectConfig(), store)


def astronaut(scale: float = 1.0) -> np.ndarray:
    photo = cv2.cvtColor(data.astronaut(), cv2.COLOR_RGB2BGR)
    return np.ascontiguousarray(cv2.resize(photo, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC))


def scene(name: str, size: tuple[int, int] = (1280, 720)) -> tuple[np.ndarray, np.ndarray]:
    """A picture with one face as this detector knows faces, and where it is."""
    picture = np.full((720, 1280, 3), 90, np.uint8)
    if name == "scrfd":
        picture[:] = 0
        picture[150:500, 500:850] = 255
        box = np.array([500.0, 150.0, 850.0, 500.0])
    else:
        picture[104:616, 384:896] = astronaut()
        box = FACE_BOX + np.array([384.0, 104.0, 384.0, 104.0])
    return np.ascontiguousarray(cv2.resize(picture, size)), box * (np.array([*size, *size]) / [1280, 720, 1280, 720])


@pytest.mark.parametrize("size", [(1280, 720), (1920, 1080), (640, 480), (1024, 768)])
def test_it_finds_a_face_and_describes_it_as_agreed(member: tuple[str, Detector], size: tuple[int, int]) -> None:
    name, detector = member
    picture, truth = scene(name, size)
    before = picture.copy()
    found = detector.detect(picture)
    assert np.array_equal(picture, before)
    assert detector.licence
    assert found and geometry.iou(found[0].box_px, truth)[0, 0] > 0.1
    assert [d.score for d in found] == sorted((d.score for d in found), reverse=True)
    for one in found:
        assert one.box_px.shape == (4,) and one.box_px.dtype == np.float32
        assert 0.5 <= one.score <= 1.0
        assert one.five_px is not None and one.five_px.shape == (5, 2) and one.five_px.dtype == np.float32
        assert one.five_px[0, 0] < one.five_px[1, 0], "image-left eye first"


def test_it_places_a_face_in_an_upright_picture(member: tuple[str, Detector]) -> None:
    name, detector = member
    picture, truth = scene(name)
    upright = np.concatenate([np.zeros((300, 720, 3), np.uint8), picture[:, 280:1000], np.zeros((300, 720, 3), np.uint8)])
    found = detector.detect(upright)
    assert any(geometry.iou(d.box_px, truth + np.array([-280, 300, -280, 300]))[0, 0] > 0.1 for d in found)


def test_it_finds_nothing_in_an_empty_picture_of_any_size(member: tuple[str, Detector]) -> None:
    for height, width in ((720, 1280), (1, 1), (2, 1000), (37, 53), (1000, 3)):
        assert member[1].detect(np.full((height, width, 3), 60, np.uint8)) == ()


@pytest.mark.parametrize("shape", [(720, 1280), (720, 1280, 4), (0, 10, 3)])
def test_it_refuses_what_is_no_picture(member: tuple[str, Detector], shape: tuple[int, ...]) -> None:
    with pytest.raises(StageError, match="detect expects"):
        member[1].detect(np.zeros(shape, np.uint8))


@pytest.fixture(scope="module")
def real(store: Store) -> Detector:
    return detect.load("yunet", DetectConfig(), store)


@pytest.mark.parametrize("edge", ["left", "right", "top", "bottom"])
def test_yunet_finds_a_face_that_the_edge_cuts_in_half(real: Detector, edge: str) -> None:
    photo = astronaut(3.0)
    x0, y0, x1, y1 = FACE_BOX * 3
    cx, cy = (x0 + x1) / 2, (y0 + y1) / 2
    left = {"left": cx, "right": cx - 1280}.get(edge, cx - 640)
    top = {"top": cy, "bottom": cy - 720}.get(edge, cy - 360)
    picture = cv2.warpAffine(photo, np.array([[1, 0, -left], [0, 1, -top]]), (1280, 720), borderMode=cv2.BORDER_REPLICATE)
    shown = np.clip(np.array([x0 - left, y0 - top, x1 - left, y1 - top]), 0, [1280, 720, 1280, 720])
    boxes = [np.clip(d.box_px, 0, [1280, 720, 1280, 720]) for d in real.detect(np.asarray(picture, np.uint8))]
    assert any(geometry.iou(box, shown)[0, 0] > 0.3 for box in boxes)


@pytest.mark.parametrize("times", [5.0, 8.0, 14.0])
def test_yunet_finds_a_face_that_fills_the_frame(real: Detector, times: float) -> None:
    cx, cy = (FACE_BOX[:2] + FACE_BOX[2:]) / 2
    matrix = np.array([[times, 0, 640 - times * cx], [0, times, 360 - times * cy]])
    picture = np.asarray(cv2.warpAffine(astronaut(), matrix, (1280, 720), borderMode=cv2.BORDER_REPLICATE), np.uint8)
    assert real.detect(picture)


def test_yunet_places_points_without_a_bias_to_one_side(real: Detector) -> None:
    picture, _ = scene("yunet")
    here = real.detect(picture)[0]
    there = real.detect(np.ascontiguousarray(picture[:, ::-1]))[0]
    assert here.five_px is not None and there.five_px is not None
    middle = (here.five_px[[0, 1, 2, 3, 4], 0] + there.five_px[[1, 0, 2, 4, 3], 0]) / 2
    assert np.abs(middle - 639.5).mean() < 5.0


def test_yunet_decodes_a_head_by_the_book() -> None:
    heads = {f"{head}_{s}": np.zeros((1, (64 // s) ** 2, k), np.float32) for s in (8, 16, 32) for head, k in yunet.HEADS.items()}
    cell = 5 * 4 % 16 + 1
    for head, values in {"cls": [0.81], "obj": [1.0], "bbox": [0.5, 0.25, np.log(2.0), 0.0], "kps": list(range(10))}.items():
        heads[f"{head}_16"][0, cell] = values
    boxes, points, scores = yunet.decode(heads, 64, 0.5)
    column, row = cell % 4, cell // 4
    centre = np.array([column + 0.5, row + 0.25]) * 16
    assert np.allclose(scores, [0.9])
    assert np.allclose(boxes, [np.concatenate([centre - np.array([16, 8]), centre + np.array([16, 8])])])
    assert np.allclose(points[0].reshape(5, 2), (np.arange(10).reshape(5, 2) + np.array([column, row])) * 16)
    heads["bbox_16"][0, cell] = np.nan
    assert len(yunet.decode(heads, 64, 0.5)[0]) == 0


def test_scrfd_says_where_the_white_is(home: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INSIGHTFACE_HOME", str(home))
    detector = scrfd.open(DetectConfig(), store)
    assert "non-commercial" in detector.licence
    picture, truth = scene("scrfd")
    for one in detector.detect(picture):
        assert one.five_px is not None
        nose = one.five_px[2]
        assert truth[0] - 145 <= nose[0] <= truth[2] + 145 and truth[1] - 145 <= nose[1] <= truth[3] + 145


def test_scrfd_names_the_way_to_its_models(tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INSIGHTFACE_HOME", str(tmp_path))
    with pytest.raises(MissingExtraError, match=r"livecam\[insightface\]"):
        scrfd.open(DetectConfig(), store)


def test_scrfd_refuses_a_network_of_another_form(tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "models" / "buffalo_s"
    folder.mkdir(parents=True)
    insightface_models.scrfd(folder / "det_500m.onnx", outputs=6)
    monkeypatch.setenv("INSIGHTFACE_HOME", str(tmp_path))
    with pytest.raises(ModelShapeError, match="9 outputs"):
        scrfd.open(DetectConfig(), store)


def test_yunet_refuses_a_network_without_its_heads(tmp_path: Path) -> None:
    from onnx import helper

    same = [1, 3, 64, 64]
    path = save(tmp_path / "other.onnx", [helper.make_node("Relu", ["input"], ["out"])], [floats("input", same)], [floats("out", same)], {})

    class Other(Store):
        def path(self, model_id: str) -> Path:
            return path

    with pytest.raises(ModelShapeError, match="cls_8"):
        yunet.open(DetectConfig(), Other(tmp_path))
