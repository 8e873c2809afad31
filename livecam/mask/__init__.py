"""Room `mask`: what of the drawing may reach the frame. One file per method: soft.

`soft.alpha(swapped, face, alignment) -> (S, S) uint8` is 0 on the crop's outermost pixels, feathered inwards; raises StageError for an empty,
non-finite or wrong-sized mask.
"""

from __future__ import annotations

from livecam.mask.soft import alpha

__all__ = ["alpha"]
