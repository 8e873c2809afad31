"""What is inside a persona file, checked before it is used: types, shapes, the size of each picture (before it is decoded), numbers.

What does not fit raises PersonaError with what was expected and found.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from livecam.errors import PersonaError
from livecam.types import F32, MESH_POINTS_WITH_IRIS, U8, Persona

PORTRAITS = ("neutral", "open_mouth", "closed_eyes")
EYES = ("eye_right", "eye_left")
MOUTH_PARTS = ("teeth_upper", "teeth_lower", "tongue")
TEXTS = ("id", "name", "kind", "description", "licence")
SYNTHETIC, PERSON = KINDS = ("synthetic", "person")
RADII = ("eye_iris_radius_px", "eye_ball_radius_px")
BOXES = tuple(f"{part}_xywh_px" for part in MOUTH_PARTS)

MAX_SIDE_PX = 2048
"""Portraits are 640 px; nobody sees more in a call."""
MAX_TEXT = 4000
EMBEDDING = 128
UNIT_WITHIN = 1e-3
"""An embedding's length differs from 1 by less than this."""
PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
JPEG_SIZE_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""SOF0..SOF15 without the tables DHT, JPG and DAC (ITU-T T.81, table B.1)."""


class Content:
    """A persona's texts and tensors. read: gives the tensors; called when the first is wanted, because lists want texts alone. where: names the file
    in messages."""

    def __init__(self, metadata: Mapping[str, str], read: Callable[[], Mapping[str, NDArray[Any]]], where: object) -> None:
        self.metadata, self._read, self._where = dict(metadata), read, where

    @cached_property
    def _tensors(self) -> Mapping[str, NDArray[Any]]:
        return self._read()

    def persona(self) -> Persona:
        """All of it, decoded. Raises PersonaError."""
        images = {name: self.picture(name, channels=3) for name in PORTRAITS}
        images |= {name: self.picture(name, channels=4) for name in (*EYES, *MOUTH_PARTS)}
        meshes = {name: self.mesh(name) for name in PORTRAITS}
        embedding = self.embedding()
        self._check_numbers(images)
        texts = {key: self.metadata[key] for key in TEXTS}
        return Persona(**texts, images=images, meshes=meshes, metadata=self.metadata, embedding=embedding)

    def encoded(self, name: str) -> bytes:
        """The bytes of a picture, its own size checked. Raises PersonaError."""
        data = self._tensor(name, np.uint8, None).tobytes()
        size = picture_size(data)
        if size is None or not all(1 <= side <= MAX_SIDE_PX for side in size):
            raise PersonaError(f"{self._where}: {name!r} should be a JPEG or PNG of at most {MAX_SIDE_PX} px a side, found {size or 'neither'}")
        return data

    def picture(self, name: str, channels: int) -> U8:
        """A decoded picture, (H, W, channels). Raises PersonaError."""
        data = np.frombuffer(self.encoded(name), np.uint8)
        try:
            image = cv2.imdecode(data, cv2.IMREAD_COLOR if channels == 3 else cv2.IMREAD_UNCHANGED)
        except cv2.error as error:
            raise PersonaError(f"{self._where}: picture {name!r} is damaged: {error.err}") from error
        if image is None or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != channels:
            found = "one that cannot be decoded" if image is None else f"{image.shape} {image.dtype}"
            raise PersonaError(f"{self._where}: {name!r} should be a picture with {channels} channels of 8 bits, found {found}")
        return np.ascontiguousarray(image, np.uint8)

    def mesh(self, name: str) -> F32:
        """The (478, 3) float32 landmarks of portrait `name`. Raises PersonaError."""
        mesh = self._tensor(f"{name}_mesh", np.float32, (MESH_POINTS_WITH_IRIS, 3))
        if not np.isfinite(mesh).all() or np.abs(mesh).max() > 2 * MAX_SIDE_PX:
            raise PersonaError(f"{self._where}: '{name}_mesh' should hold finite pixel positions, found values from {mesh.min()} to {mesh.max()}")
        return mesh

    def embedding(self) -> F32 | None:
        """The (128,) float32 identity, None when the file has none. Raises PersonaError."""
        if "embedding" not in self._tensors:
            return None
        vector = self._tensor("embedding", np.float32, (EMBEDDING,))
        if not abs(float(np.linalg.norm(vector)) - 1.0) < UNIT_WITHIN or not self.metadata.get("embedding_model"):
            raise PersonaError(
                f"{self._where}: 'embedding' should have the length 1 and a text 'embedding_model' that says what made it, found the length "
                f"{float(np.linalg.norm(vector)):.3f} and {self.metadata.get('embedding_model')!r}"
            )
        return vector

    def _tensor(self, name: str, dtype: type[np.generic], shape: tuple[int, ...] | None) -> NDArray[Any]:
        found = self._tensors.get(name)
        if found is None:
            raise PersonaError(f"{self._where} lacks {name!r}; it holds {', '.join(sorted(self._tensors)) or 'nothing'}")
        if found.dtype != dtype or (found.ndim != 1 if shape is None else found.shape != shape):
            wanted = f"{np.dtype(dtype)} {list(shape) if shape else '(N,)'}"
            kind = "another type" if found.dtype.kind == "V" else str(found.dtype)
            raise PersonaError(f"{self._where}: {name!r} should be {wanted}, found {kind} {list(found.shape)}")
        return np.array(found)

    def _check_numbers(self, images: Mapping[str, U8]) -> None:
        """Radii of the eyes and places of the mouth's parts. Raises PersonaError."""
        height, width = images["open_mouth"].shape[:2]
        for key in RADII:
            radius = _numbers(self.metadata.get(key, ""))
            if len(radius) != 1 or not 0 < radius[0] <= MAX_SIDE_PX:
                raise PersonaError(f"{self._where}: {key!r} should be a number of pixels above 0, found {self.metadata.get(key)!r}")
        for key in BOXES:
            box = _numbers(self.metadata.get(key, ""))
            if len(box) != 4 or box[2] < 1 or box[3] < 1 or box[0] + box[2] <= 0 or box[1] + box[3] <= 0 or box[0] >= width or box[1] >= height:
                found = repr(self.metadata.get(key))
                raise PersonaError(f"{self._where}: {key!r} should be [x, y, width, height] inside {width}x{height}, found {found}")


