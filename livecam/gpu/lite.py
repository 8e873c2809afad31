"""The generator lite on a card, from its drawing to its picture: what goes in, the network and what is made of its fields, in one piece of work."""

from __future__ import annotations

from typing import Any, cast

import numpy as np

from livecam.errors import StageError
from livecam.gpu import ops
from livecam.gpu.card import Block, CardNetwork
from livecam.runtimes._torch_replay import Work
from livecam.types import F32, U8, Swapped


class Refiner:
    """The network of one tier at work. limit: greatest displacement as share of the side."""

    def __init__(self, network: CardNetwork, limit: float) -> None:
        self._network, self._limit = network, limit
        shapes = {spec.name: spec.shape for spec in network.inputs}
        self._own, self._film = shapes["x"][-1], shapes["film"]

    def fits(self, size_px: int) -> bool:
        """Whether it takes drawings of this size; others are the CPU's."""
        return size_px % self._own == 0

    def refine(self, veil: U8, lines: U8, eyes: U8, film: F32, drawn: Swapped) -> bool:
        """Draws the network's result into `drawn`, whose arrays are written to. False when a value is not finite.

        veil, lines: (own, own, 3); eyes: (own, own) uint8. Raises StageError, DeviceLostError."""
        card, size = self._network.card, drawn.mask.shape[0]
        if not self.fits(size):
            raise StageError(f"lite on a card expects a drawing of a multiple of {self._own} px, found {size}")
        with card.at_work():
            (up, down), work = card.program((id(self), size), lambda: self._make(size))
            for name, array in (("veil", veil), ("lines", lines), ("eyes", eyes), ("film", film), ("drawing", drawn.crop), ("mask", drawn.mask)):
                np.copyto(up.host[name], array)
            card.run("refine", work)
            card.wait()
        drawn.crop[:], drawn.mask[:] = down.host["crop"], down.host["alpha"]
        return not int(down.host["broken"][0])

    def _make(self, size: int) -> tuple[tuple[Block, Block], Work]:
        own, device, tensors = self._own, self._network.card.device, self._network.network.tensors
        small, large = ((own, own, 3), np.uint8), ((size, size, 3), np.uint8)
        layout: Any = {"veil": small, "lines": small, "eyes": ((own, own), np.uint8), "film": (self._film, np.float32), "drawing": large}
        up = Block(device, layout | {"mask": ((size, size), np.uint8)})
        down = Block(device, cast(Any, {"crop": large, "alpha": ((size, size), np.uint8), "broken": ((1,), np.int32)}))
        base = Block(device, cast(Any, {"base": large}))
        u, d = up.card, down.card

        def work() -> None:
            up.send()
            tensors["film"].copy_(u["film"])
            ops.fill(u["veil"], u["drawing"], u["mask"], u["lines"], tensors["x"])
            self._network.network.replay()
            d["broken"].zero_()
            fields = [tensors[name] for name in ("light", "flow", "change")]
            ops.compose(u["veil"], u["eyes"], fields, u["drawing"], u["mask"], d["crop"], d["alpha"], base.card["base"], d["broken"], self._limit)
            down.fetch()

        return (up, down), work
