"""The mesh swapper on drawn faces: nothing of the wearer inside the mask, eyes, lids, mouth and light that follow, and what it refuses."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import cv2
import drawn_face
import numpy as np
import pytest

from livecam import persona as shipped
from livecam.config import SwapConfig
from livecam.errors import PersonaError, StageError
from livecam.image import crop as crop_of
from livecam.swap import _mesh_light as light
from livecam.swap import _mesh_raster as raster
from livecam.swap import _mesh_shape as shape
from livecam.swap import _mesh_triangles as topology
from livecam.swap import _mesh_worn, mesh
from livecam.swap._mesh_worn import prepare, vertex_normals
from livecam.types import Alignment, Persona, Swapped

FRAMES = 8
"""Frames after which what is smoothed has settled enough to be judged."""


@pytest.fixture(scope="module")
def persona() -> Persona:
    return drawn_face.persona()


def opened(persona: Persona, **config: str) -> mesh.MeshSwapper:
    swapper = mesh.MeshSwapper(SwapConfig(**config))  # type: ignore[arg-type]
    swapper.wear(persona)
    return swapper


def draw(swapper: mesh.MeshSwapper, points: np.ndarray, picture: np.ndarray, eye_open: float | None = 0.9, frames: int = FRAMES) -> Swapped:
    crop = crop_of(picture, drawn_face.ALIGNED)
    for _ in range(frames):
        out = swapper.swap(crop, drawn_face.face(points, eye_open), drawn_face.ALIGNED)
    return out


def turned(points: np.ndarray, yaw_deg: float, pitch_deg: float = 0.0) -> np.ndarray:
    y, p = np.radians([yaw_deg, pitch_deg])
    yaw = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    pitch = np.array([[1, 0, 0], [0, np.cos(p), -np.sin(p)], [0, np.sin(p), np.cos(p)]])
    centre = points[:468].mean(axis=0)
    return ((points - centre) @ (yaw @ pitch).T + centre).astype(np.float32)


def green_px(picture: np.ndarray) -> int:
    """Pixels of the persona's irises, which are of a colour that nothing else has."""
    b, g, r = (picture[..., k].astype(int) for k in range(3))
    return int(np.count_nonzero((g > b + 25) & (g > r + 25)))


def test_topology_is_one_sheet_bounded_by_the_oval() -> None:
    triangles = topology.face_triangles()
    assert triangles.shape == (898, 3)
    edges = Counter(tuple(sorted((int(t[i]), int(t[(i + 1) % 3])))) for t in triangles for i in range(3))
    assert max(edges.values()) == 2
    assert {p for edge, count in edges.items() if count == 1 for p in edge} == set(topology.OVAL)
    directed = Counter((int(t[i]), int(t[(i + 1) % 3])) for t in triangles for i in range(3))
    assert max(directed.values()) == 1, "two neighbouring triangles are wound differently"


@pytest.mark.parametrize("kwargs", [{}, {"jaw": 60.0}, {"eye": 2.0}, {"jaw": 60.0, "eye": 40.0, "gaze": (9.0, 4.0)}])
@pytest.mark.parametrize("yaw", [-40, 0, 25])
def test_no_pixel_of_the_wearer_shows_inside_the_mask(persona: Persona, yaw: float, kwargs: dict[str, float]) -> None:
    """A wearer of pure blue with white eyes and mouth: light and tone may follow, but nothing pure may come through."""
    points = turned(drawn_face.mesh(**kwargs), yaw)
    crop = np.zeros((256, 256, 3), np.uint8)
    first = np.random.default_rng(0).integers(0, 256, (256, 256, 3), np.uint8)
    swapper, other = opened(persona), opened(persona)
    for _ in range(3):
        a = swapper.swap(crop, drawn_face.face(points), drawn_face.ALIGNED)
        b = other.swap(crop, drawn_face.face(points), drawn_face.ALIGNED)
    assert np.array_equal(a.crop, b.crop)
    # The same state, another picture under it: pixels inside the mask may not carry its detail.
    track, before = other._tracks[1], swapper._tracks[1]
    assert track is not before
    c = other.swap(first, drawn_face.face(points), drawn_face.ALIGNED)
    inside = c.mask == 255
    assert inside.sum() > 8000
    noise = first[inside].astype(float) - first[inside].mean()
    drawn = c.crop[inside].astype(float) - c.crop[inside].mean()
    correlation = float((noise * drawn).sum() / np.sqrt((noise**2).sum() * (drawn**2).sum() + 1e-9))
    assert abs(correlation) < 0.03


