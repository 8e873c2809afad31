"""The folder for locks and sockets of running processes: this user's own, and nobody else's to look into."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

from livecam.errors import UsageError


def runtime_dir() -> Path:
    """The folder, made if it is missing: in the session's runtime directory (XDG Base Directory), else in the temporary folder, where everybody may
    make folders: one that is not this user's own, or is open to others, is not used. Raises UsageError, OSError."""
    session = os.environ.get("XDG_RUNTIME_DIR", "")
    if session and os.access(session, os.W_OK):
        folder = Path(session) / "livecam"
    else:
        folder = Path(tempfile.gettempdir()) / f"livecam-{getattr(os, 'getuid', lambda: 0)()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if os.name != "nt":
        about = folder.lstat()
        if stat.S_ISDIR(about.st_mode) and about.st_uid == os.geteuid() and about.st_mode & 0o077:
            folder.chmod(0o700)  # made by an older version, or under another umask
            about = folder.lstat()
        if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.geteuid() or about.st_mode & 0o077:
            raise UsageError(
                f"{folder} should be a folder of your own that is closed to others; found one of user {about.st_uid}, mode "
                f"{stat.filemode(about.st_mode)}; remove it, or name another place with XDG_RUNTIME_DIR=DIR"
            )
    return folder
