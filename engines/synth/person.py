"""A person ready to be drawn: surfaces, textures, occlusion, from a look and the assets."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engines.synth import glasses_draw, glasses_fit
from engines.synth import skin as sk
from engines.synth.assets import (
    AssetsError,
    Binding,
    Bytes,
    Floats,
    Ints,
    ObjMesh,
    follow,
    read_mhclo,
    read_obj,
    read_texture,
)
from engines.synth.expression import (
    Pose,
    Weights,
    apply_actions,
    joint_of,
    joints,
    rotation,
    skin_groups,
    skin_points,
    transforms,
)
from engines.synth.glasses import Glasses
from engines.synth.identity import Shape, base_mesh, build_base
from engines.synth.raster import vertex_normals
from engines.synth.shade import CLOTH, EYE, SKIN, TEETH, TONGUE
from engines.synth.surface import (
    Refinement,
    Topology,
    base_topology,
    proxy_topology,
    refine_points,
    refine_topology,
    weights_of_points,
)

MAP_SIZE = 2048
"""Side of the skin textures."""
UPPER_TEETH_FROM = 15060
"""First base vertex of the upper teeth's helper; the lower teeth's come before."""
TEETH_DROP_DM = (-0.050, -0.035)
"""Upper and lower teeth are set lower than in the base mesh, whose lips hide the upper ones."""
BUST_JOINT = "spine-2"
"""Nothing below this joint is drawn."""


@dataclass(frozen=True, slots=True)
class Look:
    """Everything that makes a person look as they do; file names are those of the assets."""

    shape: Shape = field(default_factory=Shape)
    skin_file: str = "young_lightskinned_male_diffuse"
    skin: sk.SkinLook = field(default_factory=sk.SkinLook)
    hair: str = "short02"
    hair_srgb: tuple[float, float, float] = (60.0, 45.0, 35.0)
    hair_gain: float = 1.6
    hair_shine: float = 0.35
    fringe: float | None = None
    """Hair before the face is cut this far (dm) above the eyes; None leaves it."""
    brows: str = "eyebrow001"
    brows_srgb: tuple[float, float, float] = (50.0, 38.0, 30.0)
    brows_gain: float = 1.0
    lashes: str = "eyelashes02"
    lashes_gain: float = 0.9
    eye_file: str = "brownlight_eye"
    iris_srgb: tuple[float, float, float] = (90.0, 60.0, 38.0)
    iris_amount: float = 0.7
    clothes: str = "male_casualsuit02"
    clothes_srgb: tuple[float, float, float] | None = None
    glasses: Glasses | None = field(default=None, repr=False)
    """Not in repr, which names what is kept on disk: skin and occlusion are the same with glasses and without."""


@dataclass(frozen=True, slots=True)
class Proxy:
    """A bound mesh: its binding, triangles and the skinning weights of its points."""

    binding: Binding
    top: Topology
    weights: Weights
    gain: float = 1.0
    shine: float = 0.0
    texture: Floats = field(default_factory=lambda: np.zeros((2, 2, 5), np.float32))
    keep: Floats = field(default_factory=lambda: np.ones(0, np.float32))
    hair: bool = False


@dataclass(frozen=True, slots=True)
class Points:
    """One instant of a person in the scene, decimetres.

    opaque (V, 3) of the merged opaque surfaces; layers: points of brows, lashes, hair;
    base (19158, 3): the posed base mesh; eyes (2, 7): centre, forward axis, radius of the right
    and the left eye; opening: how far the jaw is open 0..1; glasses (P, 3), or None without any.
    """

    opaque: Floats
    layers: tuple[Floats, ...]
    base: Floats
    eyes: Floats
    opening: float
    glasses: Floats | None = None


@lru_cache(maxsize=64)
def _proxy(folder: Path, name: str) -> Proxy:
    mhclo = folder / f"{name}.mhclo"
    if not mhclo.is_file():
        known = sorted(p.name for p in folder.parent.iterdir())
        raise AssetsError(f"expected {mhclo}, found none; there are {', '.join(known)}")
    binding = read_mhclo(mhclo)
    mesh = read_obj(folder / f"{name}.obj")
    if len(mesh.vertices) != len(binding.corners):
        raise AssetsError(f"expected {len(binding.corners)} vertices in {name}.obj, found "
                          f"{len(mesh.vertices)}; the mesh and its binding do not belong together")
    return Proxy(binding, proxy_topology(mesh), weights_of_points(binding, skin_groups()))


def _drop_clear(top: Topology, texture: Bytes) -> Topology:
    """Without the triangles whose middle is transparent (the eyes' clear outer shell)."""
    height, width = texture.shape[:2]
    mid = top.uv.mean(1)
    col = np.clip((mid[:, 0] * width).astype(int), 0, width - 1)
    row = np.clip(((1 - mid[:, 1]) * height).astype(int), 0, height - 1)
    keep = texture[row, col, 3] > 40
    return Topology(top.tri[keep], top.uv[keep], top.base)


@lru_cache(maxsize=16)
def _skin_surface(hidden_bytes: bytes) -> tuple[Topology, Refinement, Ints]:
    """The drawn skin without the base vertices that clothes hide (int32 bytes), refined on the head;
    and for each of its triangles the base mesh's."""
    mesh = base_mesh()
    body = mesh.groups["body"]
    tri = mesh.tri[body]
    floor = joint_of(mesh.vertices, BUST_JOINT)[1]
    above = mesh.vertices[tri, 1].min(1) > floor
    hands = np.abs(mesh.vertices[tri, 0]).max(1) < 3.4
    hidden = np.zeros(len(mesh.vertices), bool)
    hidden[np.frombuffer(hidden_bytes, np.int32)] = True
    keep = body[above & hands & ~hidden[tri].any(1)]
    top = base_topology(mesh, keep)
    head = skin_groups()["head"][top.base]
    fine = refine_topology(top, head[top.tri].mean(1) > 0.3, len(top.base))
    return top, fine, keep[fine.parents]


class Person:
    """Static data of one person; `pose` gives their points at an instant.

    Order of the opaque surfaces: skin, eyes, teeth, tongue, clothes.
    """

    def __init__(self, look: Look, assets: Path, maps: sk.SkinMaps | None = None) -> None:
        """Read and build everything; painting the skin takes most of the time, and is left out when
        its maps are given. Raises AssetsError."""
        self.look = look
        self.neutral = build_base(look.shape)
        self.outer = self.neutral
        """The base mesh that hair and clothes follow."""
        self._groups = skin_groups()
        a = assets
        self.cloth = _proxy(a / "clothes" / look.clothes, look.clothes)
        self.eyes = _proxy(a / "eyes", "high-poly")
        self.teeth = _proxy(a / "teeth", "teeth_base")
        self.tongue = _proxy(a / "tongue", "tongue01")
        upper = self.teeth.binding.corners.mean(1) >= UPPER_TEETH_FROM
        self._teeth_drop = np.where(upper, *TEETH_DROP_DM).astype(np.float32)
        self._load_textures(a)
        self._build_skin_surface(base_mesh())
        self.skin_maps = self._paint(a) if maps is None else maps
        self.layers = tuple(self._layers(a))
        self.glasses = None if look.glasses is None else glasses_draw.make_pair(
            look.glasses, glasses_fit.fit(look.glasses, self.neutral))
        """Fitted to this head; a hybrid keeps the wearer's where they are."""
        self.merge()

    # -- construction -------------------------------------------------------------------------

    def _load_textures(self, assets: Path) -> None:
        look = self.look
        eye = read_texture(assets / "eyes" / f"{look.eye_file}.png")
        self.eyes = replace(self.eyes, top=_drop_clear(self.eyes.top, eye))
        eye = sk.recolour_iris(eye, look.iris_srgb, look.iris_amount)
        self.eye_tex = sk.temper_white(eye)
        self.teeth_tex = sk.brighten_teeth(read_texture(assets / "teeth" / "teeth.png"))
        self.tongue_tex = read_texture(assets / "tongue" / "tongue01_diffuse.png")
        cloth = read_texture(assets / "clothes" / look.clothes / f"{look.clothes}_diffuse.jpg")
        self.cloth_tex = cloth if look.clothes_srgb is None else sk.dye(cloth, look.clothes_srgb)

    def _paint(self, assets: Path) -> sk.SkinMaps:
        from engines.synth.face_maps import paint_skin

        raw = read_texture(assets / "skins" / f"{self.look.skin_file}.jpg")
        return paint_skin(raw, base_mesh(), self.look.skin)

    def _build_skin_surface(self, mesh: ObjMesh) -> None:
        self.skin_top, self.refinement, self.skin_triangles = _skin_surface(
            self.cloth.binding.hidden.tobytes())
        ends = self.refinement.ends
        self.skin_weights = Weights({
            name: np.concatenate([w[self.skin_top.base], w[self.skin_top.base][ends].mean(1)]
                                 ).astype(np.float32)
            for name, w in self._groups.items()})

    def _layers(self, assets: Path) -> list[Proxy]:
        look = self.look
        out: list[Proxy] = []
        parts = (("eyebrows", look.brows, look.brows_srgb, look.brows_gain, 0.02, ".png"),
                 ("eyelashes", look.lashes, (22.0, 17.0, 15.0), look.lashes_gain, 0.02, ".png"),
                 ("hair", look.hair, look.hair_srgb, look.hair_gain, look.hair_shine,
                  "_diffuse.png"))
        for folder, name, colour, gain, shine, ending in parts:
            if not name:
                continue
            where = assets / folder / name
            proxy = _proxy(where, name)
            texture = sk.recolour_hair(read_texture(where / f"{name}{ending}"), colour,
                                       1.0 if folder == "hair" else 0.0)
            keep = np.ones(len(proxy.binding.corners), np.float32)
            if folder == "hair" and look.fringe is not None:
                keep = self._cut_fringe(follow(proxy.binding, self.neutral), look.fringe)
            kept = keep[proxy.top.tri].mean(1) > 0.2
            proxy = replace(proxy, top=Topology(
                np.ascontiguousarray(proxy.top.tri[kept]),
                np.ascontiguousarray(proxy.top.uv[kept]), proxy.top.base))
            out.append(replace(proxy, gain=gain, shine=shine, texture=texture, keep=keep,
                               hair=folder == "hair"))
        return out

    def _cut_fringe(self, hair: Floats, above: float) -> Floats:
        """1 where hair (P, 3) stays, 0 where it hangs before the face below the cut."""
        eyes = self.neutral[joints()["l-eye"]].mean(0)
        side = np.clip((0.62 - np.abs(hair[:, 0])) / 0.12, 0, 1)
        front = np.clip((hair[:, 2] - eyes[2] + 0.45) / 0.15, 0, 1)
        low = np.clip((eyes[1] + above - hair[:, 1]) / 0.12 + 0.5, 0, 1)
        return (1 - side * front * low).astype(np.float32)

    def merge(self) -> None:
        """Join the opaque surfaces; once more after one of them was exchanged."""
        parts: list[tuple[Ints, Floats, int, int]] = [
            (self.refinement.tri, self.refinement.uv, SKIN,
             len(self.skin_top.base) + len(self.refinement.ends))]
        for proxy, material in ((self.eyes, EYE), (self.teeth, TEETH), (self.tongue, TONGUE),
                                (self.cloth, CLOTH)):
            parts.append((proxy.top.tri, proxy.top.uv, material, len(proxy.binding.corners)))
        start = 0
        tri: list[NDArray[np.int32]] = []
        self.part_start: list[int] = []
        for t, _uv, _m, count in parts:
            self.part_start.append(start)
            tri.append(t + np.int32(start))
            start += count
        self.part_start.append(start)
        self.tri = np.ascontiguousarray(np.concatenate(tri), np.int32)
        self.uv = np.ascontiguousarray(np.concatenate([p[1] for p in parts]), np.float32)
        self.material = np.concatenate(
            [np.full(len(p[0]), p[2], np.uint8) for p in parts])
        self.cull = (self.material != CLOTH).astype(np.uint8)

    # -- posing -------------------------------------------------------------------------------

    def _pose_eyes(self, pose: Pose, matrices: dict[str, NDArray[np.float64]]
                   ) -> tuple[Floats, Floats]:
        points = follow(self.eyes.binding, self.neutral)
        info = np.zeros((2, 7), np.float32)
        head = matrices["head"]
        turn = rotation(pose.gaze_deg[0], pose.gaze_deg[1], 0.0).astype(np.float32)
        for k, sign in enumerate((-1, 1)):
            side = points[:, 0] * sign > 0
            centre, radius = sphere_of(points[side])
            points[side] = (points[side] - centre) @ turn.T + centre
            info[k, :3] = head[:3, :3] @ centre + head[:3, 3]
            info[k, 3:6] = head[:3, :3] @ (turn @ np.array([0.0, 0.0, 1.0], np.float32))
            info[k, 6] = radius
        return _rigid(points, head), info

    def pose(self, pose: Pose) -> Points:
        """The person's points at a pose."""
        base = apply_actions(self.neutral, pose)
        matrices = transforms(self.neutral, pose)
        fine = refine_points(base[self.skin_top.base], self.skin_top.tri, self.refinement.ends)
        skin = skin_points(fine, matrices, self.skin_weights)
        eyes, info = self._pose_eyes(pose, matrices)
        parts = [skin, eyes]
        for proxy in (self.teeth, self.tongue):
            points = follow(proxy.binding, base, self.neutral)
            if proxy is self.teeth:
                points[:, 1] += self._teeth_drop
            parts.append(skin_points(points, matrices, proxy.weights))
        cloth = follow(self.cloth.binding, self.outer)
        parts.append(skin_points(cloth, matrices, self.cloth.weights))
        outer = base if self.outer is self.neutral else apply_actions(self.outer, pose)
        layers = tuple(
            skin_points(follow(p.binding, outer, self.outer) if p.hair
                        else follow(p.binding, base, self.neutral), matrices, p.weights)
            for p in self.layers)
        posed = skin_points(base, matrices, self._groups)
        worn = None if self.glasses is None else _rigid(self.glasses.fitted.points, matrices["head"])
        return Points(np.concatenate(parts), layers, posed, info,
                      float(np.clip(pose.actions.get("jawOpen", 0.0), 0, 1)), worn)

    def normals(self, points: Floats) -> Floats:
        """Unit normals (V, 3) of the merged opaque points."""
        return vertex_normals(points, self.tri)

    def head_centre(self) -> NDArray[np.float64]:
        """A point in the middle of the neutral face, decimetres."""
        eyes = self.neutral[np.concatenate([joints()["l-eye"], joints()["r-eye"]])].mean(0)
        mouth = joint_of(self.neutral, "mouth")
        return np.array([0.0, (eyes[1] + mouth[1]) / 2, eyes[2]], np.float64)


def _rigid(points: Floats, move: NDArray[np.float64]) -> Floats:
    """Points (P, 3) that follow one joint."""
    return skin_points(points, {"head": move}, Weights(head=np.ones(len(points), np.float32)))


def sphere_of(points: Floats) -> tuple[Floats, float]:
    """Centre (3,) and radius of the eyeball among the points of an eye.

    The middle of its box across and up; the radius is half its height; the back may be cut off,
    so depth comes from the front.
    """
    low, high = points.min(0), points.max(0)
    radius = float((high[1] - low[1] + high[0] - low[0]) / 4)
    centre = (low + high) / 2
    centre[2] = high[2] - radius * 1.03
    return centre.astype(np.float32), radius
