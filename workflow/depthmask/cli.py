"""The `depthmask` command: tools beside the pipeline, whose stages DVC or Snakemake run."""

from __future__ import annotations

from depthmask.base.shadowing import validate_workflow_folder

validate_workflow_folder()  # before anything else is imported

import argparse  # noqa: E402
import importlib  # noqa: E402
import sys  # noqa: E402

from depthmask.base.environment import prepare_process  # noqa: E402
from depthmask.base.own_code import run_own_code  # noqa: E402

# name: (module with its main(argv), what it does)
COMMANDS: dict[str, tuple[str, str]] = {
    "check": ("depthmask.commands.check", "check params.yaml: what is wrong with it, or what the run will take"),
    "show": ("depthmask.commands.show", "contact sheet of a part of the split, or of the source"),
    "report": ("depthmask.commands.report", "rebuild the page, compared with any commit"),
    "scores": ("depthmask.commands.scores", "print the scores of the last evaluation"),
    "compare": ("depthmask.commands.compare", "is B better than A? two commits or folders, paired by image, with intervals"),
    "predict": ("depthmask.commands.predict", "predict mask and depth of photos"),
    "app": ("depthmask.commands.app", "a local page in the browser: drop a photo, see mask, depth and the scene in 3D"),
    "export": ("depthmask.commands.export", "export the model: safetensors with model card, ONNX, torch.export"),
    "push": ("depthmask.commands.push", "put the model on the Hugging Face Hub, with its card"),
    "cutouts": ("depthmask.commands.cutouts", "cut-outs and backgrounds from annotated photos (COCO, LabelMe, CVAT, VOC, masks)"),
    "dataset": (
        "depthmask.commands.dataset",
        "write composites to disk for other tools: COCO, or the published systems' layouts",
    ),
    "card": ("depthmask.commands.card", "print the model card of a model file"),
    "models": ("depthmask.commands.models", "list the networks: input, parameters, receptive field, sizes"),
    "recipe": ("depthmask.commands.recipe", "list the recipes, show one, or write one into params.yaml"),
    "sweep": ("depthmask.commands.sweep", "check a search over params, and write the plan of its trials"),
    "runs": ("depthmask.commands.runs", "push the runs of all stages, with what they made, to a DVC remote, or pull them"),
    "lr-range": ("depthmask.commands.lr_range", "learning-rate range test: a plot and a suggestion"),
}


def main(argv: list[str] | None = None) -> int:
    """Pass the arguments after the command's name to its module, the only one imported."""
    if argv is None:
        run_own_code()
    prepare_process()
    parser = argparse.ArgumentParser(
        prog="depthmask",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="depthmask COMMAND --help shows the options of a command.",
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, (_, does) in COMMANDS.items():
        # the module has its own parser and --help
        commands.add_parser(name, help=does, add_help=False)
    argv = sys.argv[1:] if argv is None else argv
    args = parser.parse_args(argv[:1])
    module, _ = COMMANDS[args.command]
    return importlib.import_module(module).main(argv[1:])
