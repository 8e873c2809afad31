"""A stored set's drawings by the mesh swapper, made anew: after a change of `mesh` or of the gaze network, without rendering anybody's picture again.

People, crops and landmarks stay; gaze is read anew in the crop, and `tracker_gaze`, `mesh` and `mesh_mask` (and of the twins) are written. Parts of a
set can be drawn side by side (--part 0/2, --part 1/2).
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np

from engines.synth import sampler
from engines.synth.assets import AssetsError
from engines.synth.cast import Cast
from engines.synth.live import Live, Seen
from engines.synth.pairs import known_flags
from livecam.config import RunConfig
from livecam.store import Store
from livecam.track import _eyes
from livecam.track._gaze import GazeNetwork, picture_of
from livecam.track._landmarks import box_of, five_points
from livecam.types import Alignment, Face

Arrays = dict[str, np.ndarray]


def redraw(folder: Path, assets: Path, part: tuple[int, int] = (0, 1)) -> int:
    """Draw the shards of a set again, every part[1]th from part[0]; how many. Raises AssetsError when the folder holds no set."""
    shards = sorted(folder.glob("pairs-?????.npz"))
    path = folder / "set.json"
    if not shards or not path.is_file():
        raise AssetsError(f"expected a set in {folder} (set.json, pairs-*.npz), found {len(shards)} shards; make it by `synth pairs`")
    known = json.loads(path.read_text(encoding="utf-8"))
    live = Live(folder / "people", int(known["size"]))
    cast = Cast(assets, folder / "people-cache")
    gaze = GazeNetwork(Store(RunConfig().cache_dir), 1)
    flags = known_flags(folder)
    first = sampler.HELD_OUT_FROM if known["held_out"] else 0
    shards = shards[part[0] :: part[1]]
    for shard in shards:
        start = time.monotonic()
        with np.load(shard) as stored:
            arrays: Arrays = {key: stored[key] for key in stored.files}
        # Pairs one after the other: what was learnt of a pair is used while it is kept.
        for k in np.lexsort((arrays["b"], arrays["a"])):
            index = int(arrays["a"][k])
            actor = cast.actor(sampler.as_in_set(sampler.sample(index + first), flags.get(index, {})).look)
            arrays["tracker_gaze"][k] = _gaze(gaze, arrays["wearer"][k], arrays["landmarks"][k].astype(np.float64))
            for ending in ("", "2") if "mesh2" in arrays else ("",):
                seen = _seen(arrays, int(k), ending)
                drawn = live.swap(int(arrays["a"][k]), int(arrays["b"][k]), actor, arrays["wearer" + ending][k], seen)
                arrays["mesh" + ending][k], arrays["mesh_mask" + ending][k] = drawn.crop, drawn.mask
        unfinished = shard.with_name(f"{shard.stem}.part.npz")
        np.savez(unfinished, **arrays)
        unfinished.replace(shard)
        print(f"{shard.name}: {len(arrays['a'])} drawn in {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
    return len(shards)


def _gaze(network: GazeNetwork, crop: np.ndarray, mesh: np.ndarray) -> list[np.ndarray]:
    head = _eyes.head_deg(mesh)
    return [network.read(picture_of(crop, mesh, left), head, left) for left in (False, True)]


def _seen(arrays: Arrays, k: int, ending: str) -> Seen:
    """The wearer's face as the tracker saw it when the set was made; the crop is the frame."""
    mesh: np.ndarray = arrays["landmarks" + ending][k]
    size = int(arrays["wearer"].shape[1])
    face = Face(1, box_of(mesh), five_points(mesh.astype(np.float64)).astype(np.float32), 1.0, mesh, arrays["tracker_gaze"][k], arrays["eye_open"][k])
    return Seen(face, Alignment(np.eye(2, 3), size))


