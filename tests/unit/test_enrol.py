"""Enrolment around its decisions: what is before the camera, photographs, what is written and what is not."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import cv2
import numpy as np
import persona_maker
import pytest

from livecam import persona
from livecam.app import enrol
from livecam.app.enrol import Likeness, Looker, Sat, Wanted
from livecam.capture import _live_only, _v4l2
from livecam.capture._v4l2 import Node
from livecam.cli import _persona_enrol, _persona_trust, main
from livecam.errors import CaptureLostError, PersonaError, UsageError
from livecam.persona import _files, _keys, _seal
from livecam.persona._prompts import Action, Observation, Passed, Session
from livecam.types import Detection, Face, Frame

REAL = Node("/dev/video0", "HD Webcam: HD Webcam", "uvcvideo", 0, ("MJPG",), "usb-0000:00:14.0-8")


@pytest.fixture(autouse=True)
def _own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # pyright: ignore[reportUnusedFunction]
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


@pytest.fixture
def sysfs(tmp_path: Path) -> Path:
    """Two nodes: video0 of hardware, video9 of none."""
    root = tmp_path / "sys"
    for name, place in (("video0", "devices/pci0000:00/usb1/video4linux/video0"), ("video9", "devices/virtual/video4linux/video9")):
        (root / place).mkdir(parents=True)
        (root / "class").mkdir(exist_ok=True)
        (root / "class" / name).symlink_to(root / place)
    return root / "class"


def test_a_camera_that_is_plugged_in_is_real(sysfs: Path) -> None:
    assert _live_only.virtual(REAL, sysfs) == ""


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"driver": "v4l2 loopback"}, "virtual driver"),
        ({"driver": "vivid", "bus": "platform:vivid-000"}, "virtual driver"),
        ({"card": "OBS Virtual Camera"}, "name that virtual"),
        ({"card": "Dummy video device (0x0000)"}, "name that virtual"),
        ({"card": "livecam"}, "name that virtual"),
        ({"bus": "platform:v4l2loopback-000"}, "bus"),
        ({"bus": ""}, "bus"),
        ({"path": "/dev/video9"}, "no hardware"),
        ({"path": "/dev/video77"}, "no hardware"),
    ],
)
def test_what_plays_something_prepared_is_not(sysfs: Path, change: dict[str, str], why: str) -> None:
    fields = {"path": REAL.path, "card": REAL.card, "driver": REAL.driver, "bus": REAL.bus} | change
    assert why in _live_only.virtual(Node(fields["path"], fields["card"], fields["driver"], 0, ("MJPG",), fields["bus"]), sysfs)


@pytest.mark.parametrize("spec", ["demo", "auto", "-", "clip.mp4", "rtsp://x/y", "http://x/y", "/dev/stdin", "/tmp/a.mp4", "stamped:demo", ""])
def test_recordings_streams_and_the_demo_are_no_camera(spec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr(_v4l2, "nodes", lambda: (REAL,))
    with pytest.raises(UsageError, match="may be a recording"):
        _live_only.vet(spec)


def test_a_file_named_like_the_camera_is_not_taken_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr(_v4l2, "nodes", lambda: (REAL,))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "HD Webcam").write_bytes(b"")
    with pytest.raises(UsageError, match="recording"):
        _live_only.vet("HD Webcam")


def test_a_library_between_camera_and_livecam_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("LD_PRELOAD", "/usr/lib/pipewire-0.3/v4l2/libpw-v4l2.so")
    with pytest.raises(UsageError, match="LD_PRELOAD"):
        _live_only.vet("0")


def test_where_cameras_have_no_names_none_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    from livecam.capture import opencv
    from livecam.types import DeviceInfo

    monkeypatch.setattr("sys.platform", "darwin")
    monkeypatch.setattr(opencv, "devices", lambda: (DeviceInfo("capture", "opencv", "0", "Camera 0"),))
    with pytest.raises(UsageError, match="enrol on Linux"):
        _live_only.vet("0")


@dataclass
class Eyes:
    """A detector and a tracker that see what they are told to. faces: how many are found in each picture."""

    faces: list[int] = field(default_factory=list[int])
    width_px: float = 200.0

    def detect(self, image: np.ndarray) -> tuple[Detection, ...]:
        count = self.faces.pop(0) if self.faces else 1
        return tuple(Detection(np.array([10, 10, 90, 90], np.float32), 0.9, None) for _ in range(count))

    def update(self, frame: Frame, found: object) -> tuple[Face, ...]:
        mesh = persona_maker.plausible_mesh(round(self.width_px * 2))
        return (Face(1, np.zeros(4, np.float32), np.zeros((5, 2), np.float32), 0.9, mesh, np.zeros((2, 2), np.float32), np.ones(2, np.float32)),)

    def reset(self) -> None:
        pass


class Embedder:
    """Everybody is the same person, or, for a while, somebody else."""

    def __init__(self) -> None:
        self.who: list[int] = []

    def of_picture(self, picture: np.ndarray, mesh: np.ndarray, model: str, what: str) -> np.ndarray:
        vector = np.random.default_rng(self.who.pop(0) if self.who else 1).normal(size=128)
        return (vector / np.linalg.norm(vector)).astype(np.float32)


def looker(eyes: Eyes | None = None) -> Looker:
    made = object.__new__(Looker)
    made._detector = made._tracker = cast(Any, eyes or Eyes())
    made.embedders = cast(Any, Embedder())
    made.store = cast(Any, SimpleNamespace(cards={"sface": SimpleNamespace(sha256="f" * 64)}))
    return made


def photo(path: Path, size: tuple[int, int] = (480, 640)) -> Path:
    cv2.imwrite(str(path), np.full((*size, 3), 127, np.uint8))
    return path


def test_photographs_are_files_and_those_in_folders(tmp_path: Path) -> None:
    for name in ("b.jpg", "a.PNG", "notes.txt"):
        photo(tmp_path / name) if not name.endswith("txt") else (tmp_path / name).write_text("x")
    assert [p.name for p in enrol.photographs([tmp_path])] == ["a.PNG", "b.jpg"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(PersonaError, match="found 0"):
        enrol.photographs([tmp_path / "empty"])


@pytest.mark.parametrize(("count", "found"), [(0, "none"), (2, "2")])
def test_a_photograph_without_or_with_two_faces_is_refused(tmp_path: Path, count: int, found: str) -> None:
    with pytest.raises(PersonaError, match=rf"p\.png: expected a photograph with one face, found {found}"):
        looker(Eyes([count])).photograph(photo(tmp_path / "p.png"))


def test_small_faces_and_files_that_are_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PersonaError, match="px wide"):
        looker(Eyes(width_px=40.0)).photograph(photo(tmp_path / "p.png"))
    (tmp_path / "x.jpg").write_bytes(b"no picture")
    with pytest.raises(PersonaError, match="cannot be decoded"):
        looker().photograph(tmp_path / "x.jpg")
    with pytest.raises(PersonaError, match="cannot be read"):
        looker().photograph(tmp_path / "none.jpg")
    assert max(enrol.read_picture(photo(tmp_path / "large.png", (2400, 3200))).shape) == 1600


class Camera:
    """Pictures, then what is raised."""

    def __init__(self, count: int, then: BaseException) -> None:
        self.count, self.then = count, then

    def read(self) -> Frame:
        if not self.count:
            raise self.then
        self.count -= 1
        return Frame(np.zeros((480, 640, 3), np.uint8), self.count, 0)


@pytest.mark.parametrize("then", [CaptureLostError("gone"), KeyboardInterrupt()])
def test_a_lost_camera_and_ctrl_c_end_it(then: BaseException) -> None:
    class Endless(Session):
        def feed(self, seen: Observation) -> Any:
            return self._status("hold still")

    with pytest.raises(type(then)):
        enrol.sit(cast(Any, Camera(3, then)), "cam", looker(), lambda _: None, Endless())


def test_a_session_that_fails_says_why_and_writes_nothing() -> None:
    camera = Camera(50, CaptureLostError("gone"))
    with pytest.raises(PersonaError, match=r"two or more.*nothing was written"):
        enrol.sit(cast(Any, camera), "cam", looker(Eyes([2] * 50)), lambda _: None)


def sat() -> Sat:
    session = Session(random.Random(0))
    session.passed = [Passed(Action.TURN_LEFT, 1.0, 2.0)]
    session.departures = [0.05]
    eyes = looker()
    live = tuple(Likeness(eyes.embedders.of_picture(np.zeros(0), np.zeros(0), "", ""), np.full(3, 4.5)) for _ in range(6))
    return Sat("HD Webcam (/dev/video0)", session, live)


def wanted(path: Path) -> Wanted:
    about = persona_maker.record()
    return Wanted("Ada L.", "tests", about.issued, about.expires, "I am Ada L. and I agree", path)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A drawn face instead of twelve mixes."""
    texts = {**persona_maker.TEXTS, "age": "30", "seed": "1"}
    made = enrol._mix.Mixed(persona_maker.tensors(), texts, np.zeros((8, 8, 3), np.uint8))
    monkeypatch.setattr(enrol._mix, "fit", lambda embedding, skin, embed: (made, 0.5))
    yield


