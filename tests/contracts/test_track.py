"""The contract of the room `track`, held by every member; and what only the mesh promises."""

from __future__ import annotations

from pathlib import Path

import cv2
import insightface_models
import numpy as np
import pytest
from skimage import data

from livecam import detect, geometry, registry, track
from livecam.config import Config, DetectConfig, TrackConfig
from livecam.errors import MissingExtraError, ModelShapeError, StageError
from livecam.store import Store
from livecam.track import Tracker, insightface
from livecam.types import Detection, Face, Frame

MEMBERS = registry.names("track")
PERIOD_NS = 33_333_333


@pytest.fixture(scope="module")
def store() -> Store:
    return Store(Config().run.cache_dir)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("insightface")
    (folder / "models" / "buffalo_l").mkdir(parents=True)
    insightface_models.points106(folder / "models" / "buffalo_l" / "2d106det.onnx")
    return folder


@pytest.fixture(params=MEMBERS)
def member(request: pytest.FixtureRequest, store: Store, home: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, Tracker]:
    monkeypatch.setenv("INSIGHTFACE_HOME", str(home))
    return request.param, track.load(request.param, TrackConfig(), store)


@pytest.fixture(scope="module")
def found(store: Store) -> tuple[Detection, ...]:
    return detect.load("yunet", DetectConfig(), store).detect(picture())[:1]


def picture(matrix: np.ndarray | None = None) -> np.ndarray:
    photo = np.full((720, 1280, 3), 90, np.uint8)
    photo[104:616, 384:896] = cv2.cvtColor(data.astronaut(), cv2.COLOR_RGB2BGR)
    if matrix is not None:
        photo = np.asarray(cv2.warpAffine(photo, matrix, (1280, 720), borderMode=cv2.BORDER_REPLICATE), np.uint8)
    return photo


def moved(detection: Detection, matrix: np.ndarray) -> Detection:
    x0, y0, x1, y1 = detection.box_px
    corners = geometry.apply(matrix, [[x0, y0], [x1, y0], [x1, y1], [x0, y1]])
    assert detection.five_px is not None
    five = geometry.apply(matrix, detection.five_px).astype(np.float32)
    return Detection(np.concatenate([corners.min(axis=0), corners.max(axis=0)]).astype(np.float32), detection.score, five)


def settled(tracker: Tracker, image: np.ndarray, detection: Detection, frames: int = 6) -> Face:
    """The one face after a few frames of the same picture."""
    tracker.reset()
    faces: tuple[Face, ...] = ()
    for i in range(frames):
        faces = tracker.update(Frame(image, i * PERIOD_NS, i), (detection,) if i == 0 else None)
    assert len(faces) == 1
    return faces[0]


def test_it_follows_a_face_and_describes_it_as_agreed(member: tuple[str, Tracker], found: tuple[Detection, ...]) -> None:
    _, tracker = member
    image = picture()
    before = image.copy()
    assert tracker.licence
    assert tracker.update(Frame(image, 0, 0), None) == ()
    first = tracker.update(Frame(image, PERIOD_NS, 1), found)
    again = tracker.update(Frame(image, 2 * PERIOD_NS, 2), None)
    assert np.array_equal(image, before)
    assert len(first) == len(again) == 1 and first[0].track_id == again[0].track_id
    for face in (*first, *again):
        assert face.box_px.shape == (4,) and face.box_px.dtype == np.float32
        assert face.five_px.shape == (5, 2) and face.five_px.dtype == np.float32
        assert 0.5 <= face.score <= 1.0
        assert geometry.iou(face.box_px, found[0].box_px)[0, 0] > 0.3
        assert face.five_px[0, 0] < face.five_px[1, 0], "image-left eye first"


def test_a_number_is_not_used_again_after_reset(member: tuple[str, Tracker], found: tuple[Detection, ...]) -> None:
    _, tracker = member
    first = tracker.update(Frame(picture(), 0, 0), found)[0].track_id
    tracker.reset()
    assert tracker.update(Frame(picture(), PERIOD_NS, 1), None) == ()
    assert tracker.update(Frame(picture(), 2 * PERIOD_NS, 2), found)[0].track_id > first


def test_a_face_that_a_search_of_an_empty_picture_does_not_find_is_lost(member: tuple[str, Tracker], found: tuple[Detection, ...]) -> None:
    _, tracker = member
    tracker.update(Frame(picture(), 0, 0), found)
    assert tracker.update(Frame(np.full((720, 1280, 3), 90, np.uint8), PERIOD_NS, 1), ()) == ()


def test_it_takes_another_size_of_picture_and_boxes_without_points(member: tuple[str, Tracker], found: tuple[Detection, ...]) -> None:
    _, tracker = member
    tracker.update(Frame(picture(), 0, 0), found)
    half = np.array([[0.5, 0, -0.25], [0, 0.5, -0.25]])
    small = np.ascontiguousarray(cv2.resize(picture(), (640, 360), interpolation=cv2.INTER_AREA))
    plain = Detection(moved(found[0], half).box_px, 0.9, None)
    faces = tracker.update(Frame(small, PERIOD_NS, 1), (plain,))
    assert len(faces) == 1 and geometry.iou(faces[0].box_px, plain.box_px)[0, 0] > 0.3


