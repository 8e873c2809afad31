"""Swapper `mesh`: a persona's portrait on the wearer's mesh, triangle by triangle; needs no training and no model file.

Per frame: pose and shape (_mesh_shape), the scene's light (_mesh_light), then the drawing (_mesh_raster): face, eyes, inside of the mouth.
The mask covers the whole face oval, eyes and mouth included, and fades only along the outline: what is inside is the persona's on every frame.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from livecam.config import SwapConfig
from livecam.errors import StageError
from livecam.store import Store
from livecam.swap import _mesh_light as light
from livecam.swap import _mesh_points
from livecam.swap import _mesh_raster as raster
from livecam.swap import _mesh_shape as shape
from livecam.swap import _mesh_triangles as topology
from livecam.swap._mesh_parts import LOWER_ANCHOR, UPPER_ANCHOR, Eyeball, Mouth
from livecam.swap._mesh_worn import Worn, blurred_colours, prepare, vertex_normals
from livecam.types import F32, F64, MESH_POINTS, MESH_POINTS_WITH_IRIS, U8, Alignment, CropSpec, Face, Persona, Swapped

CROP_PX = 256
MOST_FACES = 8
"""Tracks whose state is kept; the one unseen longest goes first."""
LINE_POINTS = 33
"""Samples along a lid or lip line."""
SKIN_CHROMA = np.array([-0.22, -0.05, 0.16])
"""Log ratio of B, G, R to brightness of skin under white light, on the average of tones."""
GAZE_LIMIT = 0.72
"""Largest offset of the iris in eyeball radii (46 degrees)."""
GAZE_SMOOTH = 0.6
"""Share of a new frame's gaze: eyes jump, so hardly any smoothing."""
GAZE_REST = 0.004
"""How fast the wearer's own resting height of the gaze is learnt..."""
GAZE_REST_LIMIT = 0.14
"""... which is never more than this off (8 degrees): who reads from a screen below the camera looks down all the time."""
LIGHT_EVERY = 4
"""Frames between two looks at the light: it is smoothed over ten."""
LIGHT_STEP = 0.4
"""Share of the way to the newest light, each frame: no steps are seen between the looks."""
SLOW_EVERY = 4
"""Frames between two looks at the wearer's mean shape."""
RIM_UPPER, RIM_LOWER = 0.13, 0.03
"""Shares of the opening at the lids left to the portrait: the tracker's upper line runs along the lashes, above the lid's edge."""
GUM_HIDDEN = 0.85
"""Share of the gum below the upper lip that is taken away."""
EDGE_WHITE, UNBOUND = 0.7, 300.0
"""Greatest brightness around the eyes, as share of the scene's white (what the portrait shows of an eye's white there must not get the gain of dark
skin made light); and everywhere else."""
NEARER = 0.7
"""What is this many eyeball radii nearer than the lids' corners hides the eye: lids bulge less, the nose more."""
NOSE_MIDDLE = 195
"""Point of the mesh where a medical mask's upper edge lies."""
EYE_ROWS = (
    topology.rows(topology.RIGHT_UPPER + topology.RIGHT_LOWER[::-1]),
    topology.rows(topology.LEFT_UPPER + topology.LEFT_LOWER[::-1]),
)
"""Outlines of the eyes."""
WHITE_FROM, WHITE_SHARE = 0.6, 0.2
"""Lid opening from which the whites are looked at, and how much a look counts."""
SKIN_TINT, EYES_TINT = 0.4, 0.9
"""Share of the light's colour that whites take, where skin says it, and where the wearer's whites do."""
EYES_WHITE, WHITE_LOW, WHITE_HIGH = 1.17, 0.55, 1.6
"""Whites drawn over whites seen; and bounds relative to what the skin says, for glasses that shine or are dark."""
LASH_DARK, LID_SHADOW = 0.2, 0.15
"""Darkness of the lashes' line, and of the upper lid's shadow on the eye: with 0.45 and 0.5 eyes were 15 grey levels darker than truth's."""
MOUTH_EDGE = 0.4
"""Brightness of what is inside the mouth at its corners, relative to its middle."""
BALL_PLACE = (np.array([0.045, 0.055, 0.95], np.float32), np.array([-0.045, 0.055, 0.95], np.float32))
"""Where the right and the left eyeball's middle lies from the portrait's iris, right, down and behind it, in the ball's radii. 162 rendered pairs,
drawn with their true gaze and read by the gaze network: 6.3 degrees off with the depth alone, 4.8 with all. With a depth of 0.55 irises ran ahead of
a turning head by a sixth of its angle, and moved half as far as they were told: 9.3."""
GAZE_GAIN = 1.1
"""The network, unsure, says a little less than there is: with this, eyes move as far as theirs do who are told."""
BLINK_HOLD = 0.3
"""Below this lid opening the tracked iris says nothing; gaze is held."""


