"""`lite` as files that livecam runs: network in ONNX (fp32, fp16, INT8), mapper in safetensors, cards, parity.

INT8 ranges are calibrated on samples of the training set under many personas' film; without a set, on noise, which is only good for timing.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engines.export import cards, onnx_files
from engines.export.onnx_files import Arrays, Signature
from engines.nets.lite import IDENTITY_LENGTH, MASK, Lite, composed
from engines.train import batches, checkpoint
from engines.train.batches import Ablation
from engines.train.pairs import read_lite
from engines.train.people import People
from engines.train.shards import Pool
from livecam.swap._mesh_light import LUMA

SIGNATURE = Signature(("x", "film"), ("light", "flow", "change"))
HEADS = ("/light/Conv", "/flow/Conv", "/change/Conv", "/fine_flow/Conv", "/fine_change/Conv")
"""Nodes that stay in float: they cost next to nothing, and what they give acts on the whole picture."""
CALIBRATION, PARITY = 200, 16
PERSONAS = 200
"""Embeddings whose film the ranges are calibrated with; what the set lacks is mixed from those it has."""
LEAST_INT8_DB = 38.0
STEM = ("/stem/Conv",)


@dataclass(frozen=True, slots=True)
class Softer:
    """What is kept of a network that has seen few people, all of them rendered: it overshoots on others.

    strength: share of its light and change of colour; chroma: share of the colour in these; light, change: the greatest of each (0: no bound)."""

    strength: float = 1.0
    chroma: float = 1.0
    light: float = 0.0
    change: float = 0.0


@dataclass(frozen=True, slots=True)
class Exported:
    """Files by role ("fp32", "fp16", "int8", "mapper") and the parity report."""

    files: Mapping[str, Path]
    report: Mapping[str, object]


def export(
    weights: Path, out: Path, card_folder: Path | None, data: Path | None, people: People | None, softer: Softer | None = None
) -> Exported:
    """Write all files. data, people: training set for the calibration. softer: what is kept of the network's light and colour. Raises
    CheckpointError, DataError."""
    softer = softer or Softer()
    lite, metadata = read_lite(weights)
    soften(lite, softer)
    name = f"lite{lite.config.size}"
    out.mkdir(parents=True, exist_ok=True)
    samples = _samples(lite, data, people)
    endings = {"fp32": ".onnx", "fp16": "-fp16.onnx", "int8": "-int8.onnx", "mapper": "-mapper.safetensors"}
    files = {role: out / f"{name}{ending}" for role, ending in endings.items()}
    example = [torch.from_numpy(samples[0][key]) for key in SIGNATURE.inputs]
    onnx_files.write_fp32(lite.generator, example, SIGNATURE, files["fp32"])
    onnx_files.write_fp16(files["fp32"], files["fp16"])
    _write_mapper(lite, files["mapper"], metadata)
    wanted = [_torch(lite, sample) for sample in samples[:PARITY]]
    report: dict[str, object] = {"weights": weights.name, "step": int(metadata["step"]), **asdict(softer)}
    report["calibration"] = "samples" if data else "noise"
    for role, model in (("fp32", files["fp32"]), ("fp16", onnx_files.rounded(files["fp32"]))):
        report[role] = onnx_files.difference(_run(model, samples[:PARITY]), wanted)
    report["int8"], report["int8_in_float"] = _write_int8(files, samples, wanted)
    (out / f"{name}.json").write_text(json.dumps(report, indent=1) + "\n", "utf-8")
    if card_folder:
        cards.write_lite(card_folder, name, files, metadata, lite.config, report)
    return Exported(files, report)


@torch.no_grad()
def soften(lite: Lite, softer: Softer) -> None:
    """Scale the heads of light and colour, which are linear, draw their colours towards grey, and bound both; flow and mask stay."""
    luma = torch.tensor(LUMA[::-1].copy()).expand(MASK, MASK)  # livecam's order is blue, green, red
    mixed = softer.strength * (softer.chroma * torch.eye(MASK) + (1.0 - softer.chroma) * luma)
    last = lite.generator.fine_change if lite.config.fine else lite.generator.change
    for layer in (lite.generator.light, last):
        for parameter in layer.parameters():
            parameter[:MASK] = torch.tensordot(mixed, parameter[:MASK], 1)
    if softer.light or softer.change:
        lite.generator.bounds = (softer.light or math.inf, softer.change or math.inf)


def _write_int8(files: Mapping[str, Path], samples: Sequence[Arrays], wanted: Sequence[Arrays]) -> tuple[dict[str, dict[str, float]], list[str]]:
    """Everything but the heads quantised; if that is too far from fp32, the stem is kept in float too."""
    for more in ((), STEM):
        onnx_files.write_int8(files["fp32"], files["int8"], samples, (*HEADS, *more))
        found = onnx_files.difference(_run(files["int8"], samples[: len(wanted)]), wanted)
        if found["rgb"]["psnr_db"] >= LEAST_INT8_DB:
            break
    return found, list(more)


def _samples(lite: Lite, data: Path | None, people: People | None) -> list[Arrays]:
    """Inputs for calibration: crops of the set, each under another persona's film."""
    config = lite.config
    rng = np.random.default_rng(0)
    if data is None or people is None:
        x = rng.random((PARITY, config.in_channels, config.size, config.size), np.float32)
        embeddings = rng.normal(size=(PARITY, IDENTITY_LENGTH)).astype(np.float32)
    else:
        x, embeddings = _from_set(lite, Pool(data, config.size, max_bytes=CALIBRATION * 2**20), people, rng)
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    with torch.no_grad():
        film = lite.mapper(torch.from_numpy(embeddings)).numpy()
    return [{"x": one[None], "film": film[i % len(film)][None]} for i, one in enumerate(x)]


