"""Altered, foreign and stale engines offered to the cache: how many were loaded. `python benchmarks/engine_cache.py [--tries 10000]`.

Each try begins with a good entry, harms it in one way, and asks for it. Before each the good entry is asked for too: a cache that refuses
everything would be no answer.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from livecam._sealed import HMAC_BYTES, MAGIC, SealedCache
from livecam.bench import machine
from livecam.runtimes._engines import ENGINE, HALF, EngineKey

RESULT = Path(__file__).parent / "results" / "engine-cache.json"
KEY = EngineKey(ENGINE, "ab" * 32, "lite128.onnx", "tensorrt-rtx", "1.7.1.116", "sm89", "580.65.06", HALF, "its own")
OLDER = {"model": "cd" * 32, "package": "tensorrt", "version": "1.6.0.90", "arch": "sm86", "driver": "575.57.08", "precision": "fp32",
         "shapes": "x=1x10x256x256", "recipe": "0", "kind": "kernels"}  # fmt: skip
MOST_PAYLOAD = 4096

Random = np.random.Generator
Harm = Callable[[SealedCache, Path, bytes, Random], dict[str, str]]
"""(cache, the good entry's path, its bytes, random numbers) -> what to ask for after it has harmed the entry."""


def flipped(cache: SealedCache, path: Path, good: bytes, rng: Random) -> dict[str, str]:
    """One to eight bits anywhere."""
    data = bytearray(good)
    for at in rng.choice(len(data) * 8, int(rng.integers(1, 9)), replace=False):
        data[at // 8] ^= 1 << (at % 8)
    path.write_bytes(data)
    return KEY.wanted()


def cut(cache: SealedCache, path: Path, good: bytes, rng: Random) -> dict[str, str]:
    """Its end is missing, nothing to almost all."""
    path.write_bytes(good[: int(rng.integers(0, len(good)))])
    return KEY.wanted()


def longer(cache: SealedCache, path: Path, good: bytes, rng: Random) -> dict[str, str]:
    """Bytes added at the end or inside."""
    at = len(good) if rng.random() < 0.5 else int(rng.integers(0, len(good)))
    path.write_bytes(good[:at] + rng.bytes(int(rng.integers(1, 64))) + good[at:])
    return KEY.wanted()


def another_payload(cache: SealedCache, path: Path, good: bytes, rng: Random) -> dict[str, str]:
    """A program of the attacker's own behind the true header, with the true seal or a made-up one."""
    start = len(MAGIC) + 4
    header_end = start + int.from_bytes(good[len(MAGIC) : start], "little")
    seal = good[-HMAC_BYTES:] if rng.random() < 0.5 else rng.bytes(HMAC_BYTES)
    path.write_bytes(good[:header_end] + rng.bytes(len(good) - header_end - HMAC_BYTES) + seal)
    return KEY.wanted()


def foreign(cache: SealedCache, path: Path, good: bytes, rng: Random) -> dict[str, str]:
    """Made by another user: whole, for the same circumstances, sealed with a key that is not ours."""
    SealedCache(cache.folder, rng.bytes(32)).put(KEY.wanted(), rng.bytes(200))
    return KEY.wanted()


def stale(cache: SealedCache, path: Path, good: bytes, rng: Random) -> dict[str, str]:
    """Sealed by this user for another model, package, version, card, driver, precision, shape or recipe, under the name of the one asked for."""
    field = str(rng.choice(list(OLDER)))
    old = cache.put(replace(KEY, **{field: OLDER[field]}).wanted(), rng.bytes(200))
    old.replace(path)
    return KEY.wanted()


def stale_as_it_lies(cache: SealedCache, path: Path, good: bytes, rng: Random) -> dict[str, str]:
    """A good entry where it belongs, asked for in other circumstances: a new driver, a new version."""
    field = str(rng.choice(list(OLDER)))
    return replace(KEY, **{field: OLDER[field]}).wanted()


def rewritten(cache: SealedCache, path: Path, good: bytes, rng: Random) -> dict[str, str]:
    """An older entry whose header was edited to say what is wanted."""
    field = str(rng.choice(list(OLDER)))
    old = cache.put(replace(KEY, **{field: OLDER[field]}).wanted(), rng.bytes(200))
    data = old.read_bytes().replace(json.dumps(OLDER[field]).encode(), json.dumps(asdict(KEY)[field]).encode())
    start = len(MAGIC) + 4
    end = data.index(b"}", data.index(b'"for"')) + 1
    header_end = data.index(b"}", end) + 1
    path.write_bytes(data[: len(MAGIC)] + (header_end - start).to_bytes(4, "little") + data[start:])
    old.unlink()
    return KEY.wanted()


HARMS: tuple[Harm, ...] = (flipped, cut, longer, another_payload, foreign, stale, stale_as_it_lies, rewritten)


def campaign(tries: int, folder: Path) -> dict[str, Any]:
    """Counts of tries, of entries loaded that should not have been, and of good ones that were loaded."""
    rng = np.random.default_rng(0)
    cache = SealedCache(folder, rng.bytes(32))
    tried, loaded, good_loaded = Counter[str](), Counter[str](), 0
    for number in range(tries):
        harm = HARMS[number % len(HARMS)]
        payload = rng.bytes(int(rng.integers(1, MOST_PAYLOAD)))
        path = cache.put(KEY.wanted(), payload)
        good_loaded += cache.get(KEY.wanted()) == payload
        asked = harm(cache, path, path.read_bytes(), rng)
        tried[harm.__name__] += 1
        loaded[harm.__name__] += cache.get(asked) is not None
    return {"tries": tries, "loaded": sum(loaded.values()), "good_loaded": good_loaded,
            "ways": {name: {"tries": count, "loaded": loaded[name]} for name, count in tried.items()}}  # fmt: skip


def main() -> None:
    """Runs the campaign and writes its JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tries", type=int, default=10_000)
    parser.add_argument("--output", type=Path, default=RESULT)
    options = parser.parse_args()
    begin = time.process_time()
    with tempfile.TemporaryDirectory(prefix="livecam-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        found = campaign(options.tries, Path(folder))
    command = f"python benchmarks/engine_cache.py --tries {options.tries}"
    result = {"command": command, "machine": machine.describe(), **found, "cpu_s": round(time.process_time() - begin, 1)}
    options.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
