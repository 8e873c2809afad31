"""python -m engines synth …: personas, demo, pairs, redraw, sheet."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import cv2

from engines.synth.assets import AssetsError, find_assets

REPOSITORY = Path(__file__).resolve().parents[2]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m engines synth",
                                     description="Render people who do not exist.")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--assets", metavar="DIR", default=None,
                        help="folder of meshes and textures (default: $LIVECAM_ASSETS, then "
                             "../shared/persona-assets beside the repository)")
    commands = parser.add_subparsers(dest="command", required=True)
    personas = commands.add_parser("personas", parents=[common], help="render the persona files")
    personas.add_argument("--only", nargs="*", default=None, metavar="ID")
    personas.add_argument("--out", type=Path, default=REPOSITORY / "livecam/persona/files")
    personas.add_argument("--sheet", type=Path, default=REPOSITORY / "docs/personas.jpg")
    demo = commands.add_parser("demo", parents=[common], help="render the demo clip")
    demo.add_argument("--scratch", type=Path, required=True, metavar="DIR",
                      help="folder for numbered frames, outside the repository; a stopped render "
                           "goes on there")
    demo.add_argument("--out", type=Path, default=REPOSITORY / "livecam/capture/demo_data")
    demo.add_argument("--start-s", type=float, default=0.0)
    demo.add_argument("--end-s", type=float, default=None)
    _add_pairs(commands, common)
    return parser


def _add_pairs(commands: argparse._SubParsersAction[argparse.ArgumentParser],
               common: argparse.ArgumentParser) -> None:
    pairs = commands.add_parser("pairs", parents=[common], help="render a training set")
    pairs.add_argument("--out", type=Path, required=True, metavar="DIR")
    pairs.add_argument("--count", type=int, default=4000, metavar="N", help="samples")
    pairs.add_argument("--seed", type=int, default=1, metavar="S")
    pairs.add_argument("--identities", type=int, default=60, metavar="K", help="wearers")
    pairs.add_argument("--personas", type=int, default=40, metavar="K", help="faces put on")
    pairs.add_argument("--size", type=int, default=256, metavar="PX", help="side of the crops")
    pairs.add_argument("--face", type=float, default=0.0, metavar="PX", help="width of all faces, e.g. 380 with --size 640")
    pairs.add_argument("--held-out", action="store_true", help="people that no training set holds")
    pairs.add_argument("--twins", action="store_true", help="a second frame of every scene")
    pairs.add_argument("--spread", type=int, default=8, metavar="K", help="personas in a shard; 64: each sample another one")
    pairs.add_argument("--resume", action="store_true", help="go on with a set")
    pairs.add_argument("--part", default="0/1", metavar="K/N",
                       help="only every Nth shard from K on, to share a set among processes")
    again = commands.add_parser("redraw", parents=[common], help="draw mesh's part of a set again, after a change of mesh")
    again.add_argument("--set", type=Path, required=True, metavar="DIR", dest="folder")
    again.add_argument("--part", default="0/1", metavar="K/N", help="only every Nth shard from K on")
    sheet = commands.add_parser("sheet", help="a contact sheet of a set")
    sheet.add_argument("--set", type=Path, required=True, metavar="DIR", dest="folder")
    sheet.add_argument("--out", type=Path, required=True, metavar="FILE")
    sheet.add_argument("--columns", type=int, default=12)
    sheet.add_argument("--lines", type=int, default=1)
    sheet.add_argument("--seed", type=int, default=0)


def _part(text: str) -> tuple[int, int]:
    first, _, second = text.partition("/")
    if not (first.isdigit() and second.isdigit() and int(first) < int(second)):
        raise AssetsError(f"expected --part K/N, K below N, such as 0/2, found {text!r}")
    return int(first), int(second)


def _run_pairs(args: argparse.Namespace) -> None:
    from engines.synth import pairs

    part, parts = _part(args.part)
    settings = pairs.Settings(args.out, args.count, args.seed, args.identities, args.personas,
                              args.size, args.face, args.held_out, args.twins, part, parts, args.spread)
    pairs.make_pairs(settings, find_assets(args.assets), args.resume)


def main(argv: list[str]) -> int:
    """Run a command; 0, or 2 with one line on stderr."""
    args = _parser().parse_args(argv)
    cv2.setNumThreads(1)
    try:
        if args.command == "sheet":
            from engines.synth import sheet

            sheet.write_sheet(args.folder, args.out, args.columns, args.seed, lines=args.lines)
            return 0
        if args.command == "redraw":
            from engines.synth import redraw

            redraw.redraw(args.folder, find_assets(args.assets), _part(args.part))
            return 0
        if args.command == "pairs":
            _run_pairs(args)
            return 0
        assets = find_assets(args.assets)
        if args.command == "demo":
            from engines.synth import demo, motion

            end = motion.LOOP_S if args.end_s is None else args.end_s
            demo.make_demo(assets, args.scratch, args.out, args.start_s, end)
        else:
            from engines.synth import personas

            personas.make_personas(assets, args.out, args.sheet, args.only)
    except AssetsError as error:
        print(f"engines synth: {error}", file=sys.stderr)
        return 2
    return 0
