"""Episodes and evaluation."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from gr2_sim import evaluate as command
from gr2_sim import evaluation
from gr2_sim.evaluate import Suite, evaluate, table
from gr2_sim.rollout import Rollout
from gr2_sim.tally import Result, counts, wilson
from gr2_sim.tasks import UnknownTask
from gr2_sim.teacher import Teacher


def test_same_seed_same_episode(teach: Callable[..., Rollout]) -> None:
    first, second = (teach(time_limit=2.0).run("push_red_block_left", 11) for _ in range(2))
    assert np.array_equal(first.tool_path, second.tool_path)
    assert first.detail == second.detail
    assert len(first.tool_path) == 21
    other = teach(time_limit=2.0).run("push_red_block_left", 12)
    assert not np.array_equal(first.tool_path, other.tool_path)


def test_the_time_limit_ends_an_episode(teach: Callable[..., Rollout]) -> None:
    episode = teach(time_limit=1.0).run("red_block_in_bin", 0)
    assert not episode.success
    assert episode.duration == pytest.approx(1.0)
    assert "not inside" in episode.detail
    assert episode.chunks == 5


def test_wilson_interval() -> None:
    # Reference values: R, binom::binom.confint(x, 20, methods = "wilson").
    assert wilson(20, 20) == pytest.approx((0.8389, 1.0), abs=1e-4)
    assert wilson(19, 20) == pytest.approx((0.7639, 0.9911), abs=1e-4)
    assert wilson(0, 0) == (0.0, 1.0)


def test_evaluates_and_prints(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(evaluation, "load_policy", lambda name, **options: Teacher(**options))
    arguments = ["--tasks", "lift_mug", "--episodes", "2", "--paraphrase", "--json", str(tmp_path / "e.json")]
    assert command.main([*arguments, "--at-least", "2", "--option", "horizon=12"]) == 0
    out = capsys.readouterr()
    assert "lift_mug" in out.out
    assert "2/2" in out.out
    assert "2/2 episodes, 2 succeeded" in out.err
    assert "a minute, 0:00:00 left" in out.err
    content = json.loads((tmp_path / "e.json").read_text())
    assert content["suite"] == "plain"
    assert content["policy"] == "teacher"
    assert (content["episodes"], content["successes"], content["rate"]) == (2, 2, 1.0)
    assert content["tasks"]["lift_mug"]["successes"] == 2
    assert content["tasks"]["lift_mug"]["wilson_low"] == pytest.approx(0.342, abs=1e-3)
    assert [e["instruction"] for e in content["results"]] == ["lift the mug", "pick up the mug"]
    assert not list(tmp_path.glob("*.partial.jsonl"))


def test_a_broken_run_goes_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done = []

    class Breaks(Rollout):
        def run(self, task: str, seed: int, instruction: str = "", scene: str = "") -> object:
            if len(done) == 2:
                raise KeyboardInterrupt
            done.append(seed)
            return super().run(task, seed, instruction, scene)

    monkeypatch.setattr(evaluation, "load_policy", lambda name, **options: Teacher())
    arguments = [
        "--tasks",
        "press_button",
        "--episodes",
        "4",
        "--json",
        str(tmp_path / "e.json"),
        "--time-limit",
        "0.3",
    ]
    with monkeypatch.context() as patch:
        patch.setattr(evaluation, "Rollout", Breaks)
        assert command.main(arguments) == 130
    partial = tmp_path / "e.json.partial.jsonl"
    assert len(partial.read_text().splitlines()) == 2
    with partial.open("a") as file:
        file.write('{"fingerprint": {"pol')  # the line at which a run was killed
    assert command.main(arguments) == 0
    assert "2 of 4 episodes are known" in capsys.readouterr().err
    content = json.loads((tmp_path / "e.json").read_text())
    assert [r["seed"] for r in content["results"]] == [0, 1, 2, 3]
    assert content["failures"] == {"never reached": 4}
    assert command.main([*arguments[:-2], "--time-limit", "0.4"]) == 0
    assert "known" not in capsys.readouterr().err, "results with another time limit were taken over"


def test_failures_count(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(evaluation, "load_policy", lambda name, **options: Teacher())
    assert command.main(["--tasks", "lift_mug", "--episodes", "1", "--time-limit", "0.5", "--at-least", "1"]) == 1
    assert re.search(r"failed: lift_mug, seed 0: never reached: mug is -?0\.00\d m above", capsys.readouterr().err)


def test_table_sums_up() -> None:
    results = [Result("a", i, "do a", i > 0, 4.0 + i, "", 1, 0, "", "table", "" if i else "dropped") for i in range(4)]
    assert counts(results)["failures"] == {"dropped": 1}
    text = table(results)
    assert "3/4" in text
    assert "6.0 s" in text
    assert text.splitlines()[-2].startswith("all")
    assert text.splitlines()[-1] == "failures: dropped 1"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--tasks", "dance"], "unknown task 'dance'"),
        (["--policy", "nobody", "--tasks", "lift_mug"], "no policy named 'nobody'"),
        (["--suite", "hard"], "unknown suite 'hard'; known: plain, simple"),
        (["--suite", "bin", "--tasks", "lift_mug"], "unknown setting of bin picking 'lift_mug'"),
        (["--option", "x", "--tasks", "lift_mug"], "expected KEY=VALUE"),
    ],
)
def test_mistakes_are_one_line(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(arguments) == 2
    assert message in capsys.readouterr().err


def test_unknown_task_is_named() -> None:
    with pytest.raises(UnknownTask, match="dance"):
        evaluate(Suite(policy="teacher", tasks=("dance",)))


def test_needs_no_ros() -> None:
    code = (
        "import sys; sys.modules['rclpy'] = sys.modules['gr2_msgs'] = None\n"
        "import gr2_sim.evaluate, gr2_sim.render, gr2_sim.teacher, gr2_sim.camera_thread, gr2_sim.pacing"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
