"""A sample varied: what a camera, a tracker and `mesh` may do differently from the renderer. Seeded; NumPy and OpenCV only.

Light, colour and flips change wearer, drawing and truth together, so that the answer stays the answer. The drawing alone is displaced, lit a little
differently and blurred in places: the network learns to mend what `mesh` gets wrong. Noise, blur and JPEG stand on the wearer alone: the answer stays
clean. Lines are drawn from landmarks that tremble as a tracker's do.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from engines.train.shards import Samples
from livecam.swap import _lite_lines as lines
from livecam.types import F32, U8


@dataclass(frozen=True, slots=True)
class Strength:
    """How much. Probabilities, and greatest or standard amounts.

    gain: log2 of brightness; tint: log2 of each channel; gamma: log2; warp_px: of the drawing at 128 px; relight: relative, a smooth field;
    noise: grey levels; dye: probability of other hair, log2 of its brightness and of each channel; landmarks_px: at 128 px;
    identity: noise on the embedding (whose entries are about 0.09);
    oneself: share of samples in which the wearer is given as the answer has them (SimSwap's self-reconstruction).
    """

    photometric: float = 0.8
    gain: float = 0.35
    tint: float = 0.12
    gamma: float = 0.3
    drawing: float = 0.5
    warp_px: float = 1.2
    relight: float = 0.06
    patches: float = 0.25
    degrade: float = 0.3
    noise: float = 6.0
    dye: float = 0.35
    dye_gain: float = 0.8
    dye_tint: float = 0.3
    landmarks_px: float = 0.35
    identity: float = 0.02
    oneself: float = 0.03


@dataclass(slots=True)
class Varied:
    """One sample ready for a batch: pictures (S, S, 3) and planes (S, S) uint8; lines (S, S, 3); places, moves (K, 2) as in Samples."""

    wearer: U8
    truth: U8
    mesh: U8
    mesh_mask: U8
    oval: U8
    occluder: U8
    hair: U8
    emphasis: U8
    lines: U8
    places: F32
    moves: F32

    def flipped(self) -> Varied:
        """Mirrored, the picture of the lines too (left and right need no names there)."""
        pictures = (np.ascontiguousarray(getattr(self, key)[:, ::-1]) for key in self.__slots__ if key not in ("places", "moves"))
        mirror = np.array([-1, 1], np.float32)
        return Varied(*pictures, places=self.places * mirror + np.array([len(self.oval) - 1, 0], np.float32), moves=self.moves * mirror)


def plain(samples: Samples, row: int) -> Varied:
    """The sample as it is."""
    return _varied(samples, row, samples.landmarks[row])


def vary(samples: Samples, row: int, rng: np.random.Generator, strength: Strength) -> Varied:
    """The sample changed at random."""
    size = samples.wearer.shape[1]
    oneself = rng.random() < strength.oneself
    landmarks = samples.landmarks[row] + rng.normal(0, strength.landmarks_px * size / 128, (1, 2)).astype(np.float32)
    landmarks = landmarks + rng.normal(0, strength.landmarks_px * size / 384, landmarks.shape).astype(np.float32)
    out = _varied(samples, row, landmarks)
    out.wearer = out.truth if oneself else out.wearer
    if rng.random() < strength.dye:
        _dye(out, rng, strength)
    if rng.random() < strength.photometric:
        table = _table(rng, strength)
        out.wearer, out.truth, out.mesh = (_looked_up(p, table) for p in (out.wearer, out.truth, out.mesh))
    if rng.random() < strength.drawing:
        _move(out, rng, strength.warp_px * size / 128)
        out.mesh = _relit(out.mesh, rng, strength.relight)
    if rng.random() < strength.patches:
        out.mesh = _washed(out.mesh, rng)
    if rng.random() < strength.degrade:
        out.wearer = _degraded(out.wearer, rng, strength.noise)
    return out.flipped() if rng.random() < 0.5 else out


def _varied(samples: Samples, row: int, landmarks: F32) -> Varied:
    pictures = (getattr(samples, key)[row] for key in ("wearer", "truth", "mesh", "mesh_mask", "oval", "occluder", "hair", "emphasis"))
    return Varied(*pictures, lines=lines.draw(landmarks, samples.wearer.shape[1]), places=samples.places[row], moves=samples.moves[row])


def _table(rng: np.random.Generator, strength: Strength) -> U8:
    """(256, 1, 3) gain, tint and gamma in one look-up."""
    gamma = 2.0 ** rng.uniform(-strength.gamma, strength.gamma)
    gain = 2.0 ** (rng.uniform(-strength.gain, strength.gain) + rng.uniform(-strength.tint, strength.tint, 3))
    levels = 255 * np.clip((np.arange(256)[:, None] / 255) ** gamma * gain, 0, 1)
    return np.rint(levels).astype(np.uint8)[:, None]


def _looked_up(picture: U8, table: U8) -> U8:
    return cv2.LUT(picture, table).astype(np.uint8, copy=False)


def _dye(sample: Varied, rng: np.random.Generator, strength: Strength) -> None:
    """Hair of another colour on wearer, truth and what of the wearer is around the drawing: more colours than anybody is born with."""
    gain = 2.0 ** (rng.uniform(-strength.dye_gain, strength.dye_gain) + rng.uniform(-strength.dye_tint, strength.dye_tint, 3))
    share = cv2.GaussianBlur(sample.hair, (0, 0), 0.01 * len(sample.hair))[..., None] / np.float32(255)
    around = share * (1 - sample.mesh_mask[..., None] / np.float32(255))
    for name, part in (("wearer", share), ("truth", share), ("mesh", around)):
        dyed = getattr(sample, name) * (1 + (gain.astype(np.float32) - 1) * part)
        setattr(sample, name, np.clip(dyed + 0.5, 0, 255).astype(np.uint8))


def _field(rng: np.random.Generator, size: int, cells: int, channels: int) -> F32:
    """(size, size, channels) smooth noise of standard deviation about 1."""
    grid = rng.normal(0, 1, (cells, cells, channels)).astype(np.float32)
    return cv2.resize(grid, (size, size), interpolation=cv2.INTER_CUBIC).reshape(size, size, channels)


def _move(sample: Varied, rng: np.random.Generator, amount_px: float) -> None:
    """The drawing displaced, and what is known of where its features lie."""
    size = len(sample.mesh)
    field = _field(rng, size, int(rng.integers(3, 7)), 2) * amount_px * rng.random()
    grid = np.stack(np.meshgrid(np.arange(size), np.arange(size)), axis=2).astype(np.float32) + field
    together = cv2.remap(np.dstack([sample.mesh, sample.mesh_mask]), grid, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    sample.mesh, sample.mesh_mask = np.ascontiguousarray(together[..., :3]), np.ascontiguousarray(together[..., 3])
    # What lay at q is found now where p + field(p) = q: at q - field(q), nearly.
    at = np.clip(np.rint(np.nan_to_num(sample.places + sample.moves)), 0, size - 1).astype(int)
    sample.moves = sample.moves - field[at[:, 1], at[:, 0]]


def _relit(drawing: U8, rng: np.random.Generator, amount: float) -> U8:
    size = len(drawing)
    field = _field(rng, size, 3, 1) * amount + rng.normal(0, amount / 3, (1, 1, 3)) + 1
    return np.clip(drawing * field + 0.5, 0, 255).astype(np.uint8)


def _washed(drawing: U8, rng: np.random.Generator) -> U8:
    """Detail taken away in places."""
    size = len(drawing)
    soft = cv2.GaussianBlur(drawing, (0, 0), float(rng.uniform(1, 3)) * size / 128)
    share = np.clip(_field(rng, size, 5, 1), 0, 1)
    return (drawing + (soft.astype(np.float32) - drawing) * share + 0.5).astype(np.uint8)


def _degraded(picture: U8, rng: np.random.Generator, noise: float) -> U8:
    if rng.random() < 0.4:
        picture = cv2.GaussianBlur(picture, (0, 0), float(rng.uniform(0.3, 1.2)) * len(picture) / 128).astype(np.uint8, copy=False)
    if rng.random() < 0.6:
        grain = rng.normal(0, noise * rng.random(), picture.shape)
        picture = np.clip(picture + grain + 0.5, 0, 255).astype(np.uint8)
    if rng.random() < 0.4:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(35, 90))]
        picture = cv2.imdecode(cv2.imencode(".jpg", picture, quality)[1], cv2.IMREAD_COLOR).astype(np.uint8, copy=False)
    return picture
