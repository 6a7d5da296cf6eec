"""`depthmask recipe`: lists recipes, shows one, or writes one into params.yaml."""

from __future__ import annotations

import argparse
import textwrap
from pathlib import Path
from typing import Any

from depthmask.base.durations import format_seconds
from depthmask.base.entry_points import print_errors_as_lines
from depthmask.base.errors import UserError
from depthmask.base.files import write_text
from depthmask.params import Params
from depthmask.params.reading import read_text, read_yaml
from depthmask.recipe_yaml import change_values
from depthmask.recipes import FOLDER, Recipe, check_recipe, list_names, read_recipe, resolve_recipe, write_overrides


def make_parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = argparse.ArgumentParser(
        prog="depthmask recipe",
        description="Without a name: list the recipes. With one: describe it, and show the resulting params.yaml.",
    )
    parser.add_argument("name", nargs="?", help="a recipe's name, or the path of its .yaml file, such as one written by a sweep")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--write", action="store_true", help="write the recipe's values into params.yaml; comments are kept")
    how.add_argument("--set", action="store_true", help="print arguments for DVC: dvc exp run $(depthmask recipe NAME --set)")
    how.add_argument("--check", action="store_true", help="check that the recipe (or all of them) fits the schema")
    how.add_argument("--time", action="store_true", help="time each phase for some seconds to estimate the training time here")
    parser.add_argument("--batch-size-max", type=int, help="with --time: largest batch that fits into memory")
    parser.add_argument("--raw", type=Path, default=Path("data/raw"), help="with --time: folder written by the download stage")
    parser.add_argument("--store", type=Path, default=Path("data/store"), help="with --time: folder written by the pack stage")
    parser.add_argument("--more", type=Path, default=Path("data/raw_more"), help="with --time: folder of further sources")
    parser.add_argument("--split", type=Path, default=Path("data/split"), help="with --time: folder written by the split stage")
    parser.add_argument("--params", type=Path, default=Path("params.yaml"), help="file to change (params.yaml)")
    parser.add_argument("--recipes", type=Path, default=FOLDER, help="folder of recipes")
    return parser


@print_errors_as_lines
def main(argv: list[str] | None = None) -> int:
    parser = make_parser()
    args = parser.parse_args(argv)
    if args.name is None and (args.write or args.set or args.time):
        parser.error("a recipe name is required")

    is_file = (args.name or "").endswith(".yaml")
    if args.recipes == FOLDER and not FOLDER.is_dir() and not is_file:
        raise UserError(
            "recipes are in the repository, not in the installed package; run this in a clone, or give --recipes FOLDER"
        )
    if args.name is None and not args.check:
        known = list_names(args.recipes)
        if not known:
            raise UserError(f"--recipes {args.recipes}: contains no recipes; choose a folder such as {FOLDER}")
        list_recipes([read_recipe(name, args.recipes) for name in known])
        return 0
    values = read_yaml(args.params, Params)
    names = [args.name] if args.name else list_names(args.recipes)
    checked = [check_recipe(name, values, args.recipes, where=str(args.params)) for name in names]
    if args.check:
        print(f"{args.recipes}: {len(names)} {'recipe' if len(names) == 1 else 'recipes'} ok")
    elif args.time:
        print_time(checked[0], args.raw, args.store, args.more, args.split, args.batch_size_max)
    else:
        use_recipe(args, values)
    return 0


def use_recipe(args: argparse.Namespace, values: dict[str, Any]) -> None:
    """Print the recipe's arguments for DVC, write it into params.yaml, or show the result."""
    wanted = resolve_recipe(args.name, values, args.recipes)
    if args.set or args.write:
        read_recipe(args.name, args.recipes).require_needed(wanted, str(args.params))
    if args.set:
        print(" ".join(f"-S {override}" for override in write_overrides(values, wanted)))
        return
    text = read_text(args.params)
    changed = change_values(text, wanted, where=str(args.params))
    if not args.write:
        print(describe_recipe(read_recipe(args.name, args.recipes)) + changed, end="")
    elif changed == text:
        print(f"{args.params}: already has recipe {args.name}")
    else:
        write_text(args.params, changed)
        print(f"{args.params}: changed to recipe {args.name}")


def list_recipes(recipes: list[Recipe]) -> None:
    """Print two lines per recipe: name, network and expected time (up to the first semicolon); then its title."""
    networks = [_find_network(recipe, recipes[0]) for recipe in recipes]
    names_width, networks_width = (max(map(len, texts)) for texts in ([recipe.name for recipe in recipes], networks))
    for recipe, network in zip(recipes, networks):
        time = recipe.header["Time"].split(";")[0].rstrip(".")
        print(f"{recipe.name.ljust(names_width)}  {network.ljust(networks_width)}  {time}")
        print(f"    {recipe.title}")


def _find_network(recipe: Recipe, base: Recipe) -> str:
    return {**base.values["model"], **recipe.values.get("model", {})}["name"]


def describe_recipe(recipe: Recipe) -> str:
    """Title and header fields as comments, wrapped for a terminal."""
    lines = [f"# {recipe.title}", "#"]
    for field, text in recipe.header.items():
        lines += [f"# {line}" for line in textwrap.wrap(f"{field}: {text}", 118, subsequent_indent="  ")]
    return "\n".join(lines) + "\n\n"


def print_time(params: Params, raw: Path, store: Path, more: Path, split: Path, batch_size_max: int | None) -> None:
    """Print images per second and time of each phase, and the total; without validation, evaluation and report.

    batch_size_max: limits the batch size if the recipe's does not fit into memory; time is extrapolated by images.

    Raises:
        UserError: there are no data yet, or batch_size_max is below 1.
    """
    # late: imports torch, which nothing else here needs
    from depthmask.leaderboard.budget import cap_phases, count_samples, count_steps
    from depthmask.leaderboard.speed import measure_step_seconds
    from depthmask.loading.split_files import read_weights
    from depthmask.sources.folders import choose_data

    if not (split / "statistics.json").is_file():
        raise UserError(f"{split}: no such data yet; run dvc repro split first")
    if batch_size_max is not None and batch_size_max < 1:
        raise UserError(f"--batch-size-max {batch_size_max}; allowed: from 1")
    sections = [(stage, phase) for stage in ("pretrain", "finetune") for phase in getattr(params, stage).phases()]
    capped = cap_phases([phase for _, phase in sections], batch_size_max, None)
    data = choose_data(raw, store, more, list(read_weights(split)))
    speeds = [phase.batch_size / seconds for phase, seconds in zip(capped, measure_step_seconds(params, capped, data, split))]
    whole = 0.0
    for (stage, phase), tried, images_per_second in zip(sections, capped, speeds):
        seconds = count_samples(phase) / images_per_second
        whole += seconds
        tried_with = "" if tried.batch_size == phase.batch_size else f" (with batches of {tried.batch_size})"
        print(
            f"{stage}: {count_steps(phase):,} steps of {phase.batch_size} at {phase.image_size_px} px,"
            f" {images_per_second:.3g} images/s{tried_with}: {format_seconds(seconds)}"
        )
    print(f"together: {format_seconds(whole)}")
