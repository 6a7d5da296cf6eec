"""Data as people have them: read to the values that were put in, or refused in one line that helps (odd_data.py)."""

from __future__ import annotations

import pytest
from odd_cases import CASES
from odd_data import Case, Outcome, reads, refuses, run
from odd_values import CASES as VALUES


@pytest.mark.parametrize("case", [*CASES, *VALUES], ids=lambda case: case.name)
def test_odd_data_are_read_right_or_refused_in_one_line(case: Case, tmp_path):
    assert case.right(run(case, tmp_path)) is None


def test_the_judges_can_say_no():
    assert refuses("raw_max")(Outcome(0, ["error: raw_max"])) is not None
    assert refuses("raw_max")(Outcome(1, ["Traceback", "error: raw_max"])) is not None
    assert refuses("raw_max")(Outcome(1, ["error: something else"])) is not None
    assert refuses("raw_max")(Outcome(1, ["error: x: raw_max is wrong"])) is None
    assert refuses("raw_max", unlike="again")(Outcome(1, ["error: x: raw_max is wrong; fetch it again"])) is not None
    assert reads(depth=5.5)(Outcome(0, [], {"depth": 0.05})) is not None
    assert reads("kitchen")(Outcome(0, [], {})) is not None
    assert reads("kitchen", depth=5.5)(Outcome(0, ["warning: kitchen/"], {"depth": 5.52})) is None
