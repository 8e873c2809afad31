"""Every error that livecam raises on purpose.

    LivecamError                  base; its text says what was expected, what was found, and the way out
    ├── UsageError                an option, a config file or a combination of them cannot be served
    ├── MissingExtraError         an optional package is not installed; names the extra
    ├── CaptureError              camera, file or stream
    │   ├── DeviceAbsentError     no such device or file
    │   ├── DeviceBusyError       another program holds it
    │   ├── FormatError           it delivers something that cannot be used (or is no picture at all)
    │   ├── CaptureLostError      it was open and went away (unplugged, network gone); reopening may help
    │   └── EndOfStreamError      a file played once has ended
    ├── ModelError                a model file, card or runtime
    │   ├── ModelFileError        missing, truncated, altered (SHA-256), or not to be fetched
    │   ├── ModelShapeError       inputs or outputs are not what the card says
    │   ├── ParityError           a compiled network does not reproduce the reference outputs
    │   └── RuntimeAbsentError    a runtime cannot work on this machine: no card, no driver, no provider
    ├── PersonaError              a persona file is none, is damaged or is refused
    ├── StageError                a stage of the frame path failed on one frame
    │   └── DeviceLostError       the card that it ran on failed: no memory, or it is gone; nothing more will run there
    ├── GuardError                the worker or the shared memory broke a rule
    └── OutputError               a sink cannot be opened
        └── OutputLostError       it was open and went away (device gone, disk full, pipe broken)
"""

from __future__ import annotations


class LivecamError(Exception):
    """Base of all; `exit_code` is what the command line ends with."""

    exit_code = 1


class UsageError(LivecamError):
    """An option, a config file or a combination of them cannot be served."""

    exit_code = 2


class MissingExtraError(LivecamError):
    """An optional package is missing. package: import name; extra: name for `pip install 'livecam[extra]'`; purpose: what needs it."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(f"{purpose} needs the package {package!r}, which is not installed; install it with: pip install 'livecam[{extra}]'")
        self.package = package
        self.extra = extra


class CaptureError(LivecamError):
    """Camera, file or stream."""


class DeviceAbsentError(CaptureError):
    """No such device or file."""


class DeviceBusyError(CaptureError):
    """Another program holds the device."""


class FormatError(CaptureError):
    """The source delivers something that cannot be used."""


class CaptureLostError(CaptureError):
    """The source was open and went away; reopening may help."""


class EndOfStreamError(CaptureError):
    """A file played once has ended."""


class ModelError(LivecamError):
    """A model file, card or runtime."""


class ModelFileError(ModelError):
    """A model file is missing, truncated, altered, or cannot be fetched."""


class ModelShapeError(ModelError):
    """A model's inputs or outputs are not what its card says."""


class ParityError(ModelError):
    """A compiled network does not reproduce the reference outputs; its numbers stand in the text."""


class RuntimeAbsentError(ModelError):
    """A runtime cannot work on this machine: no card, no driver, no provider."""


class PersonaError(LivecamError):
    """A persona file is none, is damaged or is refused."""


class StageError(LivecamError):
    """A stage of the frame path failed on one frame."""


class DeviceLostError(StageError):
    """The card that a stage ran on failed: no memory, a driver that was reset, a card that is gone. Nothing more is to be tried there."""


class GuardError(LivecamError):
    """The worker or the shared memory broke a rule."""


class OutputError(LivecamError):
    """A sink cannot be opened."""


class OutputLostError(OutputError):
    """A sink was open and went away."""
