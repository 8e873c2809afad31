"""`livecam engine`: build, list, verify, clean, over a stand-in for the card."""

from __future__ import annotations

from pathlib import Path

import pytest
import trt_standin

from livecam.cli import engine
from livecam.errors import MissingExtraError, ModelFileError, RuntimeAbsentError, UsageError
from livecam.runtimes import _engines, _memory, _nvidia, _trt


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> trt_standin.Trt:
    monkeypatch.setattr(_engines, "key_file", lambda: tmp_path / "config" / "engines.key")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(_memory, "bound_process", lambda: None)  # this process is that of all tests
    return trt_standin.install(monkeypatch)


def test_build_list_verify_clean(card: trt_standin.Trt, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    engine.list_engines(cache_dir=tmp_path)
    assert "nothing was built yet" in capsys.readouterr().out
    engine.build("gaze", cache_dir=tmp_path)
    said = capsys.readouterr().out
    assert "gaze sm89: made ready in" in said and "gaze sm89: reproduced the reference" in said and card.built == 1
    engine.build("gaze", cache_dir=tmp_path)
    assert "was there" in capsys.readouterr().out and card.built == 1
    engine.list_engines(cache_dir=tmp_path)
    listed = capsys.readouterr().out
    assert all(word in listed for word in ("gaze", "engine fp16", "kernels fp16", "reference fp32", "tensorrt-rtx 1.7.1.116", "580.65.06", "ok"))
    engine.verify(cache_dir=tmp_path)
    assert capsys.readouterr().out.count("reproduced the reference") == 1
    entry = next(e for e in _engines.cache(tmp_path / "compiled").entries() if e.wanted["kind"] == _engines.ENGINE)
    entry.path.write_bytes(entry.path.read_bytes()[:-9])
    with pytest.raises(ModelFileError, match="altered, cut short, or sealed with another key; it is not loaded"):
        engine.verify(cache_dir=tmp_path)
    engine.list_engines(cache_dir=tmp_path)
    assert "altered, cut short" in capsys.readouterr().out
    engine.clean(bad=True, cache_dir=tmp_path)
    assert "removed 1 entries" in capsys.readouterr().out
    engine.clean(cache_dir=tmp_path)
    assert "removed 2 entries" in capsys.readouterr().out and not _engines.cache(tmp_path / "compiled").entries()


def test_a_refused_engine_ends_with_its_numbers(card: trt_standin.Trt, tmp_path: Path) -> None:
    card.gain = 0.5
    with pytest.raises(ModelFileError, match=r"tensorrt was refused: .*gaze: cosine 1\.0+, PSNR"):
        engine.build("gaze", cache_dir=tmp_path)


def test_older_engines_are_told(card: trt_standin.Trt, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    engine.build("gaze", cache_dir=tmp_path)
    monkeypatch.setattr(trt_standin.Trt, "__version__", "1.9")
    engine.list_engines(cache_dir=tmp_path)
    assert "older: tensorrt-rtx is 1.9 now" in capsys.readouterr().out
    monkeypatch.setattr(_engines, "RECIPE", "2")
    engine.list_engines(cache_dir=tmp_path)
    assert "older: made by another version of livecam" in capsys.readouterr().out


def test_ahead_of_time_for_named_cards_only(card: trt_standin.Trt, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    engine.build("gaze", arch="all", cache_dir=tmp_path)
    said = capsys.readouterr().out
    assert "gaze sm86: made ready" in said and "gaze sm89: made ready" in said and "reproduced" not in said
    with pytest.raises(UsageError, match=r"--arch sm90: tensorrt-rtx 1\.7\.1\.116 builds for sm86, sm89, not for sm90"):
        engine.build("gaze", arch="sm90", cache_dir=tmp_path)


def test_without_card_or_package_the_way_out_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_engines, "key_file", lambda: tmp_path / "config" / "engines.key")
    monkeypatch.setattr(_nvidia, "read", lambda: None)
    with pytest.raises(RuntimeAbsentError, match="no NVIDIA card here; name the architecture"):
        engine.build("gaze", cache_dir=tmp_path)
    monkeypatch.setattr(_trt, "installed", tuple)
    with pytest.raises(MissingExtraError, match=r"livecam\[tensorrt\]"):
        engine.build("gaze", arch="sm89", cache_dir=tmp_path)


def test_a_faulty_file_fails_alone(card: trt_standin.Trt, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"\x08garbage" * 40)
    with pytest.raises(ModelFileError, match=r"broken\.onnx: not a valid ONNX file"):
        engine.build(str(broken), "gaze", cache_dir=tmp_path)
    assert "gaze sm89: reproduced the reference" in capsys.readouterr().out
