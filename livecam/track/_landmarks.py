"""What a landmark network says of one face, and the two networks of MediaPipe (face_landmark, iris_landmark; weights Apache-2.0).

Convention:
    Points are (x, y, z) in frame pixels, pixel-centre units; z in the same scale, smaller is nearer to the camera.
    face_landmark takes (1, 192, 192, 3) float32 RGB 0..1 and gives 468 x (x, y, z) in pixel-centre units of its crop (found by mirroring: the mean of
    160 faces and of their mirror images agrees to 0.03 px so, and is 0.5 px apart if edge units are assumed), and the logit of "this is a face".
    iris_landmark takes (1, 64, 64, 3), the same, the subject's *right* eye (the left one in a mirror), and gives 71 points of the eye region and 5 of
    the iris, in the same units.  Kartynnik et al. 2019; Ablavatski et al. 2020.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from livecam import geometry, runtimes
from livecam.errors import ModelShapeError
from livecam.runtimes import Runtime
from livecam.store import Store
from livecam.track import _eyes, _points, _region
from livecam.track import _topology as topology
from livecam.track._gaze import IRIS_SIDE_PX, GazeNetwork, eye_region
from livecam.track._region import Region
from livecam.types import F32, F64, MESH_POINTS, MESH_POINTS_WITH_IRIS, U8, Detection

MESH_SIDE_PX = 192
MESH_MARGIN = 1.5
"""Side of the region over the mesh's longer extent (MediaPipe's own)."""
DETECTION_MARGIN = 1.6
"""The same over a detector's box, which leaves out the chin's edge and the forehead."""
EYE_ROWS, IRIS_ROWS = 71, 76
"""The iris network's points of the eye region, and all of them."""
PUPIL_REST = 0.57
"""Where between inner (0) and outer (1) corner detectors put the eye: mean over 160 faces against YuNet's points."""


@dataclass(frozen=True, slots=True)
class Landmarks:
    """points_px: (N, 3) float64. five_px: (5, 2) float64, ArcFace order. score: 0..1. region: where the network should look next."""

    points_px: F64
    five_px: F64
    score: float
    region: Region

    def ok(self) -> bool:
        """Whether every number is finite and the face has an extent."""
        return bool(np.isfinite(self.points_px).all() and np.isfinite(self.five_px).all()) and math.isfinite(self.score) and self.region.ok()


class Landmarker(Protocol):
    """Finds the landmarks of one face. Called from one thread."""

    def seed(self, detection: Detection) -> Region:
        """Where to look for the face that a detector found."""
        ...

    def find(self, image: U8, region: Region, track_id: int) -> Landmarks:
        """The landmarks of the face in `region`. `track_id` tells whose they are, for what is kept between frames; -1 keeps nothing."""
        ...

    def forget(self, track_id: int) -> None:
        """This track has ended or starts anew."""
        ...


class FaceMesh:
    """face_landmark: 468 points and a score from a 192-px crop."""

    def __init__(self, store: Store, threads: int) -> None:
        self._network = runtimes.place(store.elsewhere, store.path("face_landmark"), threads, store.compiled_dir)
        sizes = {math.prod(spec.shape): spec.name for spec in self._network.outputs}
        if self._network.inputs[0].shape != (1, MESH_SIDE_PX, MESH_SIDE_PX, 3) or sizes.keys() != {3 * MESH_POINTS, 1}:
            raise ModelShapeError(
                f"face_landmark: expected input (1, {MESH_SIDE_PX}, {MESH_SIDE_PX}, 3) and outputs of {3 * MESH_POINTS} and 1 numbers, "
                f"found {self._network.inputs[0].shape} and {sorted(sizes)}; fetch the model anew"
            )
        self._points, self._score = sizes[3 * MESH_POINTS], sizes[1]
        self._crop = np.zeros((1, MESH_SIDE_PX, MESH_SIDE_PX, 3), np.float32)

    def run(self, image: U8, region: Region, mesh: F64) -> float:
        """Writes 468 points, frame pixels, to `mesh` ((468, 3) float64, C-contiguous); returns the score 0..1."""
        out = _region.look(self._network, image, region, self._crop)
        _points.carry(out[self._points].reshape(MESH_POINTS, 3), to_frame(region, MESH_SIDE_PX), mesh)
        return 1.0 / (1.0 + math.exp(-min(max(float(out[self._score].reshape(-1)[0]), -50.0), 50.0)))


