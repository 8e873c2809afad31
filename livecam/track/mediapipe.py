"""Tracker `mediapipe`: 478 points by MediaPipe's face_landmark and iris_landmark networks (weights Apache-2.0), followed from the previous mesh;
irises lie where our own network `gaze` says that the eyes look."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from livecam.config import TrackConfig
from livecam.store import Store
from livecam.track import _eyes, _points, _smooth
from livecam.track import _topology as topology
from livecam.track._follow import Follower
from livecam.track._gaze import GazeNetwork
from livecam.track._landmarks import MediaPipeLandmarker
from livecam.types import F64, Face


def open(config: TrackConfig, store: Store, threads: int = 1) -> Follower:
    """The tracker on the CPU. Raises ModelFileError, ModelShapeError."""
    _points.warm_up()
    _smooth.warm_up()
    licences = sorted({store.card(name).licence for name in ("face_landmark", "iris_landmark", "gaze")})
    landmarker = MediaPipeLandmarker(store, threads, GazeNetwork(store, threads))
    return Follower(config, landmarker, topology.STABLE, finish, f"MediaPipe face mesh and iris, our own gaze: {', '.join(licences)}")


def finish(face: Face, points: F64) -> Face:
    """`face` with its mesh, gaze and lids. points: (478, 3), smoothed."""
    return replace(face, mesh_px=points.astype(np.float32), gaze_deg=_eyes.gaze_deg(points), eye_open=_eyes.eye_open(points))