def _from_set(lite: Lite, pool: Pool, people: People, rng: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    pictures, own = [], []
    for index in rng.permutation(len(pool))[:CALIBRATION]:
        samples, row = pool.find(int(index))
        batch = batches.all_of(samples.part(slice(row, row + 1)), people, Ablation())
        pictures.append(batch.x.numpy()[0])
        own.append(batch.embedding.numpy()[0])
    embeddings = np.stack(own)
    mixed = embeddings[rng.integers(0, len(own), PERSONAS)] + embeddings[rng.integers(0, len(own), PERSONAS)]
    half = len(pictures) // 2
    return np.stack(pictures), np.concatenate([embeddings[:half], mixed[: len(pictures) - half]])


def _torch(lite: Lite, sample: Arrays) -> Arrays:
    """The picture that PyTorch draws."""
    with torch.no_grad():
        return _picture(sample, lite.generator(*(torch.from_numpy(sample[key]) for key in SIGNATURE.inputs)))


def _run(model: Path | bytes, samples: Sequence[Arrays]) -> list[Arrays]:
    """The pictures that a model draws."""
    found = onnx_files.run(model, samples)
    return [_picture(s, [torch.from_numpy(f[name]) for name in SIGNATURE.outputs]) for s, f in zip(samples, found, strict=True)]


def _picture(sample: Arrays, parts: Sequence[Tensor]) -> Arrays:
    """Parity is asked of what is seen, whatever the parts are."""
    picture = composed(torch.from_numpy(sample["x"]), *parts).clamp(0.0, 1.0).numpy()
    return {"rgb": picture[:, 0:3], "mask": picture[:, 3:4]}


def _write_mapper(lite: Lite, path: Path, metadata: Mapping[str, str]) -> None:
    embedder = json.loads(metadata["recipe"]).get("embedder", "sface")
    tensors = {f"mapper.{key}": value for key, value in lite.mapper.state_dict().items()}
    checkpoint.write(path, tensors, {"embedder": embedder, "config": metadata["config"], "step": metadata["step"]})
