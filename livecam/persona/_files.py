"""Read persona files (format in livecam/persona/__init__.py). Everything in them is bounded and checked before it is used.

A persona file may come from anyone: its size, its header, the types and shapes of its tensors, and the size of each picture inside (before it is
decoded) are checked; what does not fit raises PersonaError with what was expected and found.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from livecam import _shipped
from livecam.errors import ModelFileError, PersonaError
from livecam.types import F32, MESH_POINTS_WITH_IRIS, U8, Persona

FOLDER = Path(__file__).parent / "files"
FORMAT = "livecam-persona"
VERSION = "1"
SUFFIX = ".safetensors"

PORTRAITS = ("neutral", "open_mouth", "closed_eyes")
EYES = ("eye_right", "eye_left")
MOUTH_PARTS = ("teeth_upper", "teeth_lower", "tongue")
TEXTS = ("id", "name", "kind", "description", "licence")
KINDS = ("synthetic", "person")
RADII = ("eye_iris_radius_px", "eye_ball_radius_px")
BOXES = tuple(f"{part}_xywh_px" for part in MOUTH_PARTS)

MAX_FILE_BYTES = 32_000_000
"""Shipped personas have about 1 MB."""
MAX_SIDE_PX = 2048
"""Portraits are 640 px; nobody sees more in a call."""
MAX_TEXT = 4000
EMBEDDING = 128
UNIT_WITHIN = 1e-3
"""An embedding's length differs from 1 by less than this."""
PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
JPEG_SIZE_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""SOF0..SOF15 without the tables DHT, JPG and DAC (ITU-T T.81, table B.1)."""


def names() -> tuple[str, ...]:
    """Ids of the personas that ship with livecam, in their order (that of their file names)."""
    return tuple(path.stem for path in sorted(FOLDER.glob("*" + SUFFIX)))


def load(id_or_path: str | Path) -> Persona:
    """The persona with this id, or in this file. Raises PersonaError."""
    path = find(id_or_path)
    with _Reader(path) as reader:
        metadata = reader.metadata
        images = {name: reader.picture(name, channels=3) for name in PORTRAITS}
        images |= {name: reader.picture(name, channels=4) for name in (*EYES, *MOUTH_PARTS)}
        meshes = {name: reader.mesh(name) for name in PORTRAITS}
        embedding = reader.embedding()
        _check_numbers(path, metadata, images)
    texts = {key: metadata[key] for key in TEXTS}
    return Persona(**texts, images=images, meshes=meshes, metadata=metadata, embedding=embedding)


def portrait_jpeg(id_or_path: str | Path) -> bytes:
    """The neutral portrait as it stands in the file, JPEG bytes, for pages and lists. Raises PersonaError."""
    with _Reader(find(id_or_path)) as reader:
        return reader.encoded("neutral")


def encoded(id_or_path: str | Path, parts: Sequence[str]) -> dict[str, bytes]:
    """Pictures of a persona as they stand in its file, by name. Raises PersonaError."""
    with _Reader(find(id_or_path)) as reader:
        return {name: reader.encoded(name) for name in parts}


def write(path: Path, tensors: Mapping[str, NDArray[Any]], texts: Mapping[str, str], force: bool = False) -> None:
    """Writes a persona file, read back and checked before it takes its place. An existing file is replaced only with `force`.

    Raises PersonaError: it exists, it cannot be written there, or what was to be written is no persona.
    """
    if path.exists() and not force:
        raise PersonaError(f"{path} exists and was left as it is; choose another file, or replace it with --force")
    part = path.with_name(f".{path.name}.part")
    try:
        save_file({name: np.ascontiguousarray(value) for name, value in tensors.items()}, str(part), dict(texts))
        load(part)
        part.replace(path)
    except (OSError, SafetensorError) as error:
        raise PersonaError(f"the persona cannot be written to {path}: {error}; choose a folder that can be written to") from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def metadata(id_or_path: str | Path) -> Mapping[str, str]:
    """The texts of a persona file without its pictures. Raises PersonaError."""
    with _Reader(find(id_or_path)) as reader:
        return reader.metadata


def find(id_or_path: str | Path) -> Path:
    """The file of a persona: a shipped id, or a path. Raises PersonaError, naming those there are."""
    text = str(id_or_path)
    if text in names():
        return _released(FOLDER / (text + SUFFIX))
    path = Path(id_or_path)
    try:
        if path.is_file():
            return path
    except (OSError, ValueError) as error:
        raise PersonaError(f"persona {text[:80]!r} is no usable path: {error}") from error
    there = ", ".join(names()) or "none"
    raise PersonaError(f"persona {text[:80]!r} is neither a persona that ships with livecam ({there}) nor a file; see `livecam persona list`")


def _released(path: Path) -> Path:
    """A persona of livecam's own, if it is the one that was released. Raises PersonaError."""
    try:
        _shipped.check_file(path)
    except ModelFileError as error:
        raise PersonaError(str(error)) from error
    return path


