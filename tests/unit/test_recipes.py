"""Recipes: laid over params.yaml by name, printed, written and handed to DVC; each trains two steps."""

from __future__ import annotations

import copy
import importlib.util
import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml
from choosing_networks import mark_slow
from dvc.utils.hydra import apply_overrides
from shrinking import shrink_recipe

from depthmask.base.errors import ParamsError, UserError
from depthmask.base.files import read_csv, write_json
from depthmask.cli import main as depthmask
from depthmask.losses import weigh_losses
from depthmask.params import Params, load_params, make_params
from depthmask.params.messages import RENAMED
from depthmask.params.mixture import strip_source
from depthmask.recipe_yaml import change_values
from depthmask.recipes import (
    BASE,
    FOLDER,
    HEADER_FIELDS,
    NEEDS,
    check_recipe,
    lay_over,
    list_names,
    read_recipe,
    resolve_recipe,
    write_overrides,
)
from depthmask.registry.networks import NETWORKS
from depthmask.training import objective
from depthmask.training.freezing import list_tasks
from depthmask.weights.start import write_start
from stages.finetune import main as finetune
from stages.pretrain import main as pretrain

PROJECT = Path(__file__).resolve().parents[2]
TEXT = (PROJECT / "params.yaml").read_text()
VALUES = yaml.safe_load(TEXT)
NAMES = list_names()
USERS_OWN = {"init", "background_group", "cutout_group", "seed"}  # keys of sections that recipes set otherwise
NEEDED = {"smp_unet": "segmentation_models_pytorch"}  # packages that are no part of the environment


