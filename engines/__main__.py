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
        if argv[1:2] == ["parser"]:
            from engines.train.parser import main as train_parser

            return train_parser(argv[2:])
        from engines.train.cli import main as train

        return train(argv[1:])
    if argv[:1] == ["export"]:
        if argv[1:2] == ["parser"]:
            from engines.export.parser import main as export_parser

            return export_parser(argv[2:])
        from engines.export.cli import main as export

        return export(argv[1:])
    print("usage: python -m engines synth {personas,demo,sheet} [--help]", file=sys.stderr)
    return 0 if argv[:1] in (["-h"], ["--help"]) else 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
