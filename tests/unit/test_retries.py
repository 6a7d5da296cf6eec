"""Which jobs Snakemake starts again after a failure."""

from __future__ import annotations

from pathlib import Path

import pytest

from cluster.retries import IN_VAIN_MAX, STOPPED_MAX, Retries

FRESH = "pretrain  32 px, 2 epochs, cpu, 1 thread, fresh\n"
RESUMED = "pretrain  32 px, 2 epochs, cpu, 1 thread, resumed from step 1,200 of 4,000\n"
STOPPED = "error: pretrain: stopped by SIGUSR1; rerun the same command to resume from step {}\n"
OVER = "error: split: stopped by SIGTERM; nothing was saved; rerun to start over\n"


@pytest.fixture
def retries(tmp_path) -> Retries:
    (tmp_path / "codes").mkdir()
    return Retries("pretrain", tmp_path / "codes", tmp_path / "pretrain.log")


def end(retries: Retries, code: int | None, log: str = "", done: int = 0) -> bool:
    """Let the job end with an exit code, None if it was killed with its shell; returns whether it is started again."""
    retries.log.write_text(log)
    if code is not None:
        (retries.codes / retries.rule).write_text(f"{code}\n")
    return retries > done


@pytest.mark.parametrize("code", [1, 2, 130, 137, 255])
def test_a_mistake_is_not_repeated_even_after_a_stop(retries, code):
    assert not end(retries, code, FRESH + "error: params.yaml: ...\n")
    assert end(retries, 143, FRESH + STOPPED.format(40))
    assert not end(retries, code, FRESH + STOPPED.format(40))


@pytest.mark.parametrize("code", [138, 140, 143])
def test_a_training_that_came_further_is_started_again_as_often_as_it_takes(retries, code):
    for number in range(10 * IN_VAIN_MAX):
        assert end(retries, code, RESUMED + STOPPED.format(f"1,{201 + number}"), done=number)
    assert not end(retries, code, RESUMED + STOPPED.format("1,300"), done=STOPPED_MAX)


@pytest.mark.parametrize(("code", "log"), [(None, FRESH), (143, OVER), (138, RESUMED + STOPPED.format("1,200")), (143, "")])
def test_what_comes_no_step_further_is_given_up_soon(retries, code, log):
    for _ in range(2):
        assert [end(retries, code, log) for _ in range(IN_VAIN_MAX + 1)] == [True] * IN_VAIN_MAX + [False]
        assert end(retries, 138, FRESH + STOPPED.format(8)), "and after a step further there is patience again"


def test_a_job_that_leaves_nothing_is_not_judged_by_what_the_last_one_left(retries):
    assert end(retries, 143, FRESH + STOPPED.format(40))
    assert [retries > 1 for _ in range(IN_VAIN_MAX + 1)] == [True] * IN_VAIN_MAX + [False]


def test_of_a_group_the_job_counts_that_says_most(tmp_path):
    """As Snakemake does it: max(job.restart_times for job in group) > attempt - 1."""
    jobs = [Retries(name, tmp_path, tmp_path / f"{name}.log") for name in ("a", "b", "c")]
    assert max(jobs) > 0
    (tmp_path / "b").write_text("143")
    (tmp_path / "b.log").write_text(FRESH + STOPPED.format(40))
    assert max(jobs) is jobs[1] and max(jobs) > 0
    for job, code in zip(jobs, ("143", "143", "2")):
        (tmp_path / job.rule).write_text(code)
    assert max(jobs) is jobs[2] and not max(jobs) > 0


def test_nothing_is_repeated_where_jobs_cannot_say_how_they_ended():
    assert not Retries("a", None, Path("a.log")) > 0
    assert not Retries("a", Path(), Path("a.log"), is_here=lambda: False) > 0, "there the scheduler does it"
    assert isinstance(Retries("a", None, Path("a.log")), int) and not Retries("a", None, Path("a.log")) < 0
