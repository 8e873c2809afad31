"""Room `align`: frame to crop. One file per template: arcface.

`arcface.align(five_px, spec) -> Alignment` is the least-squares similarity (Umeyama 1991, no reflection) of the five points to the template.
`arcface.reach(alignment, points_px)` draws a crop back until a long or turned face fits.
Plain matrix helpers (invert, apply, compose) are in livecam/geometry.py; the crop itself is `livecam.image.crop`.
"""

from __future__ import annotations

from livecam.align.arcface import align, reach, template_px

__all__ = ["align", "reach", "template_px"]
