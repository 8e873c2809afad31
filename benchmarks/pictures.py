"""A grid of pictures for looking: wearers from the demo clip (or a video or folder of pictures), each wearing the shipped personas.

    python benchmarks/pictures.py [--out docs/mesh.jpg] [--input demo] [--personas ada,kofi] [--frames 6]

The wearers go through the real detector and tracker; each column starts some frames earlier, so that what is smoothed has settled.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from livecam import detect, image, mask, persona, track
from livecam.align import align
from livecam.config import DetectConfig, RunConfig, SwapConfig, TrackConfig
from livecam.store import Store
from livecam.swap import mesh
from livecam.types import Frame

SIDE = 220
"""Of a tile, in pixels."""
LEAD_FRAMES = 20
DEMO = Path(__file__).parent.parent / "livecam" / "capture" / "demo_data" / "presenter.mp4"


def pictures(source: str) -> Iterator[np.ndarray]:
    """Pictures of a video, or of a folder (each one held for LEAD_FRAMES + 1 frames)."""
    path = DEMO if source == "demo" else Path(source)
    if path.is_dir():
        for file in sorted(path.iterdir()):
            picture = cv2.imread(str(file))
            if picture is not None:
                yield from [picture] * (LEAD_FRAMES + 1)
        return
    video = cv2.VideoCapture(str(path))
    while True:
        found, picture = video.read()
        if not found:
            return
        yield picture


def tile(picture: np.ndarray, box: np.ndarray) -> np.ndarray:
    """The face with some surroundings, SIDE px square."""
    middle, reach = (box[:2] + box[2:]) / 2, float((box[2:] - box[:2]).max()) * 0.72
    scale = SIDE / (2 * reach)
    matrix = np.array([[scale, 0, SIDE / 2 - scale * middle[0]], [0, scale, SIDE / 2 - scale * middle[1]]])
    return cv2.warpAffine(picture, matrix, (SIDE, SIDE), flags=cv2.INTER_AREA)


def column(frames: list[np.ndarray], names: list[str], store: Store) -> np.ndarray | None:
    """The wearer of the last of `frames` above each persona on it; None when no face is tracked."""
    detector, tracker = detect.load("yunet", DetectConfig(), store), track.load("mediapipe", TrackConfig(max_faces=1), store)
    swappers = [mesh.MeshSwapper(SwapConfig()) for _ in names]
    for swapper, name in zip(swappers, names, strict=True):
        swapper.wear(persona.load(name))
    tiles: list[np.ndarray] = []
    for k, picture in enumerate(frames):
        faces = tracker.update(Frame(picture, k * 33_000_000, k), detector.detect(picture) if k % 3 == 0 else None)
        if not faces:
            continue
        face, tiles = faces[0], [tile(picture, faces[0].box_px)]
        spec = swappers[0].crop
        alignment = align(face.five_px, spec)
        crop = image.crop(picture, alignment)
        for swapper in swappers:
            swapped, drawn = swapper.swap(crop, face, alignment), picture.copy()
            image.paste(drawn, alignment, swapped.crop, mask.alpha(swapped, face, alignment))
            tiles.append(tile(drawn, face.box_px))
    return np.vstack(tiles) if tiles else None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("docs/mesh.jpg"))
    parser.add_argument("--input", default="demo")
    parser.add_argument("--personas", default="")
    parser.add_argument("--frames", type=int, default=6, help="columns, spread evenly over the input")
    args = parser.parse_args()
    names = args.personas.split(",") if args.personas else list(persona.names())
    store, all_pictures = Store(RunConfig().cache_dir), list(pictures(args.input))
    ends = np.linspace(LEAD_FRAMES, len(all_pictures) - 1, args.frames).astype(int)
    columns = [column(all_pictures[max(0, end - LEAD_FRAMES) : end + 1], names, store) for end in ends]
    found = [c for c in columns if c is not None]
    if not found:
        print("no face was tracked in the input", file=sys.stderr)
        return 1
    args.out.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(args.out), np.hstack(found), [cv2.IMWRITE_JPEG_QUALITY, 80])
    print(args.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
