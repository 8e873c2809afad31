"""Persona files: a good one is read whole; nothing else is."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
from safetensors.numpy import save_file

from livecam import persona
from livecam.errors import PersonaError
from livecam.persona import _files

TEXTS = {
    "format": "livecam-persona",
    "version": "1",
    "id": "drawn",
    "name": "Drawn",
    "kind": "synthetic",
    "description": "A drawn face",
    "licence": "Apache-2.0",
    "eye_iris_radius_px": "30",
    "eye_ball_radius_px": "70.5",
    "teeth_upper_xywh_px": "[280, 400, 80, 30]",
    "teeth_lower_xywh_px": "[285, 440, 70, 25]",
    "tongue_xywh_px": "[290, 430, 60, 30]",
}


def encode(image: np.ndarray, kind: str = ".jpg") -> np.ndarray:
    return cv2.imencode(kind, image)[1].reshape(-1)


def tensors() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    face = np.full((640, 640, 3), (120, 150, 190), np.uint8)
    cv2.ellipse(face, (320, 320), (160, 220), 0, 0, 360, (90, 120, 180), -1)
    mesh = rng.uniform(100, 500, (478, 3)).astype(np.float32)
    out: dict[str, np.ndarray] = {}
    for name in _files.PORTRAITS:
        out[name], out[f"{name}_mesh"] = encode(face), mesh
    for name in (*_files.EYES, *_files.MOUTH_PARTS):
        out[name] = encode(np.full((192, 192, 4), 200, np.uint8), ".png")
    return out


def write(path: Path, change: dict[str, np.ndarray | None] | None = None, texts: dict[str, str] | None = None) -> Path:
    data = {k: v for k, v in (tensors() | (change or {})).items() if v is not None}
    save_file(data, str(path), {k: v for k, v in (TEXTS | (texts or {})).items() if v})
    return path


def test_good_file_is_read_whole(tmp_path: Path) -> None:
    path = write(tmp_path / "p.safetensors")
    worn = persona.load(str(path))
    assert (worn.id, worn.kind, worn.licence) == ("drawn", "synthetic", "Apache-2.0")
    assert worn.images["neutral"].shape == (640, 640, 3)
    assert worn.images["tongue"].shape == (192, 192, 4)
    assert np.array_equal(worn.meshes["closed_eyes"], tensors()["closed_eyes_mesh"])
    assert persona.portrait_jpeg(str(path)) == tensors()["neutral"].tobytes()


def test_unknown_id_names_those_there_are() -> None:
    with pytest.raises(PersonaError, match="neither a persona that ships"):
        persona.load("nobody")
    for name in persona.names():
        with pytest.raises(PersonaError, match=name):
            persona.load("nobody")


@pytest.mark.parametrize("name", persona.names())
def test_shipped_files_load_under_their_own_id(name: str) -> None:
    assert persona.load(name).id == name
    assert persona.portrait_jpeg(name).startswith(b"\xff\xd8")


def lying_header() -> bytes:
    header = json.dumps({"neutral": {"dtype": "U8", "shape": [10**12], "data_offsets": [0, 10**12]}}).encode()
    return struct.pack("<Q", len(header)) + header


@pytest.mark.parametrize(
    "content",
    [b"", b"garbage" * 100, struct.pack("<Q", 2**63), struct.pack("<Q", 10) + b"{}", lying_header(), b"\xff\xd8\xff\xe0" + bytes(5000)],
    ids=["empty", "garbage", "huge header", "short header", "lying header", "a jpeg"],
)
def test_what_is_no_persona_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "p.safetensors"
    path.write_bytes(content)
    with pytest.raises(PersonaError, match="no persona file"):
        persona.load(path)


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    whole = write(tmp_path / "p.safetensors").read_bytes()
    for size in np.linspace(0, len(whole) - 1, 25, dtype=int):
        path = tmp_path / "cut.safetensors"
        path.write_bytes(whole[:size])
        with pytest.raises(PersonaError):
            persona.load(path)


def test_folder_and_too_big_file_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PersonaError):
        persona.load(tmp_path)
    path = write(tmp_path / "p.safetensors")
    monkeypatch.setattr(_files, "MAX_FILE_BYTES", 1000)
    with pytest.raises(PersonaError, match="at most 1000"):
        persona.load(path)


@pytest.mark.parametrize(
    ("texts", "match"),
    [
        ({"format": "pt"}, "format"),
        ({"version": "2"}, "version '2'"),
        ({"licence": ""}, "licence"),
        ({"kind": "robot"}, "kind"),
        ({"eye_iris_radius_px": "-3"}, "eye_iris_radius_px"),
        ({"eye_ball_radius_px": "NaN"}, "eye_ball_radius_px"),
        ({"tongue_xywh_px": "[1, 2, 3]"}, "tongue_xywh_px"),
        ({"tongue_xywh_px": "[9000, 2, 3, 4]"}, "tongue_xywh_px"),
        ({"tongue_xywh_px": "no"}, "tongue_xywh_px"),
    ],
)
def test_wrong_texts_are_named(tmp_path: Path, texts: dict[str, str], match: str) -> None:
    with pytest.raises(PersonaError, match=match):
        persona.load(write(tmp_path / "p.safetensors", texts=texts))


def huge_jpeg() -> np.ndarray:
    data = encode(np.zeros((8, 8, 3), np.uint8)).copy()
    at = data.tobytes().index(b"\xff\xc0")
    data[at + 5 : at + 9] = 255
    return data


def huge_png() -> np.ndarray:
    data = encode(np.zeros((8, 8, 4), np.uint8), ".png").copy()
    data[16:24] = 127
    return data


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"neutral": None}, "lacks 'neutral'"),
        ({"neutral_mesh": np.zeros((468, 3), np.float32)}, "478"),
        ({"neutral_mesh": np.full((478, 3), np.nan, np.float32)}, "finite"),
        ({"neutral_mesh": np.zeros((478, 3), np.float64)}, "F32"),
        ({"neutral": np.zeros((8, 8), np.uint8)}, "neutral"),
        ({"neutral": np.zeros(500, np.uint8)}, "JPEG or PNG"),
        ({"neutral": huge_jpeg()}, "2048"),
        ({"tongue": huge_png()}, "2048"),
        ({"neutral": encode(np.zeros((8, 8, 3), np.uint8))[:60]}, "neutral"),
        ({"tongue": encode(np.zeros((8, 8, 3), np.uint8), ".png")}, "4 channels"),
    ],
    ids=["missing", "mesh shape", "mesh nan", "mesh type", "picture shape", "no picture", "jpeg bomb", "png bomb", "cut jpeg", "no alpha"],
)
def test_wrong_tensors_are_named(tmp_path: Path, change: dict[str, np.ndarray | None], match: str) -> None:
    with pytest.raises(PersonaError, match=match):
        persona.load(write(tmp_path / "p.safetensors", change))


def test_flipped_bytes_never_raise_anything_else(tmp_path: Path) -> None:
    whole = bytearray(write(tmp_path / "p.safetensors").read_bytes())
    rng = np.random.default_rng(1)
    path = tmp_path / "flipped.safetensors"
    refused = 0
    for at in rng.integers(0, 2500, 60):
        data = bytearray(whole)
        data[at] ^= int(rng.integers(1, 256))
        path.write_bytes(data)
        try:
            persona.load(path)
        except PersonaError:
            refused += 1
    assert refused > 10