@pytest.mark.parametrize("yaw", [-45, -20, 0, 20, 45])
@pytest.mark.parametrize("jaw", [0.0, 60.0])
def test_mask_covers_eyes_brows_nose_and_mouth(persona: Persona, yaw: float, jaw: float) -> None:
    points = turned(drawn_face.mesh(jaw=jaw), yaw)
    out = draw(opened(persona), points, drawn_face.portrait(points), frames=2)
    inner = np.zeros((256, 256), np.uint8)
    parts = topology.LIPS_OUTER + topology.RIGHT_BROW[:5] + topology.LEFT_BROW[:5] + topology.RIGHT_LOWER + topology.LEFT_LOWER + (4, 1, 5)
    near = [p for p in parts if vertex_normals(points[:468], topology.face_triangles())[p, 2] < -0.5]
    hull = cv2.convexHull(np.rint(points[near, :2] * 0.4).astype(np.int32))
    cv2.fillConvexPoly(inner, hull, 255)
    assert (out.mask[inner > 0] == 255).all()


def test_mask_ends_at_the_outline(persona: Persona) -> None:
    points = drawn_face.mesh()
    out = draw(opened(persona), points, drawn_face.portrait(points), frames=1)
    oval = np.zeros((256, 256), np.uint8)
    cv2.fillPoly(oval, [np.rint(points[list(topology.OVAL), :2] * 0.4).astype(np.int32)], 255)
    assert not out.mask[cv2.dilate(oval, np.ones((5, 5), np.uint8)) == 0].any()
    assert out.mask[oval > 0].mean() > 150


def test_eyes_shut_show_no_eyeball(persona: Persona) -> None:
    points, picture = drawn_face.mesh(), drawn_face.portrait(drawn_face.mesh())
    assert green_px(draw(opened(persona), points, picture, 0.9).crop) > 60
    swapper = opened(persona)
    draw(swapper, points, picture, 0.9)
    assert green_px(draw(swapper, points, picture, 0.0, frames=1).crop) == 0


def test_lids_close_step_by_step(persona: Persona) -> None:
    points, picture, swapper = drawn_face.mesh(), drawn_face.portrait(drawn_face.mesh()), opened(drawn_face.persona())
    draw(swapper, points, picture, 0.9)
    counts = [green_px(draw(swapper, points, picture, o, frames=1).crop) for o in (0.9, 0.6, 0.35, 0.0)]
    assert counts == sorted(counts, reverse=True)
    assert counts[1] > 0


def test_one_eye_winks_alone_when_it_lasts(persona: Persona) -> None:
    """One eye's reading is often wrong for a few frames, so a difference must last before it is drawn."""
    points = drawn_face.mesh()
    crop, swapper = crop_of(drawn_face.portrait(points), drawn_face.ALIGNED), opened(persona)
    draw(swapper, points, drawn_face.portrait(points))
    face = replace(drawn_face.face(points), eye_open=np.array([0.0, 0.9], np.float32))
    first = swapper.swap(crop, face, drawn_face.ALIGNED).crop
    assert green_px(first[:, :128]) > 0
    for _ in range(20):
        out = swapper.swap(crop, face, drawn_face.ALIGNED).crop
    assert green_px(out[:, :128]) == 0
    assert green_px(out[:, 128:]) > 30