def test_what_is_written_is_the_mean_face_with_its_record(tmp_path: Path, quick: None) -> None:
    path = tmp_path / "ada.safetensors"
    eyes = looker()
    pictures = [("p.png", eyes.photograph(photo(tmp_path / "p.png")))]
    record, _ = enrol.make(wanted(path), pictures, sat(), eyes)
    whole = _files.admit(path)
    assert whole.record is not None and whole.record.text() == record.text()
    assert record.match == (1.0,) and record.flatness == 0.05 and record.embedder_sha256 == "f" * 64 and record.answer.endswith("I agree")
    worn = whole.content.persona()
    assert worn.kind == "person" and worn.embedding is not None and float(worn.embedding @ pictures[0][1].embedding) > 0.99
    assert not {"age", "masculine", "seed", "sliders"} & set(worn.metadata)
    if os.name != "nt":
        assert path.stat().st_mode & 0o077 == 0


def test_photographs_of_somebody_else_leave_nothing_behind(tmp_path: Path, quick: None) -> None:
    eyes = looker()
    cast(Any, eyes.embedders).who = [2]
    pictures = [("p.png", eyes.photograph(photo(tmp_path / "p.png")))]
    with pytest.raises(PersonaError, match=r"photographs of the person before the camera.*p\.png"):
        enrol.make(wanted(tmp_path / "ada.safetensors"), pictures, sat(), eyes)
    assert {p.name for p in tmp_path.iterdir()} <= {"p.png"}


