"""Heavy libraries without the parts that livecam never uses, which they would load all the same when those happen to be installed."""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import contextmanager

NUMBA_EXTRAS = ("scipy",)
"""numba looks for SciPy's BLAS, for products of matrices in kernels (livecam's have none): a quarter of a second of CPU time."""
OPENVINO_EXTRAS = ("openvino.tools.ovc",)
"""OpenVINO's model converter, and with it a telemetry client that reports each import: a tenth of a second, and nobody's business."""


@contextmanager
def without(*modules: str) -> Generator[None]:
    """Inside, an `import` of one of `modules` fails as if it were not installed, unless it is loaded already. For the first import in a process."""
    hidden = [name for name in modules if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type] - None is Python's own mark for "not to be had"
    try:
        yield
    finally:
        for name in hidden:
            if sys.modules.get(name, sys) is None:  # pyright: ignore[reportUnnecessaryComparison] - what was put there above
                del sys.modules[name]
