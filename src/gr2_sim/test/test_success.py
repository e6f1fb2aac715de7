"""Each success condition, on states of the simulated cell: the true state counts, the near miss does not."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from gr2_sim.referee import Outcome, Referee
from gr2_sim.success import rotation
from gr2_sim.tasks import find_task, load_tasks
from gr2_sim.world import World

NOTHING: frozenset[str] = frozenset()


def judge(
    world: World,
    task: str,
    change: Callable[[], None],
    touched: frozenset[str] = NOTHING,
    hold: Callable[[], None] | None = None,
) -> Outcome:
    """Outcome 0.8 s after a change; `hold` is called before every physics step, as a hand would hold."""
    referee = Referee()
    referee.begin(find_task(task).instructions[0], world.truth())
    change()
    outcome = referee.update(world.truth(), touched)
    for _ in range(16):
        for _ in range(round(0.05 / world.timestep)):
            if hold is not None:
                hold()
            world.step()
        outcome = referee.update(world.truth(), touched)
    return outcome


@pytest.fixture
def fresh(shared_world: World) -> Callable[[str], World]:
    def make(task: str) -> World:
        shared_world.reset(task, 1, time=0.0)
        return shared_world

    return make


def at(world: World, name: str) -> np.ndarray:
    return world.truth().poses[name][0]


@pytest.mark.parametrize("task", list(load_tasks()))
def test_no_task_begins_done(quick_world: World, task: str) -> None:
    quick_world.reset(task, 1, time=0.0)
    outcome = judge(quick_world, task, lambda: None)
    assert outcome.task == task
    assert not outcome.success, outcome.detail
    assert outcome.held == 0.0, outcome.detail


@pytest.mark.parametrize(("height", "success"), [(0.07, True), (0.05, False)])
def test_lifted(fresh: Callable, put: Callable, height: float, success: bool) -> None:
    world = fresh("lift_mug")
    up = at(world, "mug") + [0, 0, height]
    assert judge(world, "lift_mug", lambda: None, hold=lambda: put("mug", up)).success is success


def test_a_throw_is_not_a_lift(fresh: Callable, put: Callable) -> None:
    world = fresh("lift_red_block")
    outcome = judge(world, "lift_red_block", lambda: put("red_block", at(world, "red_block") + [0, 0, 0.3]))
    assert not outcome.success


@pytest.mark.parametrize(
    ("offset", "touched", "success"),
    [
        ([0.0, 0.0, 0.04], NOTHING, True),
        ([0.0, 0.0, 0.04], frozenset({"red_block"}), False),
        ([0.0, 0.12, 0.03], NOTHING, False),
    ],
)
def test_inside(fresh: Callable, put: Callable, offset: list[float], touched: frozenset[str], success: bool) -> None:
    world = fresh("red_block_in_bin")
    place, quaternion = world.truth().poses["bin"]
    outcome = judge(world, "red_block_in_bin", lambda: put("red_block", place + rotation(quaternion) @ offset), touched)
    assert outcome.success is success, outcome.detail


@pytest.mark.parametrize(
    ("move", "success"),
    [([0.0, 0.09, 0.0], True), ([0.0, 0.07, 0.0], False), ([-0.06, 0.09, 0.0], False), ([0.0, -0.09, 0.0], False)],
)
def test_pushed(fresh: Callable, put: Callable, move: list[float], success: bool) -> None:
    world = fresh("push_red_block_left")
    outcome = judge(world, "push_red_block_left", lambda: put("red_block", at(world, "red_block") + move))
    assert outcome.success is success, outcome.detail


def test_carried_is_not_pushed(fresh: Callable, put: Callable) -> None:
    world = fresh("push_red_block_left")
    there = at(world, "red_block") + [0.0, 0.09, 0.03]
    assert not judge(world, "push_red_block_left", lambda: None, hold=lambda: put("red_block", there)).success


@pytest.mark.parametrize(
    ("offset", "touched", "success"),
    [
        ([0.0, 0.01, 0.05], NOTHING, True),
        ([0.0, 0.01, 0.05], frozenset({"red_block"}), False),
        ([0.0, 0.06, 0.05], NOTHING, False),
    ],
)
def test_stacked(fresh: Callable, put: Callable, offset: list[float], touched: frozenset[str], success: bool) -> None:
    world = fresh("stack_red_on_blue")
    target = at(world, "blue_block")
    outcome = judge(world, "stack_red_on_blue", lambda: put("red_block", target + offset), touched)
    assert outcome.success is success, outcome.detail


@pytest.mark.parametrize(
    ("task", "joint", "position", "success"),
    [
        ("open_drawer", "drawer", 0.095, True),
        ("open_drawer", "drawer", 0.080, False),
        ("close_drawer", "drawer", 0.010, True),
        ("close_drawer", "drawer", 0.020, False),
        ("press_button", "button", 0.008, True),
        ("press_button", "button", 0.004, False),
    ],
)
def test_fixtures(fresh: Callable, task: str, joint: str, position: float, success: bool) -> None:
    world = fresh(task)
    address = world.model.joint(joint).qposadr[0]

    def hold() -> None:
        world.data.qpos[address] = position

    outcome = judge(world, task, hold, hold=hold)
    assert outcome.success is success, outcome.detail


def test_the_button_springs_back(fresh: Callable) -> None:
    world = fresh("press_button")
    address = world.model.joint("button").qposadr[0]
    world.data.qpos[address] = 0.01
    world.step(300)
    assert world.data.qpos[address] < 0.001


def test_success_stays_and_held_starts_anew(fresh: Callable, put: Callable) -> None:
    world = fresh("lift_red_block")
    referee, down = Referee(), at(world, "red_block")
    referee.begin("lift the red block", world.truth())
    outcomes = []
    for tick in range(24):
        put("red_block", down + [0, 0, 0.1 if tick < 12 else 0.0])
        world.step(50)
        put("red_block", down + [0, 0, 0.1 if tick < 12 else 0.0])
        outcomes.append(referee.update(world.truth(), NOTHING))
    assert not outcomes[8].success
    assert outcomes[11].success
    assert outcomes[11].held == pytest.approx(0.55, abs=0.01)
    assert outcomes[-1].success
    assert outcomes[-1].held == 0.0
    assert outcomes[-1].elapsed == pytest.approx(1.2)


def test_unknown_instruction_and_reset_are_reported(fresh: Callable) -> None:
    world = fresh("lift_red_block")
    referee = Referee()
    assert "no instruction" in referee.update(world.truth(), NOTHING).detail
    referee.begin("open sesame", world.truth())
    outcome = referee.update(world.truth(), NOTHING)
    assert outcome.task == ""
    assert outcome.instruction == "open sesame"
    assert "did you mean" in outcome.detail
    referee.begin("lift the apple", world.truth())
    assert "there is no apple in scene 'table'" in referee.update(world.truth(), NOTHING).detail
    referee.begin("lift the red block", world.truth())
    world.reset("lift_red_block", 2)
    outcome = referee.update(world.truth(), NOTHING)
    assert outcome.task == ""
    assert "reset" in outcome.detail


@pytest.mark.parametrize(
    ("aside", "touched", "success"),
    [(0.0, NOTHING, True), (0.0, frozenset({"blue_cap"}), False), (0.03, NOTHING, False)],
)
def test_capped(fresh: Callable, put: Callable, aside: float, touched: frozenset[str], success: bool) -> None:
    world = fresh("put_blue_cap_on_water_bottle")
    seat = at(world, "water_bottle") + [aside, 0.0, world.cell.seat_height("blue_cap")]
    outcome = judge(world, "put_blue_cap_on_water_bottle", lambda: put("blue_cap", seat), touched)
    assert outcome.success is success, outcome.detail


@pytest.mark.parametrize(("height", "success"), [(0.07, True), (0.03, False)])
def test_uncapped(fresh: Callable, put: Callable, height: float, success: bool) -> None:
    world = fresh("take_pot_lid_off_pot")
    there = at(world, "pot_lid") + [0.0, 0.0, height]
    outcome = judge(world, "take_pot_lid_off_pot", lambda: None, hold=lambda: put("pot_lid", there))
    assert outcome.success is success, outcome.detail


@pytest.mark.parametrize(("count", "success"), [(8, True), (5, False)])
def test_poured(fresh: Callable, put: Callable, count: int, success: bool) -> None:
    world = fresh("pour_green_cup_into_bowl")
    names = world.cell.granules.names[:count]
    spots = {name: at(world, "bowl") + [0.02 * (i % 3 - 1), 0.02 * (i // 3 - 1), 0.02] for i, name in enumerate(names)}

    def pour() -> None:
        for name, spot in spots.items():
            put(name, spot)

    outcome = judge(world, "pour_green_cup_into_bowl", pour)
    assert outcome.success is success, outcome.detail


@pytest.mark.parametrize(
    ("task", "joint", "position", "success"),
    [
        ("open_microwave_door", "microwave_door", 0.90, True),
        ("open_microwave_door", "microwave_door", 0.60, False),
        ("close_microwave_door", "microwave_door", 0.05, True),
        ("close_microwave_door", "microwave_door", 0.20, False),
        ("open_treasure_chest_lid", "treasure_chest_lid", 0.80, True),
        ("open_treasure_chest_lid", "treasure_chest_lid", 0.60, False),
        ("press_light_switch", "light_switch", 0.40, True),
        ("press_light_switch", "light_switch", 0.20, False),
    ],
)
def test_hinges(fresh: Callable, task: str, joint: str, position: float, success: bool) -> None:
    world = fresh(task)
    outcome = judge(world, task, lambda: None, hold=lambda: world.set_joint(joint, position))
    assert outcome.success is success, outcome.detail
