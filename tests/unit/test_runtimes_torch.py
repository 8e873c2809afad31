"""The torch runtime: every network that ships against ONNX Runtime or OpenVINO, FP16's rounding, files that hurt, and what is recorded when."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_models
import pytest
from onnx import helper
from recorders import Counting

from livecam import runtimes
from livecam.errors import ModelFileError, ModelShapeError, StageError, UsageError
from livecam.store import Store

torch = pytest.importorskip("torch", reason="the extra torch is not installed")

from livecam.runtimes import torch as torch_runtime  # noqa: E402

STORE = Store(Path.home() / ".cache" / "livecam")
CPU = {"device": "cpu"}
NETWORKS = {
    # name: runtime to compare with, shapes, range of the input, tolerance in fp32, in fp16 (landmarks: pixels of the crop)
    "gaze": ("onnx", {}, 1.0, 1e-3, 0.05),
    "lite128": ("onnx", {}, 1.0, 1e-4, 1.0 / 255),
    # In INT8, whose steps are left out here: shares (occluder, 0..1) and logits (classes) differ by what the steps round.
    "parser": ("onnx", {}, 1.0, 1.5, 1.5),
    # Of values up to 3.7: INT8 steps of noise, which no face is.
    "lite128_int8": ("onnx", {}, 1.0, 0.2, 0.2),
    "yunet": ("openvino", {"input": (1, 3, 192, 320)}, 255.0, 1e-4, 0.02),
    # In half landmarks are up to 0.1 px off, on noise: these run in float32 on a card too (0.05 px is the limit).
    "face_landmark": ("openvino", {}, 1.0, 1e-3, 0.2),
    "iris_landmark": ("openvino", {}, 1.0, 1e-3, 0.2),
}


def model_path(card: str) -> Path:
    """The file of a card; skips when it is not on this machine."""
    if card not in STORE.cards or not STORE.file_path(card).exists():
        pytest.skip(f"the model {card} is not on this machine: livecam models fetch --all")
    return STORE.file_path(card)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("card", NETWORKS)
def test_each_network_says_what_the_cpu_path_says(card: str, precision: str) -> None:
    path = model_path(card)
    other, shapes, scale, exact, half = NETWORKS[card]
    plain = runtimes.load(other, path, 1, None, {"shapes": shapes} if shapes else None)
    ours = runtimes.load("torch", path, 1, None, {"precision": precision, "shapes": shapes, **CPU})
    assert [(s.name, s.shape) for s in ours.outputs] == [(s.name, s.shape) for s in plain.outputs]
    for seed in range(2):
        rng = np.random.default_rng(seed)
        given = {s.name: (rng.random(s.shape) * scale).astype(np.float32) for s in plain.inputs}
        wanted = {name: value.copy() for name, value in plain.run(given).items()}
        for name, value in ours.run(given).items():
            assert value.dtype == np.float32
            assert np.abs(value - wanted[name]).max() <= (exact if precision == "fp32" else half), name


def one_node(
    tmp_path: Path, op: str, shapes: list[list[int]], output: list[int], constants: dict[str, np.ndarray], opset: int = 17, **attributes
) -> Path:
    """A file with one node; inputs are in0, in1 ..., then the constants."""
    inputs = [onnx_models.floats(f"in{i}", shape) for i, shape in enumerate(shapes)]
    node = helper.make_node(op, [i.name for i in inputs] + list(constants), ["out"], **attributes)
    return onnx_models.save(tmp_path / "one.onnx", [node], inputs, [onnx_models.floats("out", output)], constants, opset)


W = np.random.default_rng(3).normal(size=(6, 2, 3, 3)).astype(np.float32)
OPERATORS: dict[str, tuple] = {
    "conv, uneven pads": (
        "Conv",
        [[1, 4, 9, 7]],
        [1, 6, 4, 3],
        {"w": W, "b": W[:, 0, 0, 0].copy()},
        {"pads": [0, 0, 1, 1], "strides": [2, 2], "group": 2, "dilations": [1, 1]},
    ),
    "conv transposed": (
        "ConvTranspose",
        [[1, 6, 5, 5]],
        [1, 2, 10, 10],
        {"w": W},
        {"pads": [1, 1, 1, 1], "strides": [2, 2], "output_padding": [1, 1]},
    ),
    "slice backwards": ("Slice", [[1, 6, 5]], [1, 6, 5], {"s": np.array([4]), "e": np.array([-100]), "a": np.array([2]), "t": np.array([-1])}, {}),
    "slice from the end": ("Slice", [[1, 6, 5]], [1, 2, 5], {"s": np.array([-3]), "e": np.array([-1]), "a": np.array([1])}, {}),
    "reflection": ("Pad", [[1, 2, 5, 4]], [1, 2, 8, 7], {"p": np.array([0, 0, 1, 2, 0, 0, 2, 1])}, {"mode": "reflect"}),
    "edges": ("Pad", [[1, 2, 5, 4]], [1, 2, 6, 4], {"p": np.array([0, 0, 1, 0, 0, 0, 0, 0])}, {"mode": "edge"}),
    "bilinear": (
        "Resize",
        [[1, 2, 5, 4]],
        [1, 2, 10, 8],
        {"r": np.zeros(0, np.float32), "s": np.array([1, 1, 2, 2], np.float32)},
        {"mode": "linear"},
    ),
    "nearest": (
        "Resize",
        [[1, 2, 5, 4]],
        [1, 2, 15, 12],
        {"r": np.zeros(0, np.float32), "s": np.array([1, 1, 3, 3], np.float32)},
        {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"},
    ),
    "depth to space": ("DepthToSpace", [[1, 8, 3, 2]], [1, 2, 6, 4], {}, {"blocksize": 2}),
    "space to depth": ("SpaceToDepth", [[1, 2, 6, 4]], [1, 8, 3, 2], {}, {"blocksize": 2}),
    "instance norm": (
        "InstanceNormalization",
        [[1, 2, 6, 4]],
        [1, 2, 6, 4],
        {"s": np.array([2, 3], np.float32), "b": np.array([1, -1], np.float32)},
        {},
    ),
    "average, pads not counted": ("AveragePool", [[1, 2, 6, 5]], [1, 2, 3, 3], {}, {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}),
    "largest, uneven pads": ("MaxPool", [[1, 2, 6, 5]], [1, 2, 3, 3], {}, {"kernel_shape": [2, 2], "strides": [2, 2], "pads": [0, 0, 0, 1]}),
    "gather": ("Gather", [[1, 6, 5]], [1, 2, 2, 5], {"i": np.array([[0, -1], [2, 2]])}, {"axis": 1}),
    "product": (
        "Gemm",
        [[2, 4]],
        [2, 3],
        {"w": W.reshape(-1)[:12].reshape(3, 4).copy(), "c": W.reshape(-1)[:3].copy()},
        {"transB": 1, "alpha": 0.5, "beta": 2.0},
    ),
    "softmax": ("Softmax", [[1, 6, 5]], [1, 6, 5], {}, {"axis": 1}),
}


@pytest.mark.parametrize("case", OPERATORS)
def test_operators_are_onnx_runtimes(case: str, tmp_path: Path) -> None:
    op, shapes, output, constants, attributes = OPERATORS[case]
    path = one_node(tmp_path, op, shapes, output, constants, **attributes)
    rng = np.random.default_rng(1)
    given = {f"in{i}": rng.normal(size=shape).astype(np.float32) for i, shape in enumerate(shapes)}
    wanted = runtimes.load("onnx", path).run(given)["out"]
    got = runtimes.load("torch", path, options=CPU).run(given)["out"]
    assert got.shape == wanted.shape
    assert np.abs(got - wanted).max() < 1e-5


def test_adain_statistics_stay_float32_in_fp16(tmp_path: Path) -> None:
    """Values of 300 have squares that half floats do not hold."""
    node = helper.make_node
    nodes = [
        node("Conv", ["x", "w"], ["wide"]),
        node("ReduceMean", ["wide"], ["mean"], axes=[2, 3]),
        node("Sub", ["wide", "mean"], ["centred"]),
        node("Mul", ["centred", "centred"], ["square"]),
        node("ReduceMean", ["square"], ["variance"], axes=[2, 3]),
        node("Add", ["variance", "tiny"], ["safe"]),
        node("Sqrt", ["safe"], ["deviation"]),
        node("Div", ["centred", "deviation"], ["normal"]),
        node("Conv", ["normal", "w"], ["out"]),
    ]
    weights = {"w": np.ones((1, 1, 1, 1), np.float32), "tiny": np.array([1e-8], np.float32)}
    path = onnx_models.save(
        tmp_path / "adain.onnx", nodes, [onnx_models.floats("x", [1, 1, 8, 8])], [onnx_models.floats("out", [1, 1, 8, 8])], weights
    )
    x = np.linspace(-900, 900, 64, dtype=np.float32).reshape(1, 1, 8, 8)
    got = runtimes.load("torch", path, options={"precision": "fp16", **CPU}).run({"x": x})["out"]
    wanted = (x - x.mean()) / x.std()
    assert np.isfinite(got).all()
    assert np.abs(got - wanted).max() < 2e-3
    flat = runtimes.load("torch", path, options={"precision": "fp16", **CPU}).run({"x": np.full_like(x, 3.0)})["out"]
    assert np.isfinite(flat).all(), "an epsilon of 1e-8 is 0 in half"


def test_what_cannot_be_built_says_which_operator(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"one\.onnx.*Erf"):
        runtimes.load("torch", one_node(tmp_path, "Erf", [[1, 2]], [1, 2], {}), options=CPU)
    with pytest.raises(ModelFileError, match="Elu"):
        runtimes.load("torch", one_node(tmp_path, "Elu", [[1, 2]], [1, 2], {}), options=CPU)
    with pytest.raises(ModelShapeError, match="free dimension"):
        runtimes.load("torch", one_node(tmp_path, "Relu", [[1, "wide"]], [1, "wide"], {}), options=CPU)
    wide = runtimes.load("torch", one_node(tmp_path, "Relu", [[1, "wide"]], [1, "wide"], {}), options={"shapes": {"in0": (1, 5)}, **CPU})
    assert wide.outputs[0].shape == (1, 5)
    with pytest.raises(ModelShapeError, match="nobody"):
        runtimes.load("torch", one_node(tmp_path, "Relu", [[1, 2]], [1, 2], {}), options={"shapes": {"nobody": (1, 5)}, **CPU})


def test_a_device_that_is_not_there_is_named() -> None:
    with pytest.raises(UsageError, match="cuda:99"):
        torch_runtime.device_of("cuda:99")
    with pytest.raises(UsageError, match="expected auto, cpu"):
        torch_runtime.device_of("tpu")
    with pytest.raises(UsageError, match="fp8"):
        runtimes.load("torch", b"", options={"precision": "fp8", **CPU})


def test_damaged_tflite_files_are_refused() -> None:
    whole = model_path("iris_landmark").read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(40):
        data = bytearray(whole)
        for at in rng.integers(0, min(len(data), 60_000), 30):
            data[at] = int(rng.integers(256))
        data[4:8] = b"TFL3"
        try:
            torch_runtime.read_graph(bytes(data))
        except ModelFileError:
            refused += 1
    for size in (8, 100, len(whole) // 2):
        with pytest.raises(ModelFileError):
            torch_runtime.read_graph(whole[:size])
    assert refused > 10


def test_recorded_once_replayed_for_each_frame_in_the_same_places(tmp_path: Path) -> None:
    path = one_node(tmp_path, "Mul", [[1, 4]], [1, 4], {"two": np.array([2.0], np.float32)})
    graph, recorder = torch_runtime.read_graph(path), Counting(3)
    network = torch_runtime.build.build(graph, {}, torch.float32)
    x = torch.zeros(1, 4)
    runtime = torch_runtime.TorchRuntime(network, graph, [x], recorder)
    places = {name: t.data_ptr() for name, t in runtime.tensors.items()}
    for i in range(5):
        assert runtime.run({"in0": np.full((1, 4), i, np.float32)})["out"].tolist() == [[2.0 * i] * 4]
    assert (recorder.recorded, recorder.replayed) == (1, 6)
    assert {name: t.data_ptr() for name, t in runtime.tensors.items()} == places
    x.fill_(21.0)  # filled in place, as livecam.gpu does
    runtime.replay()
    assert runtime.tensors["out"].tolist() == [[42.0] * 4]


def test_a_card_that_fails_is_a_stage_error_and_the_next_frame_may_work(tmp_path: Path) -> None:
    graph, recorder = torch_runtime.read_graph(one_node(tmp_path, "Relu", [[1, 4]], [1, 4], {})), Counting(3)
    runtime = torch_runtime.TorchRuntime(torch_runtime.build.build(graph, {}, torch.float32), graph, [torch.zeros(1, 4)], recorder)
    recorder.fail = "CUDA error: device-side assert triggered\nmore"
    with pytest.raises(StageError, match="device-side assert triggered"):
        runtime.run({"in0": np.ones((1, 4), np.float32)})
    recorder.fail = ""
    assert runtime.run({"in0": np.ones((1, 4), np.float32)})["out"].tolist() == [[1.0] * 4]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA card")
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("card", NETWORKS)
def test_on_a_card_graphs_say_what_the_cpu_says(card: str, precision: str) -> None:
    path = model_path(card)
    _, shapes, scale, exact, half = NETWORKS[card]
    cpu = runtimes.load("torch", path, options={"shapes": shapes, **CPU})
    gpu = runtimes.load("torch", path, options={"shapes": shapes, "device": "cuda", "precision": precision})
    for seed in range(3):
        rng = np.random.default_rng(seed)
        given = {s.name: (rng.random(s.shape) * scale).astype(np.float32) for s in cpu.inputs}
        wanted = cpu.run(given)
        for name, value in gpu.run(given).items():
            assert np.abs(value - wanted[name]).max() <= (10 * exact if precision == "fp32" else 2 * half), name
