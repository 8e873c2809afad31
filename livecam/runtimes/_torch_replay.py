"""How a fixed piece of work on the card is run again and again: recorded once as a CUDA graph and replayed, or called each time.

A recorder takes a function without arguments that reads and writes tensors of fixed places, and gives one that does the same work. Recording removes
the launches' cost on the CPU, which for networks of a millisecond is most of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch

from livecam.errors import ModelFileError

WARM_UPS = 3
"""Runs before the recording: cuDNN chooses its algorithms and Triton compiles in them."""
Work = Callable[[], None]


class Recorder(Protocol):
    """Makes replays."""

    def record(self, work: Work) -> Work:
        """A function that does what `work` does, on the same tensors."""
        ...


class Called:
    """No recording: the CPU, and whoever wants each launch seen."""

    def record(self, work: Work) -> Work:
        """`work` itself."""
        return work


class CudaGraphs:
    """CUDA graphs. stream: what is recorded on; a new one for each recording when it is left out."""

    def __init__(self, device: torch.device, stream: torch.cuda.Stream | None = None) -> None:
        self._device, self._stream = device, stream

    def record(self, work: Work) -> Work:
        """Warms up, records, and gives the replay, which runs on the stream that is current when it is called. Raises ModelFileError."""
        stream = self._stream or torch.cuda.Stream(self._device)
        stream.wait_stream(torch.cuda.current_stream(self._device))
        graph = torch.cuda.CUDAGraph()
        try:
            # float32 is to be float32: TF32 rounds to as few bits as half does, and landmarks then are off by as much.
            with torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=False):
                with torch.cuda.stream(stream):
                    for _ in range(WARM_UPS):
                        work()
                stream.synchronize()
                with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
                    work()
        except torch.cuda.OutOfMemoryError:
            raise
        except RuntimeError as error:
            raise ModelFileError(f"the network cannot be recorded as a CUDA graph: {error}; use another runtime") from error
        return graph.replay
