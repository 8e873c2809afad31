"""Is the oracle blind? Before every run leaks are planted: in pictures (here), and by a broken worker in the real processes (see run.py)."""

from __future__ import annotations

import numpy as np

from livecam.soak.oracle import FRAMES, Oracle
from livecam.soak.scene import Scene
from livecam.types import U8

PATCH_PX = 32
TRIES = 6
QUARTER, TENTH = 0.25, 0.1


def check(scene: Scene, index: int = 0) -> tuple[int, int]:
    """(planted, found): raw faces, a quarter of one, patches of 32 px, a tenth over 25 frames; and clean pictures, which must not be found.

    A clean picture that is taken for a leak counts as one that was planted and not found."""
    oracle, results = Oracle(scene.canary), list[bool]()
    clean = _clean(scene)

    def looks(image: U8) -> bool:
        return oracle.leaks(oracle.look(image))

    for number in range(TRIES):
        raw = scene.draw(index + number)
        oracle.forget()
        results.append(not looks(clean))
        results.append(looks(raw))
        oracle.forget()
        results.append(looks(_mixed(raw, clean, QUARTER)))
        oracle.forget()
        results.append(looks(_patch(raw, clean, scene, index + number)))
    oracle.forget()
    weak = [looks(_mixed(scene.draw(index + number), clean, TENTH)) for number in range(FRAMES)]
    results.append(weak[-1])
    return len(results), sum(results)


def _clean(scene: Scene) -> U8:
    """The room without anybody, with the noise of a sensor."""
    noise = np.random.default_rng(scene.seed).normal(0.0, 2.0, scene.room.shape)
    return np.clip(scene.room + noise, 0, 255).astype(np.uint8)


def _mixed(raw: U8, clean: U8, share: float) -> U8:
    return (clean + share * (raw.astype(np.float32) - clean)).astype(np.uint8)


def _patch(raw: U8, clean: U8, scene: Scene, index: int) -> U8:
    """A patch of the face's middle alone."""
    x, y = np.rint(scene.truth(index)[0].oval_px.mean(axis=0)).astype(int) - PATCH_PX // 2
    image = clean.copy()
    image[y : y + PATCH_PX, x : x + PATCH_PX] = raw[y : y + PATCH_PX, x : x + PATCH_PX]
    return image
