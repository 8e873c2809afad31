"""What the base installation brings: no GPL, no x264, no torch, not too large; and what works without the extras."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
BASE_LIMIT_MB = 800
GPL = re.compile(r"\bA?GPL|GNU (Affero )?General Public", re.IGNORECASE)
LESSER = re.compile(r"LGPL|Lesser General", re.IGNORECASE)


def base() -> dict[str, Distribution]:
    """livecam's base dependencies, with theirs, as installed here."""
    found: dict[str, Distribution] = {}
    waiting = ["livecam"]
    while waiting:
        name = waiting.pop()
        key = re.sub(r"[-_.]+", "-", name).lower()
        if key in found:
            continue
        try:
            found[key] = distribution(name)
        except PackageNotFoundError:
            assert key != "livecam", "the tests run in an environment in which livecam is installed"
            continue
        for text in found[key].requires or []:
            needed = Requirement(text)
            if needed.marker is None or needed.marker.evaluate({"extra": ""}):
                waiting.append(needed.name)
    return found


def licences(dist: Distribution) -> Iterator[str]:
    """What a distribution says of its licence, short forms only (licence texts quote other licences)."""
    yield from (text for text in (dist.metadata.get("License-Expression"), dist.metadata.get("License")) if text and len(text) < 200)
    yield from (text for text in dist.metadata.get_all("Classifier") or [] if text.startswith("License"))


def test_no_base_dependency_is_under_the_gpl() -> None:
    guilty = {name: text for name, dist in base().items() for text in licences(dist) if GPL.search(LESSER.sub("", text))}
    assert not guilty


def test_the_base_has_no_x264_and_no_torch() -> None:
    dists = base()
    assert not {"torch", "tensorflow", "opencv-python", "opencv-contrib-python", "pyvirtualcam", "av", "bchlib"} & set(dists)
    x264 = [str(file) for dist in dists.values() for file in dist.files or [] if "x264" in file.name.lower()]
    assert not x264


def test_the_base_is_small_enough() -> None:
    size = 0
    for dist in base().values():
        for file in dist.files or []:
            path = Path(str(dist.locate_file(file)))
            size += path.stat().st_size if path.is_file() and "__pycache__" not in path.parts else 0
    assert size / 2**20 < BASE_LIMIT_MB


ON_A_CARD = ("livecam.runtimes.torch", "livecam.runtimes._torch_", "livecam.gpu.", "livecam.bench.gpu", "livecam.bench._gpu_")
"""Modules of the extra `torch`: nothing else imports them but by name, when a card is asked for."""


def test_livecam_never_imports_the_engines_and_torch_only_on_a_card() -> None:
    for path in (ROOT / "livecam").rglob("*.py"):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        unwanted = ("engines", "anny") if module.startswith(ON_A_CARD) else ("engines", "anny", "torch", "triton")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not [n for n in names if n.split(".")[0] in unwanted], path


EXTRAS = [("output", "virtualcam", "pyvirtualcam", "virtualcam"), ("output", "window", "pygame", "window")]


@pytest.mark.parametrize(("room", "member", "package", "extra"), EXTRAS)
def test_without_its_extra_a_member_names_it(room: str, member: str, package: str, extra: str) -> None:
    code = f"""
import sys
sys.modules[{package!r}] = None
from livecam import {room}
from livecam.config import OutputConfig
from livecam.errors import MissingExtraError
from livecam.types import VideoFormat
try:
    {room}.open_output({member!r}, "", VideoFormat(640, 360, 30.0), OutputConfig(), None)
except MissingExtraError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert f"livecam[{extra}]" in done.stdout, done.stderr


def test_every_module_imports_without_the_extras() -> None:
    code = f"""
import sys, pkgutil, importlib
for name in ("pyvirtualcam", "pygame", "av", "insightface", "onnx", "tensorrt_rtx", "tensorrt", "cuda", "torch", "triton", "c2pa"):
    sys.modules[name] = None
import livecam
for module in pkgutil.walk_packages(livecam.__path__, "livecam."):
    if not module.name.endswith("__main__") and not module.name.startswith({ON_A_CARD!r}):
        importlib.import_module(module.name)
try:
    importlib.import_module("livecam.runtimes.torch")
except livecam.errors.MissingExtraError as error:
    assert "livecam[torch]" in str(error)
    print("all")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=180)
    assert done.stdout.strip() == "all", done.stderr