def open(config: SwapConfig, store: Store, threads: int = 1) -> MeshSwapper:
    """The swapper; `store` and `threads` are not needed (no model file, one thread)."""
    del store, threads
    return MeshSwapper(config)


@dataclass(slots=True)
class _Lit:
    """The scene's light on the persona. vertex: (468, raster.WIDE) float32, all of what is drawn with but places in textures and shut lids.
    white: (3,) B, G, R of what is white in it."""

    vertex: F32
    white: F64


@dataclass(slots=True)
class _Track:
    """State of one followed face."""

    wearer: shape.Wearer = field(default_factory=shape.Wearer)
    scene: light.Scene = field(default_factory=light.Scene)
    lit: _Lit | None = None
    newest: _Lit | None = None
    white: F64 | None = None


class MeshSwapper:
    """See the module. Keeps, per track, the wearer's mean shape, gaze and light; a new persona starts them afresh."""

    any_size = True
    """Draws at whatever size the crop has; 128 to 384 px make sense."""
    matches_colour = False
    """Light and skin tone are nearly the scene's; the mean/std match after it mends the rest."""

    def __init__(self, config: SwapConfig) -> None:
        self._config = config
        self._triangles = topology.face_triangles()
        self._worn: Worn | None = None
        self._tracks: dict[int, _Track] = {}
        self._depths: dict[int, F32] = {}

    @property
    def crop(self) -> CropSpec:
        """256 px; the pipeline may choose another size (any_size)."""
        return CropSpec(CROP_PX, offset=(0.0, -0.06))

    @property
    def licence(self) -> str:
        """Licence of the persona's portraits."""
        return self._worn.licence if self._worn is not None else "no weights; portraits as their persona files say"

    def prepare(self, persona: Persona) -> Callable[[], None]:
        """Textures, light and eyes of `persona` (some tenths of a second, from any thread); what it returns puts them on. Raises PersonaError."""
        worn = prepare(persona, self._triangles)

        def put_on() -> None:
            self._worn = worn
            self._tracks.clear()

        return put_on

    def wear(self, persona: Persona) -> None:
        """Make `persona` the identity from the next `swap` on. Raises PersonaError; then the one before stays."""
        self.prepare(persona)()

    def swap(self, crop: U8, face: Face, alignment: Alignment) -> Swapped:
        """Draw the persona on `face` (needs its 478-point mesh). Raises StageError without persona or mesh, or when the mesh is not finite."""
        worn = self._worn
        if worn is None:
            raise StageError("expected a persona to wear, none was chosen; call wear() first")
        size = alignment.size_px
        if crop.shape != (size, size, 3):
            raise StageError(f"expected a crop ({size}, {size}, 3), got {crop.shape}")
        mesh = _to_crop(face, alignment)
        track = self._track(face.track_id)
        return self._draw(worn, track, crop, mesh, face)

    def _track(self, track_id: int) -> _Track:
        track = self._tracks.pop(track_id, None) or _Track()
        self._tracks[track_id] = track
        while len(self._tracks) > MOST_FACES:
            del self._tracks[next(iter(self._tracks))]
        return track

    def _draw(self, worn: Worn, track: _Track, crop: U8, seen: F32, face: Face) -> Swapped:
        points = seen[:MESH_POINTS]
        pose = shape.fit_pose(worn.rest, points)
        raw = shape.mesh_openness(points) if face.eye_open is None else face.eye_open.astype(np.float64)
        widths = np.array([math.dist(points[eye.index[0], :2].tolist(), points[eye.index[8], :2].tolist()) for eye in worn.eyes])
        openness = track.wearer.openness(raw, widths)
        gaze = _gaze(track.wearer, face, openness)
        mesh, middles = _shaped(worn, track.wearer, points, pose, raw, openness)
        lit = self._lit(worn, track, crop, points, pose, openness)
        out, mask = crop.copy(), np.zeros(crop.shape[:2], np.uint8)
        depth = self._face(worn, out, mask, mesh, lit, openness, pose)
        _eyes(worn, out, depth, mesh, middles, pose, openness, gaze, lit.white)
        if worn.mouth is not None:
            _mouth(worn.mouth, out, mesh, pose, lit.white)
        return Swapped(out, mask)

    def _lit(self, worn: Worn, track: _Track, crop: U8, points: F32, pose: shape.Pose, openness: F64) -> _Lit:
        """The light of this frame: seen anew every LIGHT_EVERY frames, and approached in each."""
        if track.newest is None or track.wearer.frames % LIGHT_EVERY == 0:
            gains = self._light(worn, track, crop, points, pose)
            track.newest = _lit(worn, gains, _whiteness(gains, worn, _eyes_white(track, crop, points, openness)))
        lit, newest = track.lit, track.newest
        if lit is None:
            lit = track.lit = _Lit(newest.vertex.copy(), newest.white)
        elif lit.vertex is not newest.vertex:
            lit.vertex += np.float32(LIGHT_STEP) * (newest.vertex - lit.vertex)
            lit.white = lit.white + LIGHT_STEP * (newest.white - lit.white)
        return lit

    def _light(self, worn: Worn, track: _Track, crop: U8, points: F32, pose: shape.Pose) -> F64:
        size = crop.shape[0]
        width = float(np.ptp(worn.rest[:, 0])) * pose.scale
        colours = blurred_colours(crop, points, width)
        normals = vertex_normals(points, self._triangles)
        inside = ((points[:, :2] >= 0) & (points[:, :2] < size)).all(axis=1)
        facing = np.clip(-normals[:, 2] * 2.0, 0.0, 1.0)
        colours = colours.astype(np.float32)
        weights = (worn.weights * inside * facing).astype(np.float32)
        bare = light.uncovered(colours, weights, worn.rest[:, 1] < worn.rest[NOSE_MIDDLE, 1])
        seen = light.fit(colours, normals, weights * bare)
        keep = self._config.tone == "wearer"
        gains = track.scene.gains(seen, normals, worn.skin, keep)
        if keep:
            ring = worn.ring.index
            valid = (inside & (facing > 0.3))[ring].astype(np.float32) * bare[ring]
            gains *= track.scene.seam_gains(worn.ring, colours[ring], worn.seen[ring] * gains[ring], valid)
        return gains

    def _face(self, worn: Worn, out: U8, mask: U8, mesh: F32, lit: _Lit, openness: F64, pose: shape.Pose) -> F32:
        texture = min(worn.textures, key=lambda t: abs(math.log(t.factor * pose.scale * 1.1)))
        vertex = lit.vertex.copy()
        vertex[:, 0:2] = (worn.open_uv + 0.5) / texture.factor - 0.5
        vertex[:, 2:4] = (worn.shut_uv + 0.5) / texture.factor - 0.5
        right = worn.rest[:, 0] < 0
        shut = np.clip((0.7 - np.where(right, openness[0], openness[1])) / 0.6, 0.0, 1.0)
        vertex[:, 4] = (1.0 - worn.lid) * shut
        depth = self._depths.setdefault(out.shape[0], np.empty(mask.shape, np.float32))
        depth.fill(np.float32(1e9))
        raster.draw_triangles(out, mask, depth, mesh, self._triangles, texture.open_lanes, texture.shut_lanes, vertex, np.float32(worn.upright))
        return depth


