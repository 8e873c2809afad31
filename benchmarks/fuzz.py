"""Mutants offered to livecam's readers: `python benchmarks/fuzz.py --parser NAME --count N --seed S` (NAME: all, or several by commas).

Each mutant is read in a process of its own kind, which may take 256 MB more than it had with good files. It may be accepted, or refused by one of the
exceptions that the reader documents. A fault is anything else: another exception, more than 1 s of CPU time, more memory, a process that dies. Which
mutant it was is noted, and `--show PARSER/SEED/NUMBER` reads it again, with what it raises.

A run goes on where the last one with the same seed ended: the results are kept after each part.
"""

from __future__ import annotations

import argparse
import json
import mmap
import os
import resource
import struct
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
from _fuzz_parsers import PARSERS, Take
from _mutants import mutant

from livecam.bench import machine
from livecam.runtimes import _memory

RESULT = Path(__file__).parent / "results" / "fuzz.json"
PART = 20_000
"""Mutants of one process."""
MOST_CPU_S = 1.0
KILL_CPU_S = 3.0
"""A process that has spent so long on one mutant is ended."""
MOST_BYTES = 256 << 20
POLL_S = 0.1
TOLD = struct.Struct("<qdqqdq")
"""What a process tells while it works: the mutant at hand, its own CPU seconds when it began, accepted, refused, the slowest's CPU seconds and
number."""
KEEP_FAULTS = 20


def read_one(take: Take, refusals: tuple[type[BaseException], ...], data: bytes) -> str:
    """"accepted" or "refused", or what else it did."""
    try:
        return "accepted" if take(data) else "refused"
    except refusals:
        return "refused"
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        where = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__}: {str(error)[:200]} ({Path(where.filename).name}:{where.name})"


def child(name: str, seed: int, first: int, last: int, told: Path) -> None:
    """Reads the mutants first..last-1; tells its faults as JSON lines."""
    parser = PARSERS[name]
    with tempfile.TemporaryDirectory(prefix="livecam-fuzz-") as folder, told.open("r+b") as file, mmap.mmap(file.fileno(), TOLD.size) as shared:
        seeds = parser.seeds(Path(folder))
        take = parser.make(Path(folder))
        said = [read_one(take, parser.refusals, data) for data in seeds]
        if "accepted" not in said or not {"accepted", "refused"} >= set(said):
            raise SystemExit(f"{name}: good files are refused: {said}")
        _memory.bound_process(MOST_BYTES)
        start_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        counts, slowest = Counter[str](), (0.0, -1)
        for index in range(first, last):
            data = mutant(seeds, parser.structured, name, seed, index)
            begin = time.process_time()
            shared[:] = TOLD.pack(index, begin, counts["accepted"], counts["refused"], *slowest)
            said = read_one(take, parser.refusals, data)
            took = time.process_time() - begin
            slowest = max(slowest, (took, index))
            if took > MOST_CPU_S:
                said = f"took {took:.1f} s of CPU time"
            counts[said if said in ("accepted", "refused") else "fault"] += 1
            if said not in ("accepted", "refused"):
                print(json.dumps({"number": index, "said": said}), flush=True)
        shared[:] = TOLD.pack(last, 0.0, counts["accepted"], counts["refused"], *slowest)
        print(json.dumps({"grown_mb": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - start_kb) >> 10}), flush=True)
        os.chdir("/")


def part(name: str, seed: int, first: int, last: int) -> dict[str, Any]:
    """One process; begins another behind a mutant that ended it."""
    out: dict[str, Any] = {"accepted": 0, "refused": 0, "faults": [], "slowest_cpu_ms": 0.0, "slowest": -1, "grown_mb": 0}
    while first < last:
        with tempfile.TemporaryDirectory(prefix="livecam-fuzz-") as folder:
            told = Path(folder) / "told"
            told.write_bytes(bytes(TOLD.size))
            words = [sys.executable, str(Path(__file__)), "--child", name, str(seed), str(first), str(last), str(told)]
            process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            hung = _watch(process, told)
            said, wrong = process.communicate()
            at, _, accepted, refused, slow_s, slow = TOLD.unpack(told.read_bytes())
        lines = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
        out["faults"] += [line for line in lines if "said" in line]
        out["grown_mb"] = max([out["grown_mb"], *(line["grown_mb"] for line in lines if "grown_mb" in line)])
        out["accepted"], out["refused"] = out["accepted"] + accepted, out["refused"] + refused
        if slow_s * 1e3 > out["slowest_cpu_ms"]:
            out["slowest_cpu_ms"], out["slowest"] = round(slow_s * 1e3, 2), slow
        if process.returncode == 0:
            break
        if at < first or (not at and not first and "good files are refused" in wrong):
            raise SystemExit(f"{name}: the process did not begin: {wrong.strip()[-500:]}")
        last_line = (wrong.strip().splitlines() or [""])[-1][:200]
        ended = f"took more than {KILL_CPU_S:g} s" if hung else f"the process ended ({process.returncode}) {last_line}"
        out["faults"].append({"number": at, "said": ended})
        first = at + 1
    return out


