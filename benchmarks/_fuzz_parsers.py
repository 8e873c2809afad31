"""Every reader of livecam that takes bytes from elsewhere, each with good files to begin from, and the only exceptions that it may raise."""

from __future__ import annotations

import asyncio
import hmac
import json
import os
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from _mutants import Mutate, in_flatbuffer, in_json, in_protobuf, in_safetensors, in_text
from safetensors.numpy import save_file

from livecam.errors import GuardError, LivecamError, ModelError, PersonaError, UsageError

Take = Callable[[bytes], bool]
"""A mutant -> whether it was accepted; raises one of the parser's exceptions when not."""


@dataclass(frozen=True, slots=True)
class Parser:
    """what: it reads. seeds: good files. structured: changes that keep their form. make: (a folder of its own) -> what takes a mutant. refusals: all
    that it may raise. usual: mutants of the committed run."""

    what: str
    seeds: Callable[[Path], list[bytes]]
    structured: Sequence[Mutate]
    make: Callable[[Path], Take]
    refusals: tuple[type[BaseException], ...]
    usual: int = 100_000


def _from_file(read: Callable[[Path], object], suffix: str) -> Callable[[Path], Take]:
    """A reader that wants a path."""

    def make(folder: Path) -> Take:
        path = folder / f"mutant{suffix}"

        def take(data: bytes) -> bool:
            path.write_bytes(data)
            read(path)
            return True

        return take

    return make


# ---------- persona files ----------


