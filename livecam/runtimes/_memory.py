"""How much memory a foreign network may take: refused when there is no room for it, and bounded by the system where the system can.

On Linux a process can be given an upper bound on its own data (RLIMIT_DATA, setrlimit(2): heap and private writable mappings). A network that asks
for more is then told so by its runtime, instead of the whole machine beginning to swap. Elsewhere only the estimate before loading holds.
"""

from __future__ import annotations

import sys
from pathlib import Path

from livecam.errors import ModelFileError

COPIES = 3
"""A runtime holds a file's weights up to so many times while it loads them: as read, parsed, and packed anew for its kernels."""
SPARE_BYTES = 256 << 20
"""Left to the rest of the machine."""
LEAST_BYTES = 1536 << 20
"""A bound is never lower than this above what the process has: livecam itself needs half of it."""


def free_bytes() -> int:
    """Memory that this machine can give without swapping."""
    import psutil  # hardly any worker opens foreign networks

    return psutil.virtual_memory().available


def check_room(size_bytes: int, name: str) -> None:
    """Raises ModelFileError when this machine has no room to load a model file of that size."""
    free, wanted = free_bytes(), COPIES * size_bytes
    if wanted > free:
        raise ModelFileError(
            f"{name} has {size_bytes >> 20} MB, and loading it takes up to {wanted >> 20} MB of memory; {free >> 20} MB are free. "
            "Close other programs, or take a smaller model"
        )


def bound_process(bytes_more: int | None = None) -> int | None:
    """From now on this process may take at most `bytes_more` bytes beyond what it has (None: what is free on the machine, less SPARE_BYTES).

    For a process that opens foreign networks. Returns the bound in bytes; None where the system has no such bound. An older, lower one stays.
    """
    if sys.platform != "linux":
        return None
    import resource

    more = max(free_bytes() - SPARE_BYTES, LEAST_BYTES) if bytes_more is None else bytes_more
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    allowed = [limit for limit in (_data_bytes() + more, soft, hard) if limit != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_DATA, (min(allowed), hard))
    return min(allowed)


def _data_bytes() -> int:
    """What of this process counts against the bound now."""
    lines = Path("/proc/self/status").read_text("ascii", "replace").splitlines()
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith("VmData:")), 0)
