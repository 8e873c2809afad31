"""What a worker surely needs, loaded before its settings are known (see livecam/guard/start.py): about a second of CPU time at every start.

Nothing of livecam that holds compiled kernels: where those are kept is one of the settings.
"""

from __future__ import annotations

import contextlib
import importlib
from typing import Any

from livecam._lean import NUMBA_EXTRAS, OPENVINO_EXTRAS, without

TARGET = "livecam.app.preload:preload"


def preload() -> None:
    """Imports the heavy libraries, and makes numba and OpenVINO ready. Raises ImportError."""
    import cv2

    cv2.setNumThreads(1)
    with without(*NUMBA_EXTRAS):
        importlib.import_module("numba")
        with contextlib.suppress(ImportError, AttributeError):  # inside numba: only a head start, the first kernel does it otherwise
            target: Any = importlib.import_module("numba.core.registry").cpu_target
            target.typing_context.refresh()
            target.target_context.refresh()
    with without(*OPENVINO_EXTRAS):
        import openvino
    with contextlib.suppress(RuntimeError):  # told when a network is opened
        openvino.Core().get_property("CPU", "FULL_DEVICE_NAME")  # loads the plug-in