def check_texts(metadata: Mapping[str, str], where: object) -> None:
    """Texts that every persona has. Raises PersonaError."""
    for key in TEXTS:
        if not metadata.get(key) or len(metadata[key]) > MAX_TEXT:
            raise PersonaError(f"{where}: the text {key!r} should have 1 to {MAX_TEXT} characters, found {len(metadata.get(key, ''))}")
    if metadata["kind"] not in KINDS:
        raise PersonaError(f"{where}: kind should be one of {', '.join(KINDS)}, found {metadata['kind']!r}")


def _numbers(text: str) -> list[float]:
    """The finite numbers of a JSON number or list, [] for anything else."""
    try:
        value = json.loads(text)
        items = value if isinstance(value, list) else [value]
        if all(isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v) for v in items):
            return [float(v) for v in items]
    except (ValueError, OverflowError, RecursionError):
        pass
    return []


def picture_size(data: bytes) -> tuple[int, int] | None:
    """Width and height that a JPEG or PNG says it has, without decoding it; None for anything else."""
    if data.startswith(PNG_MAGIC) and len(data) >= 24:
        width, height = struct.unpack(">II", data[16:24])
        return width, height
    for marker, at in _jpeg_segments(data):
        if marker in JPEG_SIZE_MARKERS and len(data) >= at + 7:
            height, width = struct.unpack(">HH", data[at + 3 : at + 7])
            return width, height
    return None


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int]]:
    """Marker and position of the length field of each segment before the picture's own data."""
    if not data.startswith(b"\xff\xd8"):
        return
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] != 0xDA:
        yield data[at + 1], at + 2
        at += 2 + max(int.from_bytes(data[at + 2 : at + 4]), 2)
