"""Room `mask`: what of the drawing may reach the frame. One file per method: soft (the generator's mask), parser (what stands before the face).

`soft.alpha(swapped, face, alignment) -> (S, S) uint8` is 0 on the crop's outermost pixels, feathered inwards; raises StageError for an empty,
non-finite or wrong-sized mask. `parser.load(store, threads) -> Occlusion | None`; `Occlusion.see(wearer, face, alignment) -> Occluded | None`;
`opened(alpha, seen)` takes its openings out of alpha.
"""

from __future__ import annotations

from livecam.mask.parser import Occluded, Occlusion, nothing_before, opened
from livecam.mask.parser import load as load_occlusion
from livecam.mask.soft import alpha

__all__ = ["Occluded", "Occlusion", "alpha", "load_occlusion", "nothing_before", "opened"]