class _Reader:
    """One open persona file, its header checked. Use as a context manager."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            size = path.stat().st_size
            if size > MAX_FILE_BYTES:
                raise PersonaError(f"{path} is no persona file: it has {size} bytes, at most {MAX_FILE_BYTES} are expected")
            self._file = safe_open(str(path), framework="numpy")
            self.metadata: dict[str, str] = dict(self._file.metadata() or {})
            self._keys = frozenset(self._file.keys())
        except (SafetensorError, OSError, ValueError, TypeError, AttributeError) as error:
            raise PersonaError(f"{path} is no persona file (a safetensors file of format {FORMAT!r}), or it is truncated: {error}") from error
        self._check_metadata()

    def __enter__(self) -> _Reader:
        return self

    def __exit__(self, *_: object) -> None:
        # safe_open keeps the file mapped until it is dropped.
        del self._file

    def encoded(self, name: str) -> bytes:
        """The bytes of a picture, its own size checked. Raises PersonaError."""
        data = self._tensor(name, "U8", None).tobytes()
        size = picture_size(data)
        if size is None or not all(1 <= side <= MAX_SIDE_PX for side in size):
            raise PersonaError(f"{self._path}: {name!r} should be a JPEG or PNG of at most {MAX_SIDE_PX} px a side, found {size or 'neither'}")
        return data

    def picture(self, name: str, channels: int) -> U8:
        """A decoded picture, (H, W, channels). Raises PersonaError."""
        data = np.frombuffer(self.encoded(name), np.uint8)
        try:
            image = cv2.imdecode(data, cv2.IMREAD_COLOR if channels == 3 else cv2.IMREAD_UNCHANGED)
        except cv2.error as error:
            raise PersonaError(f"{self._path}: picture {name!r} is damaged: {error.err}") from error
        if image is None or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != channels:
            found = "one that cannot be decoded" if image is None else f"{image.shape} {image.dtype}"
            raise PersonaError(f"{self._path}: {name!r} should be a picture with {channels} channels of 8 bits, found {found}")
        return np.ascontiguousarray(image, np.uint8)

    def mesh(self, name: str) -> F32:
        """The (478, 3) float32 landmarks of portrait `name`. Raises PersonaError."""
        mesh = self._tensor(f"{name}_mesh", "F32", [MESH_POINTS_WITH_IRIS, 3])
        if not np.isfinite(mesh).all() or np.abs(mesh).max() > 2 * MAX_SIDE_PX:
            raise PersonaError(f"{self._path}: '{name}_mesh' should hold finite pixel positions, found values from {mesh.min()} to {mesh.max()}")
        return mesh

    def embedding(self) -> F32 | None:
        """The (128,) float32 identity, None when the file has none. Raises PersonaError."""
        if "embedding" not in self._keys:
            return None
        vector = self._tensor("embedding", "F32", [EMBEDDING])
        if not abs(float(np.linalg.norm(vector)) - 1.0) < UNIT_WITHIN or not self.metadata.get("embedding_model"):
            raise PersonaError(
                f"{self._path}: 'embedding' should have the length 1 and a text 'embedding_model' that says what made it, found the length "
                f"{float(np.linalg.norm(vector)):.3f} and {self.metadata.get('embedding_model')!r}"
            )
        return vector

    def _tensor(self, name: str, dtype: str, shape: list[int] | None) -> NDArray[Any]:
        if name not in self._keys:
            raise PersonaError(f"{self._path} lacks {name!r}; it holds {', '.join(sorted(self._keys)) or 'nothing'}")
        try:
            part = self._file.get_slice(name)
            found = (str(part.get_dtype()), list(part.get_shape()))
            if found[0] != dtype or (len(found[1]) != 1 if shape is None else found[1] != shape):
                raise PersonaError(f"{self._path}: {name!r} should be {dtype} {shape or '(N,)'}, found {found[0]} {found[1]}")
            return np.array(self._file.get_tensor(name))
        except (SafetensorError, OSError, ValueError, TypeError) as error:
            raise PersonaError(f"{self._path}: {name!r} cannot be read: {error}") from error

    def _check_metadata(self) -> None:
        found = self.metadata.get("format")
        if found != FORMAT:
            raise PersonaError(f"{self._path} is no persona file: format {FORMAT!r} is expected, found {found!r}")
        version = self.metadata.get("version")
        if version != VERSION:
            raise PersonaError(f"{self._path} is a persona file of version {version!r}; expected is {VERSION!r}; make or fetch it anew")
        for key in TEXTS:
            if not self.metadata.get(key) or len(self.metadata[key]) > MAX_TEXT:
                raise PersonaError(f"{self._path}: the text {key!r} should have 1 to {MAX_TEXT} characters, found {len(self.metadata.get(key, ''))}")
        if self.metadata["kind"] not in KINDS:
            raise PersonaError(f"{self._path}: kind should be one of {', '.join(KINDS)}, found {self.metadata['kind']!r}")


def _check_numbers(path: Path, texts: Mapping[str, str], images: Mapping[str, U8]) -> None:
    """Radii of the eyes and places of the mouth's parts. Raises PersonaError."""
    height, width = images["open_mouth"].shape[:2]
    for key in RADII:
        radius = _numbers(texts.get(key, ""))
        if len(radius) != 1 or not 0 < radius[0] <= MAX_SIDE_PX:
            raise PersonaError(f"{path}: {key!r} should be a number of pixels above 0, found {texts.get(key)!r}")
    for key in BOXES:
        box = _numbers(texts.get(key, ""))
        if len(box) != 4 or box[2] < 1 or box[3] < 1 or box[0] + box[2] <= 0 or box[1] + box[3] <= 0 or box[0] >= width or box[1] >= height:
            raise PersonaError(f"{path}: {key!r} should be [x, y, width, height] inside {width}x{height}, found {texts.get(key)!r}")


def _numbers(text: str) -> list[float]:
    """The finite numbers of a JSON number or list, [] for anything else."""
    try:
        value = json.loads(text)
    except ValueError:
        return []
    items = value if isinstance(value, list) else [value]
    if all(isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v) for v in items):
        return [float(v) for v in items]
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
