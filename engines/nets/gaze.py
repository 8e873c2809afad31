"""Network `gaze`: where an eye looks, relative to the head.

    eye (N, 64, 64, 3)     RGB 0..1, the region that iris_landmark looks at; a left eye in a mirror
    head (N, 2)            yaw, pitch of the head in degrees, in that same (mirrored) picture
      4 x conv stride 2    ->  widths at 32, 16, 8, 4
      linear, with head    ->  hidden
      linear               ->  gaze (N, 2): yaw, pitch in degrees relative to the head

MediaPipe's iris point follows the iris of a rendered eye by some 60 % sideways and 25 % up and down; what the persona's eyes do hangs on it.
Convolutions and a linear layer as in appearance-based gaze estimation (Zhang et al., MPIIGaze, TPAMI 2019), trained on rendered eyes as in
UnityEyes (Wood et al., ETRA 2016).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

SIDE_PX = 64
"""Side of an eye's picture: IRIS_SIDE_PX of livecam's tracker."""
HEAD_UNIT_DEG, GAZE_UNIT_DEG = 30.0, 15.0
"""What angles are divided by inside the network."""


@dataclass(frozen=True, slots=True)
class GazeConfig:
    """widths: channels after each convolution of stride 2. hidden: of the linear layer."""

    widths: tuple[int, ...] = (16, 32, 64, 96)
    hidden: int = 64


CONFIGS = {"gaze64": GazeConfig(), "tiny": GazeConfig((4, 4, 8, 8), 8)}
"""Configs by name; `tiny` is for tests."""


class Gaze(nn.Module):
    """See the module."""

    def __init__(self, config: GazeConfig) -> None:
        super().__init__()
        self.config = config
        layers: list[nn.Module] = []
        fan_in = 3
        for width in config.widths:
            layers += [nn.Conv2d(fan_in, width, 3, 2, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
            fan_in = width
        self.convolutions = nn.Sequential(*layers)
        side = SIDE_PX >> len(config.widths)
        self.hidden = nn.Linear(fan_in * side * side + 2, config.hidden)
        self.out = nn.Linear(config.hidden, 2)

    def forward(self, eye: Tensor, head: Tensor) -> Tensor:
        """eye: (N, 64, 64, 3); head: (N, 2); gaze: (N, 2)."""
        seen = self.convolutions(eye.permute(0, 3, 1, 2) - 0.5).flatten(1)
        both = torch.cat([seen, head / HEAD_UNIT_DEG], dim=1)
        gaze: Tensor = self.out(torch.relu(self.hidden(both))) * GAZE_UNIT_DEG
        return gaze
