"""The parser in the mask room: what opens, what does not, and when the network is asked. The network is a stand-in that says what a test wants."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import cv2
import drawn_face
import numpy as np
import pytest

from livecam.app import build
from livecam.config import Config, SwapConfig
from livecam.errors import ModelShapeError, StageError
from livecam.guard import _drawn
from livecam.guard._drawn import Drawn
from livecam.mask import parser
from livecam.runtimes import TensorSpec
from livecam.store import Store
from livecam.types import Alignment, Swapped

P = 128
FACE = drawn_face.face(drawn_face.mesh())
ALIGNED = drawn_face.ALIGNED
WEARER = np.full((256, 256, 3), 90, np.uint8)


class Network:
    """Says `share(picture)` for the occluder; picture: (P, P, 3) float32 RGB."""

    inputs = (TensorSpec("x", (1, 3, P, P), "float32"),)
    outputs = (TensorSpec("classes", (1, 10, P // 2, P // 2), "float32"), TensorSpec("occluder", (1, 1, P, P), "float32"))

    def __init__(self, share: Callable[[np.ndarray], np.ndarray], glasses: np.ndarray | None = None) -> None:
        self.share, self.glasses, self.calls = share, glasses, 0

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        self.calls += 1
        classes = np.zeros((1, 10, P // 2, P // 2), np.float32)
        if self.glasses is not None:
            classes[0, parser.GLASSES] = 5.0 * self.glasses
        return {"classes": classes, "occluder": self.share(inputs["x"][0].transpose(1, 2, 0))[None, None].astype(np.float32)}


def bright(picture: np.ndarray) -> np.ndarray:
    """What is bright is a thing: as a network would, it finds it in the mirrored picture too."""
    return (picture[..., 0] > 0.7).astype(np.float32)


def with_thing(x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
    out = WEARER.copy()
    out[y0:y1, x0:x1] = 255
    return out


def test_a_thing_opens_the_mask_and_is_told_to_the_guard() -> None:
    seen = parser.wrap(Network(bright)).see(with_thing(100, 190, 160, 250), FACE, ALIGNED)
    assert seen is not None
    assert seen.opening[200:240, 110:150].min() == 255
    assert seen.opening[:180].max() == 0
    assert (seen.sure >= seen.opening).all()
    alpha = parser.opened(np.full((256, 256), 200, np.uint8), seen)
    assert alpha[200:240, 110:150].max() == 0
    assert (alpha[:180] == 200).all()


def test_nothing_before_the_face_leaves_alpha_and_asks_every_sixth_frame() -> None:
    network = Network(bright)
    occlusion = parser.wrap(network)
    results = [occlusion.see(WEARER, FACE, ALIGNED) for _ in range(2 * parser.IDLE_PERIOD + 1)]
    assert not any(results)
    assert network.calls == 3
    alpha = np.full((256, 256), 7, np.uint8)
    assert parser.opened(alpha, None) is alpha


def test_a_crop_that_is_another_is_looked_at_at_once() -> None:
    network = Network(bright)
    occlusion = parser.wrap(network)
    assert occlusion.see(WEARER, FACE, ALIGNED) is None
    assert occlusion.see(WEARER, FACE, ALIGNED) is None
    assert network.calls == 1
    # One look alone does not open; the next frame's agrees with it.
    assert occlusion.see(with_thing(100, 170, 180, 250), FACE, ALIGNED) is None
    assert occlusion.see(with_thing(102, 170, 182, 250), FACE, ALIGNED) is not None


def test_what_one_look_alone_finds_does_not_open() -> None:
    occlusion = parser.wrap(Network(bright))
    flash = with_thing(100, 170, 180, 250)
    results = [occlusion.see(flash if k == 7 else WEARER, FACE, ALIGNED) for k in range(20)]
    assert not any(results)


def test_what_the_mirrored_crop_never_confirms_is_not_asked_about_in_every_frame() -> None:
    there = np.zeros((P, P), np.float32)
    there[50:70, 30:58] = 1.0
    network = Network(lambda picture: there)
    occlusion = parser.wrap(network)
    assert not any(occlusion.see(WEARER, FACE, ALIGNED) for _ in range(60))
    assert network.calls < 120


def test_a_change_of_light_is_no_other_crop() -> None:
    network = Network(bright)
    occlusion = parser.wrap(network)
    textured = np.random.default_rng(0).integers(40, 140, (32, 32, 3)).astype(np.uint8)
    wearer = cv2.resize(textured, (256, 256))
    for gain in (1.0, 1.1, 1.2):
        occlusion.see(np.clip(wearer * gain, 0, 255).astype(np.uint8), FACE, ALIGNED)
    assert network.calls == 1


def test_what_a_hand_uncovers_is_drawn_in_the_next_frame() -> None:
    occlusion = parser.wrap(Network(bright))
    for k in range(8):
        seen = occlusion.see(with_thing(20 + 8 * k, 190, 80 + 8 * k, 250), FACE, ALIGNED)
        assert seen is not None
        uncovered = seen.opening[200:240, 22 : max(22, 16 + 8 * k)]
        assert not uncovered.any()
    assert occlusion.see(WEARER, FACE, ALIGNED) is None


def test_glasses_never_open() -> None:
    glasses = np.zeros((P // 2, P // 2), np.float32)
    glasses[20:32] = 1.0
    network = Network(lambda picture: np.pad(np.ones((24, P), np.float32), ((40, P - 64), (0, 0))), glasses)
    assert parser.wrap(network).see(WEARER, FACE, ALIGNED) is None


@pytest.mark.parametrize("has_mesh", [True, False])
def test_what_lies_wholly_on_the_face_is_part_of_it(has_mesh: bool) -> None:
    face = FACE if has_mesh else replace(FACE, mesh_px=None)
    x, y = (ALIGNED.matrix @ np.array([*FACE.five_px[2], 1.0])).round().astype(int)
    picture = with_thing(x - 24, y - 10, x + 24, y + 38)
    assert parser.wrap(Network(bright)).see(picture, face, ALIGNED) is None
    picture[y : 256, x - 10 : x + 10] = 255
    assert parser.wrap(Network(bright)).see(picture, face, ALIGNED) is not None


@pytest.mark.parametrize("share", [0.7, 0.45])
def test_doubt_does_not_open(share: float) -> None:
    network = Network(lambda picture: np.full((P, P), share, np.float32))
    assert parser.wrap(network).see(WEARER, FACE, ALIGNED) is None


def test_specks_do_not_open() -> None:
    specks = np.zeros((P, P), np.float32)
    specks[::9, ::9] = 1.0
    assert parser.wrap(Network(lambda picture: specks)).see(WEARER, FACE, ALIGNED) is None


def test_a_part_that_the_mirrored_crop_does_not_confirm_stays_drawn() -> None:
    """The stand-in sees a thing at the same place whatever it is shown, which no real thing does."""
    there = np.zeros((P, P), np.float32)
    there[50:70, 30:58] = 1.0
    network = Network(lambda picture: there)
    seen = parser.wrap(network).see(WEARER, FACE, ALIGNED)
    assert network.calls == 2
    assert seen is None


def guard_says(seen: parser.Occluded | None) -> str:
    alpha = parser.opened(np.full((256, 256), 255, np.uint8), seen)
    textured, wearer = (np.random.default_rng(k).integers(0, 255, (256, 256, 3)).astype(np.uint8) for k in (0, 1))
    drawn = Drawn(FACE, ALIGNED, alpha, Swapped(textured, alpha), wearer, None if seen is None else seen.sure)
    return _drawn.fault(drawn, (640, 640))


def test_a_hand_over_the_mouth_passes_the_guard_and_its_opening_alone_does_not() -> None:
    x, y = (ALIGNED.matrix @ np.array([*FACE.five_px[3:].mean(0), 1.0])).round().astype(int)
    seen = parser.wrap(Network(bright)).see(with_thing(x - 30, y - 22, x + 30, y + 40), FACE, ALIGNED)
    assert seen is not None
    assert guard_says(seen) == ""
    assert guard_says(parser.Occluded(seen.opening, np.zeros_like(seen.sure))) != ""


def test_with_eyes_nose_and_mouth_all_open_nothing_is_sure_and_the_guard_covers() -> None:
    seen = parser.wrap(Network(bright)).see(with_thing(10, 10, 246, 246), FACE, ALIGNED)
    assert seen is not None
    assert not seen.sure.any()
    assert guard_says(seen) != ""


def test_any_size_of_crop() -> None:
    for size in (128, 192, 384):
        alignment = Alignment(ALIGNED.matrix * (size / 256), size)
        picture = cv2.resize(with_thing(100, 190, 160, 250), (size, size), interpolation=cv2.INTER_NEAREST)
        seen = parser.wrap(Network(bright)).see(picture, FACE, alignment)
        assert seen is not None
        assert seen.opening.shape == (size, size)
        assert seen.opening[round(0.86 * size), round(0.5 * size)] == 255


def test_each_face_has_its_own_memory() -> None:
    occlusion = parser.wrap(Network(bright))
    other = drawn_face.face(drawn_face.mesh())
    object.__setattr__(other, "track_id", FACE.track_id + 1)
    assert occlusion.see(with_thing(100, 190, 160, 250), FACE, ALIGNED) is not None
    assert occlusion.see(WEARER, other, ALIGNED) is None
    occlusion.reset()
    assert occlusion.see(WEARER, FACE, ALIGNED) is None


def test_bad_crops_and_maps_are_refused() -> None:
    with pytest.raises(StageError, match="expected a crop"):
        parser.wrap(Network(bright)).see(WEARER[:100], FACE, ALIGNED)
    with pytest.raises(StageError, match="finite"):
        parser.wrap(Network(lambda picture: np.full((P, P), np.nan, np.float32))).see(WEARER, FACE, ALIGNED)


def test_another_network_is_refused_and_none_is_none(tmp_path: Path) -> None:
    network = Network(bright)
    network.outputs = network.outputs[:1]  # type: ignore[misc]
    with pytest.raises(ModelShapeError, match="occluder"):
        parser.wrap(network)
    assert parser.load(Store(tmp_path, cards={})) is None


def test_things_are_looked_for_when_they_are_to_be_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(build.detect, "load", lambda *_: None)
    monkeypatch.setattr(build.track, "load", lambda *_: None)
    monkeypatch.setattr(build.mask, "load_occlusion", lambda store, threads: asked.append(threads))
    store = Store(tmp_path, cards={})
    build.finders_of(Config(), store)
    assert asked == []
    build.finders_of(Config(swap=SwapConfig(things="show")), store)
    assert asked == [Config().run.threads]