class Iris:
    """iris_landmark: eye contour and iris of one eye from a 64-px crop."""

    def __init__(self, store: Store, threads: int) -> None:
        self._network: Runtime = runtimes.place(store.elsewhere, store.path("iris_landmark"), threads, store.compiled_dir)
        sizes = {math.prod(spec.shape): spec.name for spec in self._network.outputs}
        if self._network.inputs[0].shape != (1, IRIS_SIDE_PX, IRIS_SIDE_PX, 3) or sizes.keys() != {213, 15}:
            raise ModelShapeError(
                f"iris_landmark: expected input (1, {IRIS_SIDE_PX}, {IRIS_SIDE_PX}, 3) and outputs of 213 and 15 numbers, "
                f"found {self._network.inputs[0].shape} and {sorted(sizes)}; fetch the model anew"
            )
        self._eye, self._iris = sizes[213], sizes[15]
        self.crop = np.zeros((1, IRIS_SIDE_PX, IRIS_SIDE_PX, 3), np.float32)
        """What it saw last."""

    def run(self, image: U8, mesh: F64, left: bool, frame: F64) -> F64:
        """(76, 2) of the subject's `left` or right eye: 71 points of its region, 5 of the iris. mesh: (>= 468, 3), where to look.
        frame: frame pixels -> the units wanted."""
        region = eye_region(mesh, left)
        out = _region.look(self._network, image, region, self.crop, mirrored=left)
        both, matrix = np.empty((IRIS_ROWS, 2)), geometry.compose(frame, to_frame(region, IRIS_SIDE_PX, mirrored=left))
        _points.carry(out[self._eye].reshape(EYE_ROWS, 3), matrix, both[:EYE_ROWS])
        _points.carry(out[self._iris].reshape(IRIS_ROWS - EYE_ROWS, 3), matrix, both[EYE_ROWS:])
        return both


@dataclass(slots=True)
class _Eyes:
    """What is kept of a track's eyes, by whether it is the left one. places: (76, 2) in the eye's own frame; gaze: yaw, pitch in degrees."""

    places: dict[bool, F64] = field(default_factory=dict[bool, F64])
    gaze: dict[bool, F64] = field(default_factory=dict[bool, F64])
    next_left: bool = False


class MediaPipeLandmarker:
    """The mesh of 468 points, its eye regions and irises refined. One eye is refined in each frame, in turn (the iris network
    costs more than the mesh): between its turns an eye stays as it was between its corners, and moves along with the other one.

    gaze: where irises are put by what `gaze` says instead of the iris network; None leaves them as that one gives them."""

    def __init__(self, store: Store, threads: int, gaze: GazeNetwork | None = None) -> None:
        self._mesh = FaceMesh(store, threads)
        self._iris = Iris(store, threads)
        self._gaze = gaze
        self._eyes: dict[int, _Eyes] = {}

    def seed(self, detection: Detection) -> Region:
        """Around the detector's box, turned by its eyes; upright when it has no points."""
        x0, y0, x1, y1 = detection.box_px.astype(np.float64).tolist()
        box = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])
        upright = _region.around(box, (1.0, 0.0), DETECTION_MARGIN)
        if detection.five_px is None:
            return upright
        axis = (detection.five_px[1] - detection.five_px[0]).astype(np.float64)
        turn = math.degrees(math.atan2(axis[1], axis[0]))
        return Region(upright.centre_x_px, upright.centre_y_px, upright.side_px, turn)

    def find(self, image: U8, region: Region, track_id: int) -> Landmarks:
        """(478, 3) points; see Landmarker."""
        mesh = np.empty((MESH_POINTS_WITH_IRIS, 3))
        points = mesh[:MESH_POINTS]
        score = self._mesh.run(image, region, points)
        mesh[MESH_POINTS:] = points[topology.RIGHT_EYE_CORNERS[0]]
        look_next = region
        axis = points[topology.LEFT_EYE_CORNERS[1], :2] - points[topology.RIGHT_EYE_CORNERS[0], :2]
        wanted = _region.around(points, axis, MESH_MARGIN)
        if wanted.ok() and math.isfinite(score):
            look_next = region if region.near(wanted) else wanted
            self._refine(image, mesh, track_id)
        return Landmarks(mesh, five_points(mesh), score, look_next)

    def forget(self, track_id: int) -> None:
        """Drop what was kept of a track's eyes."""
        self._eyes.pop(track_id, None)

    def _refine(self, image: U8, mesh: F64, track_id: int) -> None:
        """Eye regions and irises of `mesh` in place."""
        eyes = self._eyes.get(track_id) or _Eyes()
        turn, places = eyes.next_left, eyes.places
        frames = {left: eye_frame(mesh, left) for left in (False, True)}
        before, gaze_before = places.get(turn), eyes.gaze.get(turn)
        for left in (False, True):
            if left == turn or left not in places:
                places[left] = self._iris.run(image, mesh, left, frames[left])
                if self._gaze is not None:
                    eyes.gaze[left] = self._gaze.read(self._iris.crop, _eyes.head_deg(mesh), left)
        if before is not None:
            move_along(places[not turn], places[turn] - before)
        if gaze_before is not None:
            eyes.gaze[not turn] += eyes.gaze[turn] - gaze_before
        for left in (False, True):
            region = topology.LEFT_EYE_REGION if left else topology.RIGHT_EYE_REGION
            iris = topology.LEFT_IRIS if left else topology.RIGHT_IRIS
            _points.place(mesh, places[left], geometry.invert(frames[left]), region, iris.start, topology.EYE_CONTOUR)
        if self._gaze is not None:
            _eyes.put_irises(mesh, eyes.gaze[False], eyes.gaze[True])
        if track_id >= 0:
            eyes.next_left = not turn
            self._eyes[track_id] = eyes


