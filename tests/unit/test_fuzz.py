"""A few mutants of everything that livecam reads from elsewhere (many more: benchmarks/fuzz.py), and what larger campaigns found."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]  # the root first: benchmarks has an engines.py of its own
import fuzz  # noqa: E402
from _fuzz_parsers import PARSERS, Commanded  # noqa: E402
from _mutants import mutant  # noqa: E402

from livecam import _toml  # noqa: E402
from livecam.app import control  # noqa: E402
from livecam.app.live import Live  # noqa: E402
from livecam.cli import check_config  # noqa: E402
from livecam.config import Config  # noqa: E402
from livecam.errors import GuardError, LivecamError, ModelError, ModelFileError, UsageError  # noqa: E402
from livecam.guard import link  # noqa: E402
from livecam.runtimes import _fold, _network_tflite  # noqa: E402
from livecam.runtimes import _protobuf as pb  # noqa: E402
from livecam.store import CARDS, read_card  # noqa: E402
from livecam.swap import _onnx_card  # noqa: E402

FEW = {"options": 10, "tflite": 15, "onnx-runtime": 40}
USUALLY = 150
RESULTS = json.loads((ROOT / "benchmarks" / "results" / "fuzz.json").read_text("utf-8"))


@pytest.mark.parametrize("name", PARSERS)
def test_mutants_are_accepted_or_refused_as_documented(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    parser = PARSERS[name]
    seeds = parser.seeds(tmp_path)
    if not seeds:
        pytest.skip("no good file to begin from here; `livecam models fetch --all` brings it")
    take = parser.make(tmp_path)
    assert "accepted" in [fuzz.read_one(take, parser.refusals, data) for data in seeds]
    said = [fuzz.read_one(take, parser.refusals, mutant(seeds, parser.structured, name, 2, n)) for n in range(FEW.get(name, USUALLY))]
    assert set(said) <= {"accepted", "refused"}, said
    assert "refused" in said


def test_a_mutant_is_the_same_each_time_and_another_than_the_next() -> None:
    seeds = [b'{"do": "cover", "value": "on"}']
    made = [mutant(seeds, PARSERS["control"].structured, "control", 1, n) for n in range(50)]
    assert made == [mutant(seeds, PARSERS["control"].structured, "control", 1, n) for n in range(50)] and len(set(made)) > 40


def test_the_harness_finds_what_it_is_for(tmp_path: Path) -> None:
    """Another exception than the documented one, and a process that ends, are faults."""

    def other(data: bytes) -> bool:
        raise KeyError("x")

    assert fuzz.read_one(other, (ValueError,), b"").startswith("KeyError")
    assert fuzz.read_one(other, (KeyError,), b"") == "refused"
    results: dict = {"parsers": {}}
    assert fuzz.run("config", 30, 3, results, tmp_path / "r.json")
    row = results["parsers"]["config"]
    assert row["tried"] == row["accepted"] + row["refused"] == 30 and row["faults"] == 0
    assert fuzz.run("config", 40, 3, results, tmp_path / "r.json") and results["parsers"]["config"]["tried"] == 40, "it goes on where it ended"


def test_the_committed_campaign_found_nothing() -> None:
    for name, row in RESULTS["parsers"].items():
        assert name in PARSERS and row["faults"] == 0 and row["tried"] == row["accepted"] + row["refused"]
        assert row["slowest_cpu_ms"] < 1e3 * fuzz.MOST_CPU_S and row["grown_mb"] < 256


# ---------- what was found ----------


def test_a_toml_file_nested_without_end_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    for text in ("a = " + "[" * 5000, "x" * (_toml.MAX_BYTES + 1), "\x00"):
        path.write_text(text)
        for read in (read_card, _onnx_card.read_card):
            with pytest.raises(ModelFileError, match=r"a\.toml"):
                read(path)
        with pytest.raises(UsageError, match=r"a\.toml"):
            check_config(path)


@pytest.mark.parametrize(
    "change", [('"gaze.onnx"', "3"), ('"gaze.onnx"', "[1]"), ("size_bytes = 713334", "size_bytes = inf"), ('id = "gaze"', "id = 1.5")]
)
def test_a_card_whose_fields_are_of_another_kind_is_refused(tmp_path: Path, change: tuple[str, str]) -> None:
    path, good = tmp_path / "a.toml", (CARDS / "gaze.toml").read_text("utf-8")
    assert change[0] in good
    path.write_text(good.replace(*change), "utf-8")
    with pytest.raises(ModelFileError, match=r"a\.toml cannot be read"):
        read_card(path)


@pytest.fixture
def live() -> Live:
    return Live(Config(), progress=lambda text: None)


@pytest.mark.parametrize("said", [["size", "x", 1], ["size", 1 << 40, 1], ["size"], ["size", 1.5, 2], ["size", 20_000, 20_000], ["size", True, 3]])
def test_a_worker_that_wants_an_impossible_picture_is_ended(live: Live, said: list[object]) -> None:
    with pytest.raises(GuardError, match="two sides"):
        live._supervisor._hear(link.decode(json.dumps(said).encode()))


def test_a_worker_cannot_put_its_deadline_off_for_ever(live: Live) -> None:
    for text in (b'["busy", NaN]', b'["busy", 1e308]', b'["busy", ' + b"9" * 400 + b"]", b'["busy", Infinity]'):
        live._supervisor._hear(link.decode(text))
        assert 0 < live._supervisor._deadline < 1e9


@pytest.mark.parametrize(
    "said", [["fatal"], ["persona"], ["persona", 3], ["camera", 3], ["camera", {"format": 3}], ["camera", {"format": {"fps": "x"}}], ["status", 3],
             ["status", {"drops": "x"}], ["ready", 3], ["progress"], ["lost", 1, 2], ["camera", {"format": {"width_px": 1e999}}]],
)  # fmt: skip
def test_a_worker_that_says_nonsense_is_ended_and_main_goes_on(live: Live, said: list[object], monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[str] = []
    monkeypatch.setattr(live._supervisor, "restart", ended.append)
    live._supervisor._heard.append(said)
    live._hear_all()
    assert len(ended) == 1 and str(said[0]) in ended[0]
    assert live._output_format().width_px == 1280 and live._fresh_snapshot()["persona"] == ""


def test_a_flatbuffer_whose_numbers_do_not_fit_is_refused() -> None:
    for data in (b"\x10\0\0\0TFL3" + bytes(64), b"\x08\0\0\0TFL3" + b"\xff" * 64, b"\xff\xff\xff\xffTFL3"):
        with pytest.raises(ModelFileError):
            _network_tflite.read(data)


def test_a_flatbuffer_of_endless_lists_is_given_up() -> None:
    table = _network_tflite._Table(memoryview(b"\x06\0\x08\0\x04\0\0\0" + (8).to_bytes(4, "little") + (4).to_bytes(4, "little")
                                              + (1 << 18).to_bytes(4, "little") + bytes(1 << 20)), 8)  # fmt: skip
    for read in (table.tables, table.numbers):
        with pytest.raises(ModelFileError, match="a list of 262144 items"):
            read(0)
    assert len(table.raw(0)) == 1 << 18


def test_an_attribute_without_a_name_is_no_trouble_for_folding() -> None:
    attribute = pb.write_field(pb.NODE_ATTRIBUTE, pb.write_field(pb.ATTRIBUTE_I, 3))
    assert _fold._read_node(memoryview(pb.write_field(pb.NODE_OP_TYPE, b"Relu") + attribute)).op == "Relu"


def test_scales_that_do_not_fit_are_not_spread_over_a_larger_table() -> None:
    x, scale = np.zeros((1 << 16, 1), np.int8), np.ones(1 << 16, np.float32)
    for axis, block in ((1, 0), (5, 0), (0, 1 << 40), (-9, 2)):
        with pytest.raises(ModelFileError, match="do not fit"):
            _fold.dequantize(x, scale if not block else scale.reshape(1, -1), np.zeros_like(scale), axis, block)


# ---------- anything at all ----------

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda v: st.lists(v, max_size=4) | st.dictionaries(st.text(max_size=8), v),
)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200) | values.map(lambda v: json.dumps(v).encode()))
def test_no_line_to_the_control_socket_does_anything_but_what_keys_do(line: bytes) -> None:
    surface = Commanded()
    said = control.answer(surface, line)
    assert said["ok"] in (True, False) and (said["ok"] or said["why"])
    assert all(name in control.COMMANDS for name, _ in surface.told)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200) | values.map(lambda v: json.dumps(v).encode()))
def test_messages_between_processes_are_lists_with_a_name_or_refused(data: bytes) -> None:
    try:
        message = link.decode(data)
    except GuardError:
        return
    assert isinstance(message, list) and isinstance(message[0], str)


def test_errors_of_readers_are_livecams_own() -> None:
    for parser in PARSERS.values():
        assert all(issubclass(kind, LivecamError) for kind in parser.refusals)
    assert issubclass(ModelFileError, ModelError)
