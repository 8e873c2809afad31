"""Which points of MediaPipe's face mesh are what. "Right" and "left" are the subject's own; their right is image-left in an unmirrored picture.

Source: mediapipe, `face_mesh_connections.py` and the graph `update_face_landmarks` of its iris solution.
"""

from __future__ import annotations

import numpy as np

from livecam.types import LEFT_IRIS as LEFT_IRIS
from livecam.types import RIGHT_IRIS as RIGHT_IRIS

RIGHT_EYE_CORNERS = (33, 133)
"""Outer, inner: from image-left to image-right."""
LEFT_EYE_CORNERS = (362, 263)
"""Inner, outer: from image-left to image-right."""
NOSE_TIP = 4
NOSE_BRIDGE = 168
NOSE_BASE = 2
RIGHT_MOUTH_CORNER, LEFT_MOUTH_CORNER = 61, 291
RIGHT_LIDS = ((159, 145), (158, 153), (160, 144))
"""Upper and lower lid, pairs above one another."""
LEFT_LIDS = ((386, 374), (385, 380), (387, 373))

STABLE = np.array(
    [
        10, 151, 9, 8, 168, 6, 197, 195, 5, 4, 1, 109, 67, 103, 54, 21, 162, 127, 234, 338, 297, 332, 284, 251, 389, 356, 454,
        33, 133, 362, 263, 116, 345, 117, 346, 50, 280, 205, 425, 98, 327, 129, 358,
    ]
)
"""Forehead, temples, cheekbones, nose and eye corners: what neither mouth, lids, gaze nor jaw moves much."""

RIGHT_EYE_REGION = np.array(
    # eye contour: lower, upper without the corners
    [
        33, 7, 163, 144, 145, 153, 154, 155, 133, 246, 161, 160, 159, 158, 157, 173,
        # rings around it, from the inside to the outside, and the brow
        130, 25, 110, 24, 23, 22, 26, 112, 243, 247, 30, 29, 27, 28, 56, 190,
        226, 31, 228, 229, 230, 231, 232, 233, 244, 113, 225, 224, 223, 222, 221, 189,
        35, 124, 46, 53, 52, 65, 143, 111, 117, 118, 119, 120, 121, 128, 245, 156, 70, 63, 105, 66, 107, 55, 193,
    ]
)
"""Mesh points that the iris network gives again, more exactly, in its order (71)."""
LEFT_EYE_REGION = np.array(
    [
        263, 249, 390, 373, 374, 380, 381, 382, 362, 466, 388, 387, 386, 385, 384, 398,
        359, 255, 339, 254, 253, 252, 256, 341, 463, 467, 260, 259, 257, 258, 286, 414,
        446, 261, 448, 449, 450, 451, 452, 453, 464, 342, 445, 444, 443, 442, 441, 413,
        265, 353, 276, 283, 282, 295, 372, 340, 346, 347, 348, 349, 350, 357, 465, 383, 300, 293, 334, 296, 336, 285, 417,
    ]
)
LOWER_LID = 9
"""The first so many points of an eye region are the corners and the lower lid's edge, the next the upper lid's."""
EYE_CONTOUR = 16
"""The first so many points of an eye region are the lids' edge."""
