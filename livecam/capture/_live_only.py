"""Real cameras alone: for enrolment, where the person must be in front of one. What plays something prepared is refused by construction.

Files, clips, network streams and the demo are other members of this room and are never opened here. Of cameras, Linux says what they are: driver, bus
and place in sysfs tell loopbacks and test drivers from hardware. Elsewhere only names are known, and a camera without one is refused.

What cannot be told: a USB device that pretends to be a webcam, or a capture card with a player behind it. The random prompts are for those.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from livecam.capture import _v4l2
from livecam.capture._choose import AUTO
from livecam.errors import UsageError

VIRTUAL_DRIVERS = frozenset({"vivid", "vimc", "vim2m", "akvcam", "v4l2-pipewire", "uvc-gadget"}) | _v4l2.LOOPBACK_DRIVERS
HARDWARE_BUSES = ("usb-", "pci:", "pci-", "platform:", "i2c:")
"""What a real camera's `bus_info` begins with (kernel's Documentation/userspace-api/media/v4l/vidioc-querycap)."""
VIRTUAL_NAMES = (
    "obs virtual", "obs-camera", "virtual cam", "virtual video", "virtual webcam", "loopback", "dummy video", "livecam", "pipewire", "akvcam",
    "manycam", "xsplit", "snap camera", "snapcam", "mmhmm", "droidcam", "iriun", "epoccam", "ndi ", "vcam",
    "unity video", "e2esoft", "splitcam", "avatarify",
    "camtwist", "syphon", "screen capture", "chromacam", "camo", "vtube", "webcamoid", "fake",
)  # fmt: skip
PRELOAD = "LD_PRELOAD"
PRELOADED = ("v4l2", "libv4l", "pw-")
WAY_OUT = "enrolment takes a camera that is plugged in or built in; choose one of those with --camera (`livecam devices` lists them)"


def vet(spec: str, sysfs: Path = _v4l2.SYSFS) -> str:
    """The name of the real camera that `spec` means; raises UsageError for everything else, CaptureError when there is no such camera."""
    if sys.platform == "linux":
        return _vet_linux(spec, sysfs)
    return _vet_named(spec)


def _vet_linux(spec: str, sysfs: Path) -> str:
    from livecam.capture import _linux

    if spec in ("-", AUTO) or not (spec.isdigit() or spec.startswith("/dev/video") or _is_name(spec)):
        raise UsageError(f"camera {spec!r}: expected a camera, found none of that name, or what may be a recording; {WAY_OUT}")
    preload = os.environ.get(PRELOAD, "")
    if any(word in preload.lower() for word in PRELOADED):
        raise UsageError(f"camera {spec!r}: expected nothing between it and livecam, found {PRELOAD}={preload!r}; start livecam without it")
    path = _linux.path_of(spec)
    node = _v4l2.query(path)
    if why := virtual(node, sysfs):
        raise UsageError(f"{path} ({node.card}): expected a real camera, found {why}; {WAY_OUT}")
    return f"{node.card} ({path})"


def virtual(node: _v4l2.Node, sysfs: Path = _v4l2.SYSFS) -> str:
    """Why a node is no real camera; "" when nothing says so."""
    name = Path(os.path.realpath(node.path)).name
    place = os.path.realpath(sysfs / name) if (sysfs / name).exists() else ""
    if node.virtual or node.own or node.driver.lower() in VIRTUAL_DRIVERS:
        return f"the virtual driver {node.driver!r}"
    if word := named_virtual(node.card):
        return f"a name that virtual cameras have ({word.strip()})"
    if not node.bus.lower().startswith(HARDWARE_BUSES) or "loopback" in node.bus.lower():
        return f"a bus that no camera is plugged into ({node.bus or 'none'})"
    if not place or "/devices/virtual/" in place:
        return "a device that the system has no hardware for"
    return ""


def named_virtual(name: str) -> str:
    """The part of a name that virtual cameras have, "" without."""
    return next((word for word in VIRTUAL_NAMES if word in name.lower()), "")


def _is_name(spec: str) -> bool:
    """A part of the name of a camera that is there, and no file or address."""
    if "://" in spec or "/" in spec or Path(spec).exists():
        return False
    return any(node.captures and spec.lower() in node.card.lower() for node in _v4l2.nodes())


def _vet_named(spec: str) -> str:
    from livecam.capture import opencv

    if "://" in spec or "/" in spec or "\\" in spec or Path(spec).exists() or spec == AUTO:
        raise UsageError(f"camera {spec!r}: expected a camera, found none of that name, or what may be a recording; {WAY_OUT}")
    device = next((one for one in opencv.devices() if one.spec == spec or spec.lower() in one.name.lower()), None)
    if device is None or device.name == f"Camera {device.spec}":
        raise UsageError(f"camera {spec!r}: on this system livecam cannot tell a real camera from a virtual one; enrol on Linux, and use "
                         "`livecam persona export` and `import`")  # fmt: skip
    if word := named_virtual(device.name):
        raise UsageError(f"camera {device.name!r}: expected a real camera, found a name that virtual ones have ({word.strip()}); {WAY_OUT}")
    return device.name


def device(spec: str) -> str:
    """What to open for a camera that was vetted: its path on Linux, elsewhere its number."""
    if sys.platform == "linux":
        from livecam.capture import _linux

        return _linux.path_of(spec)
    return spec
