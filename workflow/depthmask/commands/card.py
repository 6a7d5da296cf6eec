"""`depthmask card`: prints the model card of a model file."""

from __future__ import annotations

import argparse
from pathlib import Path

from depthmask.base.entry_points import print_errors_as_lines
from depthmask.hub.address import read_model


@print_errors_as_lines
def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="depthmask card",
        description="Print the model card (Markdown) of a model file: its own, or one made from dvc.lock and the file.",
    )
    parser.add_argument(
        "model", nargs="?", type=read_model, default=Path("data/models/finetune.safetensors"), help="or hf://... (%(default)s)"
    )
    parser.add_argument("--lock", type=Path, default=Path("dvc.lock"), help="dvc.lock with the record of the run (%(default)s)")
    args = parser.parse_args(argv)

    from depthmask.export.release import check_release, find_release, write_model_card
    from depthmask.hub.fetching import find_model
    from depthmask.models.model_file import load_model

    path = find_model(args.model).path
    model = load_model(path)
    release = model.card.release or find_release(path, args.lock)[0]
    print(release.get("model_card") or write_model_card(model, check_release(release, args.lock)))
    return 0
