"""A list of locks that a kill has cut off is removed, a whole one is left; DVC then starts again."""

from __future__ import annotations

import pytest

from depthmask.dvc_lock import remove_cut_off_rwlock

WHOLE = '{"write": {"/a": {"pid": 1, "cmd": "dvc repro"}}, "read": {}}'


@pytest.mark.parametrize("length", [0, 1, 20, len(WHOLE) - 1])
def test_a_list_that_is_cut_off_is_removed(tmp_path, capsys, length):
    (tmp_path / "rwlock").write_text(WHOLE[:length])
    remove_cut_off_rwlock(tmp_path)
    assert not (tmp_path / "rwlock").exists()
    assert "which a killed DVC left truncated" in capsys.readouterr().err


def test_a_whole_one_and_none_are_left_alone(tmp_path, capsys):
    remove_cut_off_rwlock(tmp_path)
    (tmp_path / "rwlock").write_text(WHOLE)
    remove_cut_off_rwlock(tmp_path)
    assert (tmp_path / "rwlock").read_text() == WHOLE
    assert capsys.readouterr().err == ""