def test_a_turned_heads_far_eye_does_not_wink() -> None:
    """The tracker reads a third of its opening; the near eye says what both do."""
    opened_share = [shape.Wearer(frames=1, open_reference=np.array([1.0, 1.0]), lids=np.array([1.0, 1.0])) for _ in range(2)]
    for wearer, far in zip(opened_share, (30.0, 14.0), strict=True):
        for _ in range(60):
            lids = wearer.openness(np.array([1.0, 0.35]), np.array([30.0, far]))
    assert opened_share[0].lids[1] < 0.45, "facing the camera it is a wink"
    assert lids[1] > 0.7


@pytest.mark.parametrize("level, colour", [(90, (1.0, 1.0, 1.0)), (190, (1.0, 1.0, 1.0)), (150, (0.8, 1.0, 1.15))])
def test_whites_are_as_bright_and_as_tinted_as_the_wearers(persona: Persona, level: int, colour: tuple[float, float, float]) -> None:
    points = drawn_face.mesh()
    picture = drawn_face.portrait(points)
    for eye in mesh.EYE_ROWS:
        cv2.fillPoly(picture, [np.rint(points[eye, :2]).astype(np.int32)], tuple(float(level * c) for c in colour))
    swapper = opened(persona)
    draw(swapper, points, picture)
    white = swapper._tracks[1].lit.white  # type: ignore[union-attr]
    assert abs(float(white @ light.LUMA) / (mesh.EYES_WHITE * level) - 1) < 0.08
    assert np.abs(white / (white @ light.LUMA) - np.array(colour)).max() < 0.1


def test_shining_glasses_do_not_light_the_eyes(persona: Persona) -> None:
    points = drawn_face.mesh()
    dark, shining = drawn_face.portrait(points, skin=(25, 32, 50)), drawn_face.portrait(points, skin=(25, 32, 50))
    for eye in mesh.EYE_ROWS:
        cv2.fillPoly(shining, [np.rint(points[eye, :2]).astype(np.int32)], (255.0, 255.0, 255.0))
    bright = []
    for picture in (dark, shining):
        swapper = opened(persona)
        draw(swapper, points, picture, eye_open=0.9 if picture is shining else 0.1)
        bright.append(float(swapper._tracks[1].lit.white @ light.LUMA))  # type: ignore[union-attr]
    assert bright[1] <= 1.02 * mesh.WHITE_HIGH * bright[0]


@pytest.mark.parametrize("shift, axis", [(8.0, 1), (-8.0, 1)])
def test_gaze_follows_the_iris(persona: Persona, shift: float, axis: int) -> None:
    straight = drawn_face.mesh()
    aside = drawn_face.mesh(gaze=(shift, 0.0))
    swapper = opened(persona)
    centres = []
    for points in (straight, aside):
        out = draw(swapper, points, drawn_face.portrait(points)).crop
        b, g, r = (out[..., k].astype(int) for k in range(3))
        centres.append(np.argwhere((g > b + 25) & (g > r + 25)).mean(axis=0))
    moved = (centres[1] - centres[0])[axis]
    assert np.sign(moved) == np.sign(shift)
    assert 0.3 < abs(moved) / abs(shift * 0.4) < 1.7


def test_open_mouth_shows_teeth_and_a_closed_one_does_not(persona: Persona) -> None:
    def grey(jaw: float) -> int:
        points = drawn_face.mesh(jaw=jaw)
        out = draw(opened(persona), points, drawn_face.portrait(points)).crop
        mouth = out[172:210, 105:152].astype(int)
        return int(np.count_nonzero((np.ptp(mouth, axis=-1) < 32) & (mouth.min(axis=-1) > 85)))

    assert grey(0.0) == 0
    assert grey(55.0) > 60


def test_side_light_is_carried_over(persona: Persona) -> None:
    points = drawn_face.mesh()
    sides = []
    for side_light in (-0.4, 0.4):
        out = draw(opened(persona), points, drawn_face.portrait(points, side_light=side_light)).crop.astype(float)
        sides.append(out[140:160, 160:180].mean() - out[140:160, 76:96].mean())
    assert sides[0] < -15
    assert sides[1] > 15


