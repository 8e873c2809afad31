"""The gate before a fast runtime: it is used only after it reproduced the reference, whatever it is and whoever wrote it.

Reference: what the plain float32 runtime on the CPU (ONNX Runtime; OpenVINO for TensorFlow Lite) gives for REFERENCES fixed inputs. It is worked out
once per model and shapes, and kept in the sealed cache. Every output is judged over all inputs together: cosine of the angle to the reference, PSNR
with the reference's largest value or range as peak (1 for pictures), and no value that is not finite.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from livecam.errors import ParityError
from livecam.runtimes import Runtime, TensorSpec

LEAST_COSINE = 0.999
LEAST_PSNR_DB = 40.0
MOST_PSNR_DB = 200.0
"""Said of outputs that are the same to the last bit."""
REFERENCES = 3
CELLS = 12
"""Reference pictures vary smoothly over so many cells a side, as pictures do, under a little noise."""
NOISE = 0.05
LEAST_PEAK = 1e-6
"""So that a reference of zeros has a PSNR too."""

Arrays = dict[str, NDArray[Any]]
Ranges = Mapping[str, tuple[float, float]]
"""Per input the least and greatest value that it takes; (0, 1) where nothing is said."""


@dataclass(frozen=True, slots=True)
class Reference:
    """Inputs, and what the plain runtime gives for each."""

    inputs: tuple[Arrays, ...]
    outputs: tuple[Arrays, ...]

    def to_bytes(self) -> bytes:
        """For the cache (safetensors)."""
        parts = {f"{side}.{i}.{name}": np.ascontiguousarray(array) for side in ("inputs", "outputs")
                 for i, arrays in enumerate(getattr(self, side)) for name, array in arrays.items()}  # fmt: skip
        return save(parts)

    @staticmethod
    def from_bytes(data: bytes) -> Reference | None:
        """None when the bytes are of another form."""
        sides: dict[str, list[Arrays]] = {side: [{} for _ in range(REFERENCES)] for side in ("inputs", "outputs")}
        try:
            for key, array in load(data).items():
                side, number, name = key.split(".", 2)
                sides[side][int(number)][name] = array
        except (SafetensorError, ValueError, KeyError, IndexError):
            return None
        return Reference(tuple(sides["inputs"]), tuple(sides["outputs"]))


@dataclass(frozen=True, slots=True)
class Parity:
    """How near an output came. cosine: 1 is the same direction; psnr_db: up to MOST_PSNR_DB; finite: every value was."""

    output: str
    cosine: float
    psnr_db: float
    finite: bool

    @property
    def passed(self) -> bool:
        """Whether it may be used."""
        return self.finite and self.cosine >= LEAST_COSINE and self.psnr_db >= LEAST_PSNR_DB

    def __str__(self) -> str:
        return f"{self.output}: cosine {self.cosine:.6f}, PSNR {self.psnr_db:.1f} dB" if self.finite else f"{self.output}: NaN or infinity"


def sample_inputs(specs: Sequence[TensorSpec], ranges: Ranges | None = None) -> tuple[Arrays, ...]:
    """REFERENCES fixed inputs of a network, the same at each call: smooth fields with noise for pictures, uniform numbers for vectors."""
    rng = np.random.default_rng(0)
    return tuple({spec.name: _sample(rng, spec, (ranges or {}).get(spec.name, (0.0, 1.0))) for spec in specs} for _ in range(REFERENCES))


def _sample(rng: np.random.Generator, spec: TensorSpec, limits: tuple[float, float]) -> NDArray[Any]:
    low, high = limits
    if len(spec.shape) != 4:
        return (low + (high - low) * rng.random(spec.shape, np.float32)).astype(spec.dtype)
    cells = rng.random([min(size, CELLS) if i else size for i, size in enumerate(spec.shape)], np.float32)
    for axis in range(1, 4):
        cells = _stretched(cells, spec.shape[axis], axis)
    field = np.clip(cells + NOISE * rng.standard_normal(spec.shape, np.float32), 0.0, 1.0)
    return (low + (high - low) * field).astype(spec.dtype)


def _stretched(values: NDArray[np.float32], size: int, axis: int) -> NDArray[np.float32]:
    """Linear interpolation along one axis."""
    at = np.linspace(0.0, values.shape[axis] - 1.0, size, dtype=np.float32)
    below = np.minimum(at.astype(np.intp), max(values.shape[axis] - 2, 0))
    share = (at - below).reshape([-1 if i == axis else 1 for i in range(values.ndim)])
    above = np.minimum(below + 1, values.shape[axis] - 1)
    return (values.take(below, axis) * (1 - share) + values.take(above, axis) * share).astype(np.float32)


def reference(plain: Runtime, ranges: Ranges | None = None) -> Reference:
    """What `plain` says of the fixed inputs. Raises StageError."""
    inputs = sample_inputs(plain.inputs, ranges)
    return Reference(inputs, tuple({name: np.array(array) for name, array in plain.run(one).items()} for one in inputs))


def measure(run: Callable[[Arrays], Mapping[str, NDArray[Any]]], wanted: Reference) -> tuple[Parity, ...]:
    """Each output of `run` against the reference. Raises what `run` raises, ParityError when an output is missing or has another shape."""
    found = [{name: np.array(array, np.float64) for name, array in run(one).items()} for one in wanted.inputs]
    out: list[Parity] = []
    for name, first in wanted.outputs[0].items():
        shapes = [arrays[name].shape if name in arrays else None for arrays in found]
        if any(shape != first.shape for shape in shapes):
            raise ParityError(f"expected an output {name} {list(first.shape)}, found {shapes[0] or 'none'}; the engine is of another network")
        out.append(_parity(name, np.stack([arrays[name] for arrays in found]), np.stack([arrays[name] for arrays in wanted.outputs])))
    return tuple(out)


def _parity(name: str, found: NDArray[np.float64], wanted: NDArray[Any]) -> Parity:
    if not np.isfinite(found).all():
        return Parity(name, 0.0, 0.0, False)
    a, b = found.reshape(-1), wanted.astype(np.float64).reshape(-1)
    lengths = float(np.linalg.norm(a) * np.linalg.norm(b))
    cosine = float(a @ b) / lengths if lengths > 0 else float(np.array_equal(a, b))
    peak = max(float(np.ptp(b)), float(np.abs(b).max()), LEAST_PEAK)
    error = float(np.square(a - b).mean())
    psnr_db = MOST_PSNR_DB if error == 0.0 else min(MOST_PSNR_DB, 10.0 * math.log10(peak * peak / error))
    return Parity(name, cosine, psnr_db, True)


def check(runtime: Runtime, wanted: Reference, who: str) -> tuple[Parity, ...]:
    """The parities of a runtime that may be used. Raises ParityError with its numbers when it may not, StageError when it cannot run.

    who: what is judged, for the message."""
    found = measure(runtime.run, wanted)
    failed = [str(parity) for parity in found if not parity.passed]
    if failed:
        raise ParityError(
            f"{who} was refused: expected cosine >= {LEAST_COSINE} and PSNR >= {LEAST_PSNR_DB:g} dB to the float32 reference, "
            f"found {'; '.join(failed)}"
        )
    return found
