"""Persona files for tests: a drawn face, or any picture with a mesh."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from livecam.geometry import ARCFACE_112_V2
from livecam.persona import _consent, _container, _files, _keys
from livecam.persona._consent import Record
from livecam.persona.embed import FIVE_OF_MESH
from livecam.swap._mesh_triangles import OVAL
from livecam.types import Persona

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


def write(path: Path, change: dict[str, np.ndarray | None] | None = None, texts: dict[str, str] | None = None, signed: bool = True) -> Path:
    """A persona file, signed with the user's key (the tests' own), whatever is in it."""
    data = {k: v for k, v in (tensors() | (change or {})).items() if v is not None}
    about = {k: v for k, v in (TEXTS | (texts or {})).items() if v}
    whole = _container.pack_signed(data, about, _keys.own_key()) if signed else _container.pack(data, about)
    path.write_bytes(whole)
    return path


def plausible_mesh(size: int = 640) -> np.ndarray:
    """(478, 3) float32: the outline on an ellipse, irises, nose and mouth where they belong, everything else somewhere inside."""
    rng = np.random.default_rng(3)
    mesh = np.zeros((478, 3), np.float32)
    turn, radius = rng.uniform(0, 2 * np.pi, 478), np.sqrt(rng.uniform(0, 0.9, 478))
    mesh[:, 0] = 320 + 150 * radius * np.cos(turn)
    mesh[:, 1] = 330 + 200 * radius * np.sin(turn)
    around = np.linspace(0, 2 * np.pi, len(OVAL), endpoint=False) - np.pi / 2
    mesh[list(OVAL), :2] = np.stack((320 + 160 * np.cos(around), 330 + 215 * np.sin(around)), axis=1)
    for index, (x, y) in zip(FIVE_OF_MESH, ARCFACE_112_V2, strict=True):
        mesh[index, :2] = (320 + 4.2 * (x - 56), 340 + 4.2 * (y - 72))
    mesh[:, :2] *= size / 640
    return mesh


def drawn_portrait(seed: int) -> np.ndarray:
    """(640, 640, 3) uint8: a drawn face in colours of its own."""
    rng = np.random.default_rng(seed)
    face = np.full((640, 640, 3), rng.integers(40, 220, 3), np.uint8)
    cv2.ellipse(face, (320, 330), (160, 215), 0, 0, 360, rng.integers(60, 230, 3).tolist(), -1)
    for x in (246, 394):
        cv2.circle(face, (x, 255), 22, rng.integers(0, 255, 3).tolist(), -1)
    cv2.ellipse(face, (320, 425), (60, 20), 0, 0, 360, (60, 60, 180), -1)
    return face


def write_drawn(path: Path, seed: int) -> Path:
    """A persona file of `drawn_portrait(seed)` with `plausible_mesh`."""
    portrait, mesh = encode(drawn_portrait(seed)), plausible_mesh()
    change = {name: portrait for name in _files.PORTRAITS} | {f"{name}_mesh": mesh for name in _files.PORTRAITS}
    return write(path, change, {"id": f"drawn{seed}"})


def with_embedding(persona: Persona, seed: int) -> Persona:
    """`persona` with an embedding of its own, as if its file held one by SFace."""
    vector = np.random.default_rng(seed).normal(size=128)
    return replace(persona, embedding=(vector / np.linalg.norm(vector)).astype(np.float32), metadata={**persona.metadata, "embedding_model": "sface"})


def record(persona_id: str = "ada-1", months: int = 6) -> Record:
    """A consent given now."""
    issued, expires = _consent.term(months)
    statement = _consent.shown("Ada L.", "tests", expires)
    return Record(
        id=persona_id, subject="Ada L.", scope="tests", statement=statement, statement_sha256=_consent.sha256(statement), answer="yes",
        given="in a test", issued=issued, expires=expires, livecam="0", embedder="sface", embedder_sha256="0" * 64, embedding_sha256="",
        camera="none",
        prompts=({"asked": "turn", "asked_s": 1.0, "done_s": 2.0},), flatness=0.05, match=(0.9, 0.8), threshold=0.363,
    )  # fmt: skip


def write_person(path: Path, about: Record | None = None) -> Path:
    """A drawn person's persona, encrypted and signed."""
    vector = np.random.default_rng(5).normal(size=128)
    data = {**tensors(), "embedding": (vector / np.linalg.norm(vector)).astype(np.float32)}
    _files.write_person(path, data, {**TEXTS, "kind": "person", "embedding_model": "sface", "name": "Ada L."}, about or record(), force=True)
    return path
