"""One card: the frame on it, its stream, its pinned memory, and work on it that is recorded once and replayed for each frame.

A frame goes up once (`begin`); crops, networks and the blend read and write it there; only what the CPU must know comes down: the wearer's crop, the
networks' results, and the region that was drawn. The guard sees the same arrays as on the CPU path: crop, alpha, and the finished frame.

Everything runs on one stream of high priority, in order: a frame's search must be known before its faces are followed, so nothing is there to run
beside it. A device of the kind "cpu" (Triton's interpreter, nothing recorded) does the same work for tests.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from livecam.errors import DeviceLostError, StageError
from livecam.gpu import ops
from livecam.image import NOTHING, Roi, paste_plan
from livecam.runtimes import torch as torch_runtime
from livecam.runtimes._torch_replay import Called, CudaGraphs, Recorder, Work
from livecam.types import F64, U8, Alignment

ALIGNED = 256
"""Bytes to whose multiples the parts of a block are moved."""
MOST_PROGRAMS = 64
"""Recorded pieces of work kept; crops come in few sizes, so more is a leak."""
Layout = Mapping[str, tuple[tuple[int, ...], type[np.generic]]]


class Block:
    """Small arrays that go over together: one piece of pinned memory, one on the card, and views of both by name."""

    def __init__(self, device: torch.device, layout: Layout) -> None:
        """layout: {name: (shape, NumPy type)}."""
        sizes = {name: int(np.prod(shape)) * np.dtype(kind).itemsize for name, (shape, kind) in layout.items()}
        places, end = dict[str, int](), 0
        for name, size in sizes.items():
            places[name], end = end, -(-(end + size) // ALIGNED) * ALIGNED
        self._host = torch.zeros(end, dtype=torch.uint8, pin_memory=device.type == "cuda")
        self._card = torch.zeros(end, dtype=torch.uint8, device=device)
        self.host: dict[str, NDArray[Any]] = {}
        """Views in the computer's memory."""
        self.card: dict[str, Tensor] = {}
        """Views on the card."""
        for name, (shape, kind) in layout.items():
            part = slice(places[name], places[name] + sizes[name])
            self.host[name] = self._host.numpy()[part].view(kind).reshape(shape)
            self.card[name] = self._card[part].view(getattr(torch, np.dtype(kind).name)).reshape(shape)

    def send(self) -> None:
        """All of it to the card."""
        self._card.copy_(self._host, non_blocking=True)

    def fetch(self) -> None:
        """All of it from the card; to be waited for."""
        self._host.copy_(self._card, non_blocking=True)


