"""The loop of every training: schedule, average of the weights, log, checkpoints, stop.

One process, or several under torchrun (each with its own part of the data; the first writes). Progress runs from 0 to 1 over the asked-for steps or
minutes of training; a resumed run goes on where its checkpoint stands. By steps, a resumed run gives the same weights as an unbroken one.
"""

from __future__ import annotations

import copy
import json
import math
import os
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from engines.train import checkpoint
from engines.train.errors import CheckpointError, DivergedError, TrainingError

LAST, WEIGHTS, LOG = "last.safetensors", "weights.safetensors", "log.jsonl"
WARM_UP = 40
"""Steps over which the learning rate rises."""
FLOOR = 0.02
"""Share of the learning rate left at the end of the cosine."""
LOG_EVERY = 20
AVERAGE_FROM = 10.0
"""The average's memory grows as (1 + step) / (AVERAGE_FROM + step) up to its decay, so early steps are forgotten."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How long and how often. steps: 0 means by time; minutes: of training, earlier parts of a resumed run counted in."""

    out: Path
    minutes: float = 10.0
    steps: int = 0
    average: float = 0.998
    checkpoint_minutes: float = 5.0
    grid_minutes: float = 5.0


class Task(Protocol):
    """What is trained. `modules["model"]` is the one whose weights are averaged and handed out."""

    name: str
    config: str
    recipe: Mapping[str, object]
    modules: dict[str, nn.Module]
    optimizers: dict[str, Optimizer]
    peak: float

    def step(self, step: int, progress: float) -> dict[str, float]:
        """One step of all optimizers; figures for the log. Raises DivergedError before anything is changed."""
        ...

    def state(self) -> dict[str, object]:
        """What a resumed run must know besides weights; JSON."""
        ...

    def checkup(self, model: nn.Module, picture: Path) -> dict[str, float]:
        """Figures of averaged weights on held-out samples; draws a grid."""
        ...


@dataclass(slots=True)
class Position:
    """Where a run stands."""

    step: int = 0
    elapsed_s: float = 0.0


