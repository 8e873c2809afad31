"""Mutants of a good file: bytes that are flipped, cut, spliced and counted wrong, and such as keep the file's own form (its header, its messages, its
words) and lie inside it. A mutant is told by its parser's name, a seed and a number, and is the same each time."""

from __future__ import annotations

import json
import random
import re
import struct
from collections.abc import Callable, Sequence

Mutate = Callable[[bytes, random.Random], bytes]
NUMBERS = (0, 1, -1, 2, 7, 16, 64, 127, 128, 255, 256, 1000, 4096, 32767, 32768, 65535, 65536, 1 << 20, 1 << 27, 2**31 - 1, 2**31, 2**32 - 1, 2**32,
           2**53, 2**62, 2**63 - 1, 2**63, 2**64 - 1)  # fmt: skip
VALUES: tuple[object, ...] = (*NUMBERS, 0.5, -0.0, 1e-320, 1e308, float("inf"), float("nan"), True, False, None, "", "x",
                              "é\u0000", "../../x", "F64", "BF16", "x" * 5000, [], {}, [[]], [0, 0], [1 << 62, 1 << 62], {"a": {}})  # fmt: skip
MOST_CHANGES = 4


def mutant(seeds: Sequence[bytes], structured: Sequence[Mutate], name: str, seed: int, number: int) -> bytes:
    """Mutant `number` of one of `seeds`; half of them by changes that keep the form."""
    rng = random.Random(f"{name}/{seed}/{number}")
    data = rng.choice(seeds)
    for _ in range(rng.choice((1, 1, 1, 2, 3, MOST_CHANGES))):
        if structured and rng.random() < 0.6:
            data = rng.choice(structured)(data, rng)
        elif rng.random() < 0.1:
            other = rng.choice(seeds)
            data = data[: rng.randint(0, len(data))] + other[rng.randint(0, len(other)) :]
        else:
            data = rng.choice(PLAIN)(data, rng)
    return data


# ---------- any bytes ----------


def _place(data: bytes, rng: random.Random) -> int:
    """Anywhere, half of the time near the start, where headers are."""
    return rng.randrange(min(len(data), 400) if rng.random() < 0.5 else len(data)) if data else 0


def flip(data: bytes, rng: random.Random) -> bytes:
    out = bytearray(data or b"\0")
    for _ in range(rng.choice((1, 1, 2, 8))):
        out[_place(out, rng)] ^= 1 << rng.randrange(8)
    return bytes(out)


def cut(data: bytes, rng: random.Random) -> bytes:
    return data[: _place(data, rng)] if rng.random() < 0.7 else data[_place(data, rng) :]


def drop(data: bytes, rng: random.Random) -> bytes:
    at = _place(data, rng)
    return data[:at] + data[at + rng.randint(1, 64) :]


def repeat(data: bytes, rng: random.Random) -> bytes:
    at = _place(data, rng)
    part = data[at : at + rng.randint(1, 64)]
    return data[:at] + part * rng.choice((2, 3, 50)) + data[at:]


def insert(data: bytes, rng: random.Random) -> bytes:
    at = _place(data, rng)
    return data[:at] + rng.randbytes(rng.choice((1, 4, 100))) + data[at:]


def number(data: bytes, rng: random.Random) -> bytes:
    """A length or a count that is not true: an integer of 1, 2, 4 or 8 bytes written over what is there."""
    size = rng.choice((1, 2, 4, 8))
    at, value = _place(data, rng), rng.choice(NUMBERS) % (1 << (8 * size))
    return data[:at] + value.to_bytes(size, rng.choice(("little", "big"))) + data[at + size :]


def fill(data: bytes, rng: random.Random) -> bytes:
    at, size = _place(data, rng), rng.randint(1, 200)
    part = data[at : at + size]
    return data[:at] + bytes([rng.choice((0, 255, 0x7F, 0x80))]) * len(part) + data[at + size :]


PLAIN: tuple[Mutate, ...] = (flip, cut, drop, repeat, insert, number, fill)


# ---------- JSON, and safetensors, whose header it is ----------


def _changed(value: object, rng: random.Random) -> object:
    """JSON with one thing in it changed, taken away, added, or put around it many times."""
    if isinstance(value, dict) and value and rng.random() < 0.85:
        key = rng.choice(list(value))
        out = dict(value)
        how = rng.random()
        if how < 0.1:
            del out[key]
        elif how < 0.2:
            out[str(rng.choice(("", "x", "__metadata__", key + "2")))] = rng.choice((out[key], *VALUES))
        else:
            out[key] = _changed(out[key], rng)
        return out
    if isinstance(value, list) and value and rng.random() < 0.8:
        at = rng.randrange(len(value))
        return [*value[:at], _changed(value[at], rng), *value[at + 1 :]] if rng.random() < 0.8 else value[:at] + value[at + 1 :] * rng.choice((1, 3))
    if isinstance(value, int) and rng.random() < 0.4:
        return value + rng.choice((-1, 1, 8, -8, 1 << 31, -(1 << 40)))
    if isinstance(value, str) and value and rng.random() < 0.3:
        return flip(value.encode(), rng).decode("utf-8", "replace")
    deep: object = rng.choice(VALUES)
    for _ in range(rng.choice((0, 0, 0, 0, 3, 400))):
        deep = [deep]
    return deep


