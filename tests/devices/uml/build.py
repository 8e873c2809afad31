"""Builds a user-mode Linux kernel with a virtual webcam (vivid) and v4l2loopback, for the V4L2 tests on machines that have neither.

    python tests/devices/uml/build.py            build if the cache has none (about 10 CPU-minutes, 2 GB of scratch space); prints the folder
    python tests/devices/uml/build.py --check    only say whether it is built; exit code 1 when it is not

The kernel is an ordinary program: it needs no /dev/kvm, no modules of the host and no reboot.  Sources come from Debian's own packages
`linux-source-6.1` and `v4l2loopback-dkms` (fetched, not installed).  The result (about 7 MB: linux, *.ko) lies in ~/.cache/livecam-uml/<versions>,
outside the clone; $LIVECAM_UML_CACHE moves it.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

KERNEL_PACKAGE = "linux-source-6.1"
LOOPBACK_PACKAGE = "v4l2loopback-dkms"
"""Debian 12's: the kernel has a user-mode `vivid`, and v4l2loopback 0.12.7 has the exclusive_caps fault that livecam must name."""

TOOL_PACKAGES = ("gcc", "libc6-dev", "make", "flex", "bison", "bc", "xz-utils", "libelf-dev", "kmod")
TOOLS = ("gcc", "make", "flex", "bison", "bc", "xz", "dpkg-deb", "strip")

CONFIG_ON = tuple(
    """
    64BIT MODULES MODULE_UNLOAD PRINTK TTY PROC_FS PROC_SYSCTL SYSFS DEVTMPFS DEVTMPFS_MOUNT TMPFS SHMEM HOSTFS BINFMT_ELF BINFMT_SCRIPT
    FUTEX EPOLL SIGNALFD TIMERFD EVENTFD AIO ADVISE_SYSCALLS MEMBARRIER RSEQ FILE_LOCKING POSIX_TIMERS MULTIUSER INOTIFY_USER MEMFD_CREATE
    HIGH_RES_TIMERS NO_HZ_IDLE UNIX NET INET SYSVIPC FHANDLE STDERR_CONSOLE SSL NULL_CHAN FD_CHAN MAGIC_SYSRQ BLOCK KALLSYMS VIRTIO_UML
    UML_PCI_OVER_VIRTIO FB FONT_SUPPORT FONTS FONT_8x16 MEDIA_SUPPORT MEDIA_SUPPORT_FILTER MEDIA_CAMERA_SUPPORT MEDIA_TEST_SUPPORT
    MEDIA_PLATFORM_SUPPORT VIDEO_DEV V4L_TEST_DRIVERS CC_OPTIMIZE_FOR_PERFORMANCE
    """.split()  # noqa: SIM905 - a list of fifty is no easier to read
)
"""On top of `tinyconfig`. UML_PCI_OVER_VIRTIO is there because vivid wants DMA, and fonts because vivid writes text into its picture."""
CONFIG_OFF = ("CC_OPTIMIZE_FOR_SIZE", "DEBUG_INFO", "VIDEO_VIVID_CEC")
CONFIG_NEEDED = {"VIDEO_VIVID": "m", "VIDEO_DEV": "y", "HOSTFS": "y", "DEVTMPFS": "y", "MODULES": "y"}


class BuildError(Exception):
    """The kernel cannot be had here; the text says why and what to do."""


def cache_root() -> Path:
    """Where built kernels lie."""
    return Path(os.environ.get("LIVECAM_UML_CACHE") or Path.home() / ".cache" / "livecam-uml")


def source_version(package: str) -> str:
    """The version of `package` that apt would fetch. Raises BuildError."""
    if shutil.which("apt-cache") is None:
        raise BuildError("user-mode Linux is built from Debian's packages, but apt-cache is not here; use Debian 12 or a container of it")
    shown = subprocess.run(["apt-cache", "policy", package], capture_output=True, text=True, check=False, env={**os.environ, "LC_ALL": "C"}).stdout
    found = re.search(r"Candidate: (\S+)", shown)
    if found is None or found[1] == "(none)":
        raise BuildError(f"apt knows no package {package}; on Debian 12 run `apt-get update`, on other systems use a Debian 12 container")
    return found[1]


def built_folder() -> Path:
    """The cache folder for the versions that apt would fetch now and this recipe; it exists only when it is complete. Raises BuildError."""
    recipe = hashlib.sha256(" ".join((*CONFIG_ON, *CONFIG_OFF)).encode()).hexdigest()[:8]
    versions = f"{source_version(KERNEL_PACKAGE)}_{source_version(LOOPBACK_PACKAGE)}_{recipe}"
    return cache_root() / re.sub(r"[^A-Za-z0-9._+~-]", "-", versions)


def find_built() -> Path | None:
    """The newest kernel of the cache, None when there is none; asks nobody, so that collecting tests stays fast."""
    kernels = sorted(cache_root().glob("[!.]*/linux"), key=lambda path: path.stat().st_mtime)
    return kernels[-1].parent if kernels else None