def move_along(eye: F64, shift: F64) -> None:
    """Moves, in place, the eye that was not looked at as the other one moved: irises turn together, and so do upper lids.

    eye, shift: (76, 2) in the eyes' own frames. A wink is put right one frame later.
    """
    region = len(topology.RIGHT_EYE_REGION)
    eye[region:] += np.add.reduce(shift[region:]) / (len(shift) - region)
    upper = slice(topology.LOWER_LID, topology.EYE_CONTOUR)
    arch = np.maximum(1.0 - (2.0 * eye[upper, 0]) ** 2, 0.0)
    drop = float(np.add.reduce(shift[upper, 1])) * arch / max(float(np.add.reduce(arch)), 1e-6 * len(arch))
    eye[upper, 1] = np.minimum(eye[upper, 1] + drop, max(float(eye[: topology.LOWER_LID, 1].max()), 0.0))


def to_frame(region: Region, size_px: int, mirrored: bool = False) -> F64:
    """(2, 3): pixels of a crop -> frame pixels."""
    return geometry.invert(region.matrix(size_px, mirrored))


def eye_frame(points: F64, left: bool) -> F64:
    """(2, 3): frame pixels -> the eye's own units, corners at (-0.5, 0) and (0.5, 0), image-left one first."""
    first, second = topology.LEFT_EYE_CORNERS if left else topology.RIGHT_EYE_CORNERS
    (x0, y0), (x1, y1) = points[first, :2].tolist(), points[second, :2].tolist()
    dx, dy = x1 - x0, y1 - y0
    square = max(dx * dx + dy * dy, 1e-12)
    a, b, x, y = dx / square, -dy / square, (x0 + x1) / 2, (y0 + y1) / 2
    return np.array([[a, -b, b * y - a * x], [b, a, -b * x - a * y]])


def five_points(mesh: F64) -> F64:
    """(5, 2) ArcFace points of a mesh: eyes on the line between their corners (which neither gaze nor blinks move), nose tip, mouth corners."""
    pairs = (topology.RIGHT_EYE_CORNERS, topology.LEFT_EYE_CORNERS[::-1])
    out = np.empty((5, 2))
    for row, (outer, inner) in enumerate(pairs):
        out[row] = mesh[inner, :2] + PUPIL_REST * (mesh[outer, :2] - mesh[inner, :2])
    for row, i in enumerate((topology.NOSE_TIP, topology.RIGHT_MOUTH_CORNER, topology.LEFT_MOUTH_CORNER), 2):
        out[row] = mesh[i, :2]
    return out


def box_of(points: F64 | F32) -> F32:
    """(4,) float32 tight box x0, y0, x1, y1 of points (N, >= 2); NaN when a number is not finite."""
    return np.array(_points.extent(np.ascontiguousarray(points, np.float64), 1.0, 0.0), np.float32)
