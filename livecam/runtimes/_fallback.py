"""A fast runtime with the plain one behind it: when the fast one fails (its card was taken, reset or unplugged), the very same frame is drawn by the
plain one, and so is every one after it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from livecam.errors import StageError
from livecam.runtimes import Runtime


class Fallback:
    """A Runtime. Both must take the same inputs and give the same outputs."""

    def __init__(self, fast: Runtime, plain: Runtime, name: str, tell: Callable[[str], object]) -> None:
        """name: of the fast one; tell: told once, in the thread that calls `run`, when the plain one takes over."""
        self._fast: Runtime | None = fast
        self._plain, self._name, self._tell = plain, name, tell
        self.inputs, self.outputs = plain.inputs, plain.outputs

    def run(self, inputs: Mapping[str, NDArray[np.generic]]) -> dict[str, NDArray[Any]]:
        """One forward pass, by the plain one when the fast one fails or gives values that are not finite. Raises StageError."""
        if self._fast is not None:
            try:
                results = self._fast.run(inputs)
                self._check(results)
                return results
            except (StageError, RuntimeError, OSError) as error:
                self._fast = None
                self._tell(f"{self._name} failed and is not used any more in this run; the network runs on the CPU again: {error}")
        return self._plain.run(inputs)

    def _check(self, results: Mapping[str, NDArray[Any]]) -> None:
        for name, array in results.items():
            # One sum is not finite if any value is not, and costs a tenth of asking each.
            if not np.isfinite(np.sum(array, dtype=np.float64)):
                raise StageError(f"values of {name} are not finite")
