"""Worker processes: what kills them is tried again, then given up; all else is done."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gr2_sim.workers import DEATHS, Work

about = ""


def prepare(word: str) -> None:
    global about
    about = word


def make(number: int, folder: Path) -> str:
    """Number 1 kills its worker always, number 2 the first time; number 4 is an error."""
    trace = folder / f"{number}"
    trace.write_text(trace.read_text() + "x" if trace.exists() else "x")
    if number == 1 or (number == 2 and trace.read_text() == "x"):
        os._exit(1)
    if number == 4:
        raise ValueError("four")
    return f"{about} {number}"


@pytest.mark.parametrize("workers", [1, 2])
def test_a_death_costs_one_job(workers: int, tmp_path: Path) -> None:
    done, lost = {}, {}
    work = Work[int, str](make, lambda number: (number, tmp_path), prepare, "number", workers)
    work.do([0, 1, 2, 3], done.__setitem__, lost.__setitem__)
    assert 1 in lost
    assert f"died {DEATHS} times" in lost[1]
    assert (tmp_path / "1").read_text() == "x" * DEATHS
    if workers == 1:  # with more, a death has as many suspects
        assert done == {number: f"number {number}" for number in (0, 2, 3)}
    assert {*done, *lost} == {0, 1, 2, 3}


def test_errors_are_raised(tmp_path: Path) -> None:
    done: dict[int, str] = {}
    work = Work[int, str](make, lambda number: (number, tmp_path), prepare, "number", 1)
    with pytest.raises(ValueError, match="four"):
        work.do([3, 4, 5], done.__setitem__, done.__setitem__)
    assert done == {3: "number 3"}