def persona_seeds(folder: Path) -> list[bytes]:
    """A persona that ships, its pictures at a tenth of their size, with and without an embedding."""
    import cv2
    from safetensors.numpy import load_file

    from livecam.persona import _files

    name = _files.names()[0]
    tensors, texts = dict(load_file(_files.FOLDER / f"{name}.safetensors")), dict(_files.metadata(name))
    for part in (*_files.PORTRAITS, *_files.EYES, *_files.MOUTH_PARTS):
        picture = cv2.imdecode(tensors[part], cv2.IMREAD_UNCHANGED)
        assert picture is not None
        small = cv2.resize(picture, (max(picture.shape[1] // 10, 2), max(picture.shape[0] // 10, 2)))
        tensors[part] = cv2.imencode(".jpg" if part in _files.PORTRAITS else ".png", small)[1].reshape(-1)
    texts |= dict.fromkeys(_files.BOXES, "[5, 5, 12, 9]")
    out: list[bytes] = []
    for embedding in (True, False):
        if not embedding:
            tensors.pop("embedding", None)
        path = folder / "seed.safetensors"
        save_file(tensors, str(path), texts)
        out.append(path.read_bytes())
    return out


def _load_persona(path: Path) -> None:
    """The gate, which lets nothing through that nobody signed, and what is behind it."""
    from livecam import persona

    try:
        persona.load(path)
    except PersonaError:
        persona.read_unsigned(path)
    else:
        raise AssertionError("a persona that nobody signed was loaded")


# ---------- networks ----------


def onnx_seeds(folder: Path) -> list[bytes]:
    """A graph of one node, livecam's own networks with short weights, and block-wise quantised weights."""
    from livecam.runtimes import _choice
    from livecam.store import WEIGHTS

    own = [_short((WEIGHTS / name).read_bytes()) for name in ("gaze.onnx", "lite128.onnx", "lite128-int8.onnx")]
    return [_choice.tiny(), _blockwise(), *own]


def _short(model: bytes, depth: int = 0) -> bytes:
    """The same messages; tensors (field 5 of the graph, field 7 of the model) hold 64 bytes at most."""
    from livecam.runtimes import _protobuf as pb

    out: list[bytes] = []
    for item in pb.read_fields(memoryview(model)):
        if depth == 0 and item.number == pb.MODEL_GRAPH:
            out.append(pb.write_field(7, _short(bytes(item.bytes), 1)))
        elif depth == 1 and item.number == pb.GRAPH_INITIALIZER:
            name, values = pb.read_tensor(item.bytes)
            out.append(pb.write_field(5, pb.write_tensor(name, values.reshape(-1)[:16].astype(np.float32))))
        else:
            out.append(bytes(item.raw))
    return b"".join(out)


def _blockwise() -> bytes:
    import onnx
    from onnx import helper, numpy_helper

    weights = {"w": np.arange(32, dtype=np.int8).reshape(8, 4), "s": np.ones((4, 4), np.float32), "z": np.zeros((4, 4), np.int8),
               "to": np.array([4, 8], np.int64)}  # fmt: skip
    nodes = [helper.make_node("DequantizeLinear", ["w", "s", "z"], ["d"], axis=0, block_size=2), helper.make_node("Reshape", ["d", "to"], ["r"]),
             helper.make_node("MatMul", ["x", "r"], ["y"])]  # fmt: skip
    floats = onnx.TensorProto.FLOAT
    given, made = (helper.make_tensor_value_info(name, floats, [1, size]) for name, size in (("x", 4), ("y", 8)))
    graph = helper.make_graph(nodes, "blocks", [given], [made], [numpy_helper.from_array(v, k) for k, v in weights.items()])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10).SerializeToString()


def make_onnx(folder: Path) -> Take:
    """The gate, then what reads a file that passed: the folding of weights, and the reader of runtime `torch`."""
    from livecam.runtimes import _fold, _gate, _network_onnx

    def take(data: bytes) -> bool:
        _gate.check_onnx(data, "mutant")
        _network_onnx.read(_fold.fold_dequantize(data) if _fold.is_blockwise(data) else data)
        return True

    return take


def runtime_seeds(folder: Path) -> list[bytes]:
    """Whole networks: a graph of one node, block-wise weights, livecam's own gaze network."""
    from livecam.runtimes import _choice
    from livecam.store import WEIGHTS

    return [_choice.tiny(), _blockwise(), (WEIGHTS / "gaze.onnx").read_bytes()]


def make_onnx_runtime(folder: Path) -> Take:
    """The gate, then ONNX Runtime itself: opened, and run once on zeros."""
    from livecam.runtimes import onnx

    def take(data: bytes) -> bool:
        network = onnx.open(data)
        if all(size > 0 for spec in network.inputs for size in spec.shape):
            network.run({spec.name: np.zeros(spec.shape, spec.dtype) for spec in network.inputs})
        return True

    return take


def tflite_seeds(folder: Path) -> list[bytes]:
    """MediaPipe's iris network, if it was fetched."""
    from livecam.config import RunConfig
    from livecam.store import Store

    store = Store(RunConfig().cache_dir)
    return [store.read("iris_landmark")] if store.file_path("iris_landmark").exists() else []


def make_tflite(folder: Path) -> Take:
    """The reader of runtime `torch`."""
    from livecam.runtimes import _network_tflite

    def take(data: bytes) -> bool:
        _network_tflite.read(data)
        return True

    return take


def mapper_seeds(folder: Path) -> list[bytes]:
    """A small mapper of identities."""
    rng, path = np.random.default_rng(0), folder / "seed.safetensors"
    shapes = {"first.weight": (4, 128), "first.bias": (4,), "second.weight": (6, 4), "second.bias": (6,)}
    save_file({f"mapper.{k}": rng.normal(size=v).astype(np.float32) for k, v in shapes.items()}, str(path), {"embedder": "sface"})
    return [path.read_bytes()]


def _read_mapper(path: Path) -> None:
    from livecam.swap._lite_weights import read_mapper

    read_mapper(path)


def shape_seeds(folder: Path) -> list[bytes]:
    """A small map of shapes."""
    rng, path = np.random.default_rng(0), folder / "seed.safetensors"
    shapes: dict[str, tuple[int, ...]] = {"give": (2, 936), "base": (936,)}
    for name in ("now", "offset", "rest"):
        shapes |= {name: (1, 1404), f"{name}_mean": (1404,)}
    for name, into in (("first", 8), ("second", 2), ("third", 2)):
        shapes |= {name: (into, 2), f"{name}_bias": (2,)}
    save_file({k: rng.normal(size=v).astype(np.float32) for k, v in shapes.items()}, str(path), {"format": "livecam-shape-2"})
    return [path.read_bytes()]


def _read_shape(path: Path) -> None:
    from livecam.swap import _mesh_map

    _mesh_map.read(path)


# ---------- texts ----------


def card_seeds(folder: Path) -> list[bytes]:
    """All cards that ship, of both kinds."""
    from livecam.store import CARDS

    return [path.read_bytes() for path in sorted(CARDS.rglob("*.toml"))]


def make_card(folder: Path) -> Take:
    """Both readers of cards: livecam's own and those of a user's generator."""
    from livecam import store
    from livecam.swap import _onnx_card

    path = folder / "mutant.toml"

    def take(data: bytes) -> bool:
        path.write_bytes(data)
        refused = 0
        for read in (store.read_card, _onnx_card.read_card):
            try:
                read(path)
            except ModelError:
                refused += 1
        if refused == 2:
            raise ModelError("both refused it")
        return True

    return take


def config_seeds(folder: Path) -> list[bytes]:
    """An option file with a value of each kind."""
    return [b'[run]\ncamera = "0"\npersona = "ada"\noutputs = "v4l2:/dev/video10,web"\nwidth_px = 1280\nfps = 30.0\nmirror = true\nfaces = "1,3"\n'
            b'rotate-deg = 90\nbudget = "16ms"\ncache-dir = "/tmp/x"\n\n[bench]\nsize = "720p"\n']  # fmt: skip


def _check_config(path: Path) -> None:
    from livecam.cli import check_config

    check_config(path)


def make_options(folder: Path) -> Take:
    """The whole way of an option file: through the command line's library into the settings of `livecam run`."""
    from cyclopts import CycloptsError

    from livecam.cli import make_app

    os.chdir(folder)

    def take(data: bytes) -> bool:
        (folder / "livecam.toml").write_bytes(data)
        try:
            make_app().parse_args(["run"], exit_on_error=False, print_error=False)
        except CycloptsError as error:
            raise UsageError(str(error)) from error
        return True

    return take


# ---------- sealed entries ----------

KEY = bytes(range(32))
WANTED = {"kind": "reference", "model": "ab" * 32, "shapes": "x=1x4"}


def sealed_seeds(folder: Path) -> list[bytes]:
    """An entry of the engine cache that holds a reference."""
    from livecam import runtimes
    from livecam._sealed import SealedCache
    from livecam.runtimes import _choice, _parity

    payload = _parity.reference(runtimes.load("onnx", _choice.tiny())).to_bytes()
    return [SealedCache(folder / "seed", KEY).put(WANTED, payload).read_bytes()]


def in_sealed(data: bytes, rng: Any) -> bytes:
    """The header's JSON, or the payload's (safetensors), edited."""
    from livecam._sealed import HMAC_BYTES, MAGIC

    start = len(MAGIC) + 4
    end = start + int.from_bytes(data[len(MAGIC) : start], "little")
    if not start <= end <= len(data) - HMAC_BYTES:
        return data
    header, payload = data[start:end], data[end:-HMAC_BYTES]
    header, payload = (in_json(header, rng), payload) if rng.random() < 0.5 else (header, in_safetensors(payload, rng))
    return MAGIC + len(header).to_bytes(4, "little") + header + payload + data[-HMAC_BYTES:]


def make_sealed(folder: Path) -> Take:
    """The cache as it is, and as if the writer had had the user's key: what is in an entry is not believed either."""
    from livecam._sealed import HMAC_BYTES, SealedCache
    from livecam.runtimes import _parity

    cache = SealedCache(folder / "cache", KEY)
    path = cache.put(WANTED, b"good")
    good = sealed_seeds(folder)[0]

    def take(data: bytes) -> bool:
        path.write_bytes(data)
        cache.entries()
        found = cache.get(WANTED)
        if found is not None and data[:-200] != good[:-200] and hmac.digest(KEY, data[:-HMAC_BYTES], "sha256") != data[-HMAC_BYTES:]:
            raise AssertionError("an altered entry was loaded")
        path.write_bytes(data[:-HMAC_BYTES] + hmac.digest(KEY, data[:-HMAC_BYTES], "sha256"))
        cache.entries()
        found = cache.get(WANTED)
        if found is None or _parity.Reference.from_bytes(found) is None:
            raise ModelError("refused")
        return True

    return take


# ---------- messages ----------


class Commanded:
    """Stands for a run; remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []

    def command(self, name: str, value: str = "") -> None:
        self.told.append((name, value))
        if value.startswith("x"):
            raise UsageError(value)

    def snapshot(self) -> dict[str, Any]:
        return {"state": "LIVE"}

    def portrait_jpeg(self, persona_id: str) -> bytes | None:
        return None


def message_seeds(folder: Path) -> list[bytes]:
    """What pages and `livecam ctl` say."""
    said = ({"do": "next"}, {"do": "show", "value": True}, {"do": "cover", "value": "on"}, {"do": "persona", "value": "next"}, {"do": "status"},
            {"do": "snapshot", "value": ""}, {"do": "quit", "value": ""})  # fmt: skip
    return [json.dumps(one).encode() for one in said]


def make_control(folder: Path) -> Take:
    """The control socket's answers, and what the page's server does with the same message."""
    from livecam.app import control
    from livecam.output._web_frames import FrameSlot
    from livecam.output._web_server import COMMANDS, PageServer, Viewer

    class Socket:
        """A page that takes what it is sent."""

        async def send_json(self, what: object) -> None:
            json.dumps(what)

    surface = Commanded()
    server, loop = PageServer("token", FrameSlot(), surface), asyncio.new_event_loop()

    def take(data: bytes) -> bool:
        surface.told.clear()
        said = control.answer(surface, data.replace(b"\n", b" "))
        json.dumps(said)
        loop.run_until_complete(server._heard(Viewer(Socket()), data.decode("utf-8", "replace")))  # type: ignore[arg-type]
        if any(name not in (*control.COMMANDS, *COMMANDS) or len(value) > control.MAX_VALUE for name, value in surface.told):
            raise AssertionError(f"something else was commanded: {surface.told}")
        if not said["ok"]:
            raise UsageError("refused")
        return True

    return take


def link_seeds(folder: Path) -> list[bytes]:
    """All that a worker says."""
    said: tuple[list[Any], ...] = (
        ["frame"], ["alive"], ["busy", 120.0, "loading"], ["size", 640, 360], ["died", "why"],
        ["camera", {"name": "demo", "format": {"width_px": 640, "height_px": 360, "fps": 30.0, "pixel_format": "x"}, "notes": ["a note"]}],
        ["lost", "unplugged"], ["lost", None], ["note", "text"], ["progress", "text"], ["ready", {"generator": "lite: Apache-2.0"}],
        ["persona", "ada"], ["status", {"drops": 3, "reason": "", "governor": ""}], ["ended"], ["fatal", "text", 2],
    )  # fmt: skip
    return [json.dumps(one).encode() for one in said]


def make_link(folder: Path) -> Take:
    """Main's side: the message decoded, what the supervisor does with it, what the run does with it."""
    from livecam.app.live import Live
    from livecam.config import Config
    from livecam.guard import link

    live = Live(replace(Config()), progress=lambda text: None)

    def take(data: bytes) -> bool:
        live._supervisor._hear(link.decode(data))
        live._hear_all()
        json.dumps(live._fresh_snapshot(), default=str)
        live._output_format()
        return True

    return take


def frame_seeds(folder: Path) -> list[bytes]:
    """A slot of shared memory: commit word, header, and a picture of 32 x 24."""
    from livecam.guard.shm import Segments, Writer
    from livecam.types import Verdict

    with Segments.create(32, 24, ("a", "b")) as segments:
        writer = Writer(segments.spec)
        writer.publish(np.random.default_rng(0).integers(0, 255, (24, 32, 3), np.uint8), Verdict.LIVE, 7, 1, {"a": (1.0, 1.0)})
        data = bytes(segments.slots.words[1].tobytes()) + segments.slots.headers[1].tobytes() + segments.slots.pixels[1].tobytes()
        writer.close()
    return [data]


def make_frames(folder: Path) -> Take:
    """The reader of shared memory: what a worker left there, as it is, and with a checksum and a generation that fit."""
    from livecam.guard.shm import HEADER, Reader, Segments, Writer
    from livecam.types import Verdict

    segments = Segments.create(32, 24, ("a", "b"))
    writer, size = Writer(segments.spec), HEADER.itemsize
    writer.publish(np.zeros((24, 32, 3), np.uint8), Verdict.LIVE, 7, 1, {"a": (1.0, 1.0)})
    words, headers, pixels = segments.slots.words[1], segments.slots.headers[1], segments.slots.pixels[1]

    def take(data: bytes) -> bool:
        data = data.ljust(8 + size + pixels.size, b"\0")
        found = 0
        for fits in (False, True):
            words[0] = int.from_bytes(data[:8], "little")
            headers[0] = np.frombuffer(data[8 : 8 + size], HEADER)[0]
            pixels[:] = np.frombuffer(data[8 + size : 8 + size + pixels.size], np.uint8)
            if fits:
                headers["magic"], headers["generation"] = segments.spec.magic, segments.spec.generation
                words[0] = (int(headers["seq"][0]) & 0xFFFFFFFF) << 32 | zlib.crc32(headers[0].tobytes())
            reader = Reader(segments)
            published = reader.newest()
            if published is not None and (published.image.size > segments.spec.pixel_bytes or published.verdict not in (1, 3)):
                raise AssertionError("a frame that cannot be was accepted")
            found += published is not None
        if not found:
            raise GuardError("refused")
        return True

    return take


PARSERS: dict[str, Parser] = {
    "persona": Parser("persona files", persona_seeds, (in_safetensors,), _from_file(_load_persona, ".safetensors"), (PersonaError,)),
    "onnx": Parser("the gate for ONNX files, and the readers behind it", onnx_seeds, (in_protobuf,), make_onnx, (ModelError,)),
    "onnx-runtime": Parser("what passes the gate, in ONNX Runtime", runtime_seeds, (in_protobuf,), make_onnx_runtime, (LivecamError,), 20_000),
    "card": Parser("cards", card_seeds, (in_text,), make_card, (ModelError,)),
    "config": Parser("option files", config_seeds, (in_text,), _from_file(_check_config, ".toml"), (UsageError,)),
    "options": Parser("option files, through the command line into settings", config_seeds, (in_text,), make_options, (UsageError,), 2_000),
    "engine-cache": Parser("entries of the engine cache", sealed_seeds, (in_sealed,), make_sealed, (ModelError,)),
    "tflite": Parser("TensorFlow Lite files", tflite_seeds, (in_flatbuffer,), make_tflite, (ModelError,)),
    "mapper": Parser("mappers of identities (safetensors)", mapper_seeds, (in_safetensors,), _from_file(_read_mapper, ".safetensors"), (ModelError,)),
    "shape": Parser("maps of shapes (safetensors)", shape_seeds, (in_safetensors,), _from_file(_read_shape, ".safetensors"), (ModelError,)),
    "control": Parser("messages to the control socket and the page", message_seeds, (in_json,), make_control, (UsageError,)),
    "link": Parser("what the worker says to main", link_seeds, (in_json,), make_link, (LivecamError,)),
    "frames": Parser("frames in shared memory", frame_seeds, (), make_frames, (GuardError,)),
}