def _lit(worn: Worn, gains: F64, white: F64) -> _Lit:
    """The light of `gains` ((468, 3) factors for the persona's colours), and what is white in it, (3,)."""
    vertex = np.zeros((MESH_POINTS, raster.WIDE), np.float32)
    bright = gains @ light.LUMA
    vertex[:, 5:8] = worn.skin
    vertex[:, 8:11] = worn.skin * gains
    vertex[:, 11] = (1.0 + (bright - 1.0) * np.where(bright > 1.0, 0.25, 0.6)) / bright
    vertex[:, 12] = 1.0 + (bright - 1.0) * np.where(bright > 1.0, 0.2, 0.9)
    vertex[:, 13] = np.clip(1.0 - 0.2 * (bright - 1.0), 0.75, 1.0)
    vertex[:, 14] = UNBOUND
    limited = worn.around_eyes
    vertex[limited, 14] = np.maximum(EDGE_WHITE * float(white @ light.LUMA), 1.05 * (vertex[limited, 8:11] @ light.LUMA))
    return _Lit(vertex, white)


def warm_up() -> None:
    """Compile (or load from the disk) the kernels that draw; the first time takes some seconds."""
    out, mask, depth = np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8), np.uint8), np.full((8, 8), 1e9, np.float32)
    lanes = np.zeros((4, 4), np.uint64)
    points = np.array([[1, 1, 0], [6, 1, 0], [1, 6, 0]], np.float32)
    raster.draw_triangles(
        out, mask, depth, points, np.array([[0, 1, 2]], np.int32), lanes, lanes, np.ones((3, raster.WIDE), np.float32), np.float32(1.0)
    )
    frame, curves = np.array([1, 4, 1, 0, 5], np.float32), np.stack([np.full(LINE_POINTS, -2), np.full(LINE_POINTS, 2)]).astype(np.float32)
    three = np.ones(3, np.float32)
    raster.curves_of(points, topology.rows((0, 1)), topology.rows((0, 1)), frame.copy(), curves.copy())
    raster.draw_eye(out, depth, frame, curves, three * 4, np.eye(3, dtype=np.float32), lanes, three, np.ones(11, np.float32))
    raster.draw_mouth(out, frame, curves, lanes[None], np.ones((1, 2, 3), np.float32), np.ones((1, 2), np.float32), np.ones(6, np.float32))


