"""Enrolment: a person's persona, made by that person in front of the camera (`livecam persona enrol`). Decisions are persona/_prompts, _flat, _match.

Nothing is written until everything has passed; pictures of the camera and photographs stay in memory and are let go.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

import livecam
from livecam import capture, detect, track
from livecam.capture import Capture, _live_only
from livecam.config import CaptureConfig, DetectConfig, TrackConfig
from livecam.errors import CaptureError, PersonaError
from livecam.persona import _consent, _files, _match, _mix
from livecam.persona._consent import Record
from livecam.persona._prompts import Observation, Session, Status
from livecam.persona._warp import skin_colour
from livecam.persona.embed import Embedders
from livecam.store import Store
from livecam.track._eyes import head_deg
from livecam.types import F32, F64, U8, Face, Frame

EMBEDDER = "sface"
LIPS, MOUTH_CORNERS = (13, 14), (61, 291)
"""Middle of the inner lips; corners of the mouth."""
PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
MOST_PHOTOGRAPHS, MOST_BYTES, MOST_SIDE_PX, READ_SIDE_PX = 30, 40_000_000, 16_000, 1600
LEAST_FACE_PX = 80.0
"""Smaller faces say too little of who they are (SFace sees 112 px)."""
LOOKS = 4
"""Times that a photograph is looked at: the tracker's landmarks have settled then."""
PHOTO_STEP_NS = 33_000_000
Show = Callable[[Status], None]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be made. subject: the name the person chose; issued, expires: seconds since 1970, as in the statement; answer: as typed below it;
    output: file."""

    subject: str
    scope: str
    issued: int
    expires: int
    answer: str
    output: Path
    force: bool = False


@dataclass(frozen=True, slots=True)
class Likeness:
    """A face as it is compared. embedding: (128,) of length 1; skin: (3,) log B, G, R."""

    embedding: F32
    skin: F64


@dataclass(frozen=True, slots=True)
class Sat:
    """A session that passed. camera: name."""

    camera: str
    session: Session
    live: tuple[Likeness, ...]


class Looker:
    """The networks that look: detector, tracker, embedder. Used by one thread."""

    def __init__(self, cache_dir: Path, threads: int = 1) -> None:
        self.store = Store(cache_dir)
        self._detector = detect.load("yunet", DetectConfig(), self.store, threads)
        self._tracker = track.load("mediapipe", TrackConfig(), self.store, threads)
        self.embedders = Embedders(self.store, threads)

    def begin(self) -> None:
        """Forgets every face."""
        self._tracker.reset()

    def look(self, frame: Frame) -> tuple[tuple[Face, ...], Observation]:
        """The faces of a frame of the camera, every one of which is searched as a whole."""
        found = self._detector.detect(frame.image)
        faces = self._tracker.update(frame, found)
        return faces, observe(faces, len(found), frame.capture_ns / 1e9)

    def photograph(self, path: Path) -> Likeness:
        """The face on a photograph. Raises PersonaError: it cannot be read, or does not show one face, large enough."""
        image = read_picture(path)
        found = self._detector.detect(image)
        if len(found) != 1:
            raise PersonaError(f"{path}: expected a photograph with one face, found {len(found) or 'none'}; give photographs of yourself alone")
        self._tracker.reset()
        faces: tuple[Face, ...] = ()
        for k in range(LOOKS):
            faces = self._tracker.update(Frame(image, (k + 1) * PHOTO_STEP_NS, k), found if k == 0 else None)
        if len(faces) != 1 or faces[0].mesh_px is None:
            raise PersonaError(f"{path}: expected a face that can be followed, found none; give a photograph from the front, in even light")
        width = float(np.ptp(faces[0].mesh_px[:, 0]))
        if width < LEAST_FACE_PX:
            raise PersonaError(f"{path}: expected a face at least {LEAST_FACE_PX:.0f} px wide, found {width:.0f}; give one taken from nearer")
        return self.likeness(image, faces[0], str(path))

    def likeness(self, image: U8, face: Face, what: str) -> Likeness:
        """What a face is compared by. Raises PersonaError."""
        assert face.mesh_px is not None
        try:
            return Likeness(self.embedders.of_picture(image, face.mesh_px, EMBEDDER, what), skin_colour(image, face.mesh_px))
        except (ValueError, IndexError, ZeroDivisionError, cv2.error, np.linalg.LinAlgError) as error:
            raise PersonaError(f"{what}: expected a face that can be aligned, found one that cannot: {error}; try another picture") from error


def observe(faces: tuple[Face, ...], found: int, at_s: float) -> Observation:
    """What the session is told of a frame. faces: tracked; found: by the whole-frame search."""
    count = max(found, len(faces))
    if not faces or faces[0].mesh_px is None:
        return Observation(at_s, count)
    face = faces[0]
    mesh = np.asarray(faces[0].mesh_px, np.float64)
    yaw, pitch = head_deg(mesh)
    gaze = 0.0 if face.gaze_deg is None else float(face.gaze_deg[:, 0].mean())
    lids = 1.0 if face.eye_open is None else float(face.eye_open.mean())
    lips, corners = (float(np.linalg.norm(mesh[a] - mesh[b])) for a, b in (LIPS, MOUTH_CORNERS))
    return Observation(at_s, count, face.track_id, yaw, pitch, gaze, lids, lips / max(corners, 1e-6), np.asarray(mesh, np.float32))


def photographs(given: Sequence[Path]) -> tuple[Path, ...]:
    """The picture files meant: files, and those in folders. Raises PersonaError."""
    found: list[Path] = []
    for path in given:
        if path.is_dir():
            found += sorted(one for one in path.iterdir() if one.suffix.lower() in PICTURES)
        else:
            found.append(path)
    if not 1 <= len(found) <= MOST_PHOTOGRAPHS:
        raise PersonaError(f"expected 1 to {MOST_PHOTOGRAPHS} photographs ({', '.join(PICTURES)}), found {len(found)}; name them with --photos")
    return tuple(found)


def read_picture(path: Path) -> U8:
    """A photograph, upright, at most 1600 px a side. Raises PersonaError."""
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise PersonaError(f"{path}: expected a photograph, found that it cannot be read: {error}") from error
    size = _files.picture_size(data)
    if len(data) > MOST_BYTES or (size is not None and max(size) > MOST_SIDE_PX):
        most = f"{MOST_BYTES} bytes and {MOST_SIDE_PX} px a side"
        raise PersonaError(f"{path}: expected a photograph of at most {most}, found a larger one; scale it down")
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
    except cv2.error:
        image = None
    if image is None:
        raise PersonaError(f"{path}: expected a photograph ({', '.join(PICTURES)}), found a file that cannot be decoded")
    scale = READ_SIDE_PX / max(image.shape[:2])
    if scale < 1.0:
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(image, np.uint8)


def open_camera(spec: str, config: CaptureConfig) -> tuple[Capture, str]:
    """A real camera and its name. Raises UsageError (it may play what somebody prepared), CaptureError."""
    name = _live_only.vet(spec)
    path = _live_only.device(spec)
    opened: Capture = capture.load("opencv").open(path, replace(config, camera=path))
    if _live_only.vet(path) != name:  # it was exchanged between the two
        opened.close()
        raise CaptureError(f"camera {spec!r}: expected the same device before and after opening, found another; try again")
    return opened, name


def sit(camera: Capture, name: str, looker: Looker, show: Show, session: Session | None = None) -> Sat:
    """The prompts, in front of an open camera. show: told the state after each frame. Raises PersonaError (it ended without success),
    CaptureError."""
    looker.begin()
    run = session or Session()
    kept: list[Likeness] = []
    while True:
        frame = camera.read()
        faces, seen = looker.look(frame)
        status = run.feed(seen)
        if status.keep and len(faces) == 1:
            kept.append(looker.likeness(frame.image, faces[0], "the live picture"))
        show(status)
        if status.failure:
            raise PersonaError(f"enrolment ended: {status.failure}; nothing was written")
        if status.ended:
            return Sat(name, run, tuple(kept))


def make(wanted: Wanted, pictures: Sequence[tuple[str, Likeness]], sat: Sat, looker: Looker) -> tuple[Record, float]:
    """Compares, mixes, records, encrypts, signs, writes. pictures: the photographs, by name. Returns the record and how near the mixed portrait comes
    (cosine). Raises PersonaError: they are not one person's, or it cannot be written."""
    match = _match.match([one.embedding for one in sat.live], [one.embedding for _, one in pictures], [name for name, _ in pictures])
    skin = np.median([one.skin for one in (*sat.live, *(one for _, one in pictures))], axis=0)

    def embed(picture: U8, mesh: F32) -> F32:
        return looker.embedders.of_picture(picture, mesh, EMBEDDER, "a mixed portrait")

    mixed, near = _mix.fit(match.embedding, skin, embed)
    record = _record(wanted, match, sat, looker)
    texts = {key: value for key, value in mixed.metadata.items() if key not in ("age", "masculine", "seed", "sliders")} | {
        "id": record.id, "name": wanted.subject, "kind": "person", "maker": "livecam persona enrol", "licence": "by this person's consent alone",
        "description": f"A persona of {wanted.subject}, by consent until {_consent.day(record.expires)}", "embedding_model": EMBEDDER,
    }  # fmt: skip
    _files.write_person(wanted.output, {**mixed.tensors, "embedding": match.embedding}, texts, record, wanted.force)
    return record, near


def _record(wanted: Wanted, match: _match.Match, sat: Sat, looker: Looker) -> Record:
    statement = _consent.shown(wanted.subject, wanted.scope, wanted.expires)
    slug = "".join(c if c.isascii() and c.isalnum() else "-" for c in wanted.subject.lower()).strip("-") or "person"
    prompts = tuple({"asked": one.action.value, "asked_s": one.asked_s, "done_s": one.done_s} for one in sat.session.passed)
    return Record(
        id=f"{slug[:40]}-{secrets.token_hex(4)}", subject=wanted.subject, scope=wanted.scope, statement=statement,
        statement_sha256=_consent.sha256(statement), answer=wanted.answer,
        given="typed at the terminal below the statement, then shown before the camera",
        issued=wanted.issued, expires=wanted.expires, livecam=livecam.__version__, embedder=EMBEDDER,
        embedder_sha256=looker.store.cards[EMBEDDER].sha256, embedding_sha256=hashlib.sha256(match.embedding.tobytes()).hexdigest(),
        camera=sat.camera, prompts=prompts, flatness=round(min(sat.session.departures), 4), match=tuple(round(score, 4) for score in match.scores),
        threshold=_match.SAME_PERSON,
    )  # fmt: skip
