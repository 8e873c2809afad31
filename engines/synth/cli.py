"""python -m engines synth …: personas, demo."""

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
    personas.add_argument("--models", type=Path, default=None, metavar="DIR",
                          help="folder with face_landmark.tflite and iris_landmark.tflite "
                               "(default: livecam's model store, which fetches them)")
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
    return parser


def main(argv: list[str]) -> int:
    """Run a command; 0, or 2 with one line on stderr."""
    args = _parser().parse_args(argv)
    cv2.setNumThreads(1)
    try:
        assets = find_assets(args.assets)
        if args.command == "demo":
            from engines.synth import demo, motion

            end = motion.LOOP_S if args.end_s is None else args.end_s
            demo.make_demo(assets, args.scratch, args.out, args.start_s, end)
        else:
            from engines.synth import personas

            personas.make_personas(assets, args.models, args.out, args.sheet, args.only)
    except AssetsError as error:
        print(f"engines synth: {error}", file=sys.stderr)
        return 2
    return 0