KERNELS = (warm_up, _mesh_points.warm_up)
"""See the room's `kernels`: the longest first."""


def _to_crop(face: Face, alignment: Alignment) -> F32:
    """(478, 3) float32 the face's mesh in the crop."""
    if face.mesh_px is None or face.mesh_px.shape[0] < MESH_POINTS_WITH_IRIS:
        found = "none" if face.mesh_px is None else str(face.mesh_px.shape)
        raise StageError(f"the mesh swapper expects a tracker with a mesh (478, 3), got {found}; use --track mediapipe")
    out = np.empty((MESH_POINTS_WITH_IRIS, 3), np.float32)
    seen = np.ascontiguousarray(face.mesh_px[:MESH_POINTS_WITH_IRIS], np.float32)
    finite, wide_px, most_px = _mesh_points.to_crop(seen, np.ascontiguousarray(alignment.matrix), out)
    if not finite or wide_px < 4.0 or most_px > 1e5:
        raise StageError("expected a finite mesh at least 4 px wide in the crop; the face is to be found again")
    return out


def _gaze(wearer: shape.Wearer, face: Face, openness: F64) -> F64:
    """(2,) offset of the iris from looking straight ahead, x and y in eyeball radii, in the head's frame; both eyes alike."""
    if face.gaze_deg is not None:
        share = np.maximum(openness - BLINK_HOLD, 0.0)
        weight = float(share.sum())
        yaw, pitch = np.radians(face.gaze_deg.astype(np.float64)).T
        if weight > 0.05:
            offset = GAZE_GAIN * np.array([float(share @ (np.sin(yaw) * np.cos(pitch))), float(share @ np.sin(pitch))]) / weight
            rest = wearer.gaze_rest
            rest[1] += max(GAZE_REST, 1.0 / (wearer.frames + 1.0)) * (offset[1] - rest[1])
            rest[1] = min(max(rest[1], -GAZE_REST_LIMIT), GAZE_REST_LIMIT)
            wearer.gaze += GAZE_SMOOTH * (offset - rest - wearer.gaze)
    length = math.hypot(*wearer.gaze.tolist())
    return wearer.gaze * min(1.0, GAZE_LIMIT / max(length, 1e-6))


