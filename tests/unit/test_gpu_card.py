"""The frame on a card, in Triton's interpreter: the same picture as the CPU path, recorded once and replayed; and what happens when it fails."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import onnx_models
import pytest
from recorders import Counting

torch = pytest.importorskip("torch", reason="the extra torch is not installed")
pytest.importorskip("triton", reason="the extra torch is not installed (triton)")
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
if DEVICE == "cpu":
    os.environ["TRITON_INTERPRET"] = "1"

from livecam import align, detect, gpu, image, runtimes, swap, track  # noqa: E402
from livecam.config import Config, DetectConfig, SwapConfig, TrackConfig  # noqa: E402
from livecam.errors import DeviceLostError, StageError, UsageError  # noqa: E402
from livecam.gpu import card as cards  # noqa: E402
from livecam.gpu.lite import Refiner  # noqa: E402
from livecam.guard import cover  # noqa: E402
from livecam.pipeline import Pipeline  # noqa: E402
from livecam.store import Store  # noqa: E402
from livecam.swap import _lite_tensor as tensor  # noqa: E402
from livecam.telemetry import Telemetry  # noqa: E402
from livecam.types import Alignment, Frame, Swapped, Verdict  # noqa: E402

MODELS = Path.home() / ".cache" / "livecam"


def smooth(height: int, width: int, seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).random((height, width, 3), np.float32)
    return cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 2.0), None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)


def disc(size: int) -> np.ndarray:
    alpha = np.zeros((size, size), np.uint8)
    cv2.circle(alpha, (size // 2, size // 2), size // 3, 255, -1)
    return cv2.blur(alpha, (3, 3))


def made() -> tuple[cards.Card, Counting]:
    counting = Counting()
    return (cards.Card(torch.device("cuda")), counting) if DEVICE == "cuda" else (cards.Card(torch.device("cpu"), counting), counting)


PLACE = Alignment(np.array([[0.9, 0.2, -20.0], [-0.2, 0.9, 4.0]]), 48)


def test_a_frame_goes_up_is_cut_and_drawn_into_as_on_the_cpu() -> None:
    card, counting = made()
    for seed in range(3):
        frame, crop = smooth(72, 96, seed), smooth(48, 48, 10 + seed)
        ours, plain = frame.copy(), frame.copy()
        card.begin(ours)
        assert np.abs(card.crop(ours, PLACE).astype(int) - image.crop_plain(frame, PLACE)).max() <= 1
        assert card.blend(ours, PLACE, crop, disc(48)) == image.paste_plain(plain, PLACE, crop, disc(48))
        assert np.abs(ours.astype(int) - plain).max() <= 1
        seen = card.crop(ours, PLACE)  # the next face's crop shows what was drawn for this one
        assert np.abs(seen.astype(int) - image.crop_plain(plain, PLACE)).max() <= 2
        card.end()
    if DEVICE == "cpu":
        assert (counting.recorded, counting.replayed) == (2, 9)


def test_work_is_recorded_anew_for_frames_of_another_size_alone() -> None:
    card, counting = made()
    for height in (40, 40, 56, 56):
        frame = smooth(height, 64, height)
        card.begin(frame)
        assert np.abs(card.crop(frame, PLACE).astype(int) - image.crop_plain(frame, PLACE)).max() <= 1
        card.end()
    assert DEVICE == "cuda" or counting.recorded == 2


def test_the_same_array_with_another_picture_is_another_frame() -> None:
    card, _ = made()
    frame = smooth(40, 64, 1)
    card.begin(frame)
    card.crop(frame, PLACE)
    card.end()
    frame[:] = smooth(40, 64, 2)
    assert np.abs(card.crop(frame, PLACE).astype(int) - image.crop_plain(frame, PLACE)).max() <= 1


def test_nothing_to_draw_and_wrong_frames() -> None:
    card, _ = made()
    frame = smooth(40, 64, 1)
    kept = frame.copy()
    card.begin(frame)
    assert card.blend(frame, PLACE, smooth(48, 48, 2), np.zeros((48, 48), np.uint8)) == image.NOTHING
    assert np.array_equal(frame, kept)
    with pytest.raises(StageError, match="uint8"):
        card.begin(frame.astype(np.float32))
    with pytest.raises(StageError, match="invertible"):
        card.crop(frame, Alignment(np.zeros((2, 3)), 48))


def test_lite_on_a_card_draws_what_it_draws_on_the_cpu(tmp_path: Path) -> None:
    folder = onnx_models.lite(tmp_path, 128, tint=0.05, film=6, shift_px=2.0)
    card, _ = made()
    network = card.open(folder / "lite128.onnx")
    plain = runtimes.load("onnx", folder / "lite128.onnx")
    refiner = Refiner(network, tensor.FLOW_LIMIT)
    assert refiner.fits(256) and not refiner.fits(320)
    veil, lines, eyes = smooth(128, 128, 1), smooth(128, 128, 2), disc(128)
    film = np.array([[0.5, -0.4, 1.0, 0.0, 0.0, 0.0]], np.float32)
    for size in (128, 256):
        drawing, mask = smooth(size, size, 3), disc(size)
        x = np.zeros((1, 10, 128, 128), np.float32)
        tensor.fill_plain(veil, tensor.resized(drawing, 128), tensor.resized(mask, 128), lines, x)
        fields = plain.run({"x": x, "film": film})
        crop, alpha = drawing.copy(), mask.copy()
        assert tensor.compose_plain(veil, eyes, fields["light"], fields["flow"], fields["change"], crop, alpha)
        drawn = Swapped(drawing.copy(), mask.copy())
        assert refiner.refine(veil, lines, eyes, film, drawn)
        assert np.abs(drawn.crop.astype(int) - crop).max() <= 1
        assert np.abs(drawn.mask.astype(int) - alpha).max() <= 1
        assert np.abs(drawn.crop.astype(int) - drawing).max() > 5
    network = card.open(onnx_models.lite(tmp_path / "nan", 128, nan=True) / "lite128.onnx")
    assert not Refiner(network, tensor.FLOW_LIMIT).refine(veil, lines, eyes, film, Swapped(smooth(128, 128, 3), disc(128)))


def test_a_card_that_fails_covers_the_frame_and_says_so() -> None:
    counting = Counting()
    card = cards.Card(torch.device("cpu"), counting)
    frame = smooth(40, 64, 1)
    card.begin(frame)
    card.crop(frame, PLACE)
    for text in ("CUDA out of memory. Tried to allocate 2.00 GiB", "CUDA error: unspecified launch failure\nmore"):
        counting.fail = text
        with pytest.raises(DeviceLostError, match=text.split("\n")[0][:24]):
            card.crop(frame, PLACE)


def test_where_there_is_no_card_it_is_said_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "DRIVER", "libcuda-that-is-not-there.so")
    assert "libcuda-that-is-not-there.so" in gpu.why_not()
    assert gpu.chosen("auto") == gpu.chosen("cpu") == "cpu"
    with pytest.raises(UsageError, match="--device cuda expected an NVIDIA card: no NVIDIA driver"):
        gpu.chosen("cuda")


def stages_of(card: cards.Card | None) -> Pipeline:
    """A whole pipeline with the mesh swapper, on a card or on the CPU. Skips without the models."""
    store = Store(MODELS)
    if not all(store.file_path(name).exists() for name in ("yunet", "face_landmark", "iris_landmark")):
        pytest.skip("the models are not on this machine: livecam models fetch --all")
    store.elsewhere = None if card is None else card.open
    config = Config(swap=SwapConfig(swap="mesh"), run_number=77)  # the same mark on both
    detector, tracker = detect.load("yunet", DetectConfig(), store), track.load("mediapipe", TrackConfig(), store)
    swapper = swap.load("mesh", config.swap, store)
    from livecam import persona

    swapper.wear(persona.load("noor"))
    return Pipeline(detector, tracker, swapper, config, Telemetry(), None, card)


def test_the_whole_pipeline_draws_the_same_picture() -> None:
    from livecam.capture import demo
    from livecam.config import CaptureConfig

    card, counting = made()
    ours, plain = stages_of(card), stages_of(None)
    shown = []
    with demo.open("demo", CaptureConfig(camera="demo", width_px=640, height_px=360, realtime=False)) as camera:
        for i in range(2):
            picture = camera.read().image
            one, other = (pipeline.process(Frame(picture.copy(), 10**9 + i * 33_000_000, i)) for pipeline in (ours, plain))
            assert one.verdict == other.verdict
            assert one.faces == other.faces == 1
            shown.append(one.verdict)
            apart = np.abs(one.image.astype(int) - other.image)
            drawn = np.abs(other.image.astype(int) - picture).max(axis=2) > 8
            assert (apart.max(axis=2) > 3).mean() < 0.02 * drawn.mean() + 0.001, i
    assert Verdict.LIVE in shown
    counting.fail = "CUDA error: the card has fallen off the bus"
    frame = smooth(360, 640, 5)
    lost = ours.process(Frame(frame, 2 * 10**9, 9))
    assert lost.verdict is Verdict.COVER
    if DEVICE == "cpu":
        assert "fallen off the bus" in ours.device_lost
        assert align.align  # the room is the same on both
        blocks = smooth(360, 640, 5)
        cover.pixelate(blocks, 16)
        apart = np.abs(lost.image.astype(int) - blocks).max(axis=2)
        assert (apart > 2).mean() < 0.02, "blocks, the hidden mark and the badge, nothing else"
