"""``./gr2 bench wbc`` runs and writes what it promises; its figures are nobody's business here."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def main(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks.wbc import main as module

    return module


@pytest.mark.slow
def test_quick_run_writes_the_agreed_keys(main, tmp_path, capsys):
    parser = argparse.ArgumentParser()
    main.add_arguments(parser)
    path = tmp_path / "out.json"
    assert main.run(parser.parse_args(["--quick", "--no-peers", "--json", str(path)])) == 0
    report = json.loads(path.read_text())
    for keys in (
        ("hot", "p50_us"),
        ("hot", "cpu_p99_us"),
        ("hot", "stages_us", "solve"),
        ("hot_manipulability", "p50_us"),
        ("hot_daqp", "p50_us"),
        ("paced", "p99_us"),
        ("paced", "missed"),
        ("paced", "ticks"),
        ("growth", "joints"),
        ("tracking", "median_mm"),
        ("tracking", "p95_mm"),
        ("machine", "processor"),
    ):
        value = report
        for key in keys:
            value = value[key]
        assert value or value == 0, keys
    assert report["tracking"]["p95_mm"] < 5.0
    assert "tracking at 0.2 m/s" in capsys.readouterr().out


def test_the_robot_of_the_benchmark_has_fifty_pairs_and_chains_have_what_they_were_asked_for(main, tmp_path):
    from benchmarks.wbc.chains import chain
    from benchmarks.wbc.scene import bench_robot

    from gr2_wbc.collision_model import build_collision_model

    assert build_collision_model(bench_robot()).model.npair == 50
    for joints, pairs in ((6, 0), (9, 25), (30, 50), (7, 400)):
        robot = chain(tmp_path, joints, pairs)
        assert robot.dof == joints
        assert build_collision_model(robot).model.npair == pairs


def test_the_peers_worker_imports_nothing_of_ours(main):
    text = (ROOT / "benchmarks" / "wbc" / "peer_worker.py").read_text()
    assert "gr2_" not in text.replace("gr2 ", "")