def _shaped(worn: Worn, wearer: shape.Wearer, points: F32, pose: shape.Pose, raw: F64, openness: F64) -> tuple[F32, list[F32]]:
    """The mesh to draw on: the wearer's, moved to where the persona's features belong, with its lids; and the middles of the eyes' corners.

    raw, openness: (2,) lids as the tracker reads them, and relative to wide open."""
    local = pose.undo(points)
    mean = wearer.learn(local, float(pose.rotation[2, 2]), shape.jaw_open(local, float(np.ptp(worn.rest[:, 0]))))
    if wearer.slow is None or wearer.frames % SLOW_EVERY == 0:
        wearer.slow = worn.transfer.slow(mean)
    added = worn.transfer.apply(local, mean, pose.rotation, raw, wearer.slow)
    mesh = (points + added @ (pose.scale * pose.rotation.T)).astype(np.float32)
    wearer.close_lips(mesh, points, pose, float(np.ptp(worn.rest[:, 0])))
    middles = [shape.place_lids(mesh, eye, float(o), pose) for eye, o in zip(worn.eyes, openness, strict=True)]
    return mesh, middles


def _eyes_white(track: _Track, crop: U8, points: F32, openness: F64) -> F64 | None:
    """(3,) colour of the wearer's own whites, smoothed; None as long as no open eye was seen."""
    wide = [light.eye_white(crop, points, row) for row, opened in zip(EYE_ROWS, openness, strict=True) if opened > WHITE_FROM]
    seen = [value for value in wide if value is not None]
    if seen:
        newest = np.mean(seen, axis=0)
        track.white = newest if track.white is None else track.white + WHITE_SHARE * (newest - track.white)
    return track.white


def _whiteness(gains: F64, worn: Worn, eyes: F64 | None) -> F64:
    """(3,) B, G, R of what is white in this light (eyes, teeth). eyes: colour of the wearer's own whites, if seen.

    From the drawn skin it can be guessed (whites are near as bright as fair skin and up to 1.7 times as bright as dark skin, and take a part of the
    light's colour); on 185 rendered pairs that guess of the brightness is off by 21 %, the wearer's whites by 11 %."""
    drawn = np.exp((np.log(gains * worn.skin) * worn.weights[:, None]).sum(axis=0) / worn.weights.sum())
    skin = float(drawn @ light.LUMA)
    bright, colour = min(0.5 * skin + 72.0, 1.7 * skin), np.log(drawn / skin) - SKIN_CHROMA
    share = SKIN_TINT
    if eyes is not None:
        own = float(eyes @ light.LUMA)
        bright = min(max(EYES_WHITE * own, WHITE_LOW * bright), WHITE_HIGH * bright)
        colour, share = np.log(np.maximum(eyes, 1.0) / max(own, 1.0)), EYES_TINT
    return bright * np.exp(share * np.clip(colour, -0.5, 0.5))


def _opening(mesh: F32, upper: tuple[int, ...], lower: tuple[int, ...]) -> tuple[F32, F32] | None:
    """Frame and curves of an opening (see raster.draw_eye); None when it is seen so much from the side that nothing shows."""
    frame, curves = np.empty(5, np.float32), np.empty((2, LINE_POINTS), np.float32)
    return (frame, curves) if raster.curves_of(mesh, topology.rows(upper), topology.rows(lower), frame, curves) else None


