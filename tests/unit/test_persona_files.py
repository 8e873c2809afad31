"""Persona files: a good one is read whole; nothing else is."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from persona_maker import TEXTS, encode, tensors, write

from livecam import persona
from livecam.errors import PersonaError
from livecam.persona import _container, _files
from livecam.types import Persona


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


def embedding(length: float = 1.0) -> np.ndarray:
    vector = np.random.default_rng(2).normal(size=128)
    return (length * vector / np.linalg.norm(vector)).astype(np.float32)


def test_an_embedding_is_read_when_there_is_one(tmp_path: Path) -> None:
    assert persona.load(write(tmp_path / "p.safetensors")).embedding is None
    path = write(tmp_path / "e.safetensors", {"embedding": embedding()}, {"embedding_model": "sface"})
    read = persona.load(path).embedding
    assert read is not None and np.array_equal(read, embedding())


@pytest.mark.parametrize("name", persona.names())
def test_shipped_personas_have_embeddings_and_say_who_they_are(name: str) -> None:
    one = persona.load(name)
    assert one.embedding is not None and one.metadata["embedding_model"] == "sface"
    assert 0 <= float(one.metadata["masculine"]) <= 1 and 18 <= int(one.metadata["age"]) <= 80


def test_twelve_ship() -> None:
    assert len(persona.names()) == 12


@pytest.mark.parametrize(
    ("vector", "model", "match"),
    [(embedding(2), "sface", "length"), (embedding()[:64], "sface", "128"), (embedding(), "", "embedding_model"), (embedding(np.nan), "x", "length")],
)
def test_a_wrong_embedding_is_named(tmp_path: Path, vector: np.ndarray, model: str, match: str) -> None:
    with pytest.raises(PersonaError, match=match):
        persona.load(write(tmp_path / "p.safetensors", {"embedding": vector}, {"embedding_model": model}))


def test_what_is_written_is_checked_and_nothing_is_replaced_unasked(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    texts = {**TEXTS, "id": "one"}
    _files.write(path, tensors(), texts)
    with pytest.raises(PersonaError, match="--force"):
        _files.write(path, tensors(), {**texts, "id": "two"})
    assert persona.load(path).id == "one"
    with pytest.raises(PersonaError):
        _files.write(path, {"neutral": tensors()["neutral"]}, texts, force=True)
    assert persona.load(path).id == "one" and [p.name for p in tmp_path.iterdir()] == ["w.safetensors"]
    _files.write(path, tensors(), {**texts, "id": "two"}, force=True)
    assert persona.load(path).id == "two"


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
    monkeypatch.setattr(_container, "MAX_FILE_BYTES", 1000)
    with pytest.raises(PersonaError, match="at most 1000"):
        persona.load(path)


@pytest.mark.parametrize(
    ("texts", "match"),
    [
        ({"format": "pt"}, "format"),
        ({"version": "3"}, "version '3'"),
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
        persona.load(write(tmp_path / "p.safetensors", texts=texts, signed="version" not in texts))


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
        ({"neutral_mesh": np.zeros((478, 3), np.float64)}, "float32"),
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


@pytest.mark.parametrize(("load", "least"), [(persona.load, 60), (persona.read_unsigned, 10)], ids=["signed", "unsigned"])
def test_flipped_bytes_never_raise_anything_else(tmp_path: Path, load: Callable[[Path], Persona], least: int) -> None:
    whole = bytearray(write(tmp_path / "p.safetensors").read_bytes())
    rng = np.random.default_rng(1)
    path = tmp_path / "flipped.safetensors"
    refused = 0
    for at in rng.integers(0, 2500, 60):
        data = bytearray(whole)
        data[at] ^= int(rng.integers(1, 256))
        path.write_bytes(data)
        try:
            load(path)
        except PersonaError:
            refused += 1
    assert refused >= least
