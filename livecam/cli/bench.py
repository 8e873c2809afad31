"""`livecam bench`: what this machine can do, without a camera and without a GPU."""

from __future__ import annotations

import datetime
import json
import sys
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter
from rich.console import Console

from livecam.cli import models
from livecam.config import Config, RunConfig, SwapConfig
from livecam.errors import UsageError

app = App(name="bench")


@app.default
def bench(
    *,
    size: Annotated[str, Parameter(help="720p, 1080p, or both by a comma.")] = "720p,1080p",
    frames: Annotated[int, Parameter(help="Frames of the throughput part.")] = 600,
    seconds: Annotated[float, Parameter(help="Length of the part at the camera's own speed.")] = 20.0,
    reference_frames: Annotated[int, Parameter(help="Frames of the reference built the usual way.")] = 60,
    output: Annotated[Path | None, Parameter(help="Write the result as JSON here, and its picture beside it as SVG.")] = None,
    compare: Annotated[tuple[Path, Path] | None, Parameter(help="Measure nothing; set two results beside each other.")] = None,
    as_json: Annotated[bool, Parameter(name="--json", help="Print the JSON.", negative="")] = False,
    swap: Annotated[SwapConfig, Parameter(name="*", group="Persona")] = SwapConfig(),  # noqa: B008 - frozen
    run: Annotated[RunConfig, Parameter(name="*", group="Machine")] = RunConfig(),  # noqa: B008
) -> None:
    """Measure this machine: every stage, end to end, against the usual way of building it. With --device cuda: the card, by its own clock.

    The demo camera goes through the whole pipeline in its real processes: once as fast as it goes, once at its own speed (frame age is read
    from stamps in the pixels), and through a reference built the popular tools' way; the generator's cost is left out of that comparison.
    """
    from livecam.bench import report

    console = Console(stderr=as_json)
    if compare is not None:
        console.print(report.compare(report.read(compare[0]), report.read(compare[1])))
        return
    if frames < 1 or seconds <= 0 or reference_frames < 1:
        raise UsageError(
            f"expected at least one frame and a time above 0, found --frames {frames}, --seconds {seconds:g}, --reference-frames {reference_frames}"
        )
    if run.device == "cuda":
        _on_card(run, [s.strip() for s in size.split(",")], output, Console(stderr=True))
        return
    result = _measure(Config(swap=swap, run=run), [s.strip() for s in size.split(",")], frames, seconds, reference_frames, Console(stderr=True))
    if output is not None:
        report.write(result, output)
        report.picture(result, output.with_suffix(".svg"))
    if as_json:
        sys.stdout.write(json.dumps(result, indent=1) + "\n")
    else:
        console.print(report.table(result))


def _on_card(run: RunConfig, sizes: list[str], output: Path | None, console: Console) -> None:
    """The card alone: its JSON to `output` (and a picture beside it), or printed."""
    from livecam import gpu

    gpu.chosen("cuda")
    from livecam.bench import gpu as on_card
    from livecam.bench import gpu_picture, measure, report
    from livecam.store import Store

    models.fetch_for(Config(swap=SwapConfig(swap="lite"), run=run), console)
    known = {name: (measure.SIZES[name][1], measure.SIZES[name][0]) for name in sizes if name in measure.SIZES}
    result = on_card.measure("cuda", Store(run.cache_dir), known, rounds=200, frames=300)
    result["command"] = f"livecam bench --device cuda --size {','.join(known)}"
    if output is None:
        sys.stdout.write(json.dumps(result, indent=1) + "\n")
        return
    report.write(result, output)
    gpu_picture.write(result, output.with_suffix(".svg"))


def given(swap: SwapConfig) -> str:
    """What was asked of the generator, as it is typed; of files the name alone."""
    usual = SwapConfig()
    changed = [(field.name, getattr(swap, field.name)) for field in fields(swap) if getattr(swap, field.name) != getattr(usual, field.name)]
    return "".join(f" --{name.replace('_', '-')} {Path(value).name}" for name, value in changed)


def _measure(base: Config, sizes: list[str], frames: int, seconds: float, reference_frames: int, console: Console) -> dict[str, Any]:
    from livecam.bench import machine, measure, reference, report

    unknown = [name for name in sizes if name not in measure.SIZES]
    if unknown or not sizes:
        raise UsageError(f"--size expected {' or '.join(measure.SIZES)}, found {', '.join(unknown) or 'nothing'}")
    models.fetch_for(base, console)
    results: dict[str, Any] = {}
    for name in sizes:
        console.print(f"{name}: {frames} frames as fast as it goes", style="dim")
        throughput = measure.run(measure.settings(base, name, realtime=False), console.print, frames=frames)
        console.print(f"{name}: {seconds:g} s at the camera's own speed", style="dim")
        live = measure.run(measure.settings(base, name, realtime=True), console.print, seconds=seconds)
        console.print(f"{name}: {reference_frames} frames the usual way", style="dim")
        usual = reference.run(measure.settings(base, name, realtime=False), reference_frames)
        results[name] = {"throughput": throughput, "live": live, "reference": usual, "ratio": measure.ratio(throughput, usual)}
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    said = f"--size {','.join(sizes)} --frames {frames} --seconds {seconds:g} --reference-frames {reference_frames}"
    command = f"livecam bench {said}{given(base.swap)}"
    return {"format": report.FORMAT, "version": report.VERSION, "time": now, "command": command, "machine": machine.describe(), "sizes": results}
