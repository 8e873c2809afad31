"""Model files from anywhere, before a runtime sees them: read once, refused when they are no plain network, handed on as the bytes that were checked.

Whatever is refused raises ModelFileError with the file's name and the way out. What an ONNX file must be is in _gate_rules. This is a gate, not a
sandbox: a graph can still compute a huge size, which _memory bounds; and what passes is then read by a runtime's own code.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from livecam.errors import ModelFileError
from livecam.runtimes import _gate_rules, _memory
from livecam.runtimes import _protobuf as pb
from livecam.runtimes._gate_rules import MAX_TENSOR_VALUES

__all__ = ["MAX_FILE_BYTES", "MAX_TENSOR_VALUES", "Checked", "admit", "check_onnx", "last_initializer", "op_types", "read_file"]

MAX_FILE_BYTES = 2_000_000_000
"""Protocol buffers end at 2 GiB; the largest generator known (inswapper_128) has 554 MB."""
PICKLES = frozenset({".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib", ".npy", ".npz", ".h5", ".keras", ".pb"})
"""Endings of what other programs keep networks in, most of them as programs that run when they are opened."""
MAGICS = (
    (0, b"PK\x03\x04", "a zip archive, as PyTorch, NumPy and Keras write"),
    (0, b"PK\x05\x06", "an empty zip archive"),
    (0, b"\x1f\x8b", "a gzip archive"),
    (0, b"\x89HDF", "an HDF5 file, as Keras writes"),
    (0, b"\x93NUMPY", "a NumPy array"),
    (257, b"ustar", "a tar archive, as old PyTorch wrote"),
    *((0, bytes((0x80, version)), f"a Python pickle (protocol {version})") for version in range(2, 6)),
)
INSTEAD = "livecam takes networks as ONNX and plain weights as safetensors, never pickles: export it with torch.onnx.export, weights with safetensors"


@dataclass(frozen=True, slots=True)
class Checked:
    """A model file that passed: where it was, and the bytes that were checked. Only these are to be loaded; the file may be another by now."""

    path: Path
    data: bytes


def admit(path: Path) -> Checked:
    """The ONNX file at `path`, read once and checked. Raises ModelFileError."""
    data = read_file(path)
    check_onnx(data, str(path))
    return Checked(path, data)


def read_file(path: Path) -> bytes:
    """The bytes of a model file. Raises ModelFileError: missing, empty, no plain file, larger than MAX_FILE_BYTES or than there is room for, a
    pickle."""
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))  # a pipe must not keep us waiting
        with os.fdopen(descriptor, "rb") as file:
            about = os.fstat(descriptor)
            found = f"{about.st_size} bytes" if stat.S_ISREG(about.st_mode) else "no plain file"
            if not stat.S_ISREG(about.st_mode) or not 0 < about.st_size <= MAX_FILE_BYTES:
                raise ModelFileError(f"{path} should be a model file of 1 to {MAX_FILE_BYTES} bytes, found {found}")
            _refuse_pickle(path.suffix.lower(), file.peek(512), str(path))
            _memory.check_room(about.st_size, str(path))
            data = file.read(about.st_size + 1)
    except FileNotFoundError:
        raise ModelFileError(f"model file {path} does not exist") from None
    except (OSError, ValueError) as error:
        raise ModelFileError(f"model file {path} cannot be read: {error}") from error
    if len(data) != about.st_size:
        raise ModelFileError(f"model file {path} changed while it was read: expected {about.st_size} bytes; wait until it is whole")
    return data


def _refuse_pickle(suffix: str, head: bytes, name: str) -> None:
    for at, magic, what in MAGICS:
        if head[at : at + len(magic)] == magic:
            raise ModelFileError(f"{name} is {what}, which is refused. {INSTEAD}")
    if suffix in PICKLES:
        raise ModelFileError(f"{name}: files of the kind {suffix} are refused. {INSTEAD}")


def check_onnx(data: bytes, name: str) -> None:
    """Raises ModelFileError, naming the file, when `data` is no ONNX file of the plain kind that _gate_rules describes."""
    try:
        _refuse_pickle("", data[:512], "it")
        _gate_rules.check(data)
    except ModelFileError as error:
        raise ModelFileError(f"{name}: {error}") from error


def last_initializer(data: bytes) -> memoryview | None:
    """The last initializer of an ONNX file's graph, where inswapper keeps its embedding projection."""
    last = None
    for item in pb.read_fields(pb.find_graph(data)):
        if item.number == pb.GRAPH_INITIALIZER:
            last = item.bytes
    return last


def op_types(data: bytes) -> Iterator[str]:
    """Operator names of the graph's nodes, in file order."""
    for item in pb.read_fields(pb.find_graph(data)):
        if item.number == pb.GRAPH_NODE:
            yield next((f.text for f in pb.read_fields(item.bytes) if f.number == pb.NODE_OP_TYPE), "")