def _watch(process: subprocess.Popen[str], told: Path) -> bool:
    """Waits for the process; ends it when it spends too long on one mutant. Whether it did."""
    while process.poll() is None:
        time.sleep(POLL_S)
        try:
            at, begin_s, *_ = TOLD.unpack(told.read_bytes())
            spent = psutil.Process(process.pid).cpu_times()
        except (psutil.Error, OSError):
            continue
        if begin_s and spent.user + spent.system - begin_s > KILL_CPU_S and at == TOLD.unpack(told.read_bytes())[0]:
            process.kill()
            return True
    return False


def run(name: str, count: int, seed: int, results: dict[str, Any], path: Path) -> bool:
    """Mutants of one parser up to `count`; whether there was no fault."""
    parser = PARSERS[name]
    with tempfile.TemporaryDirectory() as folder:
        if not parser.seeds(Path(folder)):
            print(f"{name}: no good file to begin from here; `livecam models fetch --all` brings them")
            return True
    row = results["parsers"].get(name, {})
    if row.get("seed") != seed:
        row = {"what": parser.what, "seed": seed, "tried": 0, "accepted": 0, "refused": 0, "faults": 0, "kinds": {}, "numbers": [],
               "slowest_cpu_ms": 0.0, "grown_mb": 0, "cpu_s": 0.0}  # fmt: skip
    while row["tried"] < count:
        first, last = row["tried"], min(row["tried"] + PART, count)
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        made = part(name, seed, first, last)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        row["tried"], row["faults"] = last, row["faults"] + len(made["faults"])
        for key in ("accepted", "refused"):
            row[key] += made[key]
        for key in ("slowest_cpu_ms", "grown_mb"):
            row[key] = max(row[key], made[key])
        row["cpu_s"] = round(row["cpu_s"] + after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime, 1)
        kinds = Counter(row["kinds"]) + Counter(fault["said"] for fault in made["faults"])
        row["kinds"] = dict(kinds.most_common(KEEP_FAULTS))
        row["numbers"] = (row["numbers"] + [f["number"] for f in made["faults"]])[:KEEP_FAULTS]
        results["parsers"][name] = row
        path.write_text(json.dumps(results, indent=1) + "\n", "utf-8")
        said = ", ".join(f"{key} {row[key]}" for key in ("accepted", "refused", "faults"))
        print(f"{name}: {row['tried']} of {count}, {said}, {row['cpu_s']} CPU-s", flush=True)
    for kind, times in row["kinds"].items():
        print(f"  {times} x {kind}")
    return not row["faults"]


def show(text: str) -> None:
    """Reads one mutant again in this process."""
    name, seed, number = text.split("/")
    parser = PARSERS[name]
    with tempfile.TemporaryDirectory() as folder:
        data = mutant(parser.seeds(Path(folder)), parser.structured, name, int(seed), int(number))
        print(f"{len(data)} bytes: {data[:400]!r}")
        print("accepted" if parser.make(Path(folder))(data) else "refused")


def main(words: Sequence[str] | None = None) -> int:
    """0 when there was no fault."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parser", default="all", help=f"all, or of these by commas: {', '.join(PARSERS)}")
    parser.add_argument("--count", type=int, default=0, help="mutants in all, earlier runs with this seed counted; 0: as in the results")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output", type=Path, default=RESULT)
    parser.add_argument("--show", default="", metavar="PARSER/SEED/NUMBER")
    parser.add_argument("--child", nargs=5, help=argparse.SUPPRESS)
    options = parser.parse_args(words)
    if options.child:
        name, seed, first, last, told = options.child
        child(name, int(seed), int(first), int(last), Path(told))
        return 0
    if options.show:
        show(options.show)
        return 0
    results: dict[str, Any] = json.loads(options.output.read_text("utf-8")) if options.output.exists() else {"parsers": {}}
    results |= {"command": "python benchmarks/fuzz.py", "machine": machine.describe(), "bounds": {"cpu_s": MOST_CPU_S, "bytes": MOST_BYTES}}
    names = list(PARSERS) if options.parser == "all" else options.parser.split(",")
    good = [run(name, options.count or PARSERS[name].usual, options.seed, results, options.output) for name in names]
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
