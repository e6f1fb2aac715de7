"""Nothing reaches the wire but what the last check has passed; and what a poisoned program leads to."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest

import gr2_wbc
from gr2_wbc.chunk import ChunkRefused
from gr2_wbc.command import CommandGate
from gr2_wbc.reference import Reference
from gr2_wbc.safety import ResetRefused, State

SOURCES = Path(gr2_wbc.__file__).parent
DT = 0.005


def calls(file: str, name: str) -> list[str]:
    """Every call of something whose text ends in ``name``, in one source file."""
    tree = ast.parse((SOURCES / file).read_text(encoding="utf-8"))
    found = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return [ast.unparse(node) for node in found if ast.unparse(node.func).endswith(name)]


def test_the_node_publishes_commands_in_one_place_and_only_as_the_writer_gives_them():
    assert calls("wbc_node.py", "_command_out.publish") == ["self._command_out.publish(self._writer.write(command))"]
    text = (SOURCES / "wbc_node.py").read_text(encoding="utf-8")
    assert text.count("_command_out") == 2, "made once, used once"
    assert calls("serialized.py", "command.trajectory") == ["command.trajectory()"]


def test_commands_are_made_in_one_place_of_the_controller():
    makers = {file.name: calls(file.name, "CommandTrajectory") for file in SOURCES.glob("*.py")}
    assert {name for name, found in makers.items() if found} == {"controller.py"}
    assert calls("controller.py", "_gate.check") != []


def test_every_plan_handed_out_has_passed_the_check_or_stands(rig, monkeypatch):
    """Whatever is done to the controller: chunks, stops, resets, jumps of time and of the arm, late cycles."""
    passed: set[int] = set()
    kept = []
    check = CommandGate.check

    def recording(self, candidate, previous):
        plan = check(self, candidate, previous)
        passed.add(id(plan))
        kept.append(plan)  # so that no other gets its id
        return plan

    monkeypatch.setattr(CommandGate, "check", recording)
    chance = np.random.default_rng(3)
    for cycle in range(3000):
        if cycle % 40 == 0:
            try:
                rig.send(rig.line(tuple(chance.normal(0.0, 0.15, 3))))
            except ChunkRefused:
                pass
        what = chance.integers(0, 400)
        if what == 0:
            rig.controller.e_stop("random")
        elif what == 1:
            rig.time += chance.uniform(-4.0, 4.0)
        elif what == 2:
            rig.time += chance.uniform(0.0, 0.1)
            rig.positions, rig.velocities = rig.commands[-1].plan.evaluate(rig.time)
        elif what == 3:
            rig.controller.resync(rig.measurement())
        if rig.state is State.STOPPED and cycle % 50 == 0:
            try:
                rig.controller.reset(rig.time, rig.measurement())
            except ResetRefused:
                pass
        command = rig.step()
        if command.active and id(command.plan) not in passed:
            _, positions, velocities = command.trajectory()
            assert not velocities.any()
            assert (positions == positions[0]).all()
    assert len(kept) > 1500


# -- poison ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("solver", ["osqp", "daqp"])
def test_numbers_that_are_not_finite_brake_the_arm_and_leave_no_trace(make_rig, monkeypatch, solver):
    rig = make_rig(**{"qp.solver": solver})
    rig.stream(rig.circle(rate=2.0), 1.0)
    speed = np.abs(rig.velocities).max()
    assert speed > 0.05
    sample = Reference.sample
    with monkeypatch.context() as patch:
        patch.setattr(Reference, "sample", lambda self, ahead: (*sample(self, ahead)[:2], np.full(6, np.nan)))
        for _ in range(8):
            command = rig.step()
            assert np.isfinite([*command.positions, *command.velocities]).all()
    assert rig.controller.status().qp_failures == 8
    assert np.abs(rig.velocities).max() < speed
    assert rig.state is not State.STOPPED
    rig.stream(rig.circle(), 1.0)
    status = rig.controller.status()
    assert status.qp_failures == 8, "the workspace was set up anew: later programs are solved"
    assert status.position_error < 2e-3


def test_a_program_that_stays_poisoned_stops_the_arm_and_says_so(rig, monkeypatch):
    rig.stream(rig.circle(), 0.5)
    sample = Reference.sample
    monkeypatch.setattr(Reference, "sample", lambda self, ahead: (*sample(self, ahead)[:2], np.full(6, np.nan)))
    for _ in range(12):
        command = rig.step()
    assert command.state is State.STOPPED
    assert "not finite" in command.reason
    assert "10 control cycles in a row" in command.reason


def test_bounds_that_contradict_each_other_brake_the_arm(rig, monkeypatch):
    """An infeasible set: whatever the solver answers, nothing beyond the limits goes out."""
    rig.stream(rig.circle(rate=2.0), 1.0)
    bounds = rig.controller._bounds
    original = bounds.bounds

    def crossed(positions, velocities):
        lower, upper, too_fast = original(positions, velocities)
        return upper + 0.5, lower - 0.5, too_fast

    before = rig.velocities
    with monkeypatch.context() as patch:
        patch.setattr(bounds, "bounds", crossed)
        for _ in range(5):
            command = rig.step()
            assert (np.abs(command.velocities - before) <= rig.robot.limits.acceleration * DT * 1.0001).all()
            before = command.velocities
    assert rig.controller.status().qp_failures == 5
    assert rig.state is not State.STOPPED
    rig.stream(rig.circle(), 1.0)
    assert rig.controller.status().qp_failures == 5
