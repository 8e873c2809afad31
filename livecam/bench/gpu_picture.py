"""The picture of a card's figures: one bar a row, in ms, p50 full and p99 pale."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from pathlib import Path
from typing import Any

ROW_PX, LABEL_PX, BAR_PX, TOP_PX = 22, 360, 460, 46
SECTIONS = ("copies", "kernels", "chains", "networks_untrained", "networks", "end_to_end")


def rows(result: Mapping[str, Any]) -> Iterator[tuple[str, float, float]]:
    """(path of names, p50, p99) of every figure in the sections."""
    for section in SECTIONS:
        yield from _below(section, result.get(section))


def _below(path: str, value: Any) -> Iterator[tuple[str, float, float]]:
    if not isinstance(value, Mapping):
        return
    if "p50" in value and "p99" in value:
        yield path, float(value["p50"]), float(value["p99"])
        return
    for name, inner in value.items():
        if name not in ("stages_wall_ms",):
            yield from _below(f"{path} / {name}", inner)


def write(result: Mapping[str, Any], path: Path) -> None:
    """The rows as SVG; bars beyond the width are cut and say their figure."""
    found = list(rows(result))
    most = sorted(p50 for _, p50, _ in found)[int(0.9 * len(found))] if found else 1.0
    scale = BAR_PX / max(most, 1e-6)
    height = TOP_PX + ROW_PX * len(found) + 10
    title = f"{result.get('card', {}).get('name', '')}, {result.get('command', '')}, commit {result.get('machine', {}).get('commit', '')}"
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{LABEL_PX + BAR_PX + 150}" height="{height}" font-family="sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="white"/>',
        f'<text x="10" y="24" font-size="15">{escape(title)}: ms, p50 (full) and p99 (pale)</text>',
    ]
    for i, (label, p50, p99) in enumerate(found):
        y = TOP_PX + i * ROW_PX
        full, pale = (min(value * scale, BAR_PX) for value in (p50, p99))
        lines += [
            f'<text x="{LABEL_PX - 8}" y="{y + 13}" text-anchor="end" font-size="11">{escape(label[-62:])}</text>',
            f'<rect x="{LABEL_PX}" y="{y}" width="{pale:.1f}" height="{ROW_PX - 6}" fill="#bcd4f0"/>',
            f'<rect x="{LABEL_PX}" y="{y}" width="{full:.1f}" height="{ROW_PX - 6}" fill="#2f6db5"/>',
            f'<text x="{LABEL_PX + max(full, pale) + 6:.1f}" y="{y + 13}">{p50:.3f} / {p99:.3f}</text>',
        ]
    path.write_text("\n".join([*lines, "</svg>"]) + "\n", encoding="utf-8")
