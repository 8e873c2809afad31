"""A whole frame on the card as one fixed piece of work: what `livecam.bench.gpu` records as a single CUDA graph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from livecam import align
from livecam.detect._boxes import Fit
from livecam.gpu import ops
from livecam.gpu.card import Block
from livecam.image import paste_plan
from livecam.runtimes import torch as torch_runtime
from livecam.store import Store
from livecam.swap._lite_tensor import FLOW_LIMIT
from livecam.track import _region
from livecam.types import CropSpec

FACE_SHARE = 0.5
"""Width of the face over the frame's height, for one face; four are half as wide."""


@dataclass(frozen=True, slots=True)
class ChainPlan:
    """A generator in the chain. kind: "lite" (drawing in, fields out) or "swap" (picture and identity in, picture out, both RGB 0..1); size_px: of
    its crop; network: on the device; weights: "trained" or "random"; given: its inputs there, in order."""

    kind: str
    size_px: int
    network: torch.nn.Module
    given: tuple[Tensor, ...]
    weights: str


class Chain:
    """Buffers and tables for `faces` faces in a frame. `work` reads the pinned frame and ends with the coded frame in pinned memory."""

    def __init__(self, device: torch.device, store: Store, plan: ChainPlan, height: int, width: int, faces: int) -> None:
        self._plan, self._faces = plan, faces
        rng = np.random.default_rng(0)
        self._frame = Block(device, {"frame": ((height, width, 3), np.uint8)})
        self._frame.host["frame"][:] = cv2.GaussianBlur(rng.integers(0, 255, (height, width, 3)).astype(np.uint8), (0, 0), 3.0)
        self._coded = Block(device, {"coded": (ops.coded_shape(height, width, "I420"), np.uint8)})
        self._finders = {name: _finder(device, store, name) for name in ("yunet", "face_landmark", "iris_landmark", "gaze", "parser")}
        self._fit, size = Fit.of(height, width, 320), plan.size_px
        side, places = FACE_SHARE * height / (1 if faces == 1 else 2), _places(height, width, faces)
        layout: Any = {"whole": ((ops.SAMPLE_ROW,), np.float32)}
        for i in range(faces):
            layout |= {f"mesh{i}": ((ops.SAMPLE_ROW,), np.float32), f"eye{i}": ((ops.SAMPLE_ROW,), np.float32)}
            layout |= {f"crop{i}": ((ops.SAMPLE_ROW,), np.float32), f"paste{i}": ((ops.PASTE_ROW,), np.float32)}
        self._tables = Block(device, layout)
        alpha = np.zeros((size, size), np.uint8)
        cv2.ellipse(alpha, (size // 2, size // 2), (int(size * 0.36), int(size * 0.45)), 0, 0, 360, 255, -1)
        self._alpha = torch.from_numpy(alpha).to(device)
        self._write(height, width, places, side, alpha)
        own = plan.given[0].shape[-1]
        empty = {"dtype": torch.uint8, "device": device}
        self._wearer, self._crop, self._base, self._drawn = (torch.zeros((size, size, 3), **empty) for _ in range(4))
        self._share, self._eyes = torch.zeros((size, size), **empty), torch.zeros((own, own), **empty)
        self._veil, self._lines = (torch.zeros((own, own, 3), **empty) for _ in range(2))
        self._drawing = Block(device, {"drawing": ((size, size, 4), np.uint8), "lines": ((own, own, 3), np.uint8)})
        self._down = Block(device, {"crop": ((size, size, 3), np.uint8), "alpha": ((size, size), np.uint8), "points": ((1404,), np.float32)})
        self._broken = torch.zeros(1, dtype=torch.int32, device=device)

    def _write(self, height: int, width: int, places: list[tuple[float, float]], side: float, alpha: Any) -> None:
        size, tables, blocks = self._plan.size_px, self._tables.host, ops.Blocks.whole(height, width)
        tables["whole"][:] = ops.whole_row((height, width), self._fit)
        for i, (x, y) in enumerate(places):
            five = (np.array([[-1, -0.6], [1, -0.6], [0, 0.2], [-0.7, 1], [0.7, 1]]) * side * 0.24 + (x, y)).astype(np.float32)
            alignment = align.align(five, CropSpec(size))
            tables[f"crop{i}"][:] = ops.sample_row(alignment.matrix, blocks, (size, size))
            roi, matrix, factor = paste_plan(self._frame.host["frame"], alignment, np.zeros((size, size, 3), np.uint8), alpha)
            tables[f"paste{i}"][:] = ops.paste_row(roi, matrix, factor, size)
            for name, length, px in (("mesh", 1.5 * side, 192), ("eye", 0.4 * side, 64)):
                matrix, part = ops.view_of(_region.Region(x, y, length, 4.0).matrix(px), length, (height, width), px)
                tables[f"{name}{i}"][:] = ops.sample_row(matrix, part, (px, px))

    def work(self) -> None:
        """One frame."""
        frame, tables = self._frame.card["frame"], self._tables.card
        self._frame.send()
        self._tables.send()
        self._look(frame, "yunet", tables["whole"], (self._fit.height_px, self._fit.width_px), ops.GREY_LEVELS)
        for i in range(self._faces):
            self._look(frame, "face_landmark", tables[f"mesh{i}"], (192, 192), ops.Normal(planes=False))
            self._look(frame, "iris_landmark", tables[f"eye{i}"], (64, 64), ops.Normal(planes=False))
            self._look(frame, "gaze", tables[f"eye{i}"], (64, 64), ops.Normal(planes=False))
            self._look(frame, "parser", tables[f"crop{i}"], (self._plan.size_px,) * 2, ops.Normal())
            self._draw(frame, tables[f"crop{i}"])
            ops.paste(frame, self._crop, self._alpha, tables[f"paste{i}"])
        ops.encode(frame, "I420", self._coded.card["coded"])
        self._coded.fetch()
        self._down.fetch()

    def _look(self, frame: Tensor, name: str, table: Tensor, size: tuple[int, int], normal: ops.Normal) -> None:
        found = self._finders[name]
        if found is None:
            return
        given = found.given[0]
        if given.numel() == size[0] * size[1] * 3:
            ops.sample(frame, "BGR", table, size, tensor=given, normal=normal)
        found.replay()

    def _draw(self, frame: Tensor, table: Tensor) -> None:
        plan, size = self._plan, (self._plan.size_px,) * 2
        if plan.kind == "lite":
            self._drawing.send()
            ops.sample(frame, "BGR", table, size, self._wearer)
            ops.fill(self._veil, self._drawn, self._share, self._lines, plan.given[0])
            fields = [field.float().contiguous() for field in plan.network(*plan.given)]
            alpha = self._down.card["alpha"]
            ops.compose(self._veil, self._eyes, fields, self._drawn, self._share, self._crop, alpha, self._base, self._broken, FLOW_LIMIT)
        else:
            ops.sample(frame, "BGR", table, size, self._wearer, plan.given[0])
            drawn = plan.network(*plan.given)
            self._crop.copy_((drawn[0].float() * 255.0 + 0.5).clamp(0.0, 255.0).flip(0).permute(1, 2, 0))
        self._down.card["crop"].copy_(self._crop)

    def describe(self) -> str:
        """What a frame is, in one line."""
        there = [name for name, found in self._finders.items() if found is not None]
        return f"upload BGR, {', '.join(there)}, {self._plan.kind} at {self._plan.size_px} px, blend, I420, download; {self._faces} face(s)"


def _places(height: int, width: int, faces: int) -> list[tuple[float, float]]:
    if faces == 1:
        return [(width / 2, height / 2)]
    return [(width * (0.25 + 0.5 * (i % 2)), height * (0.27 + 0.46 * (i // 2 % 2))) for i in range(faces)]


def _finder(device: torch.device, store: Store, name: str) -> torch_runtime.TorchRuntime | None:
    """A network of the frame path, not recorded: it is part of the chain's recording. None when its file is not here."""
    if name not in store.cards or not store.file_path(name).exists():
        return None
    shapes = {"shapes": {"input": (1, 3, 192, 320)}} if name == "yunet" else {}
    half = "fp16" if name == "parser" and device.type == "cuda" else "fp32"
    return torch_runtime.open(store.file_path(name), 1, None, {"device": str(device), "precision": half, "graphs": False, **shapes})
