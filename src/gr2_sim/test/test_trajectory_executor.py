"""The executor follows, joins, brakes and refuses as a joint trajectory controller does."""

from __future__ import annotations

import numpy as np
import pytest

from gr2_sim.trajectory_executor import TrajectoryExecutor, TrajectoryRejected

NAMES = ("a", "b")
PERIOD, BRAKING = 0.005, 5.0


def command(position: np.ndarray, velocity: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What the controller sends: a set point, the same speed for a while, rest at constant deceleration."""
    tail = max(float(np.max(np.abs(velocity))) / BRAKING, PERIOD)
    times = np.array([PERIOD, 4 * PERIOD, 4 * PERIOD + tail])
    positions = np.array(
        [position, position + 3 * PERIOD * velocity, position + 3 * PERIOD * velocity + velocity * tail / 2]
    )
    return times, positions, np.array([velocity, velocity, 0.0 * velocity])


@pytest.fixture
def executor() -> TrajectoryExecutor:
    return TrajectoryExecutor(NAMES, np.array([0.5, -0.5]))


def test_holds_until_told(executor: TrajectoryExecutor) -> None:
    position, velocity = executor.sample(123.0)
    assert position.tolist() == [0.5, -0.5]
    assert velocity.tolist() == [0.0, 0.0]


def test_follows_a_stream_without_jumps(executor: TrajectoryExecutor) -> None:
    velocity, time = np.array([0.4, -0.2]), 1.0
    samples = []
    for cycle in range(100):
        position = np.array([0.5, -0.5]) + (cycle + 1) * PERIOD * velocity
        executor.accept(time, time, NAMES, *command(position, velocity))
        samples += [executor.sample(time + ms * 1e-3)[0] for ms in range(1, 6)]
        time += PERIOD
    steps = np.diff(np.array(samples), axis=0)
    assert np.max(np.abs(steps[10:] - velocity * 1e-3)) < 1e-6
    assert executor.accepted == 100
    assert executor.rejected == 0


def test_brakes_to_rest_when_messages_cease(executor: TrajectoryExecutor) -> None:
    velocity = np.array([0.8, -0.4])
    executor.accept(1.0, 1.0, NAMES, *command(np.array([0.5, -0.5]) + PERIOD * velocity, velocity))
    times = np.arange(1.0, 1.4, 1e-3)
    positions, velocities = (np.array(x) for x in zip(*(executor.sample(t) for t in times), strict=True))
    deceleration = -np.diff(velocities[:, 0])[30:150] / 1e-3
    assert np.all(deceleration < BRAKING + 1e-6), "brakes harder than it may"
    assert np.all(np.diff(positions[:, 0]) > -1e-12), "turns back"
    assert velocities[-1].tolist() == [0.0, 0.0]
    assert positions[-1] == pytest.approx(executor.sample(99.0)[0])
    assert positions[-1, 0] == pytest.approx(0.5 + velocity[0] * (4 * PERIOD + 0.16 / 2))


def test_a_late_trajectory_is_joined_at_its_next_point(executor: TrajectoryExecutor) -> None:
    times, positions, velocities = command(np.array([0.6, -0.5]), np.array([0.4, 0.0]))
    executor.accept(1.012, 1.0, NAMES, times, positions, velocities)
    assert executor.sample(1.012)[0] == pytest.approx([0.5, -0.5]), "starts from the desired state"
    assert executor.sample(1.020)[0] == pytest.approx(positions[1])


@pytest.mark.parametrize("left", [0.0001, 0.001, 0.004])
def test_a_late_trajectory_gives_no_kick(executor: TrajectoryExecutor, left: float) -> None:
    """One that sets off while the arm still stands, heard of just before its first point is due."""
    now, fastest = 1.0 + PERIOD - left, 0.0
    velocity = np.array([BRAKING * 2 * PERIOD, 0.0])
    way = np.array([0.5 * BRAKING * (2 * PERIOD) ** 2, 0.0])
    times, positions, velocities = command(np.array([0.5, -0.5]) + way, velocity)
    executor.accept(now, 1.0, NAMES, times, positions, velocities)
    for time in np.arange(now, 1.05, 1e-4):
        fastest = max(fastest, float(np.abs(executor.sample(time)[1]).max()))
    assert fastest < 0.12, "to the first point it would be up to 3.7 rad/s"
    assert executor.sample(1.0 + 4 * PERIOD)[0] == pytest.approx(positions[1]), "and is then where it should be"


def test_any_order_of_joints(executor: TrajectoryExecutor) -> None:
    executor.accept(0.0, 0.0, ("b", "a"), np.array([0.1]), np.array([[-0.6, 0.7]]), np.zeros((1, 2)))
    assert executor.sample(1.0)[0] == pytest.approx([0.7, -0.6])


GOOD = {
    "stamp": 1.0,
    "joint_names": NAMES,
    "times": np.array([0.1, 0.2]),
    "positions": np.ones((2, 2)),
    "velocities": np.zeros((2, 2)),
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"joint_names": ("a", "c")}, r"unknown \['c'\], missing \['b'\]"),
        ({"joint_names": ("a",)}, r"missing \['b'\]"),
        ({"joint_names": ("a", "b", "b")}, "3 names for 2 joints"),
        ({"positions": np.ones((2, 3))}, r"positions have shape \(2, 3\)"),
        ({"velocities": np.zeros((1, 2))}, r"velocities have shape \(1, 2\)"),
        ({"positions": np.array([[1.0, 1.0], [1.0, np.nan]])}, "position of b at point 1 is not finite"),
        ({"velocities": np.array([[np.inf, 0.0], [0.0, 0.0]])}, "velocity of a at point 0 is not finite"),
        ({"times": np.array([0.2, 0.2])}, "not increasing"),
        ({"times": np.array([-0.1, 0.2])}, "not increasing"),
        ({"times": np.array([0.1, np.nan])}, "not finite"),
        ({"stamp": np.nan}, "not finite"),
        ({"stamp": 0.5}, "ended 0.300 s ago"),
        ({"stamp": 3.0}, "begins 2.000 s from now"),
        ({"times": np.zeros(0), "positions": np.zeros((0, 2)), "velocities": np.zeros((0, 2))}, "no points"),
    ],
)
def test_refuses_and_keeps_the_one_before(executor: TrajectoryExecutor, change: dict, message: str) -> None:
    executor.accept(1.0, **GOOD)
    with pytest.raises(TrajectoryRejected, match=message):
        executor.accept(1.0, **(GOOD | change))
    assert executor.rejected == 1
    assert executor.accepted == 1
    assert executor.sample(5.0)[0] == pytest.approx([1.0, 1.0])
