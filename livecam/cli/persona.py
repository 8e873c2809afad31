"""`livecam persona`: the faces to wear."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Annotated, Any

import cv2
from cyclopts import App, Parameter
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from livecam import persona as personas
from livecam.cli import _persona_enrol, _persona_trust, models
from livecam.config import RunConfig
from livecam.errors import ModelError, PersonaError, UsageError
from livecam.persona import _consent, _files
from livecam.persona._consent import Record
from livecam.persona.embed import Embedders
from livecam.store import Store
from livecam.types import U8

app = App(name="persona", help="List personas, show one, make another, of yourself too; check, sign, trust, revoke, export them.")
app.command(_persona_enrol.enrol)
for verb in (_persona_trust.verify, _persona_trust.sign, _persona_trust.trust, _persona_trust.revoke, _persona_trust.export):
    app.command(verb)
app.command(_persona_trust.bring_in, name="import")

EMBEDDER = "sface"
MOST_SEED = 2**31
CacheDir = Annotated[Path | None, Parameter(name="--cache-dir", help="Folder of model files; default: LIVECAM_CACHE, else the user's cache folder.")]


@app.command(name="list")
def list_personas() -> None:
    """List the personas that ship with livecam: id, name, description, licence. Wear one with `livecam run --persona ID`."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("id", "name", "description", "licence"):
        table.add_column(column, overflow="fold", no_wrap=column in ("id", "name"))
    for persona_id in personas.names():
        texts = _files.metadata(persona_id)
        table.add_row(*(escape(text) for text in (persona_id, texts["name"], texts["description"], texts["licence"])))
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
    admitted = _files.admit(persona)
    chosen = admitted.content.persona()
    table = Table(box=None, show_header=False, pad_edge=False)
    for key in ("id", "name", "kind", "description", "age", "licence", "maker", "seed"):
        if value := chosen.metadata.get(key):
            table.add_row(key, escape(value))
    height, width = chosen.images["neutral"].shape[:2]
    table.add_row("portrait", f"{width}x{height} px")
    table.add_row("signed by", escape(admitted.signer))
    console = Console()
    console.print(table)
    if admitted.record is not None:
        _show_record(admitted.record, console)
    if save is not None:
        _save(chosen.images["neutral"], save)
        console.print(f"saved: {save}", highlight=False, soft_wrap=True)


@app.command
def new(
    *,
    seed: Annotated[int | None, Parameter(help="The same seed and sliders make the same person; without it one is drawn and shown.")] = None,
    name: Annotated[str, Parameter(help="The persona's name.")] = "",
    age: Annotated[float | None, Parameter(help="Years, 18 to 80.", group="Sliders")] = None,
    tone: Annotated[float | None, Parameter(help="Skin: 0 the lightest of the personas that ship, 1 the darkest.", group="Sliders")] = None,
    masculine: Annotated[float | None, Parameter(help="0 to 1.", group="Sliders")] = None,
    character: Annotated[float | None, Parameter(help="0 a face like any other, 1 as drawn, 2 strongly marked.", group="Sliders")] = None,
    output: Annotated[Path | None, Parameter(alias="-o", help="The file to write; its portrait goes beside it. Default: the persona's id.")] = None,
    force: Annotated[bool, Parameter(help="Replace files that exist.", negative="")] = False,
    cache_dir: CacheDir = None,
) -> None:
    """Make another person who does not exist, mixed from the personas that ship; sliders that are not given are left to the seed.

    Examples: `livecam persona new --seed 7`, `livecam persona new --age 30 --tone 0.8 --masculine 0 -o her.safetensors`
    """
    sliders = personas.Sliders(
        _within("age", age, 18, 80), _within("tone", tone, 0, 1), _within("masculine", masculine, 0, 1), _within("character", character, 0, 2)
    )
    chosen = secrets.randbelow(MOST_SEED) if seed is None else int(_within("seed", seed, 0, MOST_SEED) or 0)
    mixed = personas.mix(chosen, sliders, name)
    path = output or Path(mixed.metadata["id"] + _files.SUFFIX)
    portrait = path.with_suffix(".png")
    if portrait.exists() and not force:
        raise PersonaError(f"{portrait} exists and was left as it is; choose another file with -o, or replace it with --force")
    tensors, texts = dict(mixed.tensors), dict(mixed.metadata)
    console = Console()
    _embed(mixed, tensors, texts, cache_dir, console)
    personas.write(path, tensors, texts, force)
    _save(mixed.portrait, portrait)
    console.print(f"{texts['name']}: {texts['description']}, seed {chosen}", highlight=False, soft_wrap=True)
    console.print(f"persona:  {path}\nportrait: {portrait}\nwear it:  livecam run --persona {path}", highlight=False, soft_wrap=True)


def _show_record(record: Record, console: Console) -> None:
    """The consent as it was given."""
    console.print("\nconsent record\n", style="bold")
    console.print(record.statement + "\n", markup=False, highlight=False, soft_wrap=True)
    table = Table(box=None, show_header=False, pad_edge=False)
    passed = "; ".join(f"{one['asked']} (asked {one['asked_s']} s, done {one['done_s']} s)" for one in record.prompts)
    rows = {
        "answer": record.answer, "given": record.given, "from": _consent.day(record.issued), "until": _consent.day(record.expires),
        "statement": f"SHA-256 {record.statement_sha256}", "livecam": record.livecam,
        "embedder": f"{record.embedder}, SHA-256 {record.embedder_sha256}",
        "camera": record.camera, "prompts": passed, "flatness": f"{record.flatness} (a head's)",
        "match": f"{', '.join(f'{score:.3f}' for score in record.match)}, at least {record.threshold}", "record": _consent.sha256(record.text()),
    }  # fmt: skip
    for key, value in rows.items():
        table.add_row(key, Text(value, overflow="fold"))
    console.print(table, soft_wrap=True)


def _embed(mixed: personas.Mixed, tensors: dict[str, Any], texts: dict[str, str], cache_dir: Path | None, console: Console) -> None:
    """Adds the portrait's embedding, if the embedder is there or can be fetched; else it is computed when the persona is first worn."""
    try:
        with models.fetching() as progress:
            embedders = Embedders(Store(cache_dir or RunConfig().cache_dir, progress))
            tensors["embedding"] = embedders.of_picture(mixed.portrait, mixed.tensors["neutral_mesh"], EMBEDDER, texts["id"])
            texts["embedding_model"] = EMBEDDER
    except ModelError as error:
        console.print(f"left out: the embedding, which is worked out when the persona is first worn ({str(error).splitlines()[0]})", soft_wrap=True)


def _within(name: str, value: float | None, low: float, high: float) -> float | None:
    if value is not None and not low <= value <= high:
        raise UsageError(f"--{name} expected a number from {low:g} to {high:g}, found {value:g}")
    return value


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