class Killed(Exception):
    """Stands for a SIGKILL: nothing in the loop handles it."""


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A copy of params.yaml and of the recipes, as the current folder."""
    (tmp_path / "params.yaml").write_text(TEXT)
    (tmp_path / "recipes").mkdir()
    for name in NAMES:
        (tmp_path / f"recipes/{name}.yaml").write_text((FOLDER / f"{name}.yaml").read_text())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def edit(folder: Path, name: str, old: str, new: str) -> None:
    path = folder / f"recipes/{name}.yaml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def list_keys(values: dict, path: str = "") -> set[str]:
    return {
        key
        for name, value in values.items()
        for key in ({f"{path}{name}"} | (list_keys(value, f"{path}{name}.") if isinstance(value, dict) else set()))
    }


def test_the_default_recipe_is_params_yaml():
    base = read_recipe(BASE).values
    resolved = resolve_recipe(BASE, VALUES)
    assert write_overrides(VALUES, resolved) == [], "params.yaml and workflow/recipes/default.yaml differ; make them alike"
    for section in ("split", "augment", "model", "loss", "pretrain", "finetune"):
        assert list_keys(base[section]) == list_keys(VALUES[section]) - USERS_OWN, section


def test_every_published_network_and_regime_has_its_recipe():
    params = {name: check_recipe(name, VALUES) for name in NAMES}
    published = {name for name, spec in NETWORKS.items() if spec.is_published}
    assert {p.model.name for p in params.values()} >= published
    phases = [phase for p in params.values() for phase in (*p.pretrain.phases(), *p.finetune.phases())]
    assert {phase.schedule for phase in phases} >= {"one_cycle", "step", "triangular2"}
    assert {phase.tasks for phase in phases} == {"both", "mask", "depth"}
    assert {(phase.image_size_px, phase.batch_size) for phase in params["dense_concat"].pretrain.phases()} == {
        (32, 1024),
        (64, 256),
    }
    assert {(phase.image_size_px, phase.batch_size) for phase in params["dense_concat"].finetune.phases()} == {
        (128, 64),
        (256, 16),
    }
    assert [phase.tasks for phase in params["branched_unet"].pretrain.phases()] == ["depth", "mask"] * 2
    assert [phase.augment for phase in params["multi_dilation_unet"].finetune.phases()] == [True, False]
    assert {phase.loss_upscale for phase in phases} == {1, 2}


@pytest.mark.parametrize("name", NAMES)
def test_headers_say_what_to_expect_and_the_command_names_the_recipe(name):
    recipe = read_recipe(name)
    assert [field for field in recipe.header if field != NEEDS] == list(HEADER_FIELDS)
    assert f"make repro RECIPE={name}" in recipe.header["Command"]
    assert recipe.title.endswith(".")
    assert all(len(line) <= 130 for line in recipe.path.read_text().splitlines())


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_leaves_what_is_the_users_and_no_trace_of_another(name):
    groups = {"background_group": "room(.)", "cutout_group": "^.", "seed": 3}  # lost, views of a test room would be trained on
    users = {"seed": 7, "report": {"title": "mine", "num_worst": 1}, "split": VALUES["split"] | groups}
    others = resolve_recipe("branched_unet", VALUES | users)
    after, plain = resolve_recipe(name, others), resolve_recipe(name, VALUES)
    assert after == plain | users | {"split": plain["split"] | groups}
    assert resolve_recipe(BASE, after) == VALUES | users


def test_mappings_are_joined_and_lists_nulls_and_terms_of_a_loss_replace():
    values = {"a": {"b": 1, "c": [1, 2]}, "loss": {"mask": {"dice": 1.0}, "scale": 2.0}, "x": {"loss": None}}
    before = copy.deepcopy(values)
    changes = {"a": {"c": [3], "b": None}, "loss": {"mask": {"l1": 1.0}}, "x": {"loss": {"mask": {"bce": 1.0}}}}
    laid = lay_over(values, changes)
    assert laid == {
        "a": {"b": None, "c": [3]},
        "loss": {"mask": {"l1": 1.0}, "scale": 2.0},
        "x": {"loss": {"mask": {"bce": 1.0}}},
    }
    laid["a"]["c"].append(4)
    laid["loss"]["mask"]["dice"] = 9.0
    assert values == before
    assert changes["a"]["c"] == [3]


def test_the_command_lists_every_recipe(capsys):
    assert depthmask(["recipe"]) == 0
    printed = capsys.readouterr().out
    for name in NAMES:
        recipe = read_recipe(name)
        assert f"\n{name} " in f"\n{printed}"
        assert recipe.title in printed
    assert all(len(line) <= 130 for line in printed.splitlines())


@pytest.mark.parametrize("name", [name for name in NAMES if NEEDS not in read_recipe(name).header])
def test_shown_written_and_set_are_the_same_params(folder, name, capsys):
    wanted = resolve_recipe(name, VALUES)
    assert depthmask(["recipe", name]) == 0
    shown = capsys.readouterr().out
    assert yaml.safe_load(shown) == wanted
    assert (folder / "params.yaml").read_text() == TEXT

    assert depthmask(["recipe", name, "--set"]) == 0
    words = capsys.readouterr().out.split()  # as a shell splits what stands in $( )
    assert words[::2] == ["-S"] * (len(words) // 2)
    (folder / "dvc.yaml").write_text(TEXT)
    apply_overrides(folder / "dvc.yaml", words[1::2])  # what `dvc exp run --set-param` does
    assert yaml.safe_load((folder / "dvc.yaml").read_text()) == wanted

    assert depthmask(["recipe", name, "--write"]) == 0
    printed = capsys.readouterr().out
    assert printed.count("\n") == 1
    assert f"recipe {name}" in printed
    written = (folder / "params.yaml").read_text()
    assert shown.endswith(written)
    assert load_params(folder / "params.yaml") == make_params(wanted)
    assert list(yaml.safe_load(written)) == list(VALUES)
    assert list(yaml.safe_load(written)["pretrain"]) == list(VALUES["pretrain"])
    apply_overrides(folder / "params.yaml", [f"seed={VALUES['seed']}"])  # DVC writes the file again, in its layout
    assert (folder / "params.yaml").read_text() == written
    assert depthmask(["recipe", name, "--write"]) == 0
    assert f"already has recipe {name}" in capsys.readouterr().out
    assert depthmask(["recipe", BASE, "--write"]) == 0
    assert (folder / "params.yaml").read_text() == TEXT, "the way back loses a comment, or an order"


def test_a_recipe_is_not_applied_before_the_user_has_set_what_it_needs(folder, capsys):
    for how in ("--write", "--set"):
        assert depthmask(["recipe", "own_photos", how]) == 1
        printed = capsys.readouterr().err
        assert printed.startswith("error: recipe own_photos needs model.init, the model file to start from")
        assert printed.endswith("; set model.init in params.yaml, then apply the recipe again\n") and printed.count("\n") == 1
    assert (folder / "params.yaml").read_text() == TEXT
    init = f"../model.safetensors#sha256={'0' * 64}"
    (folder / "params.yaml").write_text(TEXT.replace("  init:      ", f"  init: {init} "))
    assert depthmask(["recipe", "own_photos", "--write"]) == 0
    written = load_params(folder / "params.yaml")
    assert (written.model.init, written.pretrain.frozen_encoder_stages) == (init, "all")
    assert depthmask(["recipe", "default", "--write"]) == 0
    assert load_params(folder / "params.yaml").model.init == init, "what is the user's stays"


def test_overrides_take_keys_away_and_add_them():
    current = {"a": {"b": 1, "c": 2}, "n": None, "s": "x", "f": 1}
    wanted = {"a": {"c": 2, "d": [1, "two", None, {"e": 1e-05}]}, "n": {"m": True}, "s": "data/x y"[:6], "f": 1.0}
    assert write_overrides(current, wanted) == ["~a.b", "+a.d=[1,two,null,{e:1e-05}]", "n={m:true}", "s='data/x'", "f=1.0"]
    with pytest.raises(UserError, match="contains a space"):
        write_overrides({"s": "x"}, {"s": "a b"})


def test_check_reports_that_all_are_in_order(folder, capsys):
    assert depthmask(["recipe", "--check"]) == 0
    assert f"{len(NAMES)} recipes ok" in capsys.readouterr().out
    assert depthmask(["recipe", "dense_concat", "--check"]) == 0


MISTAKES = [
    ("epochs: 1\n", "epoch: 1\n", "pretrain.epoch: a recipe cannot set this key; allowed: image_size_px, batch_size"),
    ("epochs: 1\n", "epochs: 0\n", "pretrain.epochs: 0; allowed: greater than or equal to 1"),
    (
        "model:\n",
        "download:\n  path: x\nmodel:\n",
        "download: a recipe cannot set this key; allowed: split, compose, augment, model",
    ),
    ("l1: 1.0", "focal: 1.0", "loss.depth.focal: unknown key"),
    ("{tasks: mask}", "{task: mask}", "pretrain.more_phases.0.task: unknown key"),
    ("size_px: 224", "size_px: 225", "finetune.image_size_px: 225 px do not fit model.name: branched_unet"),
    ("background_input: true", "background_input: false", "model.background_input: false"),
    ("# Time:", "# When:", "its header lacks Time"),
    ("model:\n", "model: [\n", "is not YAML"),
]


@pytest.mark.parametrize(("old", "new", "printed"), MISTAKES, ids=[printed for _, _, printed in MISTAKES])
@pytest.mark.parametrize("how", [["--check"], ["branched_unet", "--write"], ["branched_unet", "--set"]], ids=" ".join)
def test_a_mistake_in_a_recipe_is_one_line_that_names_file_and_key(folder, capsys, old, new, printed, how):
    edit(folder, "branched_unet", old, new)
    assert depthmask(["recipe", *how, "--recipes", "recipes"]) == 2
    lines = capsys.readouterr().err
    assert lines.count("\n") == 1
    assert lines.startswith("error: recipes/branched_unet.yaml: ")
    assert printed in lines
    assert (folder / "params.yaml").read_text() == TEXT


def test_a_renamed_key_in_a_recipe_is_named_with_its_new_name(folder, capsys, monkeypatch):
    monkeypatch.setitem(RENAMED, "pretrain.epoch", "pretrain.epochs")
    edit(folder, "branched_unet", "epochs: 1\n", "epoch: 1\n")
    assert depthmask(["recipe", "branched_unet", "--check", "--recipes", "recipes"]) == 2
    printed = capsys.readouterr().err
    assert printed == "error: recipes/branched_unet.yaml: pretrain.epoch: renamed to pretrain.epochs; use that name\n"


def test_what_is_wrong_in_params_yaml_is_not_laid_at_the_recipes_door(folder, capsys):
    (folder / "params.yaml").write_text(TEXT.replace("seed: 0 ", "seed: -1 "))
    assert depthmask(["recipe", "dense_concat", "--write"]) == 2
    assert capsys.readouterr().err.startswith("error: params.yaml: seed: -1")
    with pytest.raises(ParamsError, match=r"dense_concat\.yaml: model\.background_input: true .* flat_numbered"):
        values = resolve_recipe("dilated_small", {**VALUES, "download": {**VALUES["download"], "source": "flat_numbered"}})
        check_recipe("dense_concat", values)


def test_the_time_of_a_recipe_is_worked_out_from_its_steps(folder, monkeypatch, capsys):
    seen = {}

    def measure(params, phases, raw, split):
        seen["batches"] = [phase.batch_size for phase in phases]
        return [0.5] * len(phases)

    monkeypatch.setattr("depthmask.leaderboard.speed.measure_step_seconds", measure)
    assert depthmask(["recipe", "two_stream_separable", "--time"]) == 1
    assert "data/split: no such data yet; run dvc repro split" in capsys.readouterr().err
    write_json(folder / "data/split/statistics.json", {})
    found = {"download": strip_source(load_params().download).model_dump(), "num_files": 0, "sha256": "0" * 64}
    write_json(folder / "data/raw/source.json", found | {"archives": [], "skipped": [], "warnings": []})
    assert depthmask(["recipe", "two_stream_separable", "--time", "--batch-size-max", "0"]) == 1
    assert "--batch-size-max 0; allowed: from 1" in capsys.readouterr().err
    assert depthmask(["recipe", "two_stream_separable", "--time"]) == 0
    first, second, together = capsys.readouterr().out.splitlines()
    assert first == "pretrain: 52,500 steps of 32 at 128 px, 64 images/s: 7 h 17 min"
    assert second.startswith("finetune: 52,500 steps of 32 at 128 px, 64 images/s")
    assert together == "together: 14 h 35 min"
    assert seen["batches"] == [32, 32]
    assert depthmask(["recipe", "two_stream_separable", "--time", "--batch-size-max", "8"]) == 0
    assert "52,500 steps of 32 at 128 px, 16 images/s (with batches of 8): 29 h 10 min" in capsys.readouterr().out


def test_an_unknown_name_is_one_line_with_the_known_ones(folder, capsys):
    assert depthmask(["recipe", "dens_concat", "--write"]) == 1
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1
    assert printed.startswith("error: recipe dens_concat: unknown; known: default, branched_unet, compact, dense_concat")
    for argv in (["--write"], ["dense_concat", "--write", "--set"]):
        with pytest.raises(SystemExit):
            depthmask(["recipe", *argv])


def test_any_recipe_can_follow_any_other_as_text():
    texts = {name: change_values(TEXT, resolve_recipe(name, VALUES), name) for name in NAMES}
    for one, other in itertools.permutations(("dense_concat", "branched_unet", "multi_dilation_unet_explore", BASE), 2):
        assert change_values(texts[one], resolve_recipe(other, yaml.safe_load(texts[one])), other) == texts[other], (one, other)


@pytest.fixture
def project(tmp_path, monkeypatch, split) -> Iterator[Path]:
    write_json(split / "statistics.json", {"channels": {"image": {"mean": [0.5] * 3, "std": [0.2] * 3}}})
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DEPTHMASK_WORKERS", "0")
    yield tmp_path
    for weights in tmp_path.glob("*.safetensors"):
        weights.unlink()  # pytest keeps its folders, and the larger networks weigh 100 MB


def prepare(name: str) -> Params:
    """params.yaml with a recipe cut down to a few steps, in the current folder."""
    if name in NEEDED and importlib.util.find_spec(NEEDED[name]) is None:
        pytest.skip(f"{NEEDED[name]} is not installed")
    values = shrink_recipe(resolve_recipe(name, VALUES))
    Path("params.yaml").write_text(yaml.safe_dump(values))
    params = make_params(values)
    Path("start").mkdir()
    write_start(params.model, Path("start"))
    return params


def run_stage(stage: str, raw: Path, split: Path, name: str, *more: str) -> int:
    files = ["--weights", f"{name}.safetensors", "--history", f"{name}.csv", "--run", f"{name}.json"]
    script = {"pretrain": pretrain, "finetune": finetune}[stage]
    more = more if stage == "finetune" else ("--start", "start", *more)
    return script(["--raw", str(raw), "--split", str(split), *files, *more])


@pytest.mark.parametrize("name", mark_slow(NAMES))
def test_every_recipe_trains_two_steps_in_each_stage(name, project, raw, split):
    params = prepare(name)
    assert run_stage("pretrain", raw, split, "pretrain") == 0
    assert run_stage("finetune", raw, split, "finetune", "--init", "pretrain.safetensors") == 0
    for stage in ("pretrain", "finetune"):
        rows = read_csv(project / f"{stage}.csv")
        phases = getattr(params, stage).phases()
        assert [int(row["step"]) for row in rows] == [*range(1, len(phases) + 2)]
        for row in rows:
            phase = phases[int(row["phase"]) - 1]
            printed = {key.split("_")[1] for key, value in row.items() if key.startswith("train_") and value} - {"loss"}
            assert printed <= set(list_tasks(phase.tasks))
            assert printed


ONE_OF_EACH = list({check_recipe(name, VALUES).model.name: name for name in reversed(NAMES)}.values())


@pytest.mark.parametrize("name", mark_slow(ONE_OF_EACH, also=set(ONE_OF_EACH) - {"default", "dilated_small"}))
def test_every_network_killed_in_its_last_phase_ends_with_the_same_bytes(name, project, raw, split, monkeypatch):
    params = prepare(name)
    assert run_stage("pretrain", raw, split, "whole") == 0
    num_steps, seen = len(params.pretrain.phases()) + 1, []

    def lose_power(*given, **options):
        seen.extend([1] if torch.is_grad_enabled() else [])
        if len(seen) == num_steps:
            raise Killed
        return weigh_losses(*given, **options)

    monkeypatch.setattr(objective, "weigh_losses", lose_power)
    with pytest.raises(Killed):
        run_stage("pretrain", raw, split, "resumed")
    monkeypatch.setattr(objective, "weigh_losses", weigh_losses)
    assert run_stage("pretrain", raw, split, "resumed") == 0
    for kind in ("safetensors", "csv"):
        assert (project / f"resumed.{kind}").read_bytes() == (project / f"whole.{kind}").read_bytes()