def in_json(data: bytes, rng: random.Random) -> bytes:
    try:
        return json.dumps(_changed(json.loads(data), rng)).encode()
    except (ValueError, RecursionError):
        return flip(data, rng)


def in_safetensors(data: bytes, rng: random.Random) -> bytes:
    """The header's JSON edited, its length true or not."""
    length = int.from_bytes(data[:8], "little")
    try:
        text = json.dumps(_changed(json.loads(data[8 : 8 + length]), rng)).encode()
    except (ValueError, RecursionError):
        return number(data, rng)
    told = len(text) if rng.random() < 0.9 else rng.choice(NUMBERS) % (1 << 64)
    return told.to_bytes(8, "little") + text + data[8 + length :]


# ---------- protocol buffers ----------


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes((*out, value))


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128 or shift > 63:
            return value, at


def _fields(data: bytes) -> list[tuple[int, int | bytes]]:
    """(tag, value) of a message. Raises IndexError, ValueError when it is none."""
    out: list[tuple[int, int | bytes]] = []
    at = 0
    while at < len(data):
        tag, at = _read_varint(data, at)
        size = {0: -1, 1: 8, 5: 4}.get(tag & 7)
        if size == -1:
            value, at = _read_varint(data, at)
            out.append((tag, value))
            continue
        if size is None:
            if tag & 7 != 2:
                raise ValueError("no message")
            size, at = _read_varint(data, at)
        if size > len(data) - at or tag >> 3 == 0:
            raise ValueError("no message")
        out.append((tag, data[at : at + size]))
        at += size
    return out


def _written(fields: Sequence[tuple[int, int | bytes]]) -> bytes:
    parts: list[bytes] = []
    for tag, value in fields:
        if isinstance(value, int):
            parts.append(_varint(tag) + _varint(value))
        else:
            parts.append(_varint(tag) + (_varint(len(value)) if tag & 7 == 2 else b"") + value)
    return b"".join(parts)


WORDS = (b"", b"Loop", b"If", b"Identity", b"Relu", b"Constant", b"ConstantOfShape", b"Resize", b"Expand", b"com.microsoft", b"x", b"y", b"location",
         b"DequantizeLinear", b"Reshape", b"block_size", b"\xff\xfe")  # fmt: skip


def in_protobuf(data: bytes, rng: random.Random, depth: int = 0) -> bytes:
    """One field, at any depth, changed, doubled, moved or taken away; all lengths around it stay true."""
    try:
        fields = _fields(data)
    except (IndexError, ValueError):
        return rng.choice((flip, number, cut))(data, rng)
    if not fields:
        return data
    at = rng.randrange(len(fields))
    tag, value = fields[at]
    how = rng.random()
    if isinstance(value, bytes) and tag & 7 == 2 and depth < 7 and how < 0.7:
        fields[at] = (tag, in_protobuf(value, rng, depth + 1) if len(value) > 1 and rng.random() < 0.85 else rng.choice(WORDS))
    elif how < 0.78:
        del fields[at]
    elif how < 0.84:
        fields.insert(rng.randrange(len(fields) + 1), fields[at])
    elif how < 0.9:
        fields[at] = (rng.choice((1, 2, 3, 4, 5, 6, 7, 8, 9, 13, 14, 20, 25, 60)) << 3 | tag & 7, value)
    elif isinstance(value, int):
        fields[at] = (tag, rng.choice(NUMBERS) % (1 << 64))
    else:
        rng.shuffle(fields)
    return _written(fields)


# ---------- texts ----------


def in_text(data: bytes, rng: random.Random) -> bytes:
    """A word, number, list or line of a text exchanged for another of it, or for something odd."""
    text = data.decode("utf-8", "replace")
    if rng.random() < 0.25:
        lines = text.splitlines(keepends=True) or [""]
        at = rng.randrange(len(lines))
        lines[at : at + 1] = rng.choice(([], [lines[at]] * 2, [rng.choice(lines)], ["[" * rng.choice((1, 2, 3000)) + "\n"]))
        return "".join(lines).encode()
    places = list(re.finditer(r"-?\d+(\.\d+)?|\"[^\"]*\"|\[[^\]\n]*\]|\w+", text))
    if not places:
        return insert(data, rng)
    place = rng.choice(places)
    odd = (*(json.dumps(v) for v in VALUES), "nan", "-inf", "1979-05-27", "{ a = 1 }", "'''", "0x" + "f" * 40, "9" * 400, "[" * 300 + "]" * 300)
    return (text[: place.start()] + rng.choice((rng.choice(odd), rng.choice(places).group())) + text[place.end() :]).encode("utf-8", "replace")


# ---------- flatbuffers ----------


def in_flatbuffer(data: bytes, rng: random.Random) -> bytes:
    """An offset or a count (four aligned bytes that are small) exchanged for another one."""
    if len(data) < 16:
        return flip(data, rng)
    out = bytearray(data)
    for _ in range(40):
        at = rng.randrange(len(data) // 4) * 4
        value = struct.unpack_from("<I", data, at)[0]
        if value < 4 * len(data) or rng.random() < 0.05:
            struct.pack_into("<I", out, at, rng.choice((value + 1, value ^ 4, at, len(data), *NUMBERS)) & 0xFFFFFFFF)
            break
    return bytes(out)