class Card:
    """See the module. Used by one thread; made by `open`."""

    def __init__(self, device: torch.device, recorder: Recorder | None = None) -> None:
        self.device = device
        self.name = torch.cuda.get_device_name(device) if device.type == "cuda" else "interpreted on the CPU"
        on_card = device.type == "cuda"
        self._stream = torch.cuda.Stream(device, priority=-1) if on_card else None
        self._recorder = recorder or (CudaGraphs(device) if on_card else Called())
        self._source: U8 | None = None
        self._frame: Block | None = None
        self._drawn: Block | None = None
        self._programs: dict[Hashable, tuple[Any, Work]] = {}
        self.events: list[tuple[str, torch.cuda.Event, torch.cuda.Event]] | None = None
        """What ran, between two events each, while somebody measures (a list is put here); None: nothing is kept."""

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """On this card's stream. Whatever the driver raises becomes DeviceLostError."""
        try:
            with torch.inference_mode():
                if self._stream is None:
                    yield
                else:
                    with torch.cuda.stream(self._stream):
                        yield
        except RuntimeError as error:
            text = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
            raise DeviceLostError(f"the device {self.device} failed: {text}") from error

    def wait(self) -> None:
        """Until all that was asked for is done."""
        if self._stream is not None:
            self._stream.synchronize()

    def program(self, key: Hashable, make: Callable[[], tuple[Any, Work]]) -> tuple[Any, Callable[[], None]]:
        """What `make` gave for `key`, its work recorded; made when it is first asked for, and anew for frames of another size."""
        if key not in self._programs:
            if len(self._programs) >= MOST_PROGRAMS:
                raise StageError(f"expected at most {MOST_PROGRAMS} kinds of work on a card, found more; sizes of crops must not vary freely")
            held, work = make()
            self._programs[key] = held, self._recorder.record(work)
        return self._programs[key]

    def run(self, name: str, work: Work) -> None:
        """`work` on the current stream, between two events when somebody measures."""
        if self.events is None or self._stream is None:
            work()
            return
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        work()
        end.record()
        self.events.append((name, begin, end))

    # -- the frame -------------------------------------------------------------------------------------------------------------------------

    def begin(self, image: U8) -> None:
        """`image` ((H, W, 3) uint8 BGR, C-contiguous) goes up: what follows is of this frame, until `end`. Raises StageError, DeviceLostError."""
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise StageError(f"expected a frame (H, W, 3) uint8, got {image.shape} {image.dtype}")
        with self.at_work():
            if self._frame is None or self._frame.host["frame"].shape != image.shape:
                self._programs.clear()  # recorded with the places of the frame before
                self._frame = Block(self.device, {"frame": (image.shape, np.uint8)})
                self._drawn = Block(self.device, {"drawn": ((image.size,), np.uint8)})
            torch.from_numpy(self._frame.host["frame"]).copy_(torch.from_numpy(image))  # by several threads, where NumPy has one
            self.run("upload", self._frame.send)
        self._source = image

    def end(self) -> None:
        """The frame is finished: one of the same array is another one."""
        self._source = None

    def frame(self, image: U8) -> Tensor:
        """`image` on the card; it goes up now when it is not the frame that was begun."""
        if image is not self._source:
            self.begin(image)
            self._source = None
        assert self._frame is not None
        return self._frame.card["frame"]

    def crop(self, image: U8, alignment: Alignment) -> U8:
        """`livecam.image.crop` of the frame on the card: (S, S, 3) uint8. Raises StageError, DeviceLostError."""
        size = (alignment.size_px, alignment.size_px)
        with self.at_work():
            frame = self.frame(image)

            def make() -> tuple[tuple[Block, Block], Work]:
                row, out = Block(self.device, {"row": ((ops.SAMPLE_ROW,), np.float32)}), Block(self.device, {"crop": ((*size, 3), np.uint8)})
                return (row, out), lambda: _in_order(row.send, lambda: ops.sample(frame, "BGR", row.card["row"], size, out.card["crop"]), out.fetch)

            ops.sample_row(alignment.matrix, ops.Blocks.whole(*image.shape[:2]), size)  # refuses before anything is recorded with zeros
            (row, out), work = self._ready(("crop", size), make, lambda held: self._place(held[0], image, alignment.matrix, size))
            self._place(row, image, alignment.matrix, size)
            self.run("crop", work)
            self.wait()
        return cast(U8, out.host["crop"].copy())

    def _ready(self, key: Hashable, make: Callable[[], tuple[Any, Work]], before: Callable[[Any], object]) -> tuple[Any, Work]:
        """`program`, with sound numbers in its tables before it runs for the first time: recording runs it."""

        def filled() -> tuple[Any, Work]:
            held, work = make()
            before(held)
            return held, work

        return self.program(key, filled)

    def _place(self, row: Block, image: U8, matrix: F64, size: tuple[int, int]) -> None:
        ops.sample_row(matrix, ops.Blocks.whole(*image.shape[:2]), size, out=cast(Any, row.host["row"]))

    def blend(self, image: U8, alignment: Alignment, crop: U8, alpha: U8) -> Roi:
        """`livecam.blend.blend` on the card, and the region that it drew into `image`, in place. Raises StageError, DeviceLostError."""
        roi, matrix, factor = paste_plan(image, alignment, crop, alpha)
        if roi == NOTHING:
            return roi
        size = alignment.size_px
        with self.at_work():
            frame = self.frame(image)
            drawn = cast(Block, self._drawn)

            def make() -> tuple[Block, Work]:
                layout: Layout = {"row": ((ops.PASTE_ROW,), np.float32), "crop": ((size, size, 3), np.uint8), "alpha": ((size, size), np.uint8)}
                block = Block(self.device, layout)
                c = block.card
                return block, lambda: _in_order(block.send, lambda: ops.paste(frame, c["crop"], c["alpha"], c["row"], copy=drawn.card["drawn"]))

            # Recorded with an empty region: recording runs it, and a paste that is done four times is another picture.
            block, work = self.program(("blend", size), make)
            ops.paste_row(roi, matrix, factor, size, out=cast(Any, block.host["row"]))
            np.copyto(block.host["crop"], crop)
            np.copyto(block.host["alpha"], alpha)
            self.run("blend", work)
            x0, y0, x1, y1 = roi
            count = (y1 - y0) * (x1 - x0) * 3
            self.run("download", lambda: drawn._host[:count].copy_(drawn._card[:count], non_blocking=True))
            self.wait()
        image[y0:y1, x0:x1] = drawn.host["drawn"][:count].reshape(y1 - y0, x1 - x0, 3)
        return roi

    # -- networks --------------------------------------------------------------------------------------------------------------------------

    def open(
        self, model: Path | bytes, threads: int = 1, cache_dir: Path | None = None, options: Mapping[str, object] | None = None
    ) -> CardNetwork:
        """A network on this card: float32 unless the options say "precision": "fp16". Raises ModelFileError, ModelShapeError."""
        del cache_dir
        given = {"precision": "fp32", **(options or {}), "device": str(self.device), "graphs": False}
        return CardNetwork(self, torch_runtime.open(model, threads, None, given))


