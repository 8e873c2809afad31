"""Engines and references that were made on this machine, kept under seal (_sealed): what each is for, where they lie, how they are made."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import platformdirs

from livecam import runtimes
from livecam._sealed import SealedCache, user_key
from livecam.errors import ModelFileError
from livecam.runtimes import _gate, _graph, _half, _parity, _tflite, _trt

FOLDER = "engines"
KEY_NAME = "engines.key"
RECIPE = "1"
"""Counted up when networks are made ready in another way: engines made before are not loaded any more."""
ENGINE, REFERENCE, KERNELS = "engine", "reference", "kernels"
HALF, PLAIN = "fp16", "fp32"
AHEAD = "any"
"""The driver of engines that were built without one; only `tensorrt-rtx` makes such, and they hold under every driver."""

Shapes = Mapping[str, Sequence[int]]
Told = _trt.Progress | None


@dataclass(frozen=True, slots=True)
class EngineKey:
    """What an entry is for. kind: ENGINE, REFERENCE, or KERNELS (what the RTX package compiled on the card); model: SHA-256 of its file; name: the
    file, for people; package, version, arch ("sm89"), driver, precision; shapes: "x=1x10x128x128 film=1x1152"."""

    kind: str
    model: str
    name: str
    package: str
    version: str
    arch: str
    driver: str
    precision: str
    shapes: str
    recipe: str = RECIPE

    def wanted(self) -> dict[str, str]:
        """For the sealed cache."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Built:
    """An engine. plan: its bytes; fresh: it was built just now, in prepare_s and build_s seconds (CPU seconds of the process: cpu_s)."""

    key: EngineKey
    plan: bytes
    fresh: bool = False
    prepare_s: float = 0.0
    build_s: float = 0.0
    cpu_s: float = 0.0


def key_file() -> Path:
    """Where the user's key lies: outside every cache folder."""
    return Path(platformdirs.user_config_dir("livecam", appauthor=False)) / KEY_NAME


def cache(compiled_dir: Path) -> SealedCache:
    """The sealed cache below a store's folder of compiled networks. Raises ModelFileError (the key cannot be kept)."""
    return SealedCache(compiled_dir / FOLDER, user_key(key_file()))


def read_model(model: Path | bytes, options: Mapping[str, object] | None = None) -> tuple[bytes, str]:
    """A model's bytes and its name, for messages and keys. Raises ModelFileError."""
    return model if isinstance(model, bytes) else _gate.read_file(model), runtimes.named(model, options)


def shapes_of(options: Mapping[str, object] | None) -> dict[str, tuple[int, ...]]:
    """The option "shapes"."""
    given = cast("Mapping[str, Sequence[int]]", (options or {}).get("shapes") or {})
    return {name: tuple(int(n) for n in shape) for name, shape in given.items()}


def _text(shapes: Shapes) -> str:
    return " ".join(f"{name}={'x'.join(map(str, shape))}" for name, shape in shapes.items()) or "its own"


def engine_key(data: bytes, name: str, package: _trt.Package, arch: str, driver: str, shapes: Shapes) -> EngineKey:
    """The key of a model's engine."""
    model = hashlib.sha256(data).hexdigest()
    return EngineKey(ENGINE, model, Path(name).name, package.name, package.version, arch, driver, HALF, _text(shapes))


def prepared(data: bytes, name: str, shapes: Shapes | None = None) -> Any:
    """The model (ONNX or TensorFlow Lite) as a checked ModelProto in float32. Raises MissingExtraError, ModelFileError, ModelShapeError."""
    return _graph.ready(_tflite.to_onnx(data, name) if _tflite.is_tflite(data) else data, name, shapes)


def engine(kept: SealedCache | None, data: bytes, key: EngineKey, package: _trt.Package, shapes: Shapes, progress: Told = None) -> Built:
    """The engine for `key`, from the cache or built now. Raises MissingExtraError, ModelFileError, ModelShapeError, UsageError."""
    if kept is None:
        return _build(data, key, package, shapes, progress)
    if (plan := kept.get(key.wanted())) is not None:
        return Built(key, plan)
    try:
        with kept.building():
            if (plan := kept.get(key.wanted())) is not None:  # another process made it meanwhile
                return Built(key, plan)
            built = _build(data, key, package, shapes, progress)
            kept.put(key.wanted(), built.plan)
            return built
    except OSError as error:
        raise _unkept("engine", key, kept, error) from error


def _build(data: bytes, key: EngineKey, package: _trt.Package, shapes: Shapes, progress: Told) -> Built:
    begin, cpu = time.perf_counter(), time.process_time()
    if progress is not None:
        progress(0.0, "Reading the network")
    network = _half.halved(prepared(data, key.name, shapes), _trt.half_only(package, key.arch)).SerializeToString()
    ready = time.perf_counter()
    plan = _trt.build(package, network, key.name, key.arch if package.arches else "", progress)
    done = time.perf_counter()
    return Built(key, plan, True, ready - begin, done - ready, time.process_time() - cpu)


def reference(model: Path | bytes, compiled_dir: Path | None, options: Mapping[str, object] | None = None) -> _parity.Reference:
    """What the plain runtime says of `model`, from the cache or worked out now. Raises ModelError, StageError."""
    data, name = read_model(model, options)
    shapes = shapes_of(options)
    ranges = cast(_parity.Ranges, (options or {}).get("ranges") or {})
    kept = None if compiled_dir is None else cache(compiled_dir)
    described = f"{_text(shapes)} ranges {sorted(ranges.items())}"
    key = EngineKey(REFERENCE, hashlib.sha256(data).hexdigest(), Path(name).name, "livecam", "1", "", "", PLAIN, described)
    if kept is not None and (stored := kept.get(key.wanted())) is not None:
        read = _parity.Reference.from_bytes(stored)
        if read is not None:
            return read
    plain_name = "openvino" if _tflite.is_tflite(data) or shapes else "onnx"
    plain = runtimes.load(plain_name, data, 1, None, {"shapes": shapes, "name": name} if shapes else {"name": name})
    made = _parity.reference(plain, ranges)
    if kept is not None:
        try:
            with kept.building():
                kept.put(key.wanted(), made.to_bytes())
        except OSError as error:
            raise _unkept("reference", key, kept, error) from error
    return made


def _unkept(what: str, key: EngineKey, kept: SealedCache, error: OSError) -> ModelFileError:
    return ModelFileError(f"the {what} of {key.name} cannot be kept in {kept.folder}: {error}; name another folder with LIVECAM_CACHE=DIR")