def test_the_nearest_of_the_mixes_is_taken_and_the_likest_are_its_parents(monkeypatch: pytest.MonkeyPatch) -> None:
    target = persona.load("mei")
    assert target.embedding is not None
    drawn = enrol._mix.Mixed({}, {}, np.zeros((8, 8, 3), np.uint8))
    plans: list[Any] = []
    monkeypatch.setattr(enrol._mix, "_portrait", lambda plan, *_: plans.append(plan))
    monkeypatch.setattr(enrol._mix, "_made", lambda plan, *_: plans.append(plan) or drawn)
    nearness = [0.2, 0.7, 0.4, 0.1]
    found = enrol._mix.fit(target.embedding, np.log(np.array([120.0, 150.0, 190.0])), lambda *_: target.embedding * nearness[len(plans) - 1], tries=4)
    assert found == (drawn, pytest.approx(0.7)) and plans[-1] is plans[1] and len(plans) == 5
    parents = [one.persona.id for plan in plans for one in plan.parents]
    assert parents.count("mei") >= 4


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    try:
        main(["persona", *words])
        code = 0
    except SystemExit as ended:
        code = int(ended.code or 0)
    out = capsys.readouterr()
    return code, out.out, out.err


def enrolling(tmp_path: Path, *more: str) -> tuple[str, ...]:
    given = {"--photos": str(photo(tmp_path / "p.png")), "--name": "Ada L.", "--scope": "tests", "-o": str(tmp_path / "ada.safetensors")}
    given |= dict(zip(more[::2], more[1::2], strict=True))
    return ("enrol", *(word for pair in given.items() for word in pair))


