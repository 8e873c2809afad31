"""What livecam's own tracker, aligner and mesh swapper make of rendered pictures.

Convention: as in livecam.types; crops have ArcFace's template, scale 0.78, offset (0, -0.06), 256 px unless told.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from engines.synth.assets import Bytes, Floats
from engines.synth.cast import Actor, Kept
from engines.synth.expression import Pose
from engines.synth.film import develop, over
from engines.synth.labels import FaceLabels, label_face
from engines.synth.light import SOFT_FRONT
from engines.synth.scene import Camera
from livecam import align, geometry, image, persona, track
from livecam.config import RunConfig, SwapConfig, TrackConfig
from livecam.store import Store
from livecam.swap import mesh
from livecam.types import Alignment, CropSpec, Detection, Face, Frame, Swapped

SPEC = CropSpec(256, "arcface_112_v2", 0.78, (0.0, -0.06))
FRAME_NS = 33_000_000
LOOKS = 2
"""Frames that the tracker sees: it converges on the second."""
MOST_ERROR = 0.14
"""Tracked five points further than this share of the face's width from the truth are a lost face."""
LEARNING_FRAMES = 24
"""Frames of the calm face from which the mesh swapper learns a wearer, as it does when live."""
SETTLING_FRAMES = 4
"""Frames of a sample until gaze and lids have settled."""
CALM = Pose({"eyeBlinkLeft": 0.05, "eyeBlinkRight": 0.05, "mouthSmileLeft": 0.1,
             "mouthSmileRight": 0.1})
CALM_SIDE, CALM_FOCAL, CALM_DISTANCE_DM = 400, 760.0, 5.6
WORN_KEPT, LEARNT_KEPT, CALM_KEPT = 24, 64, 64


@dataclass(frozen=True, slots=True)
class Seen:
    """A face as the tracker sees it, and its crop's alignment."""

    face: Face
    alignment: Alignment

    def landmarks(self) -> Floats:
        """(478, 3) float32 in crop pixels."""
        assert self.face.mesh_px is not None
        return geometry.apply(self.alignment.matrix, self.face.mesh_px).astype(np.float32)


class Live:
    """The live loop's parts; called from one thread."""

    def __init__(self, people: Path, size_px: int = SPEC.size_px) -> None:
        """people: folder of persona files NNN.safetensors; size_px: of the crops."""
        self._people = people
        self._spec = replace(SPEC, size_px=size_px)
        self._tracker = track.load("mediapipe", TrackConfig(), Store(RunConfig().cache_dir))
        self._now_ns = 0
        self._number = 0
        self._worn: Kept[int, mesh.MeshSwapper] = Kept(WORN_KEPT)
        self._calm: Kept[int, tuple[Bytes, Seen] | None] = Kept(CALM_KEPT)
        self._learnt: Kept[tuple[int, int], mesh._Track] = Kept(LEARNT_KEPT)

    def see(self, picture: Bytes, truth: FaceLabels) -> Seen | None:
        """The face in a picture (H, W, 3), found from its true box; None when it is lost."""
        self._tracker.reset()
        found = (Detection(truth.box_px, 1.0, truth.five_px),)
        faces: tuple[Face, ...] = ()
        for k in range(LOOKS):
            self._now_ns += FRAME_NS
            faces = self._tracker.update(Frame(picture, self._now_ns, 0), found if k == 0 else None)
            if not faces:
                return None
        face = faces[0]
        width = float(truth.box_px[2] - truth.box_px[0])
        error = float(np.linalg.norm(face.five_px - truth.five_px, axis=1).mean())
        if error > MOST_ERROR * width:
            return None
        return Seen(face, align.align(face.five_px, self._spec))

    def follow(self, picture: Bytes) -> Face | None:
        """The same face in the next frame; None when it is lost."""
        self._now_ns += FRAME_NS
        faces = self._tracker.update(Frame(picture, self._now_ns, 0), None)
        return faces[0] if faces else None

    def swap(self, a: int, b: int, wearer: Actor, crop: Bytes, seen: Seen) -> Swapped:
        """What the mesh swapper, wearing persona b, draws on wearer a's crop, its state settled."""
        swapper = self._worn.get(b, lambda: self._dressed(b))
        learnt = self._learnt.get((a, b), lambda: self._learn(swapper, a, wearer))
        self._number += 1
        # The swapper keeps what it learnt per track; here a track begins where learning ended.
        swapper._tracks[self._number] = copy.deepcopy(learnt)
        out = None
        for _ in range(SETTLING_FRAMES):
            out = swapper.swap(crop, self._renumbered(seen.face), seen.alignment)
        assert out is not None
        return out

    def _renumbered(self, face: Face) -> Face:
        return Face(self._number, face.box_px, face.five_px, face.score, face.mesh_px,
                    face.gaze_deg, face.eye_open)

    def _dressed(self, b: int) -> mesh.MeshSwapper:
        swapper = mesh.MeshSwapper(SwapConfig())
        swapper.wear(persona.read_unsigned(self._people / f"{b:03d}.safetensors"))
        return swapper

    def _learn(self, swapper: mesh.MeshSwapper, a: int, wearer: Actor) -> mesh._Track:
        """The swapper's state of a wearer after some calm frames, without the light it saw."""
        calm = self._calm.get(a, lambda: self._calm_picture(wearer))
        self._number += 1
        if calm is not None:
            crop, seen = calm
            for _ in range(LEARNING_FRAMES):
                swapper.swap(crop, self._renumbered(seen.face), seen.alignment)
        state = mesh._Track()
        if self._number in swapper._tracks:
            state.wearer = swapper._tracks.pop(self._number).wearer
        return state

    def _calm_picture(self, wearer: Actor) -> tuple[Bytes, Seen] | None:
        centre = wearer.person.head_centre()
        middle = (CALM_SIDE - 1) / 2
        camera = Camera(CALM_FOCAL, (middle, middle),
                        (0.0, float(centre[1]), float(centre[2]) + CALM_DISTANCE_DM),
                        (CALM_SIDE, CALM_SIDE))
        drawn = wearer.renderer.draw(CALM, camera, SOFT_FRONT)
        grey = np.full((CALM_SIDE, CALM_SIDE, 3), 0.2, np.float32)
        picture = develop(over(drawn.rgba, drawn.origin, grey), noise=0.7, seed=1)
        seen = self.see(picture, label_face(drawn.points.base, camera))
        return None if seen is None else (image.crop(picture, seen.alignment), seen)
