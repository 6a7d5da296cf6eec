"""Pre-composited samples through the real graph: packed in parts by Snakemake, in one command by DVC, to the same bytes."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from making_layouts import WRITERS, make_composites
from running_tools import (
    TOOLS,
    find_different,
    kill_when,
    make_environment,
    require_nothing_to_do,
    run,
    run_snakemake,
)
from tiny_project import change_params, commit, copy_clone, make_clone

pytestmark = pytest.mark.slow

NUM_SHARDS = 12
COMMANDS = {"dvc": ["dvc", "repro", "pack"], "snakemake": ["snakemake", "--cores", "1", "data/store"]}
PATIENCE_S = 240
PACKED = {"pack", "split", "weights", "pretrain", "finetune", "evaluate", "photos", "report"}


def list_files(folder: Path) -> dict[str, bytes]:
    """Every file but the mark that Snakemake leaves in a folder."""
    files = (file for file in folder.rglob("*") if file.is_file() and file.name != ".snakemake_timestamp")
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in files}


@pytest.fixture(scope="module")
def untouched(tmp_path_factory) -> Path:
    """A clone whose source is 72 pre-composited samples with clean backgrounds, larger than what is trained on."""
    root = make_clone(tmp_path_factory.mktemp("packed") / "clone")
    changes, _ = WRITERS["flat_numbered"](root / "set", make_composites(6, 6, 2, size_px=256))
    change_params(
        root,
        {
            "download": {"source": "flat_numbered", "path": "set"} | changes,
            "pack": {"shards": NUM_SHARDS},
            "split": {"test": 0.3, "validation": 0.3},
            "finetune": {"image_size_px": 40},
            "evaluate": {"image_size_px": 40},
        },
    )
    commit(root, "pre-composited samples")
    return root


@pytest.fixture(scope="module")
def made(untouched, tmp_path_factory) -> dict[str, Path]:
    roots = {tool: copy_clone(untouched, tmp_path_factory.mktemp(tool) / "clone") for tool in TOOLS}
    for tool, root in roots.items():
        assert TOOLS[tool](root) >= PACKED
    return roots


def test_both_tools_make_the_same_store_and_the_same_weights(made):
    dvc, snakemake = (made[tool] for tool in ("dvc", "snakemake"))
    store = list_files(dvc / "data/store")
    assert {"index.json", "source.json", "32/image-0000.npy", "40/depth-0011.npy", "40/clean.npy"} <= set(store)
    assert list_files(snakemake / "data/store") == store
    assert {log.name for log in (snakemake / "logs/pack").iterdir()} == {f"{shard:04d}.log" for shard in range(NUM_SHARDS)}
    names = ("data/split/train.csv", "data/split/train.npy", "data/models/finetune.safetensors", "reports/metrics.json")
    assert find_different(dvc, snakemake, names) == []
    for root in (dvc, snakemake):
        assert not [path for path in (root / ".shards").rglob("*") if path.is_file()]
        require_nothing_to_do(root)


def test_training_from_the_store_gives_the_same_weights_whatever_the_worker_count(made, tmp_path):
    wanted = {name: (made["dvc"] / name).read_bytes() for name in ("data/store/index.json", "data/models/pretrain.safetensors")}
    for workers in ("0", "3"):
        root = copy_clone(made["dvc"], tmp_path / workers)
        environ = make_environment(root) | {"DEPTHMASK_WORKERS": workers}
        for stage in ("pack", "pretrain"):
            command = ["dvc", "repro", "--force", "--single-item", stage]
            subprocess.run(command, cwd=root, env=environ, check=True, stdout=subprocess.DEVNULL)
        for name, data in wanted.items():
            assert (root / name).read_bytes() == data, (workers, name)


@pytest.mark.parametrize("tool", TOOLS)
def test_what_is_trained_otherwise_is_not_packed_again_and_another_size_is(made, tmp_path, tool):
    root = copy_clone(made[tool], tmp_path / "clone")
    change_params(root, {"finetune": {"image_size_px": 48}})
    ran = TOOLS[tool](root, "finetune")
    assert {"pack", "finetune"} <= ran and "download" not in ran
    assert sorted(path.name for path in (root / "data/store").iterdir() if path.is_dir()) == ["32", "40", "48"]
    change_params(root, {"finetune": {"image_size_px": 48, "learning_rate": 0.001}})
    ran = TOOLS[tool](root, "finetune")
    assert "finetune" in ran and not {"pack", "split", "pretrain"} & ran


@pytest.mark.parametrize("tool", TOOLS)
def test_a_killed_packing_is_resumed_under_the_other_tool_and_ends_with_the_same_bytes(untouched, made, tmp_path, tool):
    root = copy_clone(untouched, tmp_path / "clone")
    run(root, "dvc", "repro", "download")

    def has_packed_some() -> bool:
        return any(root.glob(".shards/pack-*/[0-9]*/shard.json"))

    kill_when(has_packed_some, root, COMMANDS[tool], PATIENCE_S, DEPTHMASK_WORKERS="1")
    parts = {part: part.stat().st_mtime_ns for part in root.glob(".shards/pack-*/[0-9]*/shard.json")}
    assert 0 < len(parts) < NUM_SHARDS and not (root / "data/store").exists()
    if tool == "snakemake":
        run(root, "dvc", "repro", "pack")
    else:
        run_snakemake(root, "data/store")
    assert list_files(root / "data/store") == list_files(made["dvc"] / "data/store")
