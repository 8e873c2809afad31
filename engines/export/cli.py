"""python -m engines export …"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import torch

from engines.export import lite, others
from engines.train.errors import TrainingError
from engines.train.people import People
from livecam.config import RunConfig
from livecam.errors import LivecamError
from livecam.store import Store


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m engines export", description="Turn trained weights into the files that livecam runs.")
    parser.add_argument("network", choices=("lite", *others.FORMS))
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--weights", type=Path, metavar="FILE", help="weights.safetensors of a training")
    source.add_argument("--random", choices=tuple(others.RANDOM), help="untrained weights of this form, only good for timing")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="livecam/weights, or any folder for `livecam run --model DIR`")
    parser.add_argument("--cards", type=Path, default=None, metavar="DIR", help="also write model cards there (livecam/cards)")
    parser.add_argument("--data", type=Path, default=None, metavar="DIR", help="training set that INT8 ranges are calibrated on")
    parser.add_argument("--strength", type=float, default=1.0, metavar="X", help="of lite: share of its change of light and colour that is kept")
    parser.add_argument("--chroma", type=float, default=1.0, metavar="X", help="of lite: share of the colour in that change that is kept")
    parser.add_argument("--bounds", type=float, nargs=2, default=(0.0, 0.0), metavar="X", help="of lite: greatest light and change of colour")
    return parser


def _export(args: argparse.Namespace) -> lite.Exported:
    if args.random:
        if not args.random.startswith(args.network):
            raise TrainingError(f"--random {args.random} is no {args.network}; choose one that is")
        return others.export_random(args.random, args.out)
    if args.network != "lite":
        return others.export(args.network, args.weights, args.out, args.cards)
    people = People.beside(args.data, Store(RunConfig().cache_dir)) if args.data else None
    return lite.export(args.weights, args.out, args.cards, args.data, people, lite.Softer(args.strength, args.chroma, *args.bounds))


def main(argv: Sequence[str]) -> int:
    """Export; 0, or 2 with one line on stderr."""
    args = _parser().parse_args(argv)
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    try:
        exported = _export(args)
    except (TrainingError, LivecamError) as error:
        print(f"engines export: {error}", file=sys.stderr)
        return 2
    print(json.dumps(exported.report, indent=1))
    for role, path in exported.files.items():
        print(f"{role}: {path} ({path.stat().st_size} bytes)")
    return 0
