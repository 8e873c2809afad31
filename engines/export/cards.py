"""Model cards of exported files, in the form that livecam.store reads."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from engines.nets.lite import LiteConfig
from livecam.store import sha256_of

LICENCE = "Apache-2.0"
MAKER = "livecam"
UNIT = ("range = [0.0, 1.0]",)
RANGES = {"x": UNIT, "target": UNIT, "eye": ('colour = "RGB"', *UNIT), "data": ('colour = "RGB"', "range = [0.0, 255.0]")}
"""What else the card says of a tensor."""


def write_lite(
    folder: Path, name: str, files: Mapping[str, Path], metadata: Mapping[str, str], config: LiteConfig, report: Mapping[str, Any]
) -> None:
    """Cards of the fp32 and INT8 networks and of the mapper."""
    side, recipe = config.size, json.loads(metadata["recipe"])
    coarse, cells = side // (4 * config.stem), side // 4
    tensors = (
        [("x", [1, config.in_channels, side, side]), ("film", [1, config.film_dim])],
        [("light", [1, 3, coarse, coarse]), ("flow", [1, 2, cells, cells]), ("change", [1, 4, cells, cells])],
    )
    trained = {
        "step": int(metadata["step"]), "commit": metadata.get("commit", ""), "config": metadata["config"],
        "recipe": json.dumps(recipe, sort_keys=True), **{key: float(report[key]) for key in ("strength", "chroma", "light", "change")},
        "people": "rendered from CC0 assets by engines.synth: nobody who exists",
    }  # fmt: skip
    crop = {"template": "arcface_112_v2", "size_px": side, "scale": 0.78, "offset": [0.0, -0.06]}
    for role, suffix, what in (("fp32", "", "32-bit float"), ("int8", "_int8", "INT8")):
        head = _head(f"{name}{suffix}", files[role], f"draws the persona at {side} px: refines mesh's drawing ({what})")
        parity = {f"{out}_{key}": value for out, figures in report[role].items() for key, value in figures.items()}
        _write(folder, f"{name}{suffix}", head, *tensors, {"crop": crop, "training": trained, "parity_to_pytorch": parity})
    head = _head(f"{name}_mapper", files["mapper"], f"an identity's embedding to the film of {name}")
    _write(folder, f"{name}_mapper", head, (), (), {"embedder": {"card": recipe.get("embedder", "sface"), "length": 128}, "training": trained})


def write_plain(
    folder: Path, name: str, file: Path, purpose: str, inputs: Mapping[str, Sequence[int]], metadata: Mapping[str, str], report: Mapping[str, Any]
) -> None:
    """Card of a network that is one file."""
    trained = {
        "step": int(metadata["step"]), "commit": metadata.get("commit", ""), "config": metadata["config"], "recipe": metadata["recipe"],
        "people": "rendered from CC0 assets by engines.synth: nobody who exists",
    }  # fmt: skip
    parity = {f"{out}_{key}": value for out, figures in report["fp32"].items() for key, value in figures.items()}
    shapes = [(tensor, list(shape)) for tensor, shape in inputs.items()]
    head = _head(name, file, purpose) | {"used_by": []}
    _write(folder, name, head, shapes, (), {"training": trained, "parity_to_pytorch": parity})


def _head(card_id: str, file: Path, purpose: str) -> dict[str, Any]:
    return {
        "id": card_id, "file": file.name, "purpose": purpose, "licence": LICENCE, "publisher": MAKER, "sha256": sha256_of(file),
        "size_bytes": file.stat().st_size, "shipped": True, "used_by": ["swap/lite"],
    }  # fmt: skip


def _write(
    folder: Path,
    card_id: str,
    head: Mapping[str, Any],
    inputs: Sequence[tuple[str, list[int]]],
    outputs: Sequence[tuple[str, list[int]]],
    tables: Mapping[str, Mapping[str, Any]],
) -> None:
    lines = [f"{key} = {_value(value)}" for key, value in head.items()]
    for kind, tensors in (("inputs", inputs), ("outputs", outputs)):
        for tensor, shape in tensors:
            lines += ["", f"[[{kind}]]", f"name = {_value(tensor)}", f"shape = {_value(shape)}", *RANGES.get(tensor, ())]
    for table, values in tables.items():
        lines += ["", f"[{table}]", *(f"{key} = {_value(value)}" for key, value in values.items())]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{card_id}.toml").write_text("\n".join(lines).replace("\n\n\n", "\n\n") + "\n", "utf-8")


def _value(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}" if not value.is_integer() else f"{value:.1f}"
    return json.dumps(value)
