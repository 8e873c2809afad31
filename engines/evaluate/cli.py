"""python -m engines evaluate …: the table of figures; realism; photoreal; occlusion; liveness."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2

from livecam.bench import machine
from livecam.config import RunConfig
from livecam.errors import LivecamError, UsageError
from livecam.store import Store

PAGE_ROWS = 40
JUDGES = ("mobileface", "faceres-deep")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m engines evaluate", description=__doc__)
    commands = parser.add_subparsers(dest="command")
    table = commands.add_parser("table", help="a generator against rendered truth (the default)")
    table.add_argument("--data", type=Path, required=True, metavar="DIR", help="held-out set: pairs-*.npz, set.json, people/")
    table.add_argument("--swap", default="mesh", help="identity (truth itself), mesh (as stored), wearer, live-mesh, lite, or a generator file")
    table.add_argument("--model", default="", help="weights file for --swap lite (default: the shipped ones)")
    table.add_argument("--against", default="", help="the other form of the same network (INT8 or fp32), a weights file: dB between both")
    table.add_argument("--large", type=Path, default=None, metavar="DIR", help="a set of large crops (face about 380 px wide) for sharpness")
    table.add_argument("--gallery", choices=("truth", "portrait"), default="truth", help="what faces are compared with")
    table.add_argument("--judge", nargs="+", default=list(JUDGES), metavar="NAME", help="face embedders of engines/evaluate/cards")
    table.add_argument("--calibrate", type=Path, default=None, metavar="DIR", help="a training set, whose truth shows the judge what one person's "
                       "pictures have in common; nobody of it may be in --data")
    table.add_argument("--limit", type=int, default=None, help="only the first so many samples")
    table.add_argument("--page", type=Path, default=None, help="page of pictures to write")
    table.add_argument("--sheet", type=Path, default=None, help="picture of the first rows to write (JPEG or PNG)")
    realism = commands.add_parser("realism", help="distance of rendered pictures to photographs of faces")
    realism.add_argument("--data", type=Path, required=True, metavar="DIR")
    realism.add_argument("--faces", type=Path, required=True, metavar="DIR", help="folder of pictures of faces")
    realism.add_argument("--limit", type=int, default=600)
    photoreal = commands.add_parser("photoreal", help="a generator in the live loop on clips made from portraits")
    photoreal.add_argument("--swap", default="mesh")
    photoreal.add_argument("--model", default="", help="weights file for --swap lite (default: the shipped ones)")
    photoreal.add_argument("--persona", nargs="+", default=["auto"], help="ids; portraits take them in turn")
    photoreal.add_argument("--faces", type=Path, default=None, metavar="DIR", help="folder of portraits; scikit-image's astronaut comes first")
    photoreal.add_argument("--portraits", type=int, default=8, help="how many, at even steps through the folder")
    photoreal.add_argument("--frames", type=int, default=90, help="frames of each clip")
    photoreal.add_argument("--strip", type=Path, default=None, help="picture of frames to write: what came in over what went out")
    occlusion = commands.add_parser("occlusion", help="the parser: things before faces, by kind, and what it opens for nothing")
    occlusion.add_argument("--data", type=Path, required=True, metavar="DIR", help="held-out set: pairs-*.npz")
    occlusion.add_argument("--photos", type=Path, default=None, metavar="DIR", help="folder of pictures of people who do not exist")
    occlusion.add_argument("--model", type=Path, default=None, metavar="FILE", help="an exported parser (default: the shipped one)")
    occlusion.add_argument("--count", type=int, default=120, help="pictures of each kind")
    occlusion.add_argument("--film", action="store_true", help="also things that pass before the demo presenter, in the whole live loop")
    occlusion.add_argument("--swap", default="lite", help="generator of the films")
    occlusion.add_argument("--strip", type=Path, default=None, help="picture of frames of the films to write: what came in over what went out")
    liveness = _add_liveness(commands)
    for command in (table, realism, photoreal, occlusion, liveness):
        command.add_argument("--out", type=Path, default=None, help="JSON to write")
    return parser


def _add_liveness(commands: Any) -> argparse.ArgumentParser:
    liveness: argparse.ArgumentParser = commands.add_parser(
        "liveness", help="enrolment's prompts and flat-picture check, on renders"
    )
    liveness.add_argument("--assets", metavar="DIR", default=None, help="folder of rendering assets (see engines synth)")
    liveness.add_argument("--scratch", type=Path, required=True, metavar="DIR", help="where people are kept between runs")
    liveness.add_argument("--people", type=int, default=12)
    liveness.add_argument("--sessions", type=int, default=600, help="sessions of people, and of tilted photographs")
    liveness.add_argument("--replays", type=int, default=10_000, help="recordings of one session played into another")
    return liveness


def main(argv: list[str]) -> int:
    """Run a command; 0, or the error's exit code with one line on stderr."""
    if not argv or argv[0] not in ("table", "realism", "photoreal", "occlusion", "liveness", "-h", "--help"):
        argv = ["table", *argv]
    args = _parser().parse_args(argv)
    cv2.setNumThreads(1)
    runs: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
        "table": _table, "realism": _realism, "photoreal": _photoreal, "occlusion": _occlusion, "liveness": _liveness}
    run = runs[args.command]
    try:
        result = {"command": "python -m engines evaluate " + " ".join(_shown(argv)), "machine": machine.describe(), **run(args)}
    except LivecamError as error:
        print(f"engines evaluate: {error}", file=sys.stderr)
        return error.exit_code
    text = json.dumps(result, indent=1, default=float) + "\n"
    if args.out is not None:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(text, encoding="utf-8")
    print(_brief(result) if args.command == "table" else text)
    return 0


