"""`depthmask push`: puts a trained model on the Hugging Face Hub, with its card."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from depthmask.base.entry_points import print_errors_as_lines
from depthmask.base.errors import UserError
from depthmask.base.paths import show_path
from depthmask.base.terminal import note
from depthmask.hub.address import FILE, SCHEME, HubAddress, is_address, parse_address

MODEL = Path("data/models/finetune.safetensors")
DESCRIPTION = f"""\
Push a trained model to the Hugging Face Hub, in one commit: {FILE}, with settings, provenance, scores and model card inside as
`depthmask export` writes it, and the model card as README.md, with the header that the Hub reads: licence, data, scores.

It needs a token with write permission: `hf auth login`, or HF_TOKEN. The repository is created if it is missing. Whoever has the
printed address loads exactly this model: depthmask predict --model hf://OWNER/NAME@COMMIT, or depthmask.load of the same.
"""


@print_errors_as_lines
def main(argv: list[str] | None = None) -> int:
    args = _parse(argv)
    address = parse_address(args.name if is_address(args.name) else f"{SCHEME}{args.name}")
    if address.path != FILE:
        raise UserError(f"{args.name}: a model is pushed as {FILE}; name the repository alone, OWNER/NAME")
    from depthmask.hub.failures import import_hub

    import_hub()  # late, as are the others: argument errors do not wait for torch
    from depthmask.export.release import check_release, find_release, write_model_card
    from depthmask.hub.card import write_hub_card
    from depthmask.hub.pushing import push_model
    from depthmask.models.model_file import load_model

    model = load_model(args.model)
    release, remark = (model.card.release, None) if model.card.release else find_release(args.model, args.lock)
    release = dict(release) | ({"licence": args.licence} if args.licence else {})
    check_release(release, args.lock)
    named = str(HubAddress(address.repository))
    model.card = replace(model.card, release=release | {"model_card": write_model_card(model, release, named)})
    card = write_hub_card(model, release, named)
    if remark:
        note(remark)
    if not release.get("licence"):
        note("the model has no licence, so nobody else may use it; name one with --licence, as apache-2.0")
    if args.dry_run:
        print(card)
        return 0
    pushed, size = push_model(model, address, card, private=args.private, half=args.half, message=args.message)
    print(f"{show_path(args.model)}: pushed, {size / 1e6:.1f} MB")
    print(pushed)
    return 0


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="depthmask push", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", metavar="NAME", help="OWNER/NAME, or OWNER/NAME@BRANCH for a branch that exists there")
    parser.add_argument("--model", type=Path, default=MODEL, help="model file (%(default)s)")
    parser.add_argument("--lock", type=Path, default=Path("dvc.lock"), help="dvc.lock with the record of the run (%(default)s)")
    parser.add_argument("--licence", help="licence of the weights, as its SPDX identifier, to put into file and card")
    parser.add_argument("--private", action="store_true", help="if the repository is created: visible to you alone")
    parser.add_argument("--half", action="store_true", help="store weights as float16: half the size")
    parser.add_argument("--message", metavar="TEXT", help="of the commit")
    parser.add_argument("--dry-run", action="store_true", help="print the card, and push nothing")
    return parser.parse_args(argv)
