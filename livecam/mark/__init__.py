"""Room `mark`: what goes out is marked as altered, for machines (hidden) and for people (the badge). See docs/mark.md.

marker.py     Marker: badge, then hidden mark, in place, after blend and before the guard; also on pixelated pictures
badge.py      the plate "AI modified" in a corner
_layout.py    the public key: where the chips lie, which sign they have, which bit they carry
_code.py      the payload and its BCH(127, 29) code
_draw.py      the gain by local activity and the drawing, plain; _fast.py: the same, compiled
read.py       finds and reads the mark in a picture; _align.py: where the mark lies when the picture was cut, scaled, tilted or filmed
"""

from livecam.mark._code import Payload, short_id
from livecam.mark.marker import Marker, warm_up

__all__ = ["Marker", "Payload", "short_id", "warm_up"]