@pytest.mark.parametrize(
    ("more", "match"),
    [
        (("--camera", "demo"), "may be a recording"),
        (("--camera", "clip.mp4"), "may be a recording"),
        (("--months", "13"), "1 to 12 months"),
        (("--name", "x" * 81), "--name expected"),
        (("--scope", " "), "--scope expected"),
    ],
)
def test_the_command_refuses_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str], more: tuple[str, ...], match: str) -> None:
    code, _, err = run(capsys, *enrolling(tmp_path, *more))
    assert code in (1, 2) and match in err
    assert not (tmp_path / "ada.safetensors").exists()


@pytest.mark.parametrize(("terminal", "answer", "match"), [(False, "", "a terminal at which"), (True, "yes", "no consent was given")])
def test_consent_is_typed_at_a_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, terminal: bool, answer: str, match: str
) -> None:
    monkeypatch.setattr(_live_only, "vet", lambda spec: "HD Webcam")
    monkeypatch.setattr(_persona_enrol.sys.stdin, "isatty", lambda: terminal, raising=False)
    monkeypatch.setattr("builtins.input", lambda *_: answer)
    code, out, err = run(capsys, *enrolling(tmp_path))
    assert code == 2 and match in err and "biometric data" in out
    assert not (tmp_path / "ada.safetensors").exists()


def test_show_verify_and_revoke_tell_what_there_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(persona_maker.write_person(tmp_path / "ada.safetensors"))
    code, out, _ = run(capsys, "show", path)
    assert code == 0 and "consent record" in out and "I agree" not in out.split("answer")[0] and "biometric data" in out
    code, out, _ = run(capsys, "verify", path)
    assert code == 0 and "may be worn" in out and "NO" not in out
    code, _, err = run(capsys, "revoke", path)
    assert code == 2 and "--yes" in err
    code, out, _ = run(capsys, "revoke", path, "--yes")
    assert code == 0 and "revoked: ada-1" in out
    code, out, _ = run(capsys, "verify", path)
    assert code == 1 and "NO  refused" in out and "is not worn" in out
    code, _, err = run(capsys, "show", path)
    assert code == 1 and "revoked" in err


def test_export_and_import_ask_for_the_passphrase(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    path, packed = str(persona_maker.write_person(tmp_path / "ada.safetensors")), str(tmp_path / "ada.export")
    code, _, err = run(capsys, "export", path, "-o", packed)
    assert code == 2 and "terminal" in err
    typed = ["correct horse", "another one"]
    monkeypatch.setattr(_persona_trust.sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(_persona_trust.getpass, "getpass", lambda _: typed.pop(0))
    monkeypatch.setattr(_seal, "SCRYPT_N", 2**4)
    code, _, err = run(capsys, "export", path, "-o", packed)
    assert code == 2 and "twice" in err and not Path(packed).exists()
    typed[:] = ["correct horse"] * 3
    code, out, _ = run(capsys, "export", path, "-o", packed)
    assert code == 0 and "livecam persona import" in out
    code, out, _ = run(capsys, "import", packed, "-o", str(tmp_path / "home.safetensors"))
    assert code == 0 and "Ada L." in out and persona.load(tmp_path / "home.safetensors").kind == "person"


def test_sign_and_trust_at_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = persona_maker.write(tmp_path / "p.safetensors", signed=False)
    code, out, _ = run(capsys, "sign", str(path), "--yes")
    assert code == 0 and "You vouch" in out and persona.load(path).id == "drawn"
    of_person = persona_maker.write(tmp_path / "q.safetensors", texts={"kind": "person"}, signed=False)
    code, _, err = run(capsys, "sign", str(of_person), "--yes")
    assert code == 1 and "one of a person" in err
    theirs = "ab" * 32
    code, out, _ = run(capsys, "trust", theirs, "--name", "Eve", "--yes")
    assert code == 0 and _keys.fingerprint(theirs) in out
    code, out, _ = run(capsys, "trust")
    assert "Eve" in out and "your key" in out
    code, out, _ = run(capsys, "trust", theirs, "--remove")
    assert code == 0 and not _keys.read_list(_keys.TRUSTED)
    code, _, err = run(capsys, "trust", "nonsense")
    assert code == 2 and "hex digits" in err
