"""The model store: what it hands out has the card's SHA-256; sources are tried in order and their failures told; no network here."""

from __future__ import annotations

import hashlib
import io
import multiprocessing
import os
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from livecam import _fetch, registry, store
from livecam.cli import main, models
from livecam.config import Config, RunConfig
from livecam.errors import ModelFileError, UsageError
from livecam.store import Card, Store

CONTENT = bytes(range(256)) * 400
DIGEST = hashlib.sha256(CONTENT).hexdigest()
MEMBER = "thing/data/model.bin"

FAKE_PIP = """
import pathlib, shutil, sys
pathlib.Path({log!r}).open("a").write("called\\n")
folder = pathlib.Path(sys.argv[sys.argv.index("-d") + 1])
if not pathlib.Path({wheel!r}).exists():
    sys.exit("ERROR: no such wheel on this index")
folder.mkdir()
shutil.copy({wheel!r}, folder)
"""


def url(path: Path) -> _fetch.Source:
    return _fetch.Source("url", url=path.as_uri())


def card(*sources: _fetch.Source, model_id: str = "thing", content: bytes = CONTENT) -> Card:
    return Card(model_id, f"{model_id}.bin", "a thing", "MIT", hashlib.sha256(content).hexdigest(), len(content), sources)


def make(folder: Path, *cards: Card, progress: store.Progress | None = None) -> Store:
    return Store(folder / "cache", progress, {c.id: c for c in cards})


@pytest.fixture(autouse=True)
def _not_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs the tests may forbid fetching; here everything is fetched from files."""
    monkeypatch.delenv("LIVECAM_OFFLINE", raising=False)


@pytest.fixture
def published(tmp_path: Path) -> Path:
    path = tmp_path / "published.bin"
    path.write_bytes(CONTENT)
    return path


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A wheel, and a pip that brings it; `pip.log` beside it counts the calls."""
    path = tmp_path / "thing-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(MEMBER, CONTENT)
        archive.writestr("thing/data/other.bin", CONTENT[::-1])
    script = tmp_path / "pip.py"
    script.write_text(FAKE_PIP.format(wheel=str(path), log=str(tmp_path / "pip.log")), "utf-8")
    monkeypatch.setattr(_fetch, "_pips", lambda: [[sys.executable, str(script)]])
    return path


def wheel_source(member: str = MEMBER, digest: str = "") -> _fetch.Source:
    return _fetch.Source("wheel", package="thing", version="1.0", member=member, wheel_sha256=digest, wheel_bytes=1000)


