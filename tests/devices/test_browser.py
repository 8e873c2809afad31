"""The page in headless Chromium: its picture moves, picker, cover button and keys work, it fits every width, and nothing comes from outside."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
import stamps
from browser import Chromium
from desktop import missing, wait_for
from page_run import PageRun

from livecam.types import State

ABSENT = missing("chromium")
pytestmark = [pytest.mark.device, pytest.mark.skipif(bool(ABSENT), reason=ABSENT or "present")]

READ = """(() => {
  const canvas = document.getElementById('picture'), draw = canvas.getContext('2d');
  const row = draw.getImageData(0, 8, 512, 1).data; let bits = '';
  for (let i = 0; i < 32; i++) bits += row[4 * (i * 16 + 8) + 1] > 128 ? '1' : '0';
  const patches = [0, 1, 2, 3].map(i => Array.from(draw.getImageData((2 * i + 1) * canvas.width / 8, canvas.height * 3 / 4, 1, 1).data).slice(0, 3));
  return {number: parseInt(bits, 2), patches, width: canvas.width, height: canvas.height};
})()"""
ALERT = "document.getElementById('alert').hidden ? '' : document.getElementById('alert').textContent"
BADGE = "document.getElementById('badge').textContent"
PRESSED = "document.getElementById('cover').getAttribute('aria-pressed')"
CHOSEN = "(document.querySelector('.persona input:checked') || {}).value"


@pytest.fixture(scope="module")
def chromium() -> Iterator[Chromium]:
    with Chromium() as it:
        yield it


@pytest.fixture
def run(chromium: Chromium) -> Iterator[PageRun]:
    """The page, open in the browser and live."""
    with PageRun() as it:
        chromium.size(1280, 900)
        chromium.console.clear()
        chromium.go(it.output.url)
        chromium.wait_js("document.getElementById('picture').dataset.sequence > 3 && document.querySelectorAll('.persona').length == 6", 30)
        yield it
        chromium.call("Page.navigate", url="about:blank")
    assert not [line for line in chromium.console if "rror" in line or "Refused" in line], chromium.console


def test_the_picture_moves_and_is_exact(chromium: Chromium, run: PageRun) -> None:
    first, start = chromium.js(READ), time.monotonic()
    sequence = int(chromium.js("document.getElementById('picture').dataset.sequence"))
    numbers = [first["number"]]
    while time.monotonic() < start + 3:
        numbers.append(chromium.js(READ)["number"])
    last, seconds = chromium.js(READ), time.monotonic() - start
    drawn = int(chromium.js("document.getElementById('picture').dataset.sequence")) - sequence
    assert (last["width"], last["height"]) == (1280, 720)
    assert numbers == sorted(numbers), "an older picture came after a newer one"
    assert len(set(numbers)) >= 10
    assert drawn >= 8 * seconds
    assert run.sent - last["number"] < 30, "the picture on the page is a second old"
    for seen, bgr in zip(last["patches"], stamps.PATCHES_BGR, strict=True):
        assert max(abs(a - b) for a, b in zip(seen, reversed(bgr), strict=True)) <= 12
    assert run.output.watched()


def test_the_cover_button_covers(chromium: Chromium, run: PageRun) -> None:
    assert chromium.js(BADGE) == "LIVE"
    chromium.click("#cover")
    assert chromium.js(PRESSED) == "true"
    wait_for(lambda: run.surface.covered, 10, "the surface is told")
    chromium.wait_js(f"{BADGE} == 'COVER' && !document.querySelector('.covering')")
    chromium.wait_js("document.getElementById('state-words').textContent.startsWith('Covered by you')")
    wait_for(lambda: chromium.js(READ)["number"] in (0, 2**32 - 1), 10, "blocks instead of a stamp on the canvas")
    chromium.click("#cover")
    chromium.wait_js(f"{BADGE} == 'LIVE' && {PRESSED} == 'false'")
    assert run.surface.commands == [("cover", "on"), ("cover", "off")]


def test_a_press_is_shown_before_livecam_answers_and_called_done_only_then(chromium: Chromium, run: PageRun) -> None:
    run.surface.confirms = False
    at_once = chromium.js(
        f"(document.getElementById('cover').click(), [{PRESSED}, {BADGE}, document.getElementById('cover-text').textContent,"
        " getComputedStyle(document.getElementById('picture')).filter])"
    )
    assert at_once[:3] == ["true", "COVER", "Covering…"]
    assert at_once[3].startswith("blur")
    chromium.wait_js(f"{ALERT}.includes('has not confirmed the cover')")
    assert chromium.js(PRESSED) == "false"
    assert chromium.js(BADGE) == "LIVE"


def test_keys(chromium: Chromium, run: PageRun) -> None:
    surface = run.surface
    for key, command in (("c", ("cover", "on")), (" ", ("cover", "off")), ("n", ("persona", "next")), ("p", ("persona", "previous"))):
        before = len(surface.commands)
        chromium.key(key)
        wait_for(lambda n=before: len(surface.commands) > n, 10, f"key {key!r}")
        assert surface.commands[-1] == command
        chromium.wait_js(f"({PRESSED} == 'true') == {str(surface.covered).lower()} && {CHOSEN} == '{surface.persona}'")
    chromium.click("#next")
    wait_for(lambda: surface.commands[-1] == ("persona", "next"), 10, "next")
    chromium.key(" ")
    wait_for(lambda: surface.commands[-1] == ("cover", "on"), 10, "space covers, although a button was clicked before")


def test_quit_asks_first(chromium: Chromium, run: PageRun) -> None:
    chromium.key("q")
    chromium.wait_js("document.getElementById('quit-dialog').open")
    chromium.key("n")
    chromium.key("Escape")
    chromium.wait_js("!document.getElementById('quit-dialog').open")
    assert run.surface.commands == []
    chromium.key("q")
    chromium.click("#quit-yes")
    wait_for(lambda: run.surface.commands == [("quit", "")], 10, "quit")


def test_the_picker_chooses(chromium: Chromium, run: PageRun) -> None:
    chromium.wait_js("[...document.querySelectorAll('.persona img')].filter(i => i.complete && i.naturalWidth).length == 6")
    assert chromium.js(CHOSEN) == "ada"
    chromium.click(".persona[data-id=dora]")
    wait_for(lambda: run.surface.persona == "dora", 10, "the surface is told")
    chromium.wait_js(f"{CHOSEN} == 'dora' && !document.querySelector('.pending')")
    assert chromium.js("document.getElementById('about').textContent") == "Dora, a synthetic adult <rendered> by the project"
    run.surface.command("persona", "bo")
    chromium.wait_js(f"{CHOSEN} == 'bo'")


def test_figures_and_words(chromium: Chromium, run: PageRun) -> None:
    text = chromium.js("document.body.innerText")
    for words in ("This picture is altered", "30.0", "18.4", "24.1", "31.8", "decode", "3.60", "camera 3, output 0", "How to pick it"):
        assert words in text, words
    widths = chromium.js("[...document.querySelectorAll('#bar span')].map(s => s.getBoundingClientRect().width)")
    assert len(widths) == 9
    assert widths[4] == max(widths), "swap takes longest"
    for state, words in ((State.HOLD, "short gap"), (State.SLATE, "still card"), (State.COVER, "until a safe one comes")):
        run.surface.state = state
        chromium.wait_js(f"{BADGE} == '{state.name}' && document.getElementById('state-words').textContent.includes('{words}')")


def test_unmasked_is_not_shown(chromium: Chromium, run: PageRun) -> None:
    run.surface.state = State.REVEAL
    chromium.wait_js("!document.getElementById('veil').hidden && document.getElementById('veil-text').textContent.includes('not shown here')")
    encoded = run.output._server.encoded
    time.sleep(0.5)
    assert run.output._server.encoded <= encoded + 1


@pytest.mark.parametrize(("width", "height"), [(1920, 1080), (1280, 720), (820, 1100), (390, 844), (320, 640)])
def test_it_fits(chromium: Chromium, run: PageRun, width: int, height: int) -> None:
    chromium.size(width, height, 1, width < 500)
    time.sleep(0.3)
    assert chromium.js("document.documentElement.scrollWidth <= innerWidth"), "scrolls sideways"
    top, bottom, wide = chromium.js("(r => [r.top, r.bottom, r.width])(document.getElementById('cover').getBoundingClientRect())")
    assert top > 0
    assert bottom <= height, "the cover button is below the fold"
    assert wide >= 250


def test_every_control_has_a_name_and_the_keyboard_reaches_it(chromium: Chromium, run: PageRun) -> None:
    chromium.call("Accessibility.enable")
    nodes = chromium.call("Accessibility.getFullAXTree")["nodes"]
    controls = [n for n in nodes if not n.get("ignored") and n["role"]["value"] in ("button", "radio", "image", "group", "radiogroup")]
    assert len(controls) >= 11
    assert all(n.get("name", {}).get("value", "").strip() for n in controls if n["role"]["value"] != "group"), controls
    chromium.call("Accessibility.disable")
    reached = set()
    for _ in range(12):
        chromium.key("Tab")
        reached.add(chromium.js("document.activeElement.id || document.activeElement.name || document.activeElement.tagName"))
    assert {"quit", "cover", "previous", "next", "persona"} <= reached


def test_nothing_comes_from_outside(chromium: Chromium, run: PageRun) -> None:
    origin = run.output.url.rsplit("/", 2)[0]
    sources = chromium.js("performance.getEntriesByType('resource').map(e => e.name)")
    assert len(sources) >= 3
    assert all(source.startswith(origin) for source in sources), sources


def test_the_end_is_said(chromium: Chromium) -> None:
    with PageRun() as run:
        chromium.go(run.output.url)
        chromium.wait_js(f"{BADGE} == 'LIVE'")
    chromium.wait_js(f"{BADGE} == 'ENDED' && document.getElementById('cover').disabled")
