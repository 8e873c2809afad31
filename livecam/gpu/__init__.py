"""The frame on an NVIDIA card: what livecam/image.py and its neighbours do on the CPU, as kernels in Triton (extra `torch`).

kernels.py   the kernels themselves: sample (crop, the detector's picture), paste, encode, decode, fill and compose of the generator lite
ops.py       the same as functions of torch tensors, checked like their CPU twins
card.py      one card: its streams, its pinned memory, the frame on it, and what is recorded as CUDA graphs
stages.py    the frame path's stages on a card, for `livecam.pipeline.Stages`

Every kernel is held to the plain CPU version within one grey level, in Triton's interpreter (TRITON_INTERPRET=1) where there is no card.
The package is below the rooms, beside runtimes' users: rooms may call it, it calls runtimes, image and geometry. Nothing imports it unless a card was
asked for.
"""

from __future__ import annotations
