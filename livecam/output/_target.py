"""What stands behind an output's name: `out.mp4?audio=clip.mp4&overwrite=1` is the target `out.mp4` with two options."""

from __future__ import annotations

from urllib.parse import unquote

from livecam.errors import UsageError

TRUE = frozenset({"1", "yes", "true", "on"})
FALSE = frozenset({"0", "no", "false", "off", ""})


def split(target: str, known: frozenset[str]) -> tuple[str, dict[str, str]]:
    """The target without its options, and the options. Values are percent-decoded (write %26 for an ampersand); a plus is a plus.

    Raises UsageError for an option that is not in `known`."""
    name, mark, rest = target.partition("?")
    if not mark:
        return target, {}
    parts = [part.partition("=") for part in rest.split("&") if part]
    options = {key: unquote(value) for key, _, value in parts}
    unknown = sorted(set(options) - known)
    if unknown:
        raise UsageError(f"output target {target!r}: unknown option {unknown[0]!r}; options are: {', '.join(sorted(known)) or 'none'}")
    return name, options


def flag(options: dict[str, str], name: str) -> bool:
    """A yes-or-no option, no when absent. Raises UsageError for anything else."""
    value = options.get(name, "").lower()
    if value not in TRUE | FALSE:
        raise UsageError(f"output option {name}={value!r} is neither 1 nor 0")
    return value in TRUE
