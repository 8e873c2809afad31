"""The second check: what is judged, and the thread that looks."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, cast

import numpy as np
import pytest
from persona_maker import write_drawn

from livecam.app.second_check import SecondCheck, lookalike_text
from livecam.errors import ModelFileError
from livecam.guard.second import ENOUGH, LOOKS_LIKE_YOU, SAME, STALE_NS, Opinion, Pair, Second
from livecam.types import F32, U8, Persona

HIGH, LOW = SAME + 0.2, SAME - 0.3
SECOND_NS = 1_000_000_000
WEARER = Opinion(HIGH, LOW, LOW, "noor")
PERSONA = Opinion(LOW, LOW, HIGH, "noor")
FIVE = np.array([[38, 52], [74, 52], [56, 72], [42, 92], [71, 92]], np.float32)


def reasons(opinions: list[Opinion]) -> list[str]:
    second, out = Second(), []
    for number, opinion in enumerate(opinions):
        second.add(opinion, number * SECOND_NS)
        out.append(second.reason(number * SECOND_NS))
    return out


def test_three_of_five_cover_and_it_ends_by_itself() -> None:
    said = reasons([WEARER, PERSONA, WEARER, PERSONA, WEARER, PERSONA, PERSONA])
    assert said == ["", "", "", "", LOOKS_LIKE_YOU, "", ""]


def test_a_single_slip_does_not_cover() -> None:
    assert set(reasons([PERSONA, WEARER, PERSONA, WEARER, PERSONA, PERSONA])) == {""}


def test_a_lookalike_that_is_really_drawn_is_told_once_and_not_covered() -> None:
    second, lookalike = Second(), Opinion(SAME + 0.05, HIGH, SAME + 0.1, "mei")
    told = [second.add(lookalike, n * SECOND_NS) for n in range(8)]
    assert told.count("mei") == 1 and told.index("mei") == ENOUGH - 1
    assert second.reason(8 * SECOND_NS) == ""


def test_a_swap_that_fails_while_a_lookalike_is_worn_is_covered() -> None:
    assert reasons([Opinion(0.98, HIGH, HIGH, "mei")] * 3)[-1] == LOOKS_LIKE_YOU


def test_what_is_not_a_number_counts_against() -> None:
    assert Opinion(float("nan"), LOW, LOW, "mei").is_wearer


def test_old_opinions_are_forgotten() -> None:
    second = Second()
    for number in range(3):
        second.add(WEARER, number)
    assert second.reason(3) and not second.reason(STALE_NS + 10)


class Embedders:
    """Stands in for the network: a face's embedding is where its mean grey level points."""

    def of_crop(self, crop: U8, model: str, what: str) -> F32:
        turn = float(crop.mean()) / 255.0 * np.pi
        return np.array([np.cos(turn), np.sin(turn)], np.float32)

    def embedding(self, worn: Persona, model: str) -> F32:
        return np.array([-1.0, 0.0], np.float32)


def flat(level: int) -> U8:
    return np.full((112, 112, 3), level, np.uint8)


def until(done: Callable[[], bool]) -> None:
    end = time.monotonic() + 30.0
    while not done():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)


def opinions(check: SecondCheck, finished: U8, count: int) -> None:
    begin = check.done
    for number in range(count):
        now_ns = (begin + number + 1) * 2 * SECOND_NS
        until(lambda now_ns=now_ns: check.is_due(now_ns))
        check.offer(Pair(flat(20), finished, FIVE, "p"), now_ns)
        until(lambda number=number: check.done == begin + number + 1)


@pytest.fixture
def worn(tmp_path: Any) -> Persona:
    from dataclasses import replace

    from livecam import persona

    return replace(persona.load(str(write_drawn(tmp_path / "p.safetensors", 3))), id="p")


def test_the_thread_covers_the_wearers_own_face_and_lets_the_persona_go(worn: Persona) -> None:
    lines: list[str] = []
    check = SecondCheck(lambda: cast(Any, Embedders()), lines.append)
    check.knows(worn)
    assert check.reason() == ""
    opinions(check, flat(20), 3)
    assert check.reason() == LOOKS_LIKE_YOU
    opinions(check, flat(240), 3)
    assert check.reason() == "" and lines == []
    check.close()


def test_it_looks_once_a_second_and_never_waits(worn: Persona) -> None:
    check = SecondCheck(lambda: cast(Any, Embedders()), lambda line: None)
    check.knows(worn)
    opinions(check, flat(240), 1)
    until(lambda: check.is_due(10 * SECOND_NS))
    assert not check.is_due(2 * SECOND_NS + SECOND_NS // 2)
    check.close()


@pytest.mark.parametrize(
    ("error", "said"), [(ModelFileError("no such file"), "no such file"), (RuntimeError("out of memory"), "RuntimeError: out of memory")]
)
def test_without_a_model_it_says_so_once_and_the_run_goes_on(error: Exception, said: str) -> None:
    lines: list[str] = []

    def missing() -> Any:
        raise error

    check = SecondCheck(missing, lines.append)
    until(lambda: bool(lines))
    assert lines == [f"the second check cannot run: {said}; going on without"]
    until(lambda: not check.is_due(SECOND_NS))
    assert check.reason() == ""


def test_the_line_names_a_way_out(worn: Persona) -> None:
    assert "--persona ada" in lookalike_text(worn, "ada")