class CardNetwork:
    """A network on a card (contract: livecam/runtimes/__init__.py), that can also look at the frame there (`look`, `look_whole`)."""

    def __init__(self, card: Card, network: torch_runtime.TorchRuntime) -> None:
        self.card, self.network = card, network
        self.inputs, self.outputs = network.inputs, network.outputs
        self._given = Block(card.device, {s.name: (s.shape, np.dtype(s.dtype).type) for s in self.inputs})
        self._results = Block(card.device, {s.name: (s.shape, np.dtype(s.dtype).type) for s in self.outputs})

    def _answer(self) -> None:
        """One pass, its results on their way down."""
        self.network.replay()
        for spec in self.outputs:
            self._results.card[spec.name].copy_(self.network.tensors[spec.name])
        self._results.fetch()

    def _called(self) -> None:
        self._given.send()
        for spec in self.inputs:
            self.network.tensors[spec.name].copy_(self._given.card[spec.name])
        self._answer()

    def run(self, inputs: Mapping[str, NDArray[np.generic]]) -> dict[str, NDArray[Any]]:
        """See `livecam.runtimes.Runtime`. Raises StageError, DeviceLostError."""
        if inputs.keys() != self._given.host.keys():
            raise StageError(f"the network takes the inputs {sorted(self._given.host)}, given were {sorted(inputs)}")
        for name, array in inputs.items():
            if array.shape != self._given.host[name].shape:
                raise StageError(f"the network takes {name} {self._given.host[name].shape}, given was {array.shape}")
            np.copyto(self._given.host[name], array, casting="unsafe")
        with self.card.at_work():
            _, work = self.card.program((id(self), "run"), lambda: (self, self._called))
            self.card.run("network", work)
            self.card.wait()
        return dict(self._results.host)

    def look(self, image: U8, matrix: F64, side_px: float, crop: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
        """One pass over a turned square of the frame, RGB 0..1, channels last. matrix: (2, 3) frame -> the network's picture; side_px: the square's
        side in the frame; crop: (1, S, S, 3) float32, what the network saw is written there. Raises StageError, DeviceLostError."""
        size = (crop.shape[1], crop.shape[2])
        turned, blocks = ops.view_of(matrix, side_px, (image.shape[0], image.shape[1]), size[0])
        out = self._seen(image, "look", size, ops.sample_row(turned, blocks, size), ops.Normal(planes=False))
        np.copyto(crop, self._given.host[self.inputs[0].name])
        return out

    def look_whole(self, image: U8, fit: ops.Fit) -> dict[str, NDArray[Any]]:
        """One pass over the whole frame as a detector's picture. Raises StageError, DeviceLostError."""
        size = (fit.height_px, fit.width_px)
        return self._seen(image, "search", size, ops.whole_row((image.shape[0], image.shape[1]), fit), ops.GREY_LEVELS)

    def _seen(self, image: U8, name: str, size: tuple[int, int], row: NDArray[np.float32], normal: ops.Normal) -> dict[str, NDArray[Any]]:
        picture = self.inputs[0].name
        with self.card.at_work():
            frame = self.card.frame(image)

            def make() -> tuple[Block, Work]:
                table = Block(self.card.device, {"row": ((ops.SAMPLE_ROW,), np.float32)})
                table.host["row"][:] = row
                tensor = self.network.tensors[picture]

                def work() -> None:
                    table.send()
                    ops.sample(frame, "BGR", table.card["row"], size, tensor=tensor, normal=normal)
                    self._answer()
                    self._given.card[picture].copy_(tensor)
                    self._given.fetch()

                return table, work

            table, work = self.card.program((id(self), name), make)
            table.host["row"][:] = row
            self.card.run(name, work)
            self.card.wait()
        return dict(self._results.host)


def _in_order(*steps: Callable[[], object]) -> None:
    for step in steps:
        step()


def open(device: str) -> Card:
    """The card that `device` names (see `livecam.runtimes.torch.device_of`). Raises UsageError when there is none."""
    return Card(torch_runtime.device_of(device))
