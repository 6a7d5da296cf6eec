"""The `depthmask` command: tools beside the pipeline, whose stages are run by DVC or Snakemake."""

from __future__ import annotations

from depthmask.base.shadowing import validate_workflow_folder

validate_workflow_folder()  # before anything else is imported

import argparse  # noqa: E402
import importlib  # noqa: E402
import sys  # noqa: E402

from depthmask.base.environment import prepare_process  # noqa: E402

# name: (module whose main(argv) it is, what it does)
COMMANDS: dict[str, tuple[str, str]] = {
    "check": ("depthmask.commands.check", "say whether params.yaml can be used, or what is wrong with it"),
    "show": ("depthmask.commands.show", "a contact sheet of a part of the split or of the source, before any training"),
    "report": ("depthmask.commands.report", "the page again, compared with any commit"),
    "scores": ("depthmask.commands.scores", "print the scores of the last evaluation"),
    "predict": ("depthmask.commands.predict", "predict mask and depth of photos"),
    "export": ("depthmask.commands.export", "write the model for others: safetensors with its card, ONNX, torch.export"),
    "card": ("depthmask.commands.card", "print the model card of a model file"),
    "models": ("depthmask.commands.models", "list the networks: input, parameters, receptive field, sizes"),
    "recipe": ("depthmask.commands.recipe", "list the recipes, show one, or put one into params.yaml"),
    "lr-range": ("depthmask.commands.lr_range", "try learning rates: a plot, and a suggestion"),
}


def main(argv: list[str] | None = None) -> int:
    """Hand what follows the command's name to its module, the only one that is imported."""
    prepare_process()
    parser = argparse.ArgumentParser(
        prog="depthmask",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="depthmask COMMAND --help tells a command's options.",
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, (_, does) in COMMANDS.items():
        # the module has a parser of its own, and its own --help
        commands.add_parser(name, help=does, add_help=False)
    argv = sys.argv[1:] if argv is None else argv
    args = parser.parse_args(argv[:1])
    module, _ = COMMANDS[args.command]
    return importlib.import_module(module).main(argv[1:])
