"""What carries out an experiment: order, side by side, what was done before, failures, costs."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pytest

from gr2_bringup.experiments.plan import Step
from gr2_bringup.experiments.runner import Runner, StepFailed

SCRIPT = """
import sys, time
from pathlib import Path
verb, target, *rest = sys.argv[1:]
if verb == "model":
    target, *rest = rest
if verb == "ask":
    print("some words")
    print("the answer")
    sys.exit(0)
log = Path(target).parent.parent / "order.txt"
with log.open("a") as file:
    file.write(f"begin {verb} {Path(target).name} {' '.join(rest)}\\n")
if verb == "finetune":  # each waits for the other
    for _ in range(200):
        if log.read_text().count("begin finetune") >= 2:
            break
        time.sleep(0.05)
    else:
        sys.exit(9)
print("words of", verb)
if "fail" in rest:
    sys.exit(3)
end = time.process_time() + 0.1
while time.process_time() < end:
    pass
Path(target).parent.mkdir(parents=True, exist_ok=True)
Path(target).touch()
"""


def _runner(out: Path, workers: int, said: list[str]) -> Runner:
    script = out.parent / "script.py"
    script.write_text(SCRIPT)
    return Runner(out, workers, [sys.executable, str(script)], said.append)


def _step(out: Path, verb: str, name: str, *rest: str, asks: tuple[str, ...] = ()) -> Step:
    target = out / name / "made"
    return Step((verb, str(target), *rest), target, asks)


def _order(out: Path) -> list[str]:
    return [line.split()[1] for line in (out / "order.txt").read_text().splitlines()]


def test_what_learns_goes_side_by_side_and_what_simulates_alone(tmp_path: Path) -> None:
    out, said = tmp_path / "out", []
    steps = [
        _step(out, "demos", "demos"),
        _step(out, "train-tokenizer", "tokenizer"),
        _step(out, "finetune", "a"),
        _step(out, "eval", "ea"),
        _step(out, "finetune", "b"),
        _step(out, "eval", "eb", "{answer}", asks=("ask", "x")),
    ]
    _runner(out, 2, said).run(steps)
    assert _order(out) == ["demos", "train-tokenizer", "finetune", "finetune", "eval", "eval"]
    assert (out / "order.txt").read_text().splitlines()[-1].endswith("the answer")
    assert [line.split("/")[0] for line in said] == [f"\n[{number}" for number in range(1, 7)]
    assert "words of finetune" in (out / "logs" / "finetune-a.log").read_text()
    spent = json.loads((out / "costs.json").read_text())
    assert set(spent) == {str(step.makes) for step in steps}
    assert all(seconds > 0.09 for seconds in spent.values())
    _runner(out, 2, said).run(steps)  # all is done
    assert len(_order(out)) == 6


def test_after_a_failure_nothing_more_begins_and_the_rest_goes_on_later(tmp_path: Path) -> None:
    out, said = tmp_path / "out", []
    bad, good = _step(out, "pretrain", "bad", "fail"), _step(out, "finetune", "good")
    steps = [_step(out, "demos", "demos"), bad, _step(out, "pretrain", "beside"), good]
    with pytest.raises(StepFailed, match=r"exit code 3; see .*pretrain-bad\.log") as caught:
        _runner(out, 2, said).run(steps)
    assert caught.value.code == 3
    assert "words of pretrain" in (out / "logs" / "pretrain-bad.log").read_text()
    assert "finetune" not in _order(out)
    began = time.monotonic()
    export = Step(("model", "export", str(out / "good" / "made")), out / "good" / "made")
    mended = [steps[0], _step(out, "pretrain", "bad"), steps[2], export]
    _runner(out, 1, said).run(mended)
    assert time.monotonic() - began < 30.0
    assert _order(out).count("demos") == 1
    assert _order(out)[-2:] == ["pretrain", "model"]
