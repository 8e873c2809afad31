"""Weights and checkpoints: safetensors with JSON in their metadata, no pickle anywhere; written whole or not at all.

    weights     tensors of a network; metadata: format, task, config (JSON), recipe (JSON), step, commit
    checkpoint  "model/…", "ema/…", "optim/NAME/PARAMETER/…", "rng/torch"; metadata: format, task, config, state (JSON)
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from engines.train.errors import CheckpointError

WEIGHTS, CHECKPOINT = "livecam-weights-1", "livecam-checkpoint-1"


def commit() -> str:
    """Git commit of the code, "" outside a repository."""
    here = Path(__file__).parent
    done = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=here, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def write(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write a safetensors file beside `path` and put it in its place. Raises CheckpointError (no room, not allowed); the old file stays then."""
    scratch = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({key: value.detach().cpu().contiguous() for key, value in tensors.items()}, scratch, dict(metadata))
        with scratch.open("rb") as file:
            os.fsync(file.fileno())
        scratch.replace(path)
    except (OSError, SafetensorError) as error:
        scratch.unlink(missing_ok=True)
        kept = f"; the one written before is kept at {path}" if path.exists() else ""
        raise CheckpointError(f"cannot write {path}: {error}; make room and go on with --resume{kept}") from error


def read(path: Path, form: str, task: str = "") -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a file of ours. Raises CheckpointError: missing, truncated, foreign, of another task."""
    try:
        with safe_open(str(path), framework="pt") as file:
            metadata: dict[str, str] = dict(file.metadata() or {})
            tensors = {str(key): file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - no mapping
    except FileNotFoundError:
        raise CheckpointError(f"{path} does not exist") from None
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} is no safetensors file, or it is truncated: {error}") from error
    if metadata.get("format") != form or (task and metadata.get("task") != task):
        found = f"{metadata.get('format', 'no format')}, task {metadata.get('task', 'none')}"
        raise CheckpointError(f"{path}: expected {form}, task {task or 'any'}, found {found}; name a file that `engines train {task}` wrote")
    return tensors, metadata


def load_into(module: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Fill a module. Raises CheckpointError naming what is missing, unknown or of another shape."""
    own = module.state_dict()
    wrong = [f"{k}: expected {list(own[k].shape)}, found {list(tensors[k].shape)}" for k in own if k in tensors and own[k].shape != tensors[k].shape]
    wrong += [f"{k}: missing" for k in own if k not in tensors] + [f"{k}: unknown" for k in tensors if k not in own]
    if wrong:
        more = f" and {len(wrong) - 4} more" if len(wrong) > 4 else ""
        raise CheckpointError(f"{path} holds another architecture: {'; '.join(wrong[:4])}{more}; use the config that it was trained with")
    module.load_state_dict(dict(tensors))


def optimizer_tensors(optimizer: Optimizer, module: nn.Module) -> dict[str, Tensor]:
    """State of an optimizer over all of a module's parameters, by parameter name."""
    out: dict[str, Tensor] = {}
    for name, parameter in module.named_parameters():
        for key, value in optimizer.state.get(parameter, {}).items():
            out[f"{name}/{key}"] = torch.as_tensor(value)
    return out


def load_optimizer(optimizer: Optimizer, module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Fill an optimizer's state from `optimizer_tensors`."""
    for name, parameter in module.named_parameters():
        found = {key.rsplit("/", 1)[1]: value for key, value in tensors.items() if key.rsplit("/", 1)[0] == name}
        if found:
            optimizer.state[parameter] = {k: v.to(parameter.device) if k != "step" else v for k, v in found.items()}


def under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Those whose key begins with `prefix`, without it."""
    return {key[len(prefix) :]: value for key, value in tensors.items() if key.startswith(prefix)}


def to_json(value: Any) -> str:
    """Compact, sorted."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
