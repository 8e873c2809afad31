"""The gate before the runtimes: well-known forms pass; pickles, foreign operators, weights elsewhere and claims that are not true do not."""

from __future__ import annotations

import io
import os
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import insightface_models
import numpy as np
import onnx
import onnx_models
import pytest
from onnx import TensorProto, helper, numpy_helper

from livecam import runtimes
from livecam.config import RunConfig
from livecam.errors import ModelFileError
from livecam.runtimes import _choice, _gate, _gate_rules, _memory
from livecam.runtimes import _protobuf as pb
from livecam.store import WEIGHTS, Store

node, floats = helper.make_node, onnx_models.floats


def model(nodes: list, weights: dict[str, np.ndarray] | None = None, opsets: tuple[tuple[str, int], ...] = (("", 17),)) -> onnx.ModelProto:
    """x (1, 3, 8, 8) -> y."""
    tensors = [numpy_helper.from_array(v, k) for k, v in (weights or {}).items()]
    graph = helper.make_graph(nodes, "g", [floats("x", [1, 3, 8, 8])], [floats("y", ["n"] * 4)], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid(*o) for o in opsets], ir_version=8)


def relu(**changed: object) -> onnx.ModelProto:
    made = model([node("Relu", ["x"], ["y"])])
    for key, value in changed.items():
        setattr(made, key, value)
    return made


# ---------- what passes ----------


def test_known_forms_pass(tmp_path: Path) -> None:
    made = (
        onnx_models.generator(tmp_path / "inswapper.onnx", 128, emap=np.eye(512, dtype=np.float32)),
        onnx_models.generator(tmp_path / "simswap.onnx", 256, mask=True),
        onnx_models.arcface(tmp_path / "arcface.onnx"),
        insightface_models.scrfd(tmp_path / "scrfd.onnx"),
        insightface_models.points106(tmp_path / "points.onnx"),
    )
    for path in made:
        checked = _gate.admit(path)
        assert checked == _gate.Checked(path, path.read_bytes())
    _gate.check_onnx(_choice.tiny(), "tiny")


def test_livecams_own_networks_would_pass() -> None:
    own = sorted(WEIGHTS.glob("*.onnx"))
    assert len(own) >= 4
    store = Store(RunConfig().cache_dir)
    fetched = [path for name in ("yunet", "sface") if (path := store.file_path(name)).exists()]
    for path in (*own, *fetched):
        _gate.admit(path)


def test_inputs_that_no_node_takes_do_not_count() -> None:
    """SFace's file lists 29 weights as inputs that its quantised ones replaced."""
    made = relu()
    made.graph.input.extend(helper.make_tensor_value_info(f"old_{k}", 1, [3]) for k in range(40))
    _gate.check_onnx(made.SerializeToString(), "left over")
    names = [f"old_{k}" for k in range(40)]
    made.graph.node.append(node("Sum", names, ["all"]))
    with pytest.raises(ModelFileError, match="1 to 16 inputs"):
        _gate.check_onnx(made.SerializeToString(), "taken")


def test_every_way_of_writing_a_tensor_is_counted_right() -> None:
    rng = np.random.default_rng(0)
    for dtype in ("float32", "float64", "float16", "int8", "uint8", "int32", "int64", "bool", "uint64"):
        values = rng.integers(0, 2 if dtype == "bool" else 100, (3, 5)).astype(dtype)
        typed = helper.make_tensor("w", helper.np_dtype_to_tensor_dtype(values.dtype), (3, 5), values.reshape(-1).tolist())
        for tensor in (numpy_helper.from_array(values, "w"), typed):
            made = relu()
            made.graph.initializer.append(tensor)
            _gate.check_onnx(made.SerializeToString(), dtype)
            made.graph.initializer[0].dims[0] = 4
            with pytest.raises(ModelFileError, match=r"claims the shape \[4, 5\], but holds 15"):
                _gate.check_onnx(made.SerializeToString(), dtype)


# ---------- what does not ----------


def function() -> onnx.ModelProto:
    made = relu()
    made.functions.append(helper.make_function("f", "Relu", ["a"], ["b"], [node("Exp", ["a"], ["b"])], [helper.make_opsetid("", 17)]))
    return made


def branch() -> onnx.ModelProto:
    inner = helper.make_graph([node("Identity", ["x"], ["z"])], "t", [], [floats("z", [1, 3, 8, 8])])
    return model([node("Relu", ["x"], ["y"], body=inner)])