@pytest.mark.parametrize("shape", [(720, 1280), (720, 1280, 4), (0, 10, 3)])
def test_it_refuses_what_is_no_picture(member: tuple[str, Tracker], shape: tuple[int, ...]) -> None:
    with pytest.raises(StageError, match="track expects"):
        member[1].update(Frame(np.zeros(shape, np.uint8), 0, 0), None)


@pytest.mark.parametrize("box", [[0, 0, 0, 0], [-900, -900, -500, -500], [np.nan] * 4, [5, 5, 4, 4]])
def test_a_box_that_is_none_begins_no_track(member: tuple[str, Tracker], box: list[float]) -> None:
    detection = Detection(np.array(box, np.float32), 0.9, None)
    assert member[1].update(Frame(np.full((720, 1280, 3), 90, np.uint8), 0, 0), (detection,)) == ()


@pytest.fixture(scope="module")
def mesh(store: Store) -> Tracker:
    return track.load("mediapipe", TrackConfig(), store)


def test_the_mesh_has_eyes_where_they_are(mesh: Tracker, found: tuple[Detection, ...]) -> None:
    face = settled(mesh, picture(), found[0])
    assert face.mesh_px is not None and face.mesh_px.shape == (478, 3) and face.mesh_px.dtype == np.float32
    assert face.gaze_deg is not None and face.gaze_deg.shape == (2, 2)
    assert face.eye_open is not None and (face.eye_open > 0.5).all(), "her eyes are open"
    irises = face.mesh_px[[468, 473], :2]
    for k, (upper, lower) in enumerate(((159, 145), (386, 374))):
        eye = face.mesh_px[[upper, lower], :2]
        assert eye[0, 1] - 2 < irises[k, 1] < eye[1, 1] + 2
    assert found[0].five_px is not None
    assert np.abs(irises - found[0].five_px[:2]).max() < 10.0
    assert face.mesh_px[4, 2] < face.mesh_px[[234, 454], 2].min(), "the nose is nearer than the ears"


@pytest.mark.parametrize(
    "matrix",
    [geometry.similarity(1.0, 0.0, (200.3, 60.7)), geometry.similarity(1.7, 0.0, (-300, -60)), geometry.similarity(1.2, 25.0, (60, -260))],
    ids=["shift", "zoom", "roll"],
)
def test_the_mesh_moves_with_the_picture(mesh: Tracker, found: tuple[Detection, ...], matrix: np.ndarray) -> None:
    here = settled(mesh, picture(), found[0])
    there = settled(mesh, picture(matrix), moved(found[0], matrix))
    assert here.mesh_px is not None and there.mesh_px is not None
    width = float(there.box_px[2] - there.box_px[0])
    off = geometry.apply(matrix, here.mesh_px[:, :2].astype(float)) - there.mesh_px[:, :2]
    assert np.abs(off.mean(axis=0)).max() < 0.012 * width
    assert np.abs(geometry.apply(matrix, here.five_px.astype(float)) - there.five_px).max() < 0.03 * width


def test_a_mirrored_picture_gives_the_mirrored_face(mesh: Tracker, found: tuple[Detection, ...]) -> None:
    mirror = np.array([[-1.0, 0.0, 1279.0], [0.0, 1.0, 0.0]])
    here = settled(mesh, picture(), found[0])
    other = moved(found[0], mirror)
    assert other.five_px is not None
    there = settled(mesh, np.ascontiguousarray(picture()[:, ::-1]), Detection(other.box_px, 0.9, other.five_px[[1, 0, 2, 4, 3]]))
    width = float(here.box_px[2] - here.box_px[0])
    off = geometry.apply(mirror, here.five_px.astype(float)) - there.five_px[[1, 0, 2, 4, 3]]
    assert np.abs(off[:, 0].mean()) < 0.01 * width, "no half pixel to one side"
    assert np.abs(off).max() < 0.04 * width
    assert here.gaze_deg is not None and there.gaze_deg is not None
    assert abs(float(here.gaze_deg[:, 0].mean() + there.gaze_deg[:, 0].mean())) < 6.0, "yaw changes its sign"
    assert abs(float(here.gaze_deg[:, 1].mean() - there.gaze_deg[:, 1].mean())) < 6.0, "pitch does not"


def test_insightface_names_the_way_to_its_models(tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INSIGHTFACE_HOME", str(tmp_path))
    with pytest.raises(MissingExtraError, match=r"livecam\[insightface\]"):
        insightface.open(TrackConfig(), store)


@pytest.mark.parametrize(("side", "numbers"), [(128, 212), (192, 136)])
def test_insightface_refuses_a_network_of_another_form(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch, side: int, numbers: int
) -> None:
    folder = tmp_path / "models" / "buffalo_l"
    folder.mkdir(parents=True)
    insightface_models.points106(folder / "2d106det.onnx", side, numbers)
    monkeypatch.setenv("INSIGHTFACE_HOME", str(tmp_path))
    with pytest.raises(ModelShapeError, match="212"):
        insightface.open(TrackConfig(), store)