@pytest.mark.parametrize("skin", [(45, 60, 95), (90, 120, 165), (170, 190, 225)])
def test_tone_wearer_meets_the_wearers_skin(persona: Persona, skin: tuple[int, int, int]) -> None:
    points = drawn_face.mesh()
    picture = drawn_face.portrait(points, skin)
    out = draw(opened(persona), points, picture).crop
    seen = crop_of(picture, drawn_face.ALIGNED)
    cheek = (slice(142, 158), slice(84, 104))
    assert np.abs(out[cheek].mean(axis=(0, 1)) - seen[cheek].mean(axis=(0, 1))).max() < 8


def test_tone_persona_keeps_the_personas_hue(persona: Persona) -> None:
    points = drawn_face.mesh()
    out = draw(opened(persona, tone="persona"), points, drawn_face.portrait(points, (45, 60, 95))).crop
    cheek = out[142:158, 84:104].mean(axis=(0, 1))
    own = np.array([120, 150, 190])
    assert np.abs(cheek / cheek.sum() - own / own.sum()).max() < 0.02
    assert cheek.sum() < own.sum()


def test_light_settles_instead_of_jumping(persona: Persona) -> None:
    points, swapper = drawn_face.mesh(), opened(persona)
    dark = draw(swapper, points, drawn_face.portrait(points, (90, 110, 140))).crop.mean()
    step = draw(swapper, points, drawn_face.portrait(points, (150, 180, 220)), frames=1).crop
    settled = draw(swapper, points, drawn_face.portrait(points, (150, 180, 220)), frames=40).crop
    cheek = (slice(142, 158), slice(84, 104))
    assert step[cheek].mean() < dark + 0.5 * (settled[cheek].mean() - dark) + 40
    assert step[cheek].mean() < settled[cheek].mean() - 15


def test_the_same_input_gives_the_same_picture(persona: Persona) -> None:
    points = drawn_face.mesh(jaw=20)
    a, b = (draw(opened(persona), points, drawn_face.portrait(points)) for _ in range(2))
    assert np.array_equal(a.crop, b.crop)
    assert np.array_equal(a.mask, b.mask)