def sparse() -> onnx.ModelProto:
    made = relu()
    made.graph.sparse_initializer.append(helper.make_sparse_tensor(helper.make_tensor("w", 1, [1], [1.0]), helper.make_tensor("i", 7, [1], [0]), [4]))
    return made


def external() -> onnx.ModelProto:
    made = model([node("Add", ["x", "w"], ["y"])], {"w": np.ones((8,), np.float32)})
    tensor = made.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")
    return made


def texts() -> onnx.ModelProto:
    made = relu()
    made.graph.initializer.append(helper.make_tensor("w", TensorProto.STRING, [1], [b"text"]))
    return made


def sequence() -> onnx.ModelProto:
    made = relu()
    made.graph.input.append(helper.make_tensor_sequence_value_info("s", TensorProto.FLOAT, [1]))
    return made


def constant(op: str, at: int, values: list[float] | np.ndarray, count: int = 4) -> Callable[[], onnx.ModelProto]:
    """A node `op` whose input `at` is a constant, which a node after it gives."""
    array = np.asarray(values)
    names = ["x"] + [""] * (count - 1)
    names[at] = "told"
    while not names[-1]:
        names.pop()
    return lambda: model([node(op, names, ["y"]), node("Constant", [], ["told"], value=numpy_helper.from_array(array, "told"))])


def wide(op: str, **attributes: object) -> Callable[[], onnx.ModelProto]:
    return lambda: model([node(op, ["x", "w"], ["y"], **attributes)], {"w": np.ones((3, 3, 1, 1), np.float32)})


def counting(to: int, by: int) -> onnx.ModelProto:
    return model([node("Range", ["a", "b", "c"], ["y"])], {"a": np.array(0), "b": np.array(to), "c": np.array(by)})


def weight_twice() -> onnx.ModelProto:
    made = model([node("Relu", ["x"], ["y"])], {"w": np.ones(1)})
    made.graph.initializer.append(made.graph.initializer[0])
    return made


