"""`livecam doctor`: what this machine can do, what is missing, and the way out."""

from __future__ import annotations

import platform
import shutil
import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, distributions, version
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from livecam import _shipped, capture, output, persona
from livecam.cli import _doctor_runtimes
from livecam.cli._finding import FAIL, OK, STYLE, WARN, Finding
from livecam.config import RunConfig
from livecam.errors import LivecamError
from livecam.store import Store

app = App(name="doctor")

NEEDED_MB = 500
BASE = ("numpy", "opencv-python-headless", "numba", "openvino", "onnxruntime", "safetensors", "aiohttp", "rich", "cyclopts", "cryptography")
CV2_OWNERS = ("opencv-python", "opencv-contrib-python", "opencv-contrib-python-headless", "opencv-python-headless")


@app.default
def doctor(*, run: Annotated[RunConfig, Parameter(name="*")] = RunConfig()) -> None:  # noqa: B008 - frozen
    """Check the installation, cameras, virtual cameras and models, and say what to do. Ends with exit code 1 when livecam cannot run."""
    checks: tuple[Callable[[RunConfig], list[Finding]], ...] = (
        *(_python, _packages, _second_cv2, _disk, _shipped_files, _models, _personas, _cameras, _outputs),
        *_doctor_runtimes.CHECKS,
    )
    findings = [finding for check in checks for finding in check(run)]
    table = Table(box=None, pad_edge=False, show_header=False)
    for finding in findings:
        table.add_row(f"[{STYLE[finding.level]}]{finding.level}[/]", *(escape(text) for text in (finding.what, finding.found, finding.way_out)))
    Console().print(table)
    if any(finding.level == FAIL for finding in findings):
        sys.exit(1)


def _python(_: RunConfig) -> list[Finding]:
    found = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    good = (3, 11) <= sys.version_info[:2] <= (3, 13)
    return [Finding(OK if good else FAIL, "Python", found, "" if good else "livecam needs Python 3.11 to 3.13")]


def _packages(_: RunConfig) -> list[Finding]:
    findings: list[Finding] = []
    for name in BASE:
        try:
            findings.append(Finding(OK, name, version(name)))
        except PackageNotFoundError:
            findings.append(Finding(FAIL, name, "not installed", "install livecam again: pip install --force-reinstall livecam"))
    return findings


def _second_cv2(_: RunConfig) -> list[Finding]:
    there = sorted({d.metadata["Name"].lower() for d in distributions() if d.metadata["Name"] and d.metadata["Name"].lower() in CV2_OWNERS})
    if len(there) <= 1:
        return [Finding(OK, "one OpenCV", ", ".join(there) or "none")]
    others = [name for name in there if name != "opencv-python-headless"]
    return [
        Finding(
            FAIL,
            "one OpenCV",
            ", ".join(there),
            f"they overwrite each other's cv2: pip uninstall {' '.join(others)}, then pip install --force-reinstall opencv-python-headless",
        )
    ]


def _disk(run: RunConfig) -> list[Finding]:
    folder = run.cache_dir
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    free_mb = shutil.disk_usage(folder).free // 2**20
    enough = free_mb >= NEEDED_MB
    return [
        Finding(
            OK if enough else WARN,
            "cache",
            f"{run.cache_dir}, {free_mb} MB free",
            "" if enough else f"{NEEDED_MB} MB are wanted: make room, or choose another folder with --cache-dir",
        )
    ]


def _shipped_files(_: RunConfig) -> list[Finding]:
    try:
        wrong, files = _shipped.differences(), _shipped.released()
    except LivecamError as error:
        return [Finding(FAIL, "signed files", "no valid list of what ships", str(error))]
    if wrong:
        return [Finding(FAIL, "signed files", line, "install livecam again") for line in wrong]
    return [Finding(OK, "signed files", f"{len(files.files)} files as they were released, key {files.fingerprint}")]


def _models(run: RunConfig) -> list[Finding]:
    store = Store(run.cache_dir)
    findings: list[Finding] = []
    for name in store.cards:
        try:
            state = store.check(name).state
        except LivecamError as error:
            state = str(error)
        way_out = {"ok": "", "missing": "comes at the first run, or now with: livecam models fetch --all"}.get(
            state, f"fetch it again: livecam models fetch {name}"
        )
        findings.append(Finding({"ok": OK, "missing": WARN}.get(state, FAIL), f"model {name}", state, way_out))
    return findings


def _personas(_: RunConfig) -> list[Finding]:
    count = len(persona.names())
    return [
        Finding(
            OK if count else FAIL, "personas", f"{count} ship with livecam", "" if count else "the installation is incomplete: install livecam again"
        )
    ]


def _cameras(_: RunConfig) -> list[Finding]:
    found = [d for d in capture.devices() if d.kind == "opencv"]
    if not found:
        wanted = "plug a camera in; on Linux your user must be in the group video; until then --camera demo plays the built-in presenter"
        return [Finding(WARN, "camera", "none", wanted)]
    return [Finding(WARN if d.note else OK, "camera", f"{d.name} (--camera {d.spec})", d.note) for d in found]


def _outputs(_: RunConfig) -> list[Finding]:
    findings = [
        Finding(WARN if d.note else OK, "output", f"{d.name} (--outputs {d.spec})", d.note)
        for d in output.devices()
        if d.kind in ("v4l2", "pipewire", "virtualcam")
    ]
    if findings:
        return findings
    linux = "sudo apt-get install v4l2loopback-dkms, then sudo modprobe v4l2loopback devices=1 video_nr=10 card_label=livecam"
    other = "install OBS Studio (it brings a virtual camera), then pip install 'livecam[virtualcam]'"
    return [
        Finding(
            WARN,
            "virtual camera",
            "none; the page in the browser works without",
            linux if Path("/dev").exists() and sys.platform == "linux" else other,
        )
    ]