def _liveness(args: argparse.Namespace) -> dict[str, Any]:
    from engines.evaluate import liveness
    from engines.synth.assets import find_assets

    return liveness.measure(args.people, args.sessions, args.replays, find_assets(args.assets), args.scratch, RunConfig().cache_dir)


def _shown(argv: list[str]) -> list[str]:
    """The arguments as a result may show them: folders by their last part."""
    return [Path(word).name if word.startswith(("/", "..")) else word for word in argv]


def _table(args: argparse.Namespace) -> dict[str, Any]:
    from engines.evaluate import page, perceptual, subjects, table
    from engines.evaluate.dataset import Pairs
    from engines.evaluate.estimate import NAME, Estimator
    from engines.evaluate.identity import LEAST_TRUTH, Identity, calibrated
    from engines.evaluate.judge import Judge

    pairs = Pairs.open(args.data)
    subject = subjects.make(args.swap, pairs, model=args.model)
    against = subjects.make(args.swap, pairs, model=args.against) if args.against else None
    net, made = perceptual.alex(), dict[int, perceptual.Lpips]()
    judges = [Judge(name) for name in args.judge]
    identity = Identity(judges, args.gallery, calibrated(judges, Pairs.open(args.calibrate)) if args.calibrate else None)
    bench = table.Bench(Estimator(Store(RunConfig().cache_dir)), identity, lambda size: made.setdefault(size, perceptual.Lpips(net, size)))
    count = args.limit or 64 * len(pairs.files)
    gallery = page.Gallery(pairs, max(count // PAGE_ROWS, 1))
    records = bench.run(subject, pairs, args.limit, against, gallery.see)
    large = None
    if args.large:
        wide = Pairs.open(args.large)
        large = bench.large(subjects.make(args.swap, wide, model=args.model), wide, args.limit)
    result: dict[str, Any] = {
        "swap": subject.name,
        "licence": subject.licence,
        "data": _about(pairs, records),
        "judges": {
            "perceptual": perceptual.NAME,
            "pose, expression, gaze": NAME,
            "identity": f"{identity.name}, oval only, one tone; gallery: {args.gallery}",
        },
        **table.summary(records, large),
        "identity": identity.about,
        "estimators": table.estimators(records),
        "splits": table.splits(records),
    }
    truth = result["also"].get("top1_truth", {}).get("value")
    result["identity"]["judge_is_good_enough"] = None if truth is None else truth >= LEAST_TRUTH
    if args.page:
        page.write(args.page, result, gallery.rows)
    if args.sheet:
        args.sheet.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(args.sheet), gallery.sheet())
    return result


def _about(pairs: Any, records: Any) -> dict[str, Any]:
    about = {k: v for k, v in pairs.about.items() if isinstance(v, (str, int, float, bool))}
    return {"set": pairs.folder.name, "samples": len(records.personas), "personas": len(set(records.personas)), "about": about}


def _brief(result: dict[str, Any]) -> str:
    lines = [f"{result['swap']}: {result['data']['samples']} samples, {result['data']['personas']} personas, refused {result['refused']}"]
    for row in result["table"].values():
        value = "not measured" if row["value"] is None else f"{row['value']:.4g} [{row['ci95'][0]:.4g}, {row['ci95'][1]:.4g}]"
        mark = {True: "met", False: "NOT MET", None: ""}[row["met"]]
        lines.append(f"  {row['what']:<75} {value:<28} goal {row['goal']:<12} {mark}")
    lines += [f"  {name:<75} {row['value']}" for name, row in result["also"].items()]
    lines += [f"  identity: {result['identity']}", f"  estimators on truth: {json.dumps(result['estimators']['against_labels'])}"]
    return "\n".join(lines)


def _realism(args: argparse.Namespace) -> dict[str, Any]:
    from engines.evaluate import realism

    return realism.run(args.data, args.faces, args.limit)


def _photoreal(args: argparse.Namespace) -> dict[str, Any]:
    from engines.evaluate import photoreal

    return photoreal.run(args)


def _occlusion(args: argparse.Namespace) -> dict[str, Any]:
    from engines.evaluate import occlusion
    from engines.train.errors import DataError

    try:
        return occlusion.run(args)
    except DataError as error:
        raise UsageError(str(error)) from error
