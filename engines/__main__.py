"""python -m engines TOOL …: the tools that make livecam's files."""

from __future__ import annotations

import sys


def main(argv: list[str]) -> int:
    """Run one tool; the exit code."""
    if argv[:1] == ["synth"]:
        from engines.synth.cli import main as synth

        return synth(argv[1:])
    if argv[:1] == ["evaluate"]:
        from engines.evaluate.cli import main as evaluate

        return evaluate(argv[1:])
    if argv[:1] == ["train"]:
        return _train(argv[1:])
    if argv[:1] == ["export"]:
        return _export(argv[1:])
    print("usage: python -m engines {synth,train,export,evaluate} [--help]", file=sys.stderr)
    return 0 if argv[:1] in (["-h"], ["--help"]) else 2


def _train(argv: list[str]) -> int:
    if argv[:1] == ["parser"]:
        from engines.train.parser import main as parser

        return parser(argv[1:])
    if argv[:1] == ["gaze"]:
        from engines.train.gaze import main as gaze

        return gaze(argv[1:])
    if argv[:1] == ["shape"]:
        from engines.train.shape import main as shape

        return shape(argv[1:])
    from engines.train.cli import main as others

    return others(argv)


def _export(argv: list[str]) -> int:
    if argv[:1] == ["sign"]:
        from engines.export.sign import main as sign

        return sign(argv[1:])
    if argv[:1] == ["parser"]:
        from engines.export.parser import main as parser

        return parser(argv[1:])
    if argv[:1] == ["gaze"]:
        from engines.export.gaze import main as gaze

        return gaze(argv[1:])
    from engines.export.cli import main as others

    return others(argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
