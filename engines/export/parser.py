"""`parser` as the files that livecam runs: fp32 and INT8 ONNX, parity to PyTorch, a card.

    python -m engines export parser --weights FILE --out DIR [--cards DIR] [--data DIR] [--ship fp32|int8]

The card is of the file that `--ship` names: livecam runs that one.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from engines.export import cards, onnx_files
from engines.export.onnx_files import Arrays, Signature
from engines.nets.parser import CLASSES, Parser, fold
from engines.train import _parser_data as data
from engines.train.errors import TrainingError
from engines.train.parser import evaluate, read_parser

SIGNATURE = Signature(("x",), ("classes", "occluder"))
CALIBRATION, PARITY, JUDGED = 200, 16, 256
POOL = 160
PEOPLE = ("rendered from CC0 assets by engines.synth: nobody who exists; hands of the CC0 base mesh; generated photos of people who do not exist, "
          "without labels, things drawn before them (SelfishGene/SFHQ-dataset and SFHQ-T2I-dataset, MIT)")
HEAD = (r"/head/Conv", r"/Sigmoid", r"/stem/conv/Conv")
"""What INT8 leaves in float: the stem sees the picture, the head draws edges."""


def make_inputs(size: int, folder: Path | None, count: int) -> list[Arrays]:
    """Crops of the set with things before them, or noise without a set (good for timing only)."""
    rng = np.random.default_rng(0)
    if folder is None:
        return [{"x": rng.random((1, 3, size, size), np.float32)} for _ in range(count)]
    samples = data.read_shards(sorted(folder.glob("pairs-*.npz")), 512)
    pool = data.make_pool(POOL, 77, data.standard_five())
    return [{"x": data.make_batch(samples, pool, rng, 1, size, data.Change(0.6))[0]} for _ in range(count)]


def export(weights: Path, out: Path, card_folder: Path | None, folder: Path | None, held: Path | None, ship: str) -> dict[str, Any]:
    """Write the files; the report. held: shards that figures on the card are measured on. Raises CheckpointError, DataError."""
    net, about = read_parser(weights)
    folded, size = fold(net), net.config.size
    out.mkdir(parents=True, exist_ok=True)
    files = {"fp32": out / "parser.onnx", "int8": out / "parser-int8.onnx"}
    inputs = make_inputs(size, folder, CALIBRATION if folder else PARITY)
    onnx_files.write_fp32(folded, [torch.from_numpy(inputs[0]["x"])], SIGNATURE, files["fp32"])
    onnx_files.write_int8(files["fp32"], files["int8"], inputs, HEAD)
    wanted = [_torch(net, one) for one in inputs[:PARITY]]
    report: dict[str, Any] = {"step": int(about["step"])}
    for role, path in files.items():
        report[role] = onnx_files.difference(onnx_files.run(path, inputs[:PARITY]), wanted)
    if held is not None:
        report["held_out"] = judge(net, held)
    if card_folder is not None:
        _write_card(card_folder, files[ship], about, size, report, ship)
    files["int8" if ship == "fp32" else "fp32"].unlink()
    return report


def judge(net: Parser, folder: Path) -> dict[str, float]:
    """Figures on held-out people with unseen occluders of the trained kinds, and of the kinds never trained on (`new_...`)."""
    from engines.synth.occluders import HELD_OUT

    samples = data.read_shards(sorted(folder.glob("pairs-*.npz")), 2 * JUDGED)
    known = data.make_pool(POOL, 5001, data.standard_five())
    new = data.make_pool(POOL // 4, 5002, data.standard_five(), HELD_OUT)
    out = evaluate(net, net.config.size, samples, known, JUDGED, 0.6)
    return out | {f"new_{k}": v for k, v in evaluate(net, net.config.size, samples, new, JUDGED, 1.0).items() if k in ("iou", "iou_each")}


def _torch(net: Parser, one: Arrays) -> Arrays:
    with torch.no_grad():
        results = net(torch.from_numpy(one["x"]))
    return {name: value.numpy() for name, value in zip(SIGNATURE.outputs, results, strict=True)}


def _write_card(folder: Path, file: Path, about: dict[str, str], size: int, report: dict[str, Any], role: str) -> None:
    head = cards._head("parser", file, "what stands before a face: hands and things") | {"used_by": ["mask/parser"], "shipped": True}
    tensors = ([("x", [1, 3, size, size])], [("classes", [1, len(CLASSES), size // 2, size // 2]), ("occluder", [1, 1, size, size])])
    parity = {f"{out}_{key}": value for out, figures in report[role].items() for key, value in figures.items()}
    tables = {
        "crop": {"template": "arcface_112_v2", "size_px": size, "scale": 0.78, "offset": [0.0, -0.06]},
        "classes": {"names": list(CLASSES)},
        "training": {"step": int(about["step"]), "commit": about.get("commit", ""), "config": about["config"], "recipe": about["recipe"],
                     "people": PEOPLE},
        "parity_to_pytorch": parity,
    }
    if "held_out" in report:
        tables["held_out"] = {k.replace(" ", "_"): v for k, v in report["held_out"].items()}
    cards._write(folder, "parser", head, *tensors, tables)


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m engines export parser", description="Turn a trained parser into the file that livecam runs.")
    parser.add_argument("--weights", type=Path, required=True, metavar="FILE", help="weights.safetensors of a training")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="livecam/weights")
    parser.add_argument("--cards", type=Path, metavar="DIR", help="also write the card there (livecam/cards)")
    parser.add_argument("--data", type=Path, metavar="DIR", help="training set that INT8 ranges are calibrated on")
    parser.add_argument("--held", type=Path, metavar="DIR", help="held-out set for the card's figures")
    parser.add_argument("--ship", choices=("fp32", "int8"), default="fp32")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    try:
        print(json.dumps(export(args.weights, args.out, args.cards, args.data, args.held, args.ship), indent=1))
    except TrainingError as error:
        print(f"engines export: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
