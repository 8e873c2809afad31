"""Results: one JSON form (result.schema.json), its table, its picture (stacked stage times), and the comparison of two."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from livecam.errors import UsageError

FORMAT = "livecam-bench"
VERSION = 1
SCHEMA = Path(__file__).parent / "result.schema.json"
BAR_WIDTH = 100
COLOURS = (
    "blue",
    "cyan",
    "green",
    "yellow",
    "magenta",
    "red",
    "bright_blue",
    "bright_cyan",
    "bright_green",
    "bright_yellow",
    "bright_magenta",
    "bright_red",
)
SVG_WIDTH = 132

Result = Mapping[str, Any]


def write(result: Result, path: Path) -> None:
    """Writes `result` as JSON. Raises UsageError when the path cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}; name another file with --output") from error


def read(path: Path) -> Result:
    """A result written by `write`. Raises UsageError for anything else."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: expected a result of `livecam bench`, found {error}") from error
    if not isinstance(data, dict) or cast("dict[str, Any]", data).get("format") != FORMAT:
        raise UsageError(f"{path}: expected a result of `livecam bench` (format {FORMAT!r}), found another JSON file")
    return cast("Result", data)


def table(result: Result) -> RenderableType:
    """The figures of one result."""
    rows = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("", *result["sizes"]):
        rows.add_column(column, justify="left" if not column else "right")
    for title, path in FIGURES:
        rows.add_row(title, *(_shown(_at(size, path)) for size in result["sizes"].values()))
    machine = result["machine"]
    speed = f"calibration {machine['calibration_cpu_ms']:.2f} CPU-ms"
    head = Text(f"{machine['processor']}, {machine['cores']} cores, {speed}, livecam {machine['livecam']} {machine['commit']}", style="dim")
    return Group(head, rows, *(bars(name, size) for name, size in result["sizes"].items()))


FIGURES = (
    ("throughput, fps", ("throughput", "fps")),
    ("CPU ms a frame, all processes", ("throughput", "cpu_ms_per_frame")),
    ("without the generator, CPU ms", ("ratio", "livecam_cpu_ms")),
    ("the usual way, CPU ms", ("ratio", "reference_cpu_ms")),
    ("times less CPU than the usual way", ("ratio", "times")),
    ("the usual way with livecam's detector, CPU ms", ("ratio", "reference_light_detector_cpu_ms")),
    ("times less CPU than that", ("ratio", "times_light_detector")),
    ("frame age p50, ms", ("live", "frame_age_ms", "p50")),
    ("frame age p95, ms", ("live", "frame_age_ms", "p95")),
    ("frame age p99, ms", ("live", "frame_age_ms", "p99")),
    ("resident memory, MB", ("live", "rss_mb")),
    ("  of it not shared (PSS), MB", ("live", "pss_mb")),
    ("start to first masked frame, s", ("live", "start_to_first_masked_s")),
)


def _at(size: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    value: Any = size
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _shown(value: Any) -> str:
    return "–" if value is None else f"{value:.1f}"


def bars(name: str, size: Mapping[str, Any]) -> RenderableType:
    """Stacked stage times (CPU ms p50 a frame), livecam above the usual way, on one scale."""
    ours = {stage: figures["cpu_ms"].get("p50", 0.0) for stage, figures in size["throughput"]["stages"].items()}
    theirs = {stage: figures["cpu_ms"].get("p50", 0.0) for stage, figures in size.get("reference", {}).get("stages", {}).items()}
    colours = {stage: COLOURS[i % len(COLOURS)] for i, stage in enumerate(dict.fromkeys([*ours, *theirs]))}
    scale = BAR_WIDTH / max(sum(ours.values()), sum(theirs.values()), 1e-6)
    lines: list[Text] = [Text(f"\n{name}: CPU ms a frame by stage", style="bold")]
    for title, stages in (("livecam", ours), ("usual way", theirs)):
        line = Text(f"{title:<10}")
        for stage, ms in stages.items():
            line.append("█" * round(ms * scale), style=colours[stage])
        line.append(f" {sum(stages.values()):.1f}")
        lines.append(line)
    legend = Text(" " * 10)
    for stage, colour in colours.items():
        shown = " / ".join(f"{ms:.2f}" for ms in (ours.get(stage), theirs.get(stage)) if ms is not None)
        legend.append("■ ", style=colour).append(f"{stage} {shown}   ")
    return Group(*lines, legend)


def picture(result: Result, path: Path) -> None:
    """Saves the table and the stacked bars as an SVG picture. Raises UsageError when the path cannot be written."""
    with Path("/dev/null").open("w") if Path("/dev/null").exists() else path.open("w") as nowhere:
        console = Console(record=True, width=SVG_WIDTH, file=nowhere, force_terminal=True)
        console.print(table(result))
    try:
        console.save_svg(str(path), title=f"livecam bench · {result['machine']['processor']}")
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}; name another file with --output") from error


def compare(a: Result, b: Result) -> Table:
    """Figures of two results beside each other, with b over a; CPU times also scaled by the machines' calibration."""
    speed = a["machine"]["calibration_cpu_ms"] / b["machine"]["calibration_cpu_ms"]
    rows = Table(
        box=None,
        pad_edge=False,
        header_style="bold",
        title=f"A: {a['machine']['commit']} on {a['machine']['processor']}\nB: {b['machine']['commit']} on {b['machine']['processor']}",
        title_justify="left",
    )
    for column in ("", "A", "B", "B / A", "B / A, machine's speed taken out"):
        rows.add_column(column, justify="right" if column else "left")
    for name in [n for n in a["sizes"] if n in b["sizes"]]:
        rows.add_row(name, style="bold")
        for title, path in FIGURES:
            x, y = _at(a["sizes"][name], path), _at(b["sizes"][name], path)
            if x is None or y is None or not x:
                continue
            scaled = f"{y / x * speed:.2f}" if "CPU ms" in title else ""
            rows.add_row("  " + title, _shown(x), _shown(y), f"{y / x:.2f}", scaled)
    return rows
