"""The command line: one file per verb, loaded when it is called."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import livecam
from livecam import _toml
from livecam.cli import _early
from livecam.errors import LivecamError, UsageError

if TYPE_CHECKING:
    from cyclopts import App
    from cyclopts.config import Toml

CONFIG_NAME = "livecam.toml"

HELP = """A real-time face filter: wear another face in any video call or stream, never show your own.

`livecam run` starts it; without a camera it shows the built-in presenter,
without a virtual camera it shows a page in your browser.
Every option can stand in `livecam.toml` (here, or in the user's configuration folder) under the verb's name,
for example `[run]` with `persona = "..."`.
"""

VERBS = {
    "run": "Mask the face and send the picture to a virtual camera, the page, a window or a file.",
    "ctl": "Command a run from elsewhere: cover, persona, snapshot, status, quit.",
    "devices": "List cameras and outputs, and what to type to choose one.",
    "models": "List, fetch and verify model files.",
    "persona": "List personas, show or make one, of yourself too; check, sign, trust, revoke, export them.",
    "engine": "Build, list, verify and clean TensorRT engines.",
    "bench": "Measure this machine: every stage, end to end, against the usual way of building it.",
    "detect": "Find the hidden mark and the signed manifest in pictures and films.",
    "soak": "Put the guard under fire for hours: faults by the thousand, every picture searched for your face.",
    "doctor": "Check the installation, cameras, virtual cameras and models, and say what to do.",
}


def _configs() -> tuple[Toml, ...]:
    """The option files: `livecam.toml` here, then the user's own; earlier ones win."""
    import platformdirs
    from cyclopts.config import Toml

    own = Path(platformdirs.user_config_dir("livecam", appauthor=False)) / CONFIG_NAME
    return tuple(Toml(path, must_exist=False, search_parents=False) for path in (Path(CONFIG_NAME), own) if check_config(path))


def check_config(path: Path) -> bool:
    """Whether there is an option file at `path`. Raises UsageError, naming it, when it is no TOML."""
    try:
        _toml.read(path)
    except FileNotFoundError:
        return False
    except (OSError, ValueError) as error:
        raise UsageError(f"the option file {path} cannot be read: {error}; mend it, or take it away") from error
    return True


def make_app() -> App:
    """The command line's tree of verbs."""
    from cyclopts import App  # not in the worker, which imports this module with the console script

    app = App(name="livecam", help=HELP, help_format="markdown", version=livecam.__version__, config=_configs())
    for verb, text in VERBS.items():
        app.command(f"livecam.cli.{verb}:app", name=verb, help=text)
    app.register_install_completion_command()
    return app


def main(words: list[str] | None = None) -> None:
    """Entry point: runs a verb; a LivecamError becomes one clear line and its exit code."""
    try:
        _early.begin(words)
        make_app()(words)
    except LivecamError as error:
        sys.stderr.write(f"livecam: {error}\n")
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