def _run(command: Sequence[str], folder: Path, *, purpose: str) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, env={**os.environ, "ARCH": "um", "LC_ALL": "C"})
    if done.returncode:
        errors = [line for line in (done.stdout + done.stderr).splitlines() if "warning:" not in line and "note:" not in line]
        raise BuildError(f"{purpose} failed ({' '.join(command[:4])} ..., exit code {done.returncode}):\n" + "\n".join(errors[-15:]))


def ensure_tools() -> None:
    """Installs the compiler and its helpers when some are missing and this is root. Raises BuildError with the command otherwise."""
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if not missing and Path("/usr/include/libelf.h").exists():
        return
    command = ["apt-get", "install", "-y", "--no-install-recommends", *TOOL_PACKAGES]
    if os.geteuid() != 0:
        names = ", ".join(missing) or "libelf headers"
        raise BuildError(f"tools for building a kernel are missing ({names}); install them with: sudo {' '.join(command)}")
    _run(command, Path("/"), purpose="installing the build tools")


def fetch(package: str, scratch: Path) -> Path:
    """Fetches and unpacks a Debian package without installing it; returns the folder that holds its files. Raises BuildError."""
    unpacked = scratch / package
    unpacked.mkdir()
    _run(["apt-get", "download", package], unpacked, purpose=f"fetching {package} (is there a network?)")
    deb = next(unpacked.glob("*.deb"))
    _run(["dpkg-deb", "-x", str(deb), str(unpacked)], unpacked, purpose=f"unpacking {package}")
    deb.unlink()
    return unpacked


def configure(tree: Path) -> None:
    """Writes .config: the smallest kernel, plus what CONFIG_* name. Raises BuildError when an option did not hold."""
    _run(["make", "-s", "tinyconfig"], tree, purpose="the smallest kernel configuration")
    switches = [part for name in CONFIG_ON for part in ("-e", name)] + [part for name in CONFIG_OFF for part in ("-d", name)]
    _run(["scripts/config", *switches, "-m", "VIDEO_VIVID", "--set-val", "UML_PCI_OVER_VIRTIO_DEVICE_ID", "1234"], tree, purpose="kernel options")
    _run(["make", "-s", "olddefconfig"], tree, purpose="the kernel configuration")
    config = (tree / ".config").read_text()
    lost = [name for name, value in CONFIG_NEEDED.items() if f"CONFIG_{name}={value}\n" not in config]
    if lost:
        raise BuildError(f"the kernel configuration lost {', '.join(lost)}; {KERNEL_PACKAGE} has changed, and CONFIG_ON in {__file__} wants a look")


def build(jobs: int) -> Path:
    """Builds into the cache and returns the folder; returns at once when it is there. Raises BuildError."""
    with contextlib.suppress(BuildError):  # a fresh machine has no package lists yet
        if (built_folder() / "linux").exists():
            return built_folder()
    if os.geteuid() == 0 and shutil.which("apt-get"):
        _run(["apt-get", "update"], Path("/"), purpose="updating the package lists (is there a network?)")
    target = built_folder()
    if (target / "linux").exists():
        return target
    ensure_tools()
    cache_root().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="livecam-uml-") as name:
        scratch = Path(name)
        scratch.chmod(0o755)
        archive = next((fetch(KERNEL_PACKAGE, scratch) / "usr/src").glob("linux-source-*.tar.xz"))
        _run(["tar", "xf", str(archive), "-C", str(scratch)], scratch, purpose="unpacking the kernel's source")
        tree = next(path for path in scratch.glob("linux-source-*") if (path / "Kconfig").exists())
        configure(tree)
        make = ["nice", "-n", "10", "make", "-s", f"-j{jobs}"]
        _run([*make, "linux", "modules"], tree, purpose="building the kernel")
        loopback = next((fetch(LOOPBACK_PACKAGE, scratch) / "usr/src").glob("v4l2loopback-*"))
        _run([*make, "-C", str(tree), f"M={loopback}", "modules"], loopback, purpose="building v4l2loopback")
        _keep(tree, loopback, target)
    return target


def _keep(tree: Path, loopback: Path, target: Path) -> None:
    """Puts the results into `target` in one step, so that a folder that exists is complete."""
    with tempfile.TemporaryDirectory(prefix=".new-", dir=target.parent) as name:
        fresh = Path(name) / "done"
        fresh.mkdir()
        _run(["strip", "-o", str(fresh / "linux"), "linux"], tree, purpose="stripping the kernel")
        for module in [tree / path for path in (tree / "modules.order").read_text().split()] + [loopback / "v4l2loopback.ko"]:
            module = module.with_suffix(".ko")
            _run(["strip", "--strip-debug", "-o", str(fresh / module.name), str(module)], tree, purpose=f"stripping {module.name}")
        if target.exists():
            shutil.rmtree(target)
        fresh.rename(target)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="Build the user-mode Linux kernel of the V4L2 tests.")
    parser.add_argument("--check", action="store_true", help="only say whether it is built")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="compilers at once (default: one per core)")
    options = parser.parse_args()
    try:
        if options.check:
            found = find_built()
            print(found or f"not built; build it with: python {Path(__file__).name}")
            return 0 if found else 1
        print(build(options.jobs))
    except BuildError as error:
        print(f"cannot build user-mode Linux: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
