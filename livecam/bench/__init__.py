"""Benchmarks of a machine: the demo camera through the whole pipeline, and through a reference built the popular tools' way, in one run.

measure.py     the real processes: throughput, CPU time a frame, frame age from stamps in the pixels, memory
reference.py   the same work the usual way: search of every frame at full size, full-frame float paste
machine.py     what machine this is, and a fixed kernel's time so that machines compare
gpu.py         a card: copies, kernels, networks, the whole frame as one CUDA graph, the real frame path (livecam bench --device cuda)
report.py      result.schema.json's dictionary, its tables and its picture, and the comparison of two of them
"""

from __future__ import annotations
