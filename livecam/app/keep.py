"""What stays on disk from a run: snapshots, and the signed manifests of these and of recordings."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import cv2

from livecam.config import Config
from livecam.errors import LivecamError
from livecam.mark import Marker, Payload, manifest
from livecam.store import Store
from livecam.types import U8

UNSIGNED = "is not signed: for a signed manifest (C2PA), pip install 'livecam[signed]'"


class Keeper:
    """Used by the main loop's thread; a snapshot is written and signed by a thread of its own."""

    def __init__(self, config: Config, note: Callable[[str], None]) -> None:
        """note: told what was written, and what could not be; the same lines are kept in `said`."""
        self._config, self._tell = config, note
        self.said: list[str] = []
        self._worn: dict[str, Payload] = {}
        self._generator = config.swap.swap
        self._threads: list[threading.Thread] = []

    def _note(self, text: str) -> None:
        self.said.append(text)
        self._tell(text)

    def worn(self, persona: str, marker: Marker) -> None:
        """This persona is in the pictures from now on."""
        self._worn[persona] = marker.payload

    def drawn_by(self, generator: str) -> None:
        """What draws, such as "mesh"."""
        self._generator = generator

    def snapshot(self, image: U8) -> None:
        """Writes the picture, a copy of what is on air, into the folder that livecam was started in."""
        path = Path(f"livecam-{time.strftime('%Y%m%d-%H%M%S')}-{time.monotonic_ns() // 1_000_000 % 1000:03d}.png")
        thread = threading.Thread(target=self._write, args=(path, image.copy()), name="livecam-snapshot")
        self._threads = [one for one in self._threads if one.is_alive()] + [thread]
        thread.start()

    def _write(self, path: Path, image: U8) -> None:
        try:
            path.write_bytes(cv2.imencode(".png", image)[1].tobytes())
        except OSError as error:
            self._note(f"the snapshot {path} cannot be written: {error}")
            return
        self._note(f"snapshot: {path.resolve()}")
        self.sign(path)

    def sign(self, path: Path) -> None:
        """Puts a signed manifest into a finished file, or says why there is none."""
        if not path.is_file():
            return
        if not manifest.available():
            self._note(f"{path} {UNSIGNED}")
            return
        try:
            manifest.sign(path, self._facts())
        except LivecamError as error:
            self._note(str(error))

    def _facts(self) -> manifest.Facts:
        name = self._generator.split(":")[0]
        cards = Store(self._config.run.cache_dir).cards
        models = {card.id: card.sha256 for card in cards.values()}
        return manifest.Facts(list(self._worn.values()), name, name != "mesh", list(self._worn), models)

    def close(self) -> None:
        """Waits for the last snapshot."""
        for thread in self._threads:
            thread.join()
