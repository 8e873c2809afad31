"""The command line: verbs, options, the TOML file behind them, errors as one line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


def livecam(*words: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "livecam", *words],
        cwd=cwd,
        env={**os.environ, "COLUMNS": "200", **env},
        capture_output=True,
        text=True,
        timeout=120,
        stdin=subprocess.DEVNULL,
    )


@pytest.mark.parametrize("verb", ["run", "devices", "models", "persona", "bench", "doctor", "engine"])
def test_every_verb_teaches(verb: str, tmp_path: Path) -> None:
    done = livecam(verb, "--help", cwd=tmp_path)
    assert done.returncode == 0
    assert "Usage: livecam" in done.stdout


@pytest.mark.parametrize(
    ("words", "code", "part"),
    [
        (("run", "--rotate-deg", "45"), 2, "Choose from"),
        (("run", "--no-such-option"), 2, "Unknown option"),
        (("run", "--faces", "everybody"), 2, "--faces expected all, largest, or track numbers"),
        (("run", "--output-size", "big"), 2, "--output-size expected a size"),
        (("run", "--outputs", "hologram"), 2, "output 'hologram' is unknown; choose one of"),
        (("run", "--persona", "nobody-of-that-name"), 1, "nobody-of-that-name"),
        (("run", "/no/such/clip.mp4"), 1, "/no/such/clip.mp4"),
        (("run", "--runtime", "abacus"), 2, "Choose from"),
        (("engine", "build", "no-such-net"), 2, "neither a card nor a file"),
        (("engine", "build", "lite128", "--shape", "x=big"), 2, "--shape expected"),
        (("bench", "--size", "4k"), 2, "--size expected 720p or 1080p"),
        (("bench", "--compare", "a.json", "b.json"), 2, "a.json: expected a result of `livecam bench`"),
    ],
)
def test_bad_input_is_one_clear_line(words: tuple[str, ...], code: int, part: str, tmp_path: Path) -> None:
    options = ("--outputs", "null") if words[0] == "run" and "--outputs" not in words else ()
    done = livecam(*words, *options, cwd=tmp_path)
    said = done.stdout + done.stderr
    assert part in said
    assert "Traceback" not in said
    assert done.returncode == code, said


def test_options_come_from_a_toml_file(tmp_path: Path) -> None:
    (tmp_path / "livecam.toml").write_text('[run]\ncamera = "/no/such/camera"\n', encoding="utf-8")
    done = livecam("run", "--outputs", "null", cwd=tmp_path)
    assert done.returncode == 1
    assert "/no/such/camera" in done.stderr


def test_a_wrong_name_in_the_toml_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "livecam.toml").write_text('[run]\ncamra = "0"\n', encoding="utf-8")
    done = livecam("run", cwd=tmp_path)
    assert done.returncode != 0
    assert "camra" in done.stdout + done.stderr


def test_reveal_never_comes_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "livecam.toml").write_text("[run]\nreveal = true\n", encoding="utf-8")
    done = livecam("run", "--outputs", "null", cwd=tmp_path)
    assert done.returncode == 2
    assert "found it in a config file" in done.stderr
