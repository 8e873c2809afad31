"""python -m engines train …"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import torch

from engines.nets import identity as identity_net
from engines.nets import lite as lite_net
from engines.nets import simswap as simswap_net
from engines.nets.sface import SFace
from engines.train import checkpoint
from engines.train.batches import Ablation
from engines.train.errors import TrainingError
from engines.train.identity import IdentityOptions, IdentityTask, IdentityWeights
from engines.train.loop import Plan, Task, train
from engines.train.pairs import Options, PairTask, Weights, read_lite
from engines.train.people import People
from engines.train.readings import Reader
from engines.train.shards import Pool
from livecam.config import RunConfig
from livecam.errors import LivecamError
from livecam.store import Store

TASKS = ("lite", "simswap", "identity")
CROP_PX = 128
"""Crops that the embedder is trained on, before they are aligned to 112 px."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m engines train", description="Train a network on rendered people.")
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="folder of pairs-*.npz (python -m engines synth pairs)")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for log, grids, checkpoint and weights")
    parser.add_argument("--minutes", type=float, default=10.0, help="of training in all; a resumed run counts on")
    parser.add_argument("--steps", type=int, default=0, help="instead of minutes")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in --out")
    parser.add_argument("--init", type=Path, metavar="FILE", help="start from these weights")
    parser.add_argument("--config", default="", help="name of a config in engines/nets (default: the task's first)")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--device", default="cpu", help="cpu or cuda; under torchrun each process takes its own GPU")
    parser.add_argument("--grid-minutes", type=float, default=5.0)
    parser.add_argument("--checkpoint-minutes", type=float, default=5.0)
    parser.add_argument("--without", nargs="*", choices=("drawing", "lines"), default=[], help="inputs to leave out (ablation)")
    parser.add_argument("--weight", nargs="*", default=[], metavar="NAME=VALUE", help="other weights of losses, e.g. adversarial=0")
    return parser


def main(argv: Sequence[str]) -> int:
    """Run a training; 0, or 2 with one line on stderr."""
    args = _parser().parse_args(argv)
    torch.set_num_threads(args.threads)
    cv2.setNumThreads(1)
    try:
        print(_run(args))
    except (TrainingError, LivecamError) as error:
        print(f"engines train: {error}", file=sys.stderr)
        return 2
    return 0


def _run(args: argparse.Namespace) -> Path:
    plan = Plan(args.out, args.minutes, args.steps, checkpoint_minutes=args.checkpoint_minutes, grid_minutes=args.grid_minutes)
    return train(args.task, lambda saved: _made(args, saved), plan, args.resume)


def _made(args: argparse.Namespace, saved: dict[str, str]) -> Task:
    task = _task(args, saved)
    if args.init and not saved:
        _begin(task, args.init)
    return task


def _begin(task: Task, path: Path) -> None:
    """Starts from the weights in a file; `lite` is grown from a smaller one's."""
    model = task.modules["model"]
    if isinstance(model, lite_net.Lite):
        model.load_state_dict(_begun(path, model.config).state_dict())
    else:
        checkpoint.load_into(model, checkpoint.read(path, checkpoint.WEIGHTS, task.name)[0], path)


def _task(args: argparse.Namespace, saved: dict[str, str]) -> Task:
    rank, device, parallel = _process(args.device)
    store = Store(RunConfig().cache_dir)
    shards = tuple(json.loads(saved["state"])["shards"]) if saved else ()
    face = SFace(store.path("sface"))
    common = {"batch": args.batch, "lr": args.lr, "seed": args.seed, "rank": rank, "device": device}
    if args.task == "identity":
        config = _config(identity_net.CONFIGS, identity_net.IdentityConfig, args.config, saved)
        given = IdentityWeights(**_weights(args.weight, IdentityWeights))
        return IdentityTask(IdentityOptions(config, given, **common), Pool(args.data, CROP_PX, shards), face)
    nets = lite_net if args.task == "lite" else simswap_net
    config = _config(nets.CONFIGS, lite_net.LiteConfig if args.task == "lite" else simswap_net.SimswapConfig, args.config, saved)
    options = Options(config, Weights(**_weights(args.weight, Weights)), without=Ablation(**dict.fromkeys(args.without, True)), **common)
    # Landmarks of each picture are read only when a loss asks for them.
    reader = Reader(store, args.threads) if options.weights.displacement else None
    return PairTask(options, Pool(args.data, config.size, shards, reader=reader), People.beside(args.data, store), face, parallel)


def _begun(path: Path, config: lite_net.LiteConfig) -> lite_net.Lite:
    """The weights in a file, grown to a larger config if that is asked for."""
    small, _ = read_lite(path)
    try:
        return small if small.config == config else lite_net.grow(small, config)
    except ValueError as error:
        raise TrainingError(f"{path} does not fit --config: {error}") from error


def _config(named: dict[str, Any], kind: type[Any], name: str, saved: dict[str, str]) -> Any:
    """The config asked for by name, else the checkpoint's own, else the first."""
    if not name and saved:
        return kind(**json.loads(saved["config"]))
    if name and name not in named:
        raise TrainingError(f"config {name!r} is unknown; choose one of: {', '.join(named)}")
    return named[name or next(iter(named))]


def _weights(given: list[str], kind: type[Any]) -> dict[str, float]:
    known = {field.name: field.type for field in dataclasses.fields(kind)}
    out: dict[str, float] = {}
    for text in given:
        name, _, value = text.partition("=")
        try:
            out[name] = int(value) if known[name] in (int, "int") else float(value)
        except (KeyError, ValueError):
            raise TrainingError(f"--weight {text!r}: expected NAME=NUMBER with a name of {', '.join(known)}") from None
    return out


def _process(device: str) -> tuple[int, str, bool]:
    """Rank, device and whether there are several processes (torchrun)."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return 0, device, False
    torch.distributed.init_process_group("nccl" if device == "cuda" else "gloo")
    local = int(os.environ["LOCAL_RANK"])
    return torch.distributed.get_rank(), f"cuda:{local}" if device == "cuda" else device, True
