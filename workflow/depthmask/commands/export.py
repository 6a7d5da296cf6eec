"""`depthmask export`: exports the model, with settings, provenance, scores and model card inside."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, replace
from pathlib import Path

from depthmask.base.entry_points import print_errors_as_lines
from depthmask.base.errors import UserError
from depthmask.base.files import write_text
from depthmask.base.paths import is_folder, resolve_path, show_path
from depthmask.base.terminal import note
from depthmask.hub.address import read_model

MODEL = Path("data/models/finetune.safetensors")
FORMATS = {"depthmask": ".safetensors", "onnx": ".onnx", "torch-export": ".pt2"}
DESCRIPTION = """\
Export a trained model as one file, with its model card beside it (FILE with the suffix .md).

  depthmask      .safetensors  for depthmask predict and depthmask.load
  onnx           .onnx         for ONNX Runtime and others; any batch, height and width
  torch-export   .pt2          for torch.export.load, without this project; only load files you trust

Each file contains settings, normalisation, the meaning of depth and, as far as dvc.lock vouches for them, commit, data hashes,
params and scores. ONNX and torch.export files are compared with torch at several sizes, and are not written if they differ by
more than 1e-4. Both take images of 0 to 1; normalisation is included.
"""


@print_errors_as_lines
def main(argv: list[str] | None = None) -> int:
    args = _parse(argv)
    kind = _choose_format(args.format, args.out)
    for option, given, need in (
        ("--half", args.half, "compute in float32"),
        ("--without-encoder", args.without_encoder, "need all weights"),
    ):
        if given and kind != "depthmask":
            raise UserError(f"{option}: {args.out} is for other tools, which {need}; use it with a .safetensors file")
    # late: --help and argument errors do not wait for torch
    from depthmask.export.release import check_release, find_release, read_other_scores, write_model_card
    from depthmask.hub.fetching import find_model
    from depthmask.models.model_file import load_model, save_model

    source = find_model(args.model).path
    if resolve_path(args.out) == resolve_path(source):
        raise UserError(f"--out {args.out}: is the model file itself; choose another")
    for path in (args.out, args.out.with_suffix(".md")):
        if is_folder(path):
            raise UserError(f"--out {show_path(args.out)}: {show_path(path)} is a folder; choose another file")
    model = load_model(source)
    release, remark = (model.card.release, None) if model.card.release else find_release(source, args.lock)
    release |= {"licence": args.licence} if args.licence else {}
    if args.scored_on:
        added = {name: read_other_scores(Path(folder)) for name, folder in args.scored_on}
        release |= {"other_scores": release.get("other_scores", {}) | added}
    model_card = write_model_card(model, check_release(release, args.lock))
    card = replace(model.card, release=release | {"model_card": model_card})
    model.card = card
    checked = ""
    if kind == "depthmask":
        save_model(model, args.out, half=args.half, without_encoder=args.without_encoder)
        load_model(args.out)
    else:
        from depthmask.export.formats import TOLERANCE, export_onnx, export_program, list_sizes

        export = export_onnx if kind == "onnx" else export_program
        difference = export(model, args.out, {"depthmask": json.dumps(asdict(card), sort_keys=True), "model_card": model_card})
        checked = f"; at {len(list_sizes(model))} sizes within {difference:.1e} of torch (allowed: {TOLERANCE:g})"
    write_text(args.out.with_suffix(".md"), model_card)
    if remark:
        note(remark)
    size, beside = args.out.stat().st_size / 1e6, args.out.with_suffix(".md")
    print(f"{show_path(args.out)}: written, {size:.1f} MB{checked}; model card: {show_path(beside)}")
    return 0


def _choose_format(name: str | None, out: Path) -> str:
    by_suffix = {suffix: kind for kind, suffix in FORMATS.items()}
    if name is None and out.suffix not in by_suffix:
        raise UserError(f"--out {out}: the suffix determines the format; allowed: {', '.join(by_suffix)}, or set --format")
    if name is not None and by_suffix.get(out.suffix, name) != name:
        raise UserError(f"--out {out}: has the suffix of format {by_suffix[out.suffix]}, but --format is {name}")
    return name or by_suffix[out.suffix]


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="depthmask export", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="file to write; overwritten if it exists")
    parser.add_argument("--format", choices=FORMATS, help="file format (default: by the suffix of FILE)")
    parser.add_argument("--model", type=read_model, default=MODEL, help="model file, or hf://OWNER/NAME (%(default)s)")
    parser.add_argument("--lock", type=Path, default=Path("dvc.lock"), help="dvc.lock with the record of the run (%(default)s)")
    parser.add_argument("--half", action="store_true", help="store weights as float16: half the size, .safetensors only")
    parser.add_argument(
        "--without-encoder",
        action="store_true",
        help="leave out the weights of a frozen encoder; they are read from the package that they came from, .safetensors only",
    )
    parser.add_argument("--licence", help="licence of the weights, as its SPDX identifier, to put into file and card")
    parser.add_argument(
        "--scored-on",
        nargs=2,
        action="append",
        default=[],
        metavar=("NAME", "FOLDER"),
        help="also put these scores into the card: what the stage evaluate wrote to FOLDER for this model on other data",
    )
    return parser.parse_args(argv)
