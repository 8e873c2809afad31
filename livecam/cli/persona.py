"""`livecam persona`: the faces to wear."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import cv2
from cyclopts import App, Parameter
from rich.console import Console
from rich.table import Table

from livecam import persona as personas
from livecam.errors import UsageError
from livecam.persona import _files
from livecam.types import U8

app = App(name="persona", help="List personas, or show one.")


@app.command(name="list")
def list_personas() -> None:
    """List the personas that ship with livecam: id, name, description, licence. Wear one with `livecam run --persona ID`."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("id", "name", "description", "licence"):
        table.add_column(column, overflow="fold", no_wrap=column in ("id", "name"))
    for persona_id in personas.names():
        texts = _files.metadata(persona_id)
        table.add_row(persona_id, texts["name"], texts["description"], texts["licence"])
    console = Console()
    console.print(table if table.row_count else "no personas ship with this installation")


@app.command
def show(
    persona: Annotated[str, Parameter(help="A persona's id (see `livecam persona list`) or file.")],
    /,
    *,
    save: Annotated[Path | None, Parameter(help="Save the portrait as this picture file (.png or .jpg).")] = None,
) -> None:
    """Show what a persona file says of itself; its whole content is checked.

    Example: `livecam persona show ID --save portrait.png`
    """
    chosen = personas.load(persona)
    table = Table(box=None, show_header=False, pad_edge=False)
    for key in ("id", "name", "kind", "description", "age", "licence", "maker", "seed"):
        if value := chosen.metadata.get(key):
            table.add_row(key, value)
    height, width = chosen.images["neutral"].shape[:2]
    table.add_row("portrait", f"{width}x{height} px")
    console = Console()
    console.print(table)
    if save is not None:
        _save(chosen.images["neutral"], save)
        console.print(f"saved: {save}", highlight=False, soft_wrap=True)


def _save(image: U8, path: Path) -> None:
    try:
        done, data = cv2.imencode(path.suffix or ".png", image)
        if done:
            path.write_bytes(data.tobytes())
            return
        reason = "the picture could not be encoded"
    except (cv2.error, OSError) as error:
        reason = str(error).strip().splitlines()[-1]
    raise UsageError(f"the portrait cannot be saved as {path}: {reason}; name a .png or .jpg file in a folder that can be written to")