class Trainer:
    """Runs a task by a plan; `run` returns at its end or at SIGTERM or SIGINT, with a checkpoint written."""

    def __init__(self, task: Task, plan: Plan) -> None:
        self._task, self._plan = task, plan
        self._model = task.modules["model"]
        self._average = copy.deepcopy(self._model).requires_grad_(False).eval()
        self._at = Position()
        self._stop = False
        self._first = int(os.environ.get("RANK", "0")) == 0

    @property
    def position(self) -> Position:
        """Steps and seconds so far."""
        return self._at

    def resume(self, tensors: Mapping[str, Tensor], metadata: Mapping[str, str], path: Path) -> None:
        """Take over a checkpoint. Raises CheckpointError."""
        if metadata.get("config") != self._task.config:
            found = metadata.get("config")
            raise CheckpointError(f"{path} was trained with the config {found}, asked for is {self._task.config}; leave --config out")
        for name, module in self._task.modules.items():
            checkpoint.load_into(module, checkpoint.under(tensors, f"{name}/"), path)
        checkpoint.load_into(self._average, checkpoint.under(tensors, "average/"), path)
        for name, optimizer in self._task.optimizers.items():
            checkpoint.load_optimizer(optimizer, self._task.modules[name], checkpoint.under(tensors, f"optim/{name}/"))
        torch.set_rng_state(tensors["rng/torch"])
        state = json.loads(metadata["state"])
        self._at = Position(int(state["step"]), float(state["elapsed_s"]))

    def run(self) -> Path:
        """Train to the plan's end; the file of the averaged weights. Raises DivergedError, CheckpointError."""
        handlers = {number: signal.signal(number, self._asked_to_stop) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            self._loop()
        except DivergedError as error:
            last = self._plan.out / LAST
            kept = f"the last good checkpoint is {last}" if last.exists() else "there is no checkpoint yet"
            raise DivergedError(f"{error}; {kept}; go on from it with --resume and a lower --lr") from error
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
        self._save()
        return self._plan.out / WEIGHTS

    def _asked_to_stop(self, number: int, frame: object) -> None:
        del number, frame
        self._stop = True

    def _loop(self) -> None:
        sums: defaultdict[str, list[float]] = defaultdict(list)
        saved = drawn = time.monotonic()
        while not self._stop and self._progress() < 1.0:
            start = time.monotonic()
            self._set_rate()
            for key, value in self._task.step(self._at.step, self._progress()).items():
                sums[key].append(value)
            self._at.step += 1
            self._follow()
            self._at.elapsed_s += time.monotonic() - start
            if self._at.step % LOG_EVERY == 0:
                self._log({key: sum(values) / len(values) for key, values in sums.items()})
                sums.clear()
            if time.monotonic() - drawn >= 60 * self._plan.grid_minutes:
                self._look()
                drawn = time.monotonic()
            if time.monotonic() - saved >= 60 * self._plan.checkpoint_minutes:
                self._save()
                saved = time.monotonic()
        self._look()

    def _progress(self) -> float:
        return self._at.step / self._plan.steps if self._plan.steps else self._at.elapsed_s / (60 * self._plan.minutes)

    def _set_rate(self) -> None:
        progress = min(self._progress(), 1.0)
        rate = min(1.0, (self._at.step + 1) / WARM_UP) * (FLOOR + (1 - FLOOR) * 0.5 * (1 + math.cos(math.pi * progress)))
        for optimizer in self._task.optimizers.values():
            for group in optimizer.param_groups:
                group["lr"] = self._task.peak * rate

    @torch.no_grad()
    def _follow(self) -> None:
        decay = min(self._plan.average, (1 + self._at.step) / (AVERAGE_FROM + self._at.step))
        for mean, now in zip(self._average.state_dict().values(), self._model.state_dict().values(), strict=True):
            if mean.dtype.is_floating_point:
                mean.lerp_(now, 1 - decay)
            else:
                mean.copy_(now)

    def _look(self) -> None:
        if self._first:
            picture = self._plan.out / f"grid-{self._at.step:06d}.png"
            self._log({f"held_out_{k}": v for k, v in self._task.checkup(self._average, picture).items()})

    def _log(self, figures: Mapping[str, float]) -> None:
        if not self._first:
            return
        rate = next(iter(self._task.optimizers.values())).param_groups[0]["lr"]
        line = {"step": self._at.step, "minutes": round(self._at.elapsed_s / 60, 3), "lr": rate} | {k: round(v, 6) for k, v in figures.items()}
        try:
            self._plan.out.mkdir(parents=True, exist_ok=True)
            with (self._plan.out / LOG).open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
        except OSError as error:
            raise CheckpointError(f"cannot write {self._plan.out / LOG}: {error}; make room and go on with --resume") from error
        print(" ".join(f"{k}={v:.4g}" for k, v in line.items()), file=sys.stderr, flush=True)

    def _save(self) -> None:
        if not self._first:
            return
        tensors: dict[str, Tensor] = {"rng/torch": torch.get_rng_state()}
        for name, module in self._task.modules.items():
            tensors |= {f"{name}/{k}": v for k, v in module.state_dict().items()}
        tensors |= {f"average/{k}": v for k, v in self._average.state_dict().items()}
        for name, optimizer in self._task.optimizers.items():
            tensors |= {f"optim/{name}/{k}": v for k, v in checkpoint.optimizer_tensors(optimizer, self._task.modules[name]).items()}
        state = {"step": self._at.step, "elapsed_s": self._at.elapsed_s} | self._task.state()
        common = {"task": self._task.name, "config": self._task.config}
        checkpoint.write(
            self._plan.out / LAST, tensors, common | {"format": checkpoint.CHECKPOINT, "state": checkpoint.to_json(state)}
        )
        recipe = dict(self._task.recipe) | {"steps": self._at.step, "training_minutes": round(self._at.elapsed_s / 60, 1)}
        metadata = common | {"format": checkpoint.WEIGHTS, "recipe": checkpoint.to_json(recipe), "step": str(self._at.step)}
        metadata["commit"] = checkpoint.commit()
        checkpoint.write(self._plan.out / WEIGHTS, self._average.state_dict(), metadata)


def train(name: str, make: Callable[[dict[str, str]], Task], plan: Plan, resume: bool) -> Path:
    """Start a training in plan.out, or go on with the one there; the file of weights.

    make: the task, from the metadata of the checkpoint that it goes on from ({} at a start). Raises TrainingError."""
    last = plan.out / LAST
    if last.exists() and not resume:
        raise TrainingError(f"{last} exists; go on from it with --resume, or name another --out")
    saved = checkpoint.read(last, checkpoint.CHECKPOINT, name) if resume else None
    task = make(saved[1] if saved else {})
    trainer = Trainer(task, plan)
    if saved:
        trainer.resume(*saved, last)
    return trainer.run()
