"""`livecam persona`: what it prints and saves."""

from __future__ import annotations

from pathlib import Path

import cv2
import persona_maker
import pytest

from livecam import persona
from livecam.cli import main


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    try:
        main(list(words))
        code = 0
    except SystemExit as ended:
        code = int(ended.code or 0)
    out = capsys.readouterr()
    return code, out.out, out.err


def test_list_names_every_persona(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    code, out, _ = run(capsys, "persona", "list")
    assert code == 0
    assert [name for name in persona.names() if name not in out] == []
    assert persona.names() or "no personas" in out


def test_show_and_save(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = persona_maker.write_drawn(tmp_path / "p.safetensors", 4)
    code, out, _ = run(capsys, "persona", "show", str(path), "--save", str(tmp_path / "face.png"))
    assert code == 0 and "drawn4" in out and "Apache-2.0" in out and "640x640" in out
    saved = cv2.imread(str(tmp_path / "face.png"))
    assert saved is not None and saved.shape == (640, 640, 3)


def test_what_cannot_be_shown_or_saved_is_one_clear_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "persona", "show", "nobody")
    assert code == 1 and "nobody" in err and "livecam persona list" in err
    path = persona_maker.write_drawn(tmp_path / "p.safetensors", 4)
    for target in (tmp_path / "no" / "such" / "face.png", tmp_path / "face.nonsense"):
        code, _, err = run(capsys, "persona", "show", str(path), "--save", str(target))
        assert code == 2 and str(target) in err and "Traceback" not in err
