"""A page of pictures and figures in one file: persona, target, ours, truth, difference."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from engines.evaluate.dataset import Pairs, Sample
from engines.evaluate.subjects import Drawn
from livecam import persona
from livecam.errors import PersonaError
from livecam.types import U8

COLUMNS = ("persona", "target", "output", "truth", "difference x3")
TILE_PX = 192
QUALITY = 88
DIFFERENCE_TIMES = 3
STYLE = """
body{font:15px/1.45 system-ui,sans-serif;max-width:1080px;margin:2em auto;padding:0 1em;color:#222;background:#fff}
table{border-collapse:collapse;margin:1em 0;width:100%}td,th{padding:.25em .6em;border-bottom:1px solid #ddd;text-align:left}
td.n{text-align:right;font-variant-numeric:tabular-nums}.yes{color:#07620b}.no{color:#b00020}img{width:100%;height:auto;display:block}
.row{display:grid;grid-template-columns:repeat(5,1fr);gap:3px;margin-bottom:3px}.cap{font-size:12px;color:#555;margin:0 0 10px}
@media (prefers-color-scheme:dark){body{background:#161616;color:#ddd}td,th{border-color:#333}.cap{color:#999}.yes{color:#7fd87f}.no{color:#ff8080}}
"""


@dataclass(frozen=True, slots=True)
class Shown:
    """One row of pictures. tiles: five (TILE_PX, TILE_PX, 3) uint8; caption: what they are."""

    tiles: tuple[U8, ...]
    caption: str


class Gallery:
    """Collects rows for the page: every `every`-th sample, so that they are no selection."""

    def __init__(self, pairs: Pairs, every: int) -> None:
        self._pairs, self._every = pairs, max(every, 1)
        self._portraits: dict[int, U8] = {}
        self.rows: list[Shown] = []

    def see(self, sample: Sample, drawn: Drawn, numbers: Mapping[str, float]) -> None:
        """Called with every sample in turn."""
        if sample.index % self._every:
            return
        truth = sample.picture("truth")
        apart = np.clip(np.abs(drawn.picture.astype(np.int16) - truth.astype(np.int16)) * DIFFERENCE_TIMES, 0, 255).astype(np.uint8)
        pictures = (self._portrait(sample), sample.picture("wearer"), drawn.picture, truth, apart)
        keys = ("psnr_db", "lpips", "pose_deg", "expression_share", "gaze_deg", "seam_de2000")
        figures = ", ".join(f"{k} {numbers[k]:.3g}" for k in keys if k in numbers)
        self.rows.append(Shown(tuple(_tile(p) for p in pictures), f"sample {sample.index}, wearer {sample.a}, persona {sample.b}: {figures}"))

    def sheet(self, rows: int = 12) -> U8:
        """One picture of the first `rows` rows."""
        if not self.rows:
            return np.zeros((TILE_PX, TILE_PX * len(COLUMNS), 3), np.uint8)
        return np.concatenate([np.concatenate(row.tiles, axis=1) for row in self.rows[:rows]])

    def _portrait(self, sample: Sample) -> U8:
        if sample.b not in self._portraits:
            try:
                self._portraits[sample.b] = _tile(persona.read_unsigned(self._pairs.people[sample.b]).images["neutral"])
            except (KeyError, PersonaError):
                # A set may be looked at while it is made, or without its people.
                self._portraits[sample.b] = np.full((TILE_PX, TILE_PX, 3), 40, np.uint8)
        return self._portraits[sample.b]


def _tile(picture: U8) -> U8:
    way = cv2.INTER_AREA if picture.shape[0] > TILE_PX else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(picture, (TILE_PX, TILE_PX), interpolation=way), np.uint8)


def write(path: Path, result: Mapping[str, Any], rows: Sequence[Shown]) -> None:
    """The page for a result (see table.summary)."""
    parts = [f"<!doctype html><meta charset=utf-8><meta name=viewport content='width=device-width'><title>{_text(result['swap'])}: quality</title>"]
    parts += [f"<style>{STYLE}</style><h1>{_text(result['swap'])} against rendered truth</h1>", _facts(result), _table(result["table"])]
    parts += ["<h2>Pictures</h2><p>Every row is one sample, taken at even steps through the set: " + ", ".join(COLUMNS) + "</p>"]
    parts += [_row(shown) for shown in rows]
    parts += ["<h2>Splits</h2>", *(_split(kind, groups) for kind, groups in result.get("splits", {}).items())]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(parts), encoding="utf-8")


def _facts(result: Mapping[str, Any]) -> str:
    data, judges = result["data"], result["judges"]
    lines = [f"{data['samples']} samples, {data['personas']} personas; refused {result['refused']}", *(f"{k}: {v}" for k, v in judges.items())]
    return "<p class=cap>" + "<br>".join(_text(line) for line in lines) + "</p>"


def _table(rows: Mapping[str, Any]) -> str:
    out = ["<table><tr><th>what<th>value<th>95 %<th>goal<th>n"]
    for row in rows.values():
        word = {True: "yes", False: "no", None: ""}[row["met"]]
        low, high = row["ci95"]
        interval = "" if low is None else f"{low:g} to {high:g}"
        value = "not measured" if row["value"] is None else f"{row['value']:g}"
        cells = (interval, _text(row["goal"]), row["n"])
        out.append(f"<tr><td>{_text(row['what'])}<td class='n {word}'>{value}" + "".join(f"<td class=n>{c}" for c in cells))
    return "".join(out) + "</table>"


def _split(kind: str, groups: Mapping[str, Any]) -> str:
    names = list(groups)
    rows = sorted({row for g in groups.values() for row in g["rows"]})
    out = [f"<h3>{_text(kind)}</h3><table><tr><th>" + "".join(f"<th>{_text(n)} ({groups[n]['samples']})" for n in names)]
    for row in rows:
        cells = (groups[n]["rows"].get(row) for n in names)
        out.append(f"<tr><td>{_text(row)}" + "".join("<td class=n>" + ("" if c is None else f"{c['value']:g}") for c in cells))
    return "".join(out) + "</table>"


def _row(shown: Shown) -> str:
    cells = "".join(f"<img alt='{_text(name)}' src='{jpeg_uri(tile)}'>" for name, tile in zip(COLUMNS, shown.tiles, strict=True))
    return f"<div class=row>{cells}</div><p class=cap>{_text(shown.caption)}</p>"


def jpeg_uri(picture: U8) -> str:
    """The picture as a data: address."""
    return "data:image/jpeg;base64," + base64.b64encode(jpeg(picture)).decode()


def jpeg(picture: U8) -> bytes:
    """The picture as JPEG bytes."""
    return cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()


def _text(value: object) -> str:
    return html.escape(str(value), quote=True)
