"""Rows of a .npy file, and how a store is asked for: sizes, processes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

from depthmask.base.errors import ParamsError, UserError
from depthmask.execution.speed_options import read_num_processes
from depthmask.leaderboard.checking import check_recipes
from depthmask.packing.shards import PackPlan
from depthmask.recipes import FOLDER
from depthmask.sources.rows import RowFile, RowWriter
from stages import pack

ROOT = Path(__file__).parents[2]


def test_rows_are_written_and_read_one_by_one(tmp_path):
    rows = np.random.default_rng(0).integers(0, 255, (300, 7, 5), np.uint8)
    with RowWriter(tmp_path / "a/rows.npy", (7, 5), np.uint8) as writer:
        for row in rows:
            writer.add(row)
        with pytest.raises(ValueError, match=r"a row of \(5, 7\) uint8"):
            writer.add(rows[0].T)
    np.save(tmp_path / "same.npy", rows)
    assert (tmp_path / "a/rows.npy").read_bytes() == (tmp_path / "same.npy").read_bytes()
    opened = RowFile(tmp_path / "a/rows.npy")
    for number in (299, 0, 151, 0):
        np.testing.assert_array_equal(opened.read(number), rows[number])
    with RowWriter(tmp_path / "none.npy", (7, 5), np.uint8):
        pass
    assert len(RowFile(tmp_path / "none.npy")) == 0
    (tmp_path / "bad.npy").write_bytes((tmp_path / "same.npy").read_bytes()[:-1])
    with pytest.raises(UserError, match=r"bad\.npy: damaged"):
        RowFile(tmp_path / "bad.npy")


def _read_resident_file_pages() -> int:
    """Bytes of files that are mapped into this process."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["RssFile"].split()[0]) * 1024


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux says what is resident")
def test_rows_that_were_read_do_not_stay_resident(tmp_path):
    np.save(tmp_path / "rows.npy", np.ones((4000, 70, 100), np.uint8))  # 28 MB
    opened = RowFile(tmp_path / "rows.npy")
    opened.read(0)
    before = _read_resident_file_pages()
    assert sum(int(opened.read(number)[0, 0]) for number in range(len(opened))) == 4000
    assert _read_resident_file_pages() - before < 4_000_000
    assert opened.rows.sum() == 28_000_000
    assert _read_resident_file_pages() - before > 20_000_000, "what `rows` shows is mapped until it is no longer looked at"


def test_every_size_that_a_phase_or_the_test_set_has_is_packed(params):
    more = params.finetune.model_copy(update={"more_phases": [{"image_size_px": 96}, {"epochs": 2}]})
    assert pack.list_sizes(params) == {160, 224}
    assert pack.list_sizes(params.model_copy(update={"finetune": more})) == {96, 160, 224}


@pytest.mark.parametrize(
    ("changes", "lacking"), [({"image_size_max_px": None}, 80), ({"image_size_max_px": 48, "recipes": ["default"]}, 48)]
)
def test_a_size_that_the_leaderboard_does_not_pack_is_reported(tmp_path, changes, lacking):
    values = yaml.safe_load((ROOT / "leaderboard/params.yaml").read_text())
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(values | changes))
    with pytest.raises(ParamsError, match=rf"params\.yaml: pack\.sizes_px: lacks {lacking}, "):
        check_recipes(tmp_path / "params.yaml", FOLDER)
    check_recipes(ROOT / "leaderboard/params.yaml", FOLDER)


@pytest.mark.parametrize("num_composites", [0, 1, 7, 16, 400_000])
def test_parts_hold_each_composite_once_and_are_alike_in_number(num_composites):
    plan = PackPlan((8,), "crop", num_shards=7)
    parts = [plan.choose_rows(shard, num_composites) for shard in range(7)]
    assert [row for part in parts for row in part] == list(range(num_composites))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_processes_are_as_many_as_the_environment_says():
    assert read_num_processes({"DEPTHMASK_WORKERS": "5"}) == 5
    assert read_num_processes({"DEPTHMASK_WORKERS": "0"}) == 1
    assert read_num_processes({}) >= 1
    with pytest.raises(UserError, match="DEPTHMASK_WORKERS=many; allowed: a number"):
        read_num_processes({"DEPTHMASK_WORKERS": "many"})
