"""Everything that can be measured of the frame on a card, in one run of less than ten minutes.

    python benchmarks/gpu.py --out FOLDER [--budget 540] [--models CACHE] [--rounds 200]

Needs torch, triton, numba, opencv, and no installation of livecam: run it from the repository's root. Prints the JSON and writes it, with a picture,
to FOLDER (gpu.json, gpu.svg) after each section, so that a run that is cut short leaves what it has. Networks without trained weights (SimSwap, the
256-px tier of lite) run with random ones, and their rows say so. --models: a folder of fetched models (livecam models fetch --all), else livecam's.
--small: on the CPU in Triton's interpreter (TRITON_INTERPRET=1), only to see that it runs.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402

from engines.nets import lite as lite_net  # noqa: E402
from engines.nets import simswap as simswap_net  # noqa: E402
from livecam import gpu as room  # noqa: E402
from livecam.bench import gpu, gpu_picture, machine  # noqa: E402
from livecam.bench._gpu_chain import ChainPlan  # noqa: E402
from livecam.errors import LivecamError  # noqa: E402
from livecam.store import Store  # noqa: E402

SIZES = {"1080p": (1080, 1920), "720p": (720, 1280)}
Networks = dict[str, tuple[torch.nn.Module, tuple[torch.Tensor, ...], str]]


def untrained(device: torch.device, small: bool) -> Networks:
    """Generators with random weights: name -> network in FP16, its inputs, and "random"."""
    torch.manual_seed(0)
    half = torch.float16 if device.type == "cuda" else torch.float32
    out: Networks = {}
    if small:
        config = lite_net.CONFIGS["tiny"]
        net = lite_net.Generator(config).eval().to(device, half, memory_format=torch.channels_last)
        x = torch.zeros(1, config.in_channels, config.size, config.size, device=device, dtype=half)
        out["lite"] = net, (x, torch.zeros(1, config.film_dim, device=device, dtype=half)), "random"
    sizes = ("tiny",) if small else ("simswap128", "simswap224")
    for name in sizes:
        config = simswap_net.CONFIGS[name]
        net = simswap_net.Simswap(config).eval().to(device, half, memory_format=torch.channels_last)
        for module in net.modules():
            if isinstance(module, simswap_net.AdaIn):
                module.style.float()
        picture = torch.zeros(1, 3, config.size, config.size, device=device, dtype=half)
        out["simswap128" if small else name] = _FloatStyle(net), (picture, torch.randn(1, 128, device=device)), "random"
    return out


class _FloatStyle(torch.nn.Module):
    """SimSwap whose identity stays float32, as AdaIN's statistics do."""

    def __init__(self, net: torch.nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, picture: torch.Tensor, identity: torch.Tensor) -> torch.Tensor:
        return self.net(picture, identity)


def plans(networks: Networks) -> dict[str, ChainPlan]:
    """Untrained generators in the whole frame."""
    out: dict[str, ChainPlan] = {}
    for name, (net, given, weights) in networks.items():
        size = given[0].shape[-1]
        kind = "lite" if name.startswith("lite") else "swap"
        out[name] = ChainPlan(kind, size, net, given, weights)
    return out


def sections(device: torch.device, store: Store, rounds: int, small: bool) -> dict[str, Callable[[dict[str, Any]], Any]]:
    """What is measured, in the order of worth; each gets what was measured before it."""
    clock = gpu.Clock(device, rounds)
    sizes = {"small": (96, 160)} if small else SIZES
    networks = untrained(device, small)
    generators = plans(networks) | ({} if small else gpu.shipped_plans(device, store))

    def peak(done: dict[str, Any]) -> float:
        return float(done.get("peak_fp16_tflops") or 0.0)

    def untrained_rows(done: dict[str, Any]) -> dict[str, Any]:
        return {name: {"weights": w, "torch_fp16": gpu.network(clock, net, given, peak(done), True)} for name, (net, given, w) in networks.items()}

    return {
        "peak_fp16_tflops": lambda done: gpu.peak_tflops(clock),
        "copies": lambda done: {name: gpu.copies(clock, *size) for name, size in sizes.items()},
        "kernels": lambda done: {name: gpu.kernels(clock, *size, face_px=0.53 * size[0]) for name, size in sizes.items()},
        "chains": lambda done: {
            name: gpu.chains(clock, generators, store, *size, counts=(1,) if small else (1, 4)) for name, size in sizes.items()
        },
        "networks_untrained": untrained_rows,
        "end_to_end": lambda done: {
            f"{name}, {generator}": gpu.end_to_end(device, store, *(max(n, 240) for n in size), frames=2 if small else 300, generator=generator)
            for name, size in sizes.items()
            for generator in (("mesh",) if small else ("lite", "mesh"))
        },
        "networks": lambda done: gpu.shipped(clock, store, peak(done), not small),
        "floors_ms": lambda done: gpu.FLOORS_MS,
        "memory": lambda done: gpu.memory(device),
    }


def main() -> int:
    """The command; the exit code."""
    parser = argparse.ArgumentParser(description="Measure the frame on an NVIDIA card.")
    parser.add_argument("--out", type=Path, default=Path(os.environ.get("OUT", ".")), metavar="FOLDER")
    parser.add_argument("--models", type=Path, default=Path(os.environ.get("LIVECAM_CACHE", Path.home() / ".cache" / "livecam")), metavar="CACHE")
    parser.add_argument("--budget", type=float, default=540.0, help="seconds after which no further section begins")
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--only", default="", help="sections by commas")
    args = parser.parse_args()
    reason = "" if args.small or torch.cuda.is_available() else room.why_not()
    if reason:
        print(f"benchmarks/gpu.py expected an NVIDIA card: {reason}", file=sys.stderr)
        return 2
    args.out.mkdir(parents=True, exist_ok=True)
    device, begin = torch.device("cpu" if args.small else "cuda"), time.monotonic()
    result: dict[str, Any] = {
        "format": "livecam-gpu",
        "version": 1,
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": "python benchmarks/gpu.py" + (" --small" if args.small else ""),
        "machine": machine.describe(),
        "card": gpu.describe(device),
    }
    for name, measure in sections(device, Store(args.models), 2 if args.small else args.rounds, args.small).items():
        if args.only and name not in args.only.split(","):
            continue
        if time.monotonic() - begin > args.budget:
            result[name] = "left out: no time"
            continue
        start = time.monotonic()
        try:
            result[name] = measure(result)
        except (LivecamError, RuntimeError, ImportError, OSError, ValueError, TypeError, AttributeError, KeyError, AssertionError) as error:
            traceback.print_exc()
            result[name] = f"failed: {type(error).__name__}: {str(error)[:300]}"
        print(f"{name}: {time.monotonic() - start:.1f} s", file=sys.stderr, flush=True)
        (args.out / "gpu.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    gpu_picture.write(result, args.out / "gpu.svg")
    print(json.dumps(result, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
