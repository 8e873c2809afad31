"""Room `blend`: put the crop back into the frame. One file per method: roi.

`roi.blend(image, alignment, crop, alpha) -> (x0, y0, x1, y1)` inverse-warps and blends in place inside the returned ROI (clipped to the frame;
pixels outside it are untouched) with the fused kernel of livecam/image.py.
`colour.ColourMatch` is the mean/std match, for generators that draw another light than the scene's; `offset.SeamOffset` is for those that draw the
scene's light themselves.
"""

from __future__ import annotations

from livecam.blend.colour import ColourMatch
from livecam.blend.roi import blend

__all__ = ["ColourMatch", "blend"]
