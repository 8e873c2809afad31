"""`gaze` as the file that livecam runs: fp32 ONNX, parity to PyTorch, a card.

    python -m engines export gaze --weights FILE --out DIR [--cards DIR] [--held DIR]
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from engines.export import cards, onnx_files
from engines.export.onnx_files import Signature
from engines.nets.gaze import HEAD_UNIT_DEG, SIDE_PX
from engines.train import _gaze_data as data
from engines.train.errors import DataError, TrainingError
from engines.train.gaze import judge, read_gaze
from livecam.config import RunConfig
from livecam.errors import LivecamError
from livecam.store import Store
from livecam.track._landmarks import FaceMesh

SIGNATURE = Signature(("eye", "head"), ("gaze",))
PARITY = 16


def export(weights: Path, out: Path, card_folder: Path | None, held: Path | None) -> dict[str, Any]:
    """Write the file; the report. held: shards that figures on the card are measured on. Raises CheckpointError, DataError."""
    net, about = read_gaze(weights)
    out.mkdir(parents=True, exist_ok=True)
    path, rng = out / "gaze.onnx", np.random.default_rng(0)
    shape = (1, SIDE_PX, SIDE_PX, 3)
    inputs = [{"eye": rng.random(shape, np.float32), "head": rng.normal(0, HEAD_UNIT_DEG, (1, 2)).astype(np.float32)} for _ in range(PARITY)]
    onnx_files.write_fp32(net, [torch.from_numpy(inputs[0][name]) for name in SIGNATURE.inputs], SIGNATURE, path)
    with torch.no_grad():
        wanted = [{"gaze": net(*(torch.from_numpy(one[name]) for name in SIGNATURE.inputs)).numpy()} for one in inputs]
    report: dict[str, Any] = {"step": int(about["step"]), "fp32": onnx_files.difference(onnx_files.run(path, inputs), wanted)}
    if held is not None:
        shards = sorted(held.glob("pairs-*.npz"))
        if not shards:
            raise DataError(f"expected pairs-*.npz in {held}, found none; name another --held")
        mesh = FaceMesh(Store(RunConfig().cache_dir), 1)
        report["held_out"] = judge(net, data.joined([data.read_shard(shard, mesh) for shard in shards]))
    if card_folder is not None:
        _write_card(card_folder, path, about, report)
    return report


def _write_card(folder: Path, file: Path, about: dict[str, str], report: dict[str, Any]) -> None:
    head = cards._head("gaze", file, "where an eye looks, relative to the head") | {"used_by": ["track/mediapipe"], "shipped": True}
    tensors = ([("eye", [1, SIDE_PX, SIDE_PX, 3]), ("head", [1, 2])], [("gaze", [1, 2])])
    photos = json.loads(about["recipe"]).get("photographed_eyes", 0)
    people = "rendered from CC0 assets by engines.synth: nobody who exists"
    if photos:
        people += f"; {photos} eyes of generated photos of people who do not exist, without labels (what MediaPipe's irises say of them)"
    training = {"step": int(about["step"]), "commit": about.get("commit", ""), "config": about["config"], "recipe": about["recipe"], "people": people}
    tables: dict[str, dict[str, Any]] = {"training": training, "parity_to_pytorch": {f"gaze_{k}": v for k, v in report["fp32"]["gaze"].items()}}
    if "held_out" in report:
        tables["held_out"] = report["held_out"]
    cards._write(folder, "gaze", head, *tensors, tables)


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m engines export gaze", description="Turn a trained gaze network into the file that livecam runs.")
    parser.add_argument("--weights", type=Path, required=True, metavar="FILE", help="weights.safetensors of a training")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="livecam/weights")
    parser.add_argument("--cards", type=Path, metavar="DIR", help="also write the card there (livecam/cards)")
    parser.add_argument("--held", type=Path, metavar="DIR", help="held-out set for the card's figures")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    try:
        print(json.dumps(export(args.weights, args.out, args.cards, args.held), indent=1))
    except (TrainingError, LivecamError) as error:
        print(f"engines export: {error}", file=sys.stderr)
        return 2
    return 0