REFUSED: dict[str, tuple[Callable[[], onnx.ModelProto], str]] = {
    "functions": (function, "functions of its own"),
    "a subgraph": (branch, "a graph of its own"),
    "sparse tensors": (sparse, "sparse tensors"),
    "external data": (external, "external data"),
    "texts": (texts, "texts"),
    "a sequence": (sequence, "a type holds the field 4"),
    "control flow": (lambda: model([node("Loop", ["x"], ["y"])]), "operator 'Loop'"),
    "another domain": (lambda: model([node("Relu", ["x"], ["y"], domain="com.microsoft")]), "domain 'com.microsoft'"),
    "random numbers": (lambda: model([node("RandomNormal", [], ["y"], shape=[4])]), "operator 'RandomNormal'"),
    "old operators": (lambda: model([node("Relu", ["x"], ["y"])], opsets=(("", 3),)), "found opset 3"),
    "later operators": (lambda: model([node("Relu", ["x"], ["y"])], opsets=(("", 99),)), "found opset 99"),
    "two sets of operators": (lambda: model([node("Relu", ["x"], ["y"])], opsets=(("", 17), ("ai.onnx", 11))), "found opset 17, 11"),
    "no operators": (lambda: model([node("Relu", ["x"], ["y"])], opsets=()), "found opset none"),
    "another form": (lambda: relu(ir_version=99), "IR version 99"),
    "no nodes": (lambda: model([]), "expected 1 to 20000 nodes"),
    "a name twice": (lambda: model([node("Relu", ["x"], ["y"]), node("Exp", ["x"], ["y"])]), "'y' is given twice"),
    "a weight twice": (weight_twice, "'w' is given twice"),
    "a lost input": (lambda: model([node("Relu", ["z"], ["y"])]), "nothing gives 'z'"),
    "a lost output": (lambda: model([node("Relu", ["x"], ["z"])]), "nothing gives 'y'"),
    "a long name": (lambda: model([node("Relu", ["x"], ["y"]), node("Relu", ["x"], ["n" * 5000])]), "a name has 5000 bytes"),
    "many axes": (lambda: model([node("Relu", ["x"], ["y"])], {"w": np.ones((1,) * 9)}), "at most 8 axes"),
    "a huge shape": (constant("Expand", 1, [1, 3, 1 << 20, 1 << 20]), "Expand asks for a tensor of shape"),
    "huge sizes": (constant("Resize", 3, [1, 3, 1 << 20, 1 << 20]), "Resize asks for a tensor of shape"),
    "huge scales": (constant("Resize", 2, np.float32([1, 1, 100, 100])), "more than 4096 times"),
    "endless scales": (constant("Resize", 2, np.float32([1, 1, 1, np.inf])), "more than 4096 times"),
    "huge repeats": (constant("Tile", 1, [1, 1, 1000, 1000]), "more than 4096 times"),
    "huge pads": (constant("Pad", 1, [0, 0, 0, 0, 0, 0, 1 << 40, 0]), "adds"),
    "negative pads": (constant("Pad", 1, [0, 0, 0, 0, 0, 0, -(1 << 40), 0]), "adds"),
    "a huge range": (lambda: counting(1 << 50, 1), "Range counts"),
    "an endless range": (lambda: counting(9, 0), "Range counts"),
    "huge strides": (wide("ConvTranspose", strides=[1 << 30, 1]), "has strides"),
    "a huge output": (wide("ConvTranspose", output_shape=[1 << 20, 1 << 20]), "asks for a tensor of shape"),
    "huge attribute pads": (wide("Conv", pads=[1 << 30] * 4), "has pads"),
    "attribute scales": (lambda: model([node("Upsample", ["x"], ["y"], scales=[1.0, 1.0, 99.0, 99.0])]), "more than 4096 times"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_no_plain_network_is_refused_in_one_line(what: str) -> None:
    make, said = REFUSED[what]
    with pytest.raises(ModelFileError, match=said) as caught:
        _gate.check_onnx(make().SerializeToString(), "mine.onnx")
    assert str(caught.value).startswith("mine.onnx: ") and "\n" not in str(caught.value)


def test_an_input_that_asks_for_terabytes_is_refused() -> None:
    for shape in ([1 << 20, 1 << 20], [1] * 9):
        made = relu()
        made.graph.input[0].CopyFrom(floats("x", shape))
        with pytest.raises(ModelFileError, match="'x' asks for a tensor"):
            _gate.check_onnx(made.SerializeToString(), "mine")


def test_two_readers_never_see_two_files() -> None:
    """Fields that stand twice are merged by some readers, overwritten or ignored by others: none gets through."""
    data = relu().SerializeToString()
    second = model([node("Loop", ["x"], ["y"])]).graph.SerializeToString()
    twice = data + pb.write_field(pb.MODEL_GRAPH, second)
    with pytest.raises(ModelFileError, match="field 7 of the model stands there twice"):
        _gate.check_onnx(twice, "mine")
    made = relu()
    inner = made.graph.node[0].SerializeToString() + pb.write_field(pb.NODE_OP_TYPE, b"Loop")
    graph = made.graph.SerializeToString().replace(pb.write_field(1, made.graph.node[0].SerializeToString()), pb.write_field(1, inner))
    with pytest.raises(ModelFileError, match="field 4 of a node stands there twice"):
        _gate.check_onnx(data.replace(pb.write_field(7, made.graph.SerializeToString()), pb.write_field(7, graph)), "mine")
    overlong = b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x7f"
    for bad in (b"\x08" + overlong, overlong + b"\x01", b"\x00\x00", b"\x0b"):
        with pytest.raises(ModelFileError):
            _gate.check_onnx(data + bad, "mine")


def test_lists_of_numbers_that_end_in_the_middle_of_one_are_refused() -> None:
    made = model([node("Upsample", ["x"], ["y"], scales=[1.0, 1.0, 2.0, 2.0])])
    good = made.graph.node[0].attribute[0].SerializeToString()
    floats_ = np.array([1, 1, 2, 2], "<f4").tobytes()
    packed = good.replace(b"".join(b"\x3d" + floats_[i : i + 4] for i in range(0, 16, 4)), pb.write_field(7, floats_))
    assert packed != good
    for values, fine in ((floats_, True), (floats_[:-1], False), (floats_ * 5000, False)):
        attribute = packed.replace(pb.write_field(7, floats_), pb.write_field(7, values))
        inner = made.graph.node[0].SerializeToString().replace(pb.write_field(5, good), pb.write_field(5, attribute))
        graph = made.graph.SerializeToString().replace(pb.write_field(1, made.graph.node[0].SerializeToString()), pb.write_field(1, inner))
        data = made.SerializeToString().replace(pb.write_field(7, made.graph.SerializeToString()), pb.write_field(7, graph))
        if fine:
            _gate.check_onnx(data, "mine")
        else:
            with pytest.raises(ModelFileError, match="a list of numbers has"):
                _gate.check_onnx(data, "mine")


def test_a_file_of_endless_parts_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_gate_rules, "MAX_FIELDS", 10)
    with pytest.raises(ModelFileError, match="more than 10 parts"):
        _gate.check_onnx(relu().SerializeToString(), "mine")


class Runs:
    """What a pickle would do when it is opened."""

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return os.system, ("exit 1",)


def zipped() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Runs()))
    return out.getvalue()