def _eyes(worn: Worn, out: U8, depth: F32, mesh: F32, middles: list[F32], pose: shape.Pose, openness: F64, gaze: F64, white: F64) -> None:
    straight = math.sqrt(max(1.0 - float(gaze @ gaze), 0.1))
    ahead = np.array([gaze[0], gaze[1], -straight])
    side = np.array([straight, 0.0, gaze[0]]) / math.hypot(straight, gaze[0])
    down = np.array([ahead[1] * side[2] - ahead[2] * side[1], ahead[2] * side[0] - ahead[0] * side[2], ahead[0] * side[1] - ahead[1] * side[0]])
    to_eye = np.stack([side, -down if down[1] < 0 else down, ahead]) @ pose.rotation.T
    for eye, ball, middle, opened, place in zip(worn.eyes, worn.balls, middles, openness, BALL_PLACE, strict=True):
        opening = _opening(mesh, eye.index[:9], eye.index[9:])
        if opening is None:
            continue
        turn = (ball.ahead @ to_eye).astype(np.float32)
        radius = eye.ball * pose.scale
        centre = middle + pose.scale * (pose.rotation @ (eye.iris + eye.ball * place))
        ends = mesh[[eye.index[0], eye.index[8]], 2] - NEARER * radius
        _eye(out, depth, opening, ends, ball, (float(centre[0]), float(centre[1]), radius), turn, white / ball.white, float(opened))


def _eye(
    out: U8, depth: F32, opening: tuple[F32, F32], ends: F32, ball: Eyeball, place: tuple[float, float, float], turn: F32, lit: F64, opened: float
) -> None:
    frame, curves = opening
    level = min(2, max(0, round(math.log2(max(ball.radius_px / place[2], 1.0)))))
    shrunk = 2.0**level
    picture = np.array([(ball.centre_px + 0.5) / shrunk - 0.5, (ball.centre_px + 0.5) / shrunk - 0.5, ball.radius_px / shrunk], np.float32)
    tall = curves[1] - curves[0]
    curves = np.stack([curves[0] + RIM_UPPER * tall, curves[1] - RIM_LOWER * tall])
    soft = 0.035 * float(frame[4])
    look = np.array([*lit, soft, LASH_DARK, LID_SHADOW, -0.12, -0.2, 0.3 * min(1.0, opened), *ends], np.float32)
    raster.draw_eye(out, depth, frame, curves, np.array(place, np.float32), turn, ball.lanes[level], picture, look)


def _gum_shown(mouth: Mouth, origin: F64, mesh: F32, pose: shape.Pose) -> float:
    """Persona pixels by which the upper teeth are to go up, because the wearer's lip ends higher above the nose's base than the persona's.

    origin: (2,) top-left of their sprite in the crop."""
    lip = float((mesh[13, :2] - origin) @ pose.rotation[:2, 1]) / pose.scale
    return max(0.0, mouth.gum - lip) * GUM_HIDDEN


def _mouth(mouth: Mouth, out: U8, mesh: F32, pose: shape.Pose, white: F64) -> None:
    opening = _opening(mesh, topology.MOUTH_UPPER, topology.MOUTH_LOWER)
    if opening is None:
        return
    frame, curves = opening
    linear = pose.scale * pose.rotation
    maps = np.empty((len(mouth.sizes), 2, 3), np.float32)
    for n in range(len(mouth.sizes)):
        rows = topology.rows(UPPER_ANCHOR if mouth.upper[n] else LOWER_ANCHOR)
        anchor = np.add.reduce(mesh[rows]) / np.float32(len(rows))
        forward = linear[:2, :2] * mouth.step[n]
        origin = anchor[:2] + linear[:2] @ mouth.corner[n]
        if mouth.upper[n]:
            origin = origin - _gum_shown(mouth, origin, mesh, pose) * pose.scale * pose.rotation[:2, 1]
        (a, b), (c, d) = forward.tolist()
        inverse = np.array([[d, -b], [-c, a]]) / (a * d - b * c)
        maps[n, :, :2] = inverse
        maps[n, :, 2] = -inverse @ origin
    look = np.array([*(0.95 * white / mouth.white), 0.02 * float(frame[4]), MOUTH_EDGE, 1.0], np.float32)
    raster.draw_mouth(out, frame, curves, mouth.lanes, maps, mouth.sizes, look)
