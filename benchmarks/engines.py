"""Engines without a card: what building costs, and how near FP16 comes to FP32. `python benchmarks/engines.py [--more FILE.onnx ...]`

Building: `tensorrt-rtx`, ahead of time, each network for each architecture, one after the other; wall time is the machine's business, CPU time ours.
Numerics: the graph that is built, its half precision emulated on the CPU (every half tensor rounded where it is made, sums in float32), against the
reference of the parity gate; beside it OpenVINO's float32, and a graph in which nothing is kept in float. No engine is run: that takes a card.

Random SimSwaps come from `python -m engines export simswap --random simswap224-paper --out DIR`.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

from livecam import runtimes
from livecam.bench import machine
from livecam.cli.engine import NETWORKS
from livecam.config import RunConfig
from livecam.runtimes import _engines, _half, _parity, _tflite, _trt
from livecam.store import Store

RESULT = Path(__file__).parent / "results" / "engines.json"
ARCHES = ("sm75", "sm86", "sm89", "sm120")
BYTES, DEGREES = (0.0, 255.0), (-40.0, 40.0)
RANGES: dict[str, dict[str, tuple[float, float]]] = {"yunet": {"input": BYTES}, "sface": {"data": BYTES}, "gaze": {"head": DEGREES}}


def built(data: bytes, name: str, shapes: dict[str, tuple[int, ...]], package: _trt.Package, arch: str) -> dict[str, float]:
    """Seconds of making one engine, nothing kept."""
    key = _engines.engine_key(data, name, package, arch, _engines.AHEAD, shapes)
    cpu = time.process_time()
    made = _engines.engine(None, data, key, package, shapes)
    return {"prepare_s": round(made.prepare_s, 2), "build_s": round(made.build_s, 2), "cpu_s": round(time.process_time() - cpu, 2),
            "megabytes": round(len(made.plan) / 1e6, 1)}  # fmt: skip


def near(run: Any, wanted: _parity.Reference) -> dict[str, Any]:
    """The gate's figures: the worst output's."""
    found = _parity.measure(run, wanted)
    worst = min(found, key=lambda p: (p.finite, p.psnr_db))
    finite = all(p.finite for p in found)
    return {"passed": all(p.passed for p in found), "finite": finite, "least_cosine": round(min(p.cosine for p in found), 7),
            "least_psnr_db": round(worst.psnr_db, 1), "output": worst.output}  # fmt: skip


def numerics(data: bytes, name: str, shapes: dict[str, tuple[int, ...]], ranges: dict[str, tuple[float, float]]) -> dict[str, Any]:
    """FP16 as it is built, FP16 throughout, and OpenVINO, each against the reference."""
    wanted = _engines.reference(data, None, {"shapes": shapes, "ranges": ranges})
    model = _engines.prepared(data, name, shapes)
    half, everything = (_half.emulated(model, everything=all_of_it).SerializeToString() for all_of_it in (False, True))
    kept = _half.kept_in_float(model)
    out: dict[str, Any] = {"nodes": len(model.graph.node), "kept_in_float": len(kept)}
    out["fp16"] = near(runtimes.load("onnx", half).run, wanted)
    out["fp16_throughout"] = near(runtimes.load("onnx", everything).run, wanted)
    other = "onnx" if _tflite.is_tflite(data) or shapes else "openvino"
    plain = model.SerializeToString() if other == "onnx" else data
    out[other] = near(runtimes.load(other, plain).run, wanted)
    return out


def main() -> None:
    """Measures and writes the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--more", type=Path, nargs="*", default=[], metavar="FILE", help="further ONNX files")
    parser.add_argument("--output", type=Path, default=RESULT)
    options = parser.parse_args()
    store, package = Store(RunConfig().cache_dir), _trt.load("tensorrt-rtx")
    networks = [(name, store.path(name), dict(shapes)) for name, shapes in NETWORKS.items()] + [(p.stem, p, {}) for p in options.more]
    found: dict[str, Any] = {}
    for name, path, shapes in networks:
        data = path.read_bytes()
        arches = [arch for arch in ARCHES if arch in package.arches]
        found[name] = {"file_megabytes": round(len(data) / 1e6, 1), "engines": {arch: built(data, name, shapes, package, arch) for arch in arches}}
        found[name]["numerics"] = numerics(data, name, shapes, RANGES.get(name, {}))
        print(name, json.dumps(found[name]), flush=True)
    command = " ".join(["python benchmarks/engines.py", *(["--more", *(p.name for p in options.more)] if options.more else [])])
    described = {"package": f"{package.name} {package.version}", "arches": list(package.arches), "engines_were_run": False}
    result = {"command": command, "machine": machine.describe(), **described, "networks": found}
    options.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
