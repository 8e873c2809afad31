"""Worker side: may this finished frame go on air? In doubt it is covered.

The pipeline asks twice a frame, on the compute thread:

    policy.must_search(raw, capture_ns)           before anything is drawn; True: detect now, and tell `policy.searched(detections)`
    policy.judge(final, faces, drawn, open_ids)   after drawing, before publishing -> Judgement; on COVER the pipeline pixelates the frame
    policy.failed(reason)                         instead of `judge`, when any stage raised
"""

from __future__ import annotations

from dataclasses import dataclass

from livecam.config import DetectConfig
from livecam.types import U8, Alignment, Detection, Face, Swapped, Verdict


@dataclass(frozen=True, slots=True)
class Drawn:
    """Evidence that a face was masked in this frame.

    face: as tracked in this frame. alignment: what the blend used. alpha: (S, S) uint8, what the blend used. swapped: what was drawn.
    wearer: (S, S, 3) uint8, the wearer's crop. occluder: (S, S) uint8, 255 where a parser saw something in front of the face, or None.
    """

    face: Face
    alignment: Alignment
    alpha: U8
    swapped: Swapped
    wearer: U8
    occluder: U8 | None = None


@dataclass(frozen=True, slots=True)
class Judgement:
    """verdict, and for COVER a short reason for the table (e.g. "a face is not masked")."""

    verdict: Verdict
    reason: str = ""


class Policy:
    """Judges the frames of one camera, in their order. Not thread-safe."""

    def __init__(self, config: DetectConfig) -> None: ...

    def must_search(self, image: U8, capture_ns: int) -> bool:
        """Whether this very frame must go through the whole-frame search. image: (H, W, 3) uint8 BGR, raw: call it before anything is drawn."""
        raise NotImplementedError

    def searched(self, detections: tuple[Detection, ...]) -> None:
        """The result of searching the frame of the last `must_search`. To be called whenever it was searched, asked for or not."""

    def judge(self, image: U8, faces: tuple[Face, ...], drawn: tuple[Drawn, ...], open_ids: frozenset[int] = frozenset()) -> Judgement:
        """Judges the frame of the last `must_search`. image: (H, W, 3) uint8, as it would go out. faces: all that are tracked in it.
        drawn: one for each that was masked. open_ids: track numbers deliberately left open."""
        raise NotImplementedError

    def failed(self, reason: str) -> Judgement:
        """A stage raised on this frame: COVER."""
        raise NotImplementedError

    def reset(self) -> None:
        """The source changed (other camera, other format): everything seen so far is void."""