@pytest.mark.parametrize("size", [96, 128, 256, 384])
def test_any_crop_size(persona: Persona, size: int) -> None:
    points = drawn_face.mesh()
    alignment = Alignment(np.array([[size / 640, 0, 0], [0, size / 640, 0]]), size)
    out = opened(persona).swap(crop_of(drawn_face.portrait(points), alignment), drawn_face.face(points), alignment)
    assert out.crop.shape == (size, size, 3)
    assert out.mask.shape == (size, size)
    assert out.mask[size // 2, size // 2] == 255


def test_faces_keep_states_of_their_own_and_old_ones_go(persona: Persona) -> None:
    points, swapper = drawn_face.mesh(), opened(persona)
    crop = crop_of(drawn_face.portrait(points), drawn_face.ALIGNED)
    for track in range(20):
        swapper.swap(crop, drawn_face.face(points, track_id=track), drawn_face.ALIGNED)
    assert len(swapper._tracks) <= mesh.MOST_FACES


def test_a_face_half_outside_the_crop_still_draws(persona: Persona) -> None:
    points = drawn_face.mesh() + np.array([-330, 0, 0], np.float32)
    out = draw(opened(persona), points, drawn_face.portrait(drawn_face.mesh()), frames=2)
    assert out.mask[130, 4] > 200
    assert not out.mask[:, 128:].any()


def test_refuses_what_it_cannot_draw(persona: Persona) -> None:
    points = drawn_face.mesh()
    crop, face = np.zeros((256, 256, 3), np.uint8), drawn_face.face(points)
    with pytest.raises(StageError, match="persona"):
        mesh.MeshSwapper(SwapConfig()).swap(crop, face, drawn_face.ALIGNED)
    swapper = opened(persona)
    with pytest.raises(StageError, match="mesh"):
        swapper.swap(crop, replace(face, mesh_px=None), drawn_face.ALIGNED)
    with pytest.raises(StageError, match="finite"):
        swapper.swap(crop, replace(face, mesh_px=np.full((478, 3), np.nan, np.float32)), drawn_face.ALIGNED)
    with pytest.raises(StageError, match="finite mesh"):
        swapper.swap(crop, replace(face, mesh_px=np.zeros((478, 3), np.float32)), drawn_face.ALIGNED)
    with pytest.raises(StageError, match="crop"):
        swapper.swap(crop[:128], face, drawn_face.ALIGNED)


@pytest.mark.parametrize("broken", ["no picture", "no mesh", "wrong mesh", "nan mesh", "no eye"])
def test_a_broken_persona_is_refused_and_the_one_before_stays(persona: Persona, broken: str) -> None:
    images, meshes = dict(persona.images), dict(persona.meshes)
    if broken == "no picture":
        del images["closed_eyes"]
    elif broken == "no mesh":
        del meshes["neutral"]
    elif broken == "wrong mesh":
        meshes["neutral"] = meshes["neutral"][:468]
    elif broken == "nan mesh":
        meshes["closed_eyes"] = np.full((478, 3), np.nan, np.float32)
    else:
        del images["eye_left"]
    swapper, points = opened(persona), drawn_face.mesh()
    with pytest.raises(PersonaError, match="expected"):
        swapper.wear(replace(persona, images=images, meshes=meshes))
    assert draw(swapper, points, drawn_face.portrait(points), frames=1).mask.any()


def test_without_mouth_pictures_the_mouth_is_dark_not_the_wearers(persona: Persona) -> None:
    images = {k: v for k, v in persona.images.items() if not k.startswith("teeth") and k != "tongue"}
    points = drawn_face.mesh(jaw=55)
    picture = drawn_face.portrait(points)
    cv2.fillPoly(picture, [np.rint(points[list(topology.MOUTH_UPPER + topology.MOUTH_LOWER[::-1]), :2]).astype(np.int32)], (0, 255, 0))
    out = draw(opened(replace(persona, images=images)), points, picture, 0.0).crop
    assert green_px(out[165:215, 100:156]) == 0


def openings(raw: list[float]) -> list[float]:
    """What a new wearer's lids are drawn at, frame by frame, for what the tracker reads."""
    wearer, widths, out = shape.Wearer(), np.array([40.0, 40.0]), []
    for value in raw:
        out.append(float(wearer.openness(np.full(2, value), widths).mean()))
        wearer.frames += 1
    return out


def test_lids_are_right_from_the_first_frame_whatever_eyes_one_has() -> None:
    for wide in (0.55, 0.85, 1.05):
        assert min(openings([wide] * 10)) > 0.95, wide
    blinking = openings([0.1, 0.2, 0.5, 0.8, *[0.85] * 20])
    assert blinking[0] < 0.3
    assert abs(blinking[-1] - 1.05) < 0.1


def test_lids_do_not_shimmer_and_still_blink() -> None:
    noise = np.random.default_rng(5).normal(0, 0.07, 200)
    calm = np.diff(openings([0.9, *(0.9 + noise)]))[50:]
    assert calm.std() < 0.5 * np.diff(noise).std() / 0.9
    shut = openings([*[0.9] * 30, 0.45, 0.05, 0.05, 0.45, 0.9, 0.9])
    assert shut[32] < 0.1
    assert shut[35] > 0.85


def test_light_is_read_off_the_skin() -> None:
    """Skin lit by a known order-1 light: the fit gives it back, with a tenth of the points spoilt."""
    normals = vertex_normals(drawn_face.mesh()[:468], topology.face_triangles())
    truth = 140 * (1 + 0.25 * normals[:, 0] - 0.15 * normals[:, 1])
    colours = (truth[:, None] * np.array([0.8, 1.0, 1.2])).astype(np.float32)
    spoilt = np.random.default_rng(0).random(468) < 0.1
    colours[spoilt] *= 0.3
    fitted = light.fit(colours, normals, np.ones(468, np.float32)).colours(normals)
    clean = (truth[:, None] * np.array([0.8, 1.0, 1.2]))[~spoilt]
    assert np.median(np.abs(fitted[~spoilt] / clean - 1)) < 0.03


def test_a_medical_mask_lends_the_skin_no_colour() -> None:
    """A blue mask over the lower face: the light read is that of the skin above it; without one, every point counts."""
    points = drawn_face.mesh()[:468]
    normals = vertex_normals(points, topology.face_triangles())
    upper = points[:, 1] < points[195, 1]
    skin = np.tile(np.array([100, 140, 190], np.float32), (468, 1)) * np.random.default_rng(1).uniform(0.9, 1.1, (468, 1)).astype(np.float32)
    weights = np.ones(468, np.float32)
    assert light.uncovered(skin, weights, upper).min() == 1
    masked = skin.copy()
    masked[~upper] = (210, 180, 150)
    bare = light.uncovered(masked, weights, upper)
    assert bare[upper].min() > 0.9
    assert bare[~upper].max() < 0.1
    plain, kept = (np.median(light.fit(masked, normals, w).colours(normals), axis=0) for w in (weights, weights * bare))
    wanted = np.median(skin, axis=0)
    assert np.abs(kept / wanted - 1).max() < 0.05 < np.abs(plain / wanted - 1).max()


def test_portraits_carry_their_own_light_away(persona: Persona) -> None:
    """A persona portrayed in side light, worn in even light, looks evenly lit."""
    lit = dict(persona.images)
    lit["neutral"] = drawn_face.portrait(persona.meshes["neutral"], (120, 150, 190), side_light=0.35)
    points = drawn_face.mesh()
    out = draw(opened(replace(persona, images=lit)), points, drawn_face.portrait(points), frames=20).crop.astype(float)
    left, right = out[140:160, 76:96].mean(), out[140:160, 160:180].mean()
    assert abs(left - right) < 0.08 * (left + right)


def test_prepared_textures_shrink_and_keep_the_mask(persona: Persona) -> None:
    worn = prepare(persona, topology.face_triangles())
    assert [t.open_lanes.shape[0] for t in worn.textures] == [640, 453, 320, 226, 160, 113]
    for texture in worn.textures:
        alpha = (texture.open_lanes >> np.uint64(48)).astype(int)
        assert alpha.max() == 255
        assert alpha[0].max() == 0


def test_lanes_hold_all_four_channels() -> None:
    picture = np.random.default_rng(1).integers(0, 256, (5, 7, 4), np.uint8)
    lanes = raster.to_lanes(picture)
    back = np.stack([(lanes >> np.uint64(16 * k)) & np.uint64(0xFFFF) for k in range(4)], axis=-1)
    assert np.array_equal(back, picture)


@pytest.mark.parametrize("name", ["tomas", "noor", "lucia", "ada"])
def test_hair_is_painted_over_and_eyes_sockets_and_nose_are_left_alone(name: str) -> None:
    """Irises once ran into the cheeks below them, and shadows beside the nose went."""
    worn = shipped.load(name)
    picture, points = worn.images["neutral"], worn.meshes["neutral"]
    change = np.abs(_mesh_worn._bare(picture, points).astype(int) - picture).max(axis=2)
    middle = np.zeros(change.shape, np.uint8)
    inner = [*topology.RIGHT_BROW[2:5], *topology.LEFT_BROW[2:5], *topology.RIGHT_LOWER, *topology.LEFT_LOWER, 4]
    cv2.fillPoly(middle, [cv2.convexHull(np.rint(points[inner, :2]).astype(np.int32))], (1,))
    assert change[middle > 0].max() <= 2
    if name == "lucia":
        assert change[round(float(points[10, 1])) :, : round(float(points[127, 0]))].max() > 30, "a fringe of black hair hangs there"
