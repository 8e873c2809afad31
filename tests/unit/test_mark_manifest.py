"""Signed manifests, and `livecam detect` as a user calls it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from livecam import cli
from livecam.app.keep import Keeper
from livecam.config import Config, MarkConfig
from livecam.errors import MissingExtraError, OutputError
from livecam.mark import Marker, manifest, short_id
from livecam.types import U8


@pytest.fixture
def marker() -> Marker:
    made = Marker(MarkConfig(), 99)
    made.wear("noor")
    return made


def _picture(marker: Marker) -> U8:
    image = np.clip(np.random.default_rng(1).normal(120, 2, (360, 640, 1)) + np.zeros(3), 0, 255).astype(np.uint8)
    marker.mark(image)
    return image


def _facts(marker: Marker) -> manifest.Facts:
    return manifest.Facts([marker.payload], "mesh", False, ["noor"], {"yunet": "ab" * 32})


def _detect(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[str, int]:
    code = 0
    try:
        cli.make_app()(["detect", *words], result_action="return_value")
    except SystemExit as end:
        code = int(end.code or 0)
    return capsys.readouterr().out, code


def test_detect_says_what_a_marked_picture_says(tmp_path: Path, marker: Marker, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.jpg"
    cv2.imwrite(str(path), _picture(marker))
    text, code = _detect(capsys, str(path), "--quick")
    assert code == 0
    assert "ALTERED" in text and "run 99" in text and "noor" in text and "anybody can set such a mark" in text
    record = json.loads(_detect(capsys, str(path), "--quick", "--json")[0])
    assert record["marked"] and record["stretches"][0]["persona_number"] == short_id("noor") and record["false_alarm"] < 1e-6


def test_detect_says_plainly_that_nothing_found_proves_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "b.png"
    cv2.imwrite(str(path), np.random.default_rng(1).integers(0, 255, (360, 640, 3), np.uint8))
    (tmp_path / "c.png").write_bytes(b"no picture")
    text, code = _detect(capsys, str(path), str(tmp_path / "c.png"), str(tmp_path / "d.png"), "--quick")
    assert code == 1
    assert "no hidden mark found" in text and "proves nothing" in text
    assert "nothing that can be decoded" in text and "no such file" in text


def test_without_the_extra_it_is_named_and_files_stay_unsigned(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, marker: Marker) -> None:
    monkeypatch.setitem(sys.modules, "c2pa", None)
    monkeypatch.setattr(manifest, "available", lambda: False)
    path = tmp_path / "a.png"
    path.write_bytes(b"x")
    with pytest.raises(MissingExtraError, match=r"livecam\[signed\]"):
        manifest.sign(path, _facts(marker))
    keeper = Keeper(Config(), lambda text: None)
    keeper.sign(path)
    assert path.read_bytes() == b"x" and "not signed" in keeper.said[0]
    assert "livecam[signed]" in manifest.read(path).lines()[0]


def test_a_slate_alone_claims_no_edit(marker: Marker) -> None:
    said = json.dumps(manifest.statement(Path("a.mp4"), manifest.Facts([], "mesh", False)))
    assert "c2pa.edited" not in said and "soft-binding" not in said
    assert "c2pa.edited" in json.dumps(manifest.statement(Path("a.mp4"), _facts(marker)))


@pytest.mark.parametrize("ending", [".png", ".jpg", ".avi", ".mp4"])
def test_a_signed_file_verifies_and_a_changed_one_does_not(ending: str, tmp_path: Path, marker: Marker) -> None:
    pytest.importorskip("c2pa")
    pytest.importorskip("cryptography")
    path = tmp_path / f"a{ending}"
    if ending in manifest.FILMS:
        writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*("MJPG" if ending == ".avi" else "mp4v")), 15, (640, 360))
        for _ in range(8):
            writer.write(_picture(marker))
        writer.release()
    else:
        cv2.imwrite(str(path), _picture(marker))
    assert manifest.read(path).state == "none"
    manifest.sign(path, _facts(marker), tmp_path / "key")
    signed = manifest.read(path)
    assert (signed.state, signed.trusted, signed.marks) == ("valid", False, (f"{marker.payload.number():08x}",))
    assert signed.source_type == "compositeSynthetic"
    assert "no list" not in " ".join(signed.lines()) and "not proven" in " ".join(signed.lines())
    assert (tmp_path / "key" / "key.pem").stat().st_mode & 0o077 == 0
    data = bytearray(path.read_bytes())
    data[-len(data) // 5] ^= 1
    path.write_bytes(data)
    assert manifest.read(path).state == "broken"


def test_a_file_that_holds_no_manifest_is_refused(tmp_path: Path, marker: Marker) -> None:
    pytest.importorskip("c2pa")
    with pytest.raises(OutputError, match="record to"):
        manifest.sign(tmp_path / "a.mkv", _facts(marker))
