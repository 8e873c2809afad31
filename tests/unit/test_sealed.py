"""The sealed cache: only what this user made for just this, whole; two builders; builders that die; the key."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from livecam._sealed import ENTRY, ONE_LOCK, PART, SealedCache, user_key

KEY = bytes(range(32))
WANTED = {"model": "abc", "driver": "580"}
texts = st.dictionaries(st.text(max_size=8), st.text(max_size=8), max_size=4)


@pytest.fixture
def cache(tmp_path: Path) -> SealedCache:
    return SealedCache(tmp_path / "cache", KEY)


def test_what_was_put_comes_back(cache: SealedCache) -> None:
    assert cache.get(WANTED) is None
    path = cache.put(WANTED, b"plan")
    assert cache.get(dict(reversed(WANTED.items()))) == b"plan"
    assert [(e.wanted, e.why, e.size_bytes) for e in cache.entries()] == [(WANTED, "", 4)]
    if os.name != "nt":
        assert path.stat().st_mode & 0o077 == 0 and path.parent.stat().st_mode & 0o077 == 0


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(payload=st.binary(max_size=300), at=st.floats(0, 1), flip=st.integers(1, 255), cut=st.booleans())
def test_an_altered_or_cut_entry_is_removed_and_not_loaded(cache: SealedCache, payload: bytes, at: float, flip: int, cut: bool) -> None:
    path = cache.put(WANTED, payload)
    data = bytearray(path.read_bytes())
    place = min(int(at * len(data)), len(data) - 1)
    if cut:
        del data[place:]
    else:
        data[place] ^= flip
    path.write_bytes(data)
    assert [bool(e.why) for e in cache.entries()] == [True]
    assert cache.get(WANTED) is None and not path.exists()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(first=texts, second=texts)
def test_an_entry_serves_its_own_circumstances_alone(cache: SealedCache, first: dict[str, str], second: dict[str, str]) -> None:
    path = cache.put(first, b"first")
    assert (cache.get(second) == b"first") == (first == second)
    if first != second:
        path.replace(cache.path(second))
        assert cache.get(second) is None
    cache.clean()


def test_another_users_entry_is_not_loaded(cache: SealedCache) -> None:
    SealedCache(cache.folder, b"x" * 32).put(WANTED, b"evil")
    assert "another key" in cache.entries()[0].why
    assert cache.get(WANTED) is None


def test_clean_removes_the_bad_ones_or_all(cache: SealedCache) -> None:
    cache.put(WANTED, b"good")
    bad = cache.put({"model": "other"}, b"bad")
    bad.write_bytes(bad.read_bytes()[:-1])
    assert cache.clean(only_bad=True)[0] == 1 and cache.get(WANTED) == b"good"
    assert cache.clean()[0] == 1 and cache.entries() == ()


def test_one_builds_while_the_other_waits_and_finds_it(cache: SealedCache) -> None:
    inside, done = threading.Event(), []

    def build(payload: bytes) -> None:
        with cache.building():
            found = cache.get(WANTED)
            if found is None:
                inside.set()
                time.sleep(0.05)
                cache.put(WANTED, payload)
            done.append(found)

    first = threading.Thread(target=build, args=(b"one",))
    first.start()
    assert inside.wait(20)
    build(b"two")
    first.join()
    assert done == [None, b"one"] and cache.get(WANTED) == b"one"


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL is of Unix")
def test_a_killed_builder_leaves_nothing_behind(cache: SealedCache) -> None:
    code = f"""
    import os, pathlib, time
    from livecam import _sealed
    from livecam._sealed import SealedCache
    os.fsync = lambda _: (print("writing", flush=True), time.sleep(60))
    cache = SealedCache(pathlib.Path({str(cache.folder)!r}), {KEY!r})
    with cache.building():
        cache.put({WANTED!r}, b"x" * 1000)
    """
    worker = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, text=True)
    assert worker.stdout is not None and worker.stdout.readline().strip() == "writing"
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    assert list(cache.folder.glob("*" + PART)) and cache.get(WANTED) is None
    with cache.building():
        assert {p.name for p in cache.folder.iterdir()} == {ONE_LOCK}
        cache.put(WANTED, b"whole")
    assert cache.get(WANTED) == b"whole"


def test_a_failed_write_leaves_nothing_behind(cache: SealedCache, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space"), cache.building():
        cache.put(WANTED, b"x")
    assert not list(cache.folder.glob("*" + PART)) and not list(cache.folder.glob("*" + ENTRY))


def test_the_key_is_made_once_and_is_the_users_alone(tmp_path: Path) -> None:
    path = tmp_path / "config" / "engines.key"
    key = user_key(path)
    assert len(key) == 32 and user_key(path) == key
    if os.name != "nt":
        assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.skipif(os.name == "nt", reason="file modes are of Unix")
def test_a_key_that_others_could_read_or_that_is_damaged_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "engines.key"
    seen = {user_key(path)}
    path.chmod(0o644)
    seen.add(user_key(path))
    assert path.stat().st_mode & 0o777 == 0o600
    path.write_bytes(b"short")
    seen.add(user_key(path))
    planted = tmp_path / "planted"
    planted.write_bytes(b"p" * 32)
    planted.chmod(0o600)
    path.unlink()
    path.symlink_to(planted)
    seen.add(user_key(path))
    assert len(seen) == 4 and b"p" * 32 not in seen and planted.read_bytes() == b"p" * 32
