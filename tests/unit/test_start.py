"""What a start loads, and what it does not; work that goes on beside other work."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from livecam._lean import without
from livecam.app.meanwhile import Meanwhile
from livecam.cli import _early


def modules_after(code: str) -> set[str]:
    """Names of modules that a new process holds after `code`."""
    words = [sys.executable, "-c", f"{code}\nimport sys, json; print(json.dumps(sorted(k for k, v in sys.modules.items() if v is not None)))"]
    return set(json.loads(subprocess.run(words, capture_output=True, text=True, check=True, timeout=120).stdout.splitlines()[-1]))


def test_what_is_loaded_before_the_settings_are_known() -> None:
    loaded = modules_after("from livecam.app.preload import preload; preload()")
    assert {"numba", "openvino", "cv2"} <= loaded
    assert not [name for name in loaded if name.split(".")[0] in ("scipy", "openvino_telemetry")], "not needed, and slow to load"
    assert "livecam.image" not in loaded, "kernels look for their folder when they are imported, and it is a setting"


def test_the_worker_loads_nothing_of_the_main_process() -> None:
    loaded = modules_after("import livecam.app.worker, livecam.app.build")
    assert loaded.isdisjoint({"livecam.app.live", "livecam.app.outputs", "cyclopts", "rich", "aiohttp", "psutil", "onnxruntime"})


def test_the_main_process_loads_no_networks_and_no_compiler() -> None:
    assert modules_after("import livecam.cli.run, livecam.app.live").isdisjoint({"numba", "openvino", "onnxruntime", "aiohttp", "scipy"})


def test_a_hidden_module_is_there_again_afterwards() -> None:
    with without("wave", "json"):
        with pytest.raises(ImportError):
            import wave
        import json as loaded_before
    import wave

    assert wave.open and loaded_before is json


@pytest.mark.parametrize("words", [["doctor"], ["run", "--help"], ["--version"], [], ["bench", "run"]])
def test_only_a_run_begins_a_worker(words: list[str]) -> None:
    _early.begin(words)
    assert _early.take() is None


def test_a_run_begins_one_worker_for_one_taker() -> None:
    _early.begin(["run", "demo"])
    _early.begin(["run", "demo"])
    begun = _early.take()
    assert begun is not None and _early.take() is None
    begun.process.kill()
    begun.process.join(30)
    begun.connection.close()


def test_meanwhile_gives_what_the_work_gave() -> None:
    assert Meanwhile(lambda: 7).result() == 7

    def fails() -> int:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        Meanwhile(fails).result()
