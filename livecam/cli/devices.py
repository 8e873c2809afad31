"""`livecam devices`: cameras and outputs, and what to type to choose one."""

from __future__ import annotations

import dataclasses
import json
import sys
from typing import Annotated

from cyclopts import App, Parameter
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from livecam import capture, output
from livecam.types import DeviceInfo

app = App(name="devices")

TYPED = {"capture": "--camera", "output": "--outputs"}


@app.default
def devices(*, as_json: Annotated[bool, Parameter(name="--json", help="A JSON list instead of a table.", negative="")] = False) -> None:
    """List cameras and outputs, and what to type to choose one."""
    found = (*capture.devices(), *output.devices())
    if as_json:
        sys.stdout.write(json.dumps([dataclasses.asdict(device) for device in found], indent=1) + "\n")
        return
    Console().print(device_table(found))


def device_table(found: tuple[DeviceInfo, ...]) -> Table:
    """The devices as a table."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("what", "kind", "name", "choose it with", "note"):
        table.add_column(column, overflow="fold")
    for device in found:
        what = "camera" if device.room == "capture" else "output"
        table.add_row(*(escape(text) for text in (what, device.kind, device.name, f"{TYPED[device.room]} {device.spec}", device.note)))
    return table
