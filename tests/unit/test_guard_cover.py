"""Pictures that are safe whatever happens."""

from __future__ import annotations

import numpy as np
import pytest

from livecam.errors import UsageError
from livecam.guard import cover, reveal


@pytest.mark.parametrize("size", [(1280, 720), (640, 480), (33, 17), (1, 1), (7, 300)])
def test_a_covered_picture_keeps_sixteen_blocks_at_most(size: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), np.uint8)
    before, where = image.copy(), image.ctypes.data
    cover.pixelate(image)
    assert image.ctypes.data == where, "in place"
    assert len(np.unique(image[0], axis=0)) <= 16
    assert (np.diff(image.astype(int), axis=1) != 0).any(axis=2).sum(axis=1).max(initial=0) <= 15
    if size[0] > 100 and size[1] > 100:
        assert abs(image.astype(float).mean() - before.mean()) < 3.0
        assert np.corrcoef((image - image.mean()).ravel(), (before - before.mean()).ravel())[0, 1] < 0.2


@pytest.mark.parametrize("size", [(1920, 1080), (320, 180), (480, 640), (16, 9), (1, 1)])
def test_the_slate_has_its_size_and_says_why(size: tuple[int, int]) -> None:
    one, other = cover.slate(*size, "The camera is coming back"), cover.slate(*size, "ünïcode and a line so long that it has to be made smaller " * 3)
    assert one.shape == other.shape == (size[1], size[0], 3) and one.dtype == np.uint8 and one.flags.c_contiguous
    if size[0] >= 320:
        assert (one != other).any(), "the text is in it"
        assert one.max() > 200, "the name is in it"
        assert np.array_equal(one, cover.slate(*size, "The camera is coming back"))


def test_the_watermark_is_all_over() -> None:
    image = np.full((720, 1280, 3), 128, np.uint8)
    cover.watermark(image)
    blocks = (image != 128).any(axis=2).reshape(4, 180, 4, 320).any(axis=(1, 3))
    assert blocks.all()


def test_unmasked_pictures_need_the_words() -> None:
    assert isinstance(reveal.grant("  Show my  real face\n"), reveal.RevealGrant)
    for wrong in ("", "yes", "show my face"):
        with pytest.raises(UsageError, match="real face"):
            reveal.grant(wrong)
    with pytest.raises(UsageError):
        reveal.RevealGrant(None)
    import pickle

    with pytest.raises(UsageError, match="stored"):
        pickle.dumps(reveal.grant(reveal.WORDS))


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("found nothing at /home/ann lee/talk.mp4; check the name", "found nothing at ..."),
        ("'C:\\Users\\ann\\me.safetensors' is no persona", "..."),
        ("no picture from rtsp://ann:word@10.0.0.2/live", "no picture from ..."),
        ("/dev/video7: expected a camera, found no such device", "/dev/video7: expected a camera, found no such device"),
        ("The camera is coming back", "The camera is coming back"),
    ],
)
def test_viewers_see_no_path_and_no_password(line: str, shown: str) -> None:
    assert cover.for_viewers(line) == shown
    assert np.array_equal(cover.slate(640, 360, line), cover.slate(640, 360, shown))
