"""Time from the start of `livecam run` to its first masked picture: `python benchmarks/startup.py`.

Once with models present and nothing compiled (the first start of all, the download left out), then five times with everything in place.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from livecam.bench import machine
from livecam.config import RunConfig

RESULT = Path(__file__).parent / "results" / "startup.json"
RUNS = 5


def first_masked_s(cache: Path) -> tuple[float, list[str]]:
    """Seconds to the first masked picture, and what was shown meanwhile."""
    words = [sys.executable, "-m", "livecam", "run", "demo", "--outputs", "null", "--json", "--always-on"]
    env = {**os.environ, "LIVECAM_CACHE": str(cache), "LIVECAM_OFFLINE": "1"}
    with tempfile.TemporaryFile("w+") as shown:
        process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=shown, text=True, env=env)
        assert process.stdout is not None
        try:
            for line in process.stdout:
                taken = json.loads(line)["first_masked_s"]
                if taken is not None:
                    break
            else:
                raise SystemExit("the run ended before its first masked picture")
        finally:
            process.terminate()
            process.wait(10)
        shown.seek(0)
        return float(taken), [text.strip() for text in shown if "compil" in text]


def run() -> dict[str, Any]:
    models = RunConfig().cache_dir / "models"
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder)
        shutil.copytree(models, cache / "models")
        first, shown = first_masked_s(cache)
        later = [first_masked_s(cache)[0] for _ in range(RUNS)]
    return {
        "command": "python benchmarks/startup.py",
        "machine": machine.describe(),
        "first_start_s": first,
        "first_start_shows": shown,
        "later_starts_s": later,
        "later_start_median_s": round(float(np.median(later)), 2),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=RESULT)
    options = parser.parse_args()
    result = run()
    options.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))