def test_fetched_on_first_use_with_progress_then_kept(tmp_path: Path, published: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    first = make(tmp_path, card(url(published)), progress=lambda *a: seen.append(a))
    path = first.path("thing")
    assert path.read_bytes() == CONTENT
    assert seen[-1] == ("thing", len(CONTENT), len(CONTENT)) and [s[1] for s in seen] == sorted(s[1] for s in seen)
    published.unlink()
    assert make(tmp_path, card(url(published))).path("thing") == path
    assert sorted(p.name for p in path.parent.iterdir()) == ["thing.bin", "thing.bin.lock"]


def test_member_of_a_wheel(tmp_path: Path, wheel: Path) -> None:
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    assert make(tmp_path, card(wheel_source(digest=digest))).path("thing").read_bytes() == CONTENT


def test_one_wheel_serves_several_cards_at_once(tmp_path: Path, wheel: Path) -> None:
    cards = (card(wheel_source()), card(wheel_source("thing/data/other.bin"), model_id="other", content=CONTENT[::-1]))
    held = make(tmp_path, *cards)
    held.path("thing")
    assert held.path("other").read_bytes() == CONTENT[::-1]
    assert (tmp_path / "pip.log").read_text() == "called\n"


def test_next_source_is_tried(tmp_path: Path, published: Path) -> None:
    assert make(tmp_path, card(url(tmp_path / "gone.bin"), url(published))).path("thing").read_bytes() == CONTENT


def test_all_failures_are_told_with_the_way_out(tmp_path: Path, wheel: Path) -> None:
    wrong, long, short = tmp_path / "wrong.bin", tmp_path / "long.bin", tmp_path / "short.bin"
    wrong.write_bytes(CONTENT[::-1])
    long.write_bytes(CONTENT + b"x")
    short.write_bytes(CONTENT[:-1])
    gone = tmp_path / "gone.bin"
    sources = [*map(url, (wrong, long, short, gone)), wheel_source("thing/none.bin"), wheel_source(digest="0" * 64)]
    held = make(tmp_path, card(*sources))
    with pytest.raises(ModelFileError) as caught:
        held.path("thing")
    text = str(caught.value)
    expected = [
        f"wrong.bin: SHA-256 is {hashlib.sha256(CONTENT[::-1]).hexdigest()}, expected {DIGEST}",
        f"long.bin: more than the expected {len(CONTENT)}",
        f"short.bin: {len(CONTENT) - 1} bytes came, expected {len(CONTENT)}",
        "gone.bin: URLError",
        "holds no thing/none.bin",
        f"the wheel's SHA-256 is {hashlib.sha256(wheel.read_bytes()).hexdigest()}, expected {'0' * 64}",
        "livecam models fetch thing",
        str(held.file_path("thing")),
    ]
    assert [part for part in expected if part not in text] == []
    assert not held.file_path("thing").exists()


def test_index_without_the_wheel_and_machine_without_pip(tmp_path: Path, wheel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel.unlink()
    with pytest.raises(ModelFileError, match="no such wheel on this index"):
        make(tmp_path, card(wheel_source())).path("thing")
    monkeypatch.setattr(_fetch, "_pips", list)
    with pytest.raises(ModelFileError, match="no pip"):
        make(tmp_path, card(wheel_source())).path("thing")


def test_offline_forbids_fetching(tmp_path: Path, published: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIVECAM_OFFLINE", "1")
    with pytest.raises(ModelFileError, match="LIVECAM_OFFLINE"):
        make(tmp_path, card(url(published))).path("thing")
    monkeypatch.setenv("LIVECAM_OFFLINE", "0")
    assert make(tmp_path, card(url(published))).path("thing").exists()


@pytest.mark.parametrize("big", [False, True])
def test_flipped_byte_is_refused_and_fetch_mends_it(tmp_path: Path, published: Path, monkeypatch: pytest.MonkeyPatch, big: bool) -> None:
    if big:
        monkeypatch.setattr(store, "ALWAYS_HASH_BYTES", 10)
    path = make(tmp_path, card(url(published))).path("thing")
    data = bytearray(CONTENT)
    data[1000] ^= 1
    path.write_bytes(data)
    with pytest.raises(ModelFileError) as caught:
        make(tmp_path, card(url(published))).path("thing")
    assert DIGEST in str(caught.value) and hashlib.sha256(data).hexdigest() in str(caught.value)
    assert make(tmp_path, card(url(published))).fetch("thing").read_bytes() == CONTENT
    assert make(tmp_path, card(url(published))).path("thing") == path


def test_big_file_is_hashed_once_until_it_changes(tmp_path: Path, published: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "ALWAYS_HASH_BYTES", 10)
    path = make(tmp_path, card(url(published))).path("thing")
    hashed: list[Path] = []
    real = store.sha256_of
    monkeypatch.setattr(store, "sha256_of", lambda p: hashed.append(p) or real(p))
    make(tmp_path, card(url(published))).path("thing")
    assert hashed == []
    os.utime(path, ns=(1, 1))
    make(tmp_path, card(url(published))).path("thing")
    assert hashed == [path]


def test_unknown_id_names_the_choices(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="thing"):
        make(tmp_path, card()).path("nope")


def test_cache_that_cannot_be_written(tmp_path: Path, published: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.raises(ModelFileError, match="LIVECAM_CACHE"):
        make(tmp_path, card(url(published))).path("thing")


def _fetch_in_child(folder: Path, source: Path, results: multiprocessing.Queue) -> None:  # type: ignore[type-arg]
    seen: list[int] = []
    path = make(folder, card(url(source)), progress=lambda _, done, __: seen.append(done)).path("thing")
    results.put((path.read_bytes() == CONTENT, bool(seen)))


@pytest.mark.skipif(sys.platform == "win32", reason="uses fcntl to hold the lock")
def test_second_process_waits_for_the_first(tmp_path: Path, published: Path) -> None:
    import fcntl

    context = multiprocessing.get_context("spawn")
    held = make(tmp_path, card(url(published)))
    path = held.file_path("thing")
    path.parent.mkdir(parents=True)
    results = context.Queue()
    with (path.parent / "thing.bin.lock").open("a+b") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        children = [context.Process(target=_fetch_in_child, args=(tmp_path, published, results)) for _ in range(2)]
        for child in children:
            child.start()
        children[0].join(1.0)
        assert not path.exists() and children[0].is_alive()
    found = [results.get(timeout=60) for _ in children]
    for child in children:
        child.join(10)
    assert [ok for ok, _ in found] == [True, True]
    # The one that came second found the file and fetched nothing.
    assert sorted(fetched for _, fetched in found) == [False, True]


def test_what_a_run_opens_is_fetched_before_it_starts(tmp_path: Path, published: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    used = replace(card(url(published)), used_by=("detect/yunet",))
    other = replace(card(url(tmp_path / "gone"), model_id="other"), used_by=("detect/scrfd",))
    monkeypatch.setattr(store, "read_cards", lambda: {c.id: c for c in (used, other)})
    config = Config(run=RunConfig(cache_dir=tmp_path / "cache"))
    terminal = Console(file=io.StringIO(), force_terminal=True, width=100)
    models.fetch_for(config, terminal)
    assert (tmp_path / "cache" / "models" / "thing.bin").read_bytes() == CONTENT
    assert isinstance(terminal.file, io.StringIO) and "fetching thing" in terminal.file.getvalue()
    silent = Console(file=io.StringIO(), force_terminal=True)
    models.fetch_for(config, silent)
    assert isinstance(silent.file, io.StringIO) and silent.file.getvalue() == ""


def test_cards_name_members_that_there_are() -> None:
    members = {f"{room}/{name}" for room in ("detect", "track", "swap", "mask") for name in registry.names(room)} | {"guard/second"}
    named = {member for shipped in store.read_cards().values() for member in shipped.used_by}
    assert {"detect/yunet", "track/mediapipe", "swap/lite", "mask/parser"} <= named <= members


def test_shipped_cards_are_whole() -> None:
    cards = store.read_cards()
    assert {"yunet", "face_landmark", "iris_landmark", "sface"} <= set(cards)
    weights = [card for card in cards.values() if card.shipped]
    assert sum(card.size_bytes for card in weights) <= 40_000_000
    for card in weights:
        assert store.sha256_of(store.WEIGHTS / card.file) == card.sha256 and (store.WEIGHTS / card.file).stat().st_size == card.size_bytes
        assert card.licence == "Apache-2.0" and card.data["training"]["people"]
    for shipped in (card for card in cards.values() if not card.shipped):
        assert shipped.sources and shipped.size_bytes > 0 and set(shipped.sha256) <= set("0123456789abcdef")
        assert shipped.data["inputs"] and shipped.data["outputs"]
        assert all(s.url.startswith("https://") or (s.version and s.wheel_sha256 and s.wheel_bytes) for s in shipped.sources)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (('id = "x"', ""), "lacks the field 'id'"),
        (('file = "x"', 'file = "../x"'), "bare name"),
        (("a" * 64, "a" * 63), "64 hex"),
        (('kind = "url"', 'kind = "ftp"'), "a source is"),
        (("[[sources]]", "[[sources"), "cannot be read"),
    ],
)
def test_wrong_cards_are_refused(tmp_path: Path, change: tuple[str, str], match: str) -> None:
    text = f'id = "x"\nfile = "x"\npurpose = "x"\nlicence = "x"\nsha256 = "{"a" * 64}"\nsize_bytes = 1\n[[sources]]\nkind = "url"\nurl = "u"\n'
    path = tmp_path / "card.toml"
    path.write_text(text, "utf-8")
    assert store.read_card(path).id == "x"
    path.write_text(text.replace(*change), "utf-8")
    with pytest.raises(ModelFileError, match=match):
        store.read_card(path)


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    try:
        main(list(words))
        code = 0
    except SystemExit as ended:
        code = int(ended.code or 0)
    out = capsys.readouterr()
    return code, out.out, out.err


def test_command_line(tmp_path: Path, published: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LIVECAM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "120")
    cards = {c.id: c for c in (card(url(published)), card(url(tmp_path / "gone"), model_id="other"))}
    monkeypatch.setattr(store, "read_cards", lambda: cards)
    code, out, _ = run(capsys, "models", "list")
    assert code == 0 and "a thing" in out and "MIT" in out and str(tmp_path / "cache") in out.replace("\n", "")
    code, out, _ = run(capsys, "models", "fetch", "thing", "--to", "stick")
    assert code == 0 and (tmp_path / "stick" / "models" / "thing.bin").read_bytes() == CONTENT and "LIVECAM_CACHE" in out
    assert run(capsys, "models", "fetch", "--all")[0] == 1
    assert run(capsys, "models", "fetch")[0] == 2
    code, out, _ = run(capsys, "models", "verify")
    assert code == 0 and f"ok, SHA-256 {DIGEST}" in out and "other: not fetched" in out
    assert run(capsys, "models", "verify", "other")[0] == 1
    path = tmp_path / "cache" / "models" / "thing.bin"
    path.write_bytes(CONTENT[:-1] + b"!")
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    code, out, err = run(capsys, "models", "verify")
    assert code == 1 and DIGEST in err and found in err and "ALTERED" in out
    assert "NO, altered" in run(capsys, "models", "list")[1]