@pytest.mark.parametrize("suffix", [".onnx", ".pth", ".bin", ""])
def test_pickles_are_refused_by_what_they_hold_whatever_they_are_called(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"model{suffix}"
    for data in (zipped(), *(pickle.dumps(Runs(), protocol) for protocol in range(2, 6)), b"\x1f\x8b" + bytes(50), bytes(257) + b"ustar\x0000"):
        path.write_bytes(data)
        with pytest.raises(ModelFileError, match="safetensors, never pickles"):
            _gate.admit(path)
        with pytest.raises(ModelFileError, match="never pickles"):
            _gate.check_onnx(data, "mine")


def test_endings_of_checkpoints_are_refused(tmp_path: Path) -> None:
    for suffix in (".pt", ".PTH", ".ckpt", ".pkl", ".h5"):
        path = tmp_path / f"model{suffix}"
        path.write_bytes(relu().SerializeToString())
        with pytest.raises(ModelFileError, match=r"refused.*torch.onnx.export"):
            _gate.admit(path)


@pytest.mark.skipif(os.name == "nt", reason="no named pipes as files")
def test_what_is_no_plain_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.onnx")
    for path in (tmp_path / "pipe.onnx", Path("/dev/zero"), tmp_path):
        with pytest.raises(ModelFileError):
            _gate.admit(path)


# ---------- memory ----------


def test_a_file_for_which_there_is_no_room_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = onnx_models.generator(tmp_path / "big.onnx", 128)

    monkeypatch.setattr(_memory, "free_bytes", lambda: path.stat().st_size)
    with pytest.raises(ModelFileError, match=r"big.onnx has .* Close other programs"):
        _gate.admit(path)


GREEDY = """
import sys
import numpy as np
from livecam import runtimes
from livecam.errors import ModelFileError, StageError
from livecam.runtimes import _gate, _memory
checked = _gate.admit(__import__("pathlib").Path(sys.argv[1]))
bound = _memory.bound_process(400 << 20)
assert bound is not None
try:
    network = runtimes.load("onnx", checked.data, 1, None, {"name": "greedy.onnx"})
    network.run({"x": np.zeros((1, 3, 8, 8), np.float32)})
except (ModelFileError, StageError) as error:
    print("stopped:", error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such bound")
def test_a_network_that_works_out_a_huge_tensor_is_stopped_by_the_bound(tmp_path: Path) -> None:
    nodes = [
        node("ConstantOfShape", ["shape"], ["a"], value=numpy_helper.from_array(np.ones(1, np.float32))),
        node("Tile", ["a", "times"], ["b"]),  # 16384 x 16384: 1 GB
        node("ReduceMax", ["b"], ["d"], keepdims=0),
        node("Add", ["x", "d"], ["y"]),
    ]
    made = model(nodes, {"shape": np.array([1 << 8, 1 << 8], np.int64), "times": np.array([64, 64], np.int64)})
    path = tmp_path / "greedy.onnx"
    path.write_bytes(made.SerializeToString())
    done = subprocess.run([sys.executable, "-c", GREEDY, str(path)], capture_output=True, text=True, timeout=120)
    assert done.stdout.startswith("stopped:") and "alloc" in done.stdout, done.stdout + done.stderr


def test_what_is_read_is_what_is_loaded(tmp_path: Path) -> None:
    path = onnx_models.arcface(tmp_path / "arcface.onnx")
    checked = _gate.admit(path)
    path.write_bytes(pickle.dumps(Runs()))
    assert runtimes.load("onnx", checked.data).inputs[0].shape == (1, 3, 112, 112)
