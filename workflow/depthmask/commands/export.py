"""`depthmask export`: the model as a file for others, with its settings, provenance, scores and model card inside."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, replace
from pathlib import Path

from depthmask.base.errors import UserError, print_errors_as_lines
from depthmask.base.files import write_text
from depthmask.base.paths import is_folder, resolve_path, show_path
from depthmask.base.terminal import note

MODEL = Path("data/models/finetune.safetensors")
FORMATS = {"depthmask": ".safetensors", "onnx": ".onnx", "torch-export": ".pt2"}
DESCRIPTION = """\
Write a trained model as one file for others, and its model card beside it (FILE with .md at the end).

  depthmask      .safetensors  for depthmask predict and depthmask.load
  onnx           .onnx         for onnxruntime and its like; any batch, height and width
  torch-export   .pt2          for torch.export.load, without this project; load only files that you trust

Each file carries settings, normalisation, meaning of depth, and, as far as dvc.lock vouches for them, commit, hashes of the data,
params and scores. ONNX and torch.export files are compared with torch at several sizes; one that is off by more than 1e-4 is not
written. Both take pictures of 0 to 1 and have the normalisation inside.
"""


@print_errors_as_lines
def main(argv: list[str] | None = None) -> int:
    args = _parse(argv)
    kind = _choose_format(args.format, args.out)
    # late: neither --help nor a mistake in the arguments has to wait for torch
    from depthmask.export.release import check_release, find_release, write_model_card
    from depthmask.models.model_file import load_model, save_model

    if resolve_path(args.out) == resolve_path(args.model):
        raise UserError(f"--out {args.out}: the model file itself; name another")
    for path in (args.out, args.out.with_suffix(".md")):
        if is_folder(path):
            raise UserError(f"--out {show_path(args.out)}: {show_path(path)} is a folder; name another file")
    model = load_model(args.model)
    release, remark = (model.card.release, None) if model.card.release else find_release(args.model, args.lock)
    model_card = write_model_card(model, check_release(release, args.lock))
    card = replace(model.card, release=release | {"model_card": model_card})
    model.card = card
    checked = ""
    if kind == "depthmask":
        save_model(model, args.out)
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
        raise UserError(f"--out {out}: its suffix gives the format; allowed: {', '.join(by_suffix)}, or name one with --format")
    if name is not None and by_suffix.get(out.suffix, name) != name:
        raise UserError(f"--out {out}: ends as a file of format {by_suffix[out.suffix]}, but --format says {name}")
    return name or by_suffix[out.suffix]


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="depthmask export", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="file to write; overwritten")
    parser.add_argument("--format", choices=FORMATS, help="what to write (by the suffix of FILE)")
    parser.add_argument("--model", type=Path, default=MODEL, help="model file (%(default)s)")
    parser.add_argument("--lock", type=Path, default=Path("dvc.lock"), help="where the run is recorded (%(default)s)")
    return parser.parse_args(argv)
