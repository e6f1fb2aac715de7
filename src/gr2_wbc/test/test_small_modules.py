"""Control clock, joint states, timing, configuration, kinematics."""

from __future__ import annotations

import numpy as np
import pytest

from gr2_wbc.config import ConfigError, ControllerConfig, flatten, override
from gr2_wbc.control_clock import ControlClock
from gr2_wbc.joint_input import BadJointState, JointStateReader
from gr2_wbc.kinematics import Kinematics
from gr2_wbc.timing import LATENESS_EDGES, CycleStats


class TestControlClock:
    @staticmethod
    def run(ticks: list[tuple[float, float]], end: float, clock: ControlClock | None = None) -> np.ndarray:
        """(steady, control time, newest tick) every 5 ms; ticks are (ros time, arrival)."""
        clock = clock or ControlClock()
        rows, waiting = [], sorted(ticks, key=lambda tick: tick[1])
        newest = np.nan
        for steady in np.arange(0.0, end, 0.005):
            while waiting and waiting[0][1] <= steady:
                newest, arrived = waiting.pop(0)
                clock.observe(newest, arrived)
            now = clock.advance(float(steady))
            rows.append((steady, np.nan if now is None else now, newest))
        return np.array(rows)

    @staticmethod
    def ticks(rate: float, end: float, jitter: float = 0.001, start: float = 100.0) -> list[tuple[float, float]]:
        rng = np.random.default_rng(0)
        sent = np.arange(0.0, end, 0.005 / rate)
        return [(start + rate * time, time + abs(rng.normal(0.0, jitter))) for time in sent]

    def test_before_the_first_tick_there_is_no_time(self):
        clock = ControlClock()
        assert clock.advance(5.0) is None
        assert clock.frozen

    @pytest.mark.parametrize("rate", [0.25, 1.0, 1.7])
    def test_it_follows_simulators_of_any_speed_smoothly(self, rate):
        rows = self.run(self.ticks(rate, 5.0), 5.0)[300:]
        steps = np.diff(rows[:, 1])
        assert np.abs(steps - 0.005 * rate).max() < 0.0025 * rate
        assert steps.std() < 0.0006 * rate
        assert np.abs(rows[:, 1] - rows[:, 2]).max() < 0.02

    def test_it_stands_still_with_its_source_and_goes_on_with_it(self):
        clock = ControlClock()
        before = self.ticks(1.0, 2.0)
        after = [(stamp + 2.0, arrival + 5.0) for stamp, arrival in self.ticks(1.0, 2.0)]
        rows = self.run(before + after, 6.5, clock)
        steps = np.diff(rows[1:, 1])
        assert steps.min() >= 0.0
        assert steps.max() < 0.01
        standing = (rows[:, 0] > 2.1) & (rows[:, 0] < 4.9)
        assert np.ptp(rows[standing, 1]) < 0.005
        assert rows[standing, 1].max() <= 102.0 + 0.02
        assert clock.jumps == 0
        assert clock.paused_time == pytest.approx(2.9, abs=0.05)
        assert not clock.frozen

    @pytest.mark.parametrize("target", [3.0, 500.0])
    def test_a_jump_is_taken_once_and_counted(self, target):
        clock = ControlClock()
        first = self.ticks(1.0, 2.0)
        second = [(stamp, arrival + 2.0) for stamp, arrival in self.ticks(1.0, 2.0, start=target)]
        rows = self.run(first + second, 4.0, clock)
        steps = np.diff(rows[1:, 1])
        assert np.sum(np.abs(steps) > 0.1) == 1
        assert clock.jumps == 1
        assert clock.last_jump == pytest.approx(target - 102.0, abs=0.1)
        assert rows[-1, 1] == pytest.approx(target + 2.0, abs=0.03)

    def test_after_a_jump_it_is_not_used_until_time_runs_steadily(self):
        clock, frozen = ControlClock(), []
        for cycle in range(200):
            steady = 0.005 * cycle
            leap = 100.0 if 40 <= cycle < 60 and cycle % 4 < 2 else 0.0  # two sources by turns
            clock.observe(50.0 + steady + leap, steady)
            clock.advance(steady)
            frozen.append(clock.frozen)
        assert clock.jumps >= 8
        assert not any(frozen[1:40])
        assert all(frozen[40:78])
        assert not any(frozen[82:])
        assert clock.paused_time == pytest.approx(0.2, abs=0.03)

    def test_a_late_reader_of_a_running_clock_sees_no_jump(self):
        clock = ControlClock()
        for steady in np.arange(0.0, 1.0, 0.005):
            clock.observe(50.0 + steady, steady)
            clock.advance(steady)
        clock.observe(54.0, 4.0)  # the process was not scheduled for three seconds
        assert clock.advance(4.0) == pytest.approx(54.0, abs=0.05)
        assert clock.jumps == 0


class TestJointStates:
    NAMES = tuple(f"joint_{index}" for index in range(1, 8))
    KNUCKLE = "robotiq_85_left_knuckle_joint"

    @pytest.fixture
    def reader(self, robot) -> JointStateReader:
        return JointStateReader(robot)

    def test_any_order_and_foreign_joints(self, reader):
        names = ("wheel", self.KNUCKLE, *reversed(self.NAMES))
        values = [9.0, 0.4, *np.arange(7.0, 0.0, -1.0)]
        reading = reader.read(names, values, [0.1 * value for value in values])
        assert np.allclose(reading.positions, np.arange(1.0, 8.0))
        assert np.allclose(reading.velocities, 0.1 * np.arange(1.0, 8.0))
        assert reading.gripper == pytest.approx(0.5)
        again = reader.read(self.NAMES, np.arange(7.0), [])
        assert np.allclose(again.positions, np.arange(7.0))
        assert not again.velocities.any()
        assert again.gripper is None

    def test_a_gripper_may_come_in_a_message_of_its_own(self, reader):
        reading = reader.read((self.KNUCKLE,), [0.8], [])
        assert reading.positions is None
        assert reading.gripper == 1.0

    @pytest.mark.parametrize(
        ("names", "positions", "velocities", "words"),
        [
            (NAMES[:-1], np.zeros(6), [], "joint_7"),
            ((), [], [], "missing"),
            (("other",), [0.0], [], "joint_1.*other"),
            ((*NAMES[:-1], "joint_1"), np.zeros(7), [], "repeat: joint_1"),
            (NAMES, np.zeros(6), [], "7 names but 6 positions"),
            (NAMES, np.zeros(7), np.zeros(3), "3 velocities"),
            (NAMES, [0.0, np.nan, 0, 0, 0, 0, 0], [], "position of joint_2 is nan"),
            (NAMES, np.zeros(7), [0, 0, 0, 0, 0, 0, np.inf], "velocity of joint_7 is inf"),
            ((*NAMES, KNUCKLE), [*np.zeros(7), np.nan], [], KNUCKLE),
        ],
    )
    def test_what_is_wrong_is_named(self, reader, names, positions, velocities, words):
        with pytest.raises(BadJointState, match=words):
            reader.read(names, positions, velocities)
        reader.read(self.NAMES, np.zeros(7), np.zeros(7))

    def test_a_bad_message_stays_bad_when_it_is_repeated(self, reader):
        for _ in range(2):
            with pytest.raises(BadJointState):
                reader.read(self.NAMES[:3], np.zeros(3), [])


class TestCycleStats:
    def test_histogram_and_missed_cycles(self):
        stats = CycleStats(0.005)
        for lateness in (0.0, 0.0001, 0.003, 0.006, 5.0):
            stats.note(lateness, 0.001)
        assert sum(stats.histogram) == 5
        assert stats.histogram[0] == 2
        assert stats.histogram[-1] == 1
        assert len(stats.histogram) == len(LATENESS_EDGES) + 1
        assert stats.missed == 2

    def test_percentiles_forget_what_is_older_than_the_window(self):
        stats = CycleStats(0.005)
        assert stats.percentiles() == (0.0, 0.0)
        for _ in range(200):
            stats.note(0.0, 1.0)
        for _ in range(200):
            stats.note(0.0, 0.001)
        assert stats.percentiles() == pytest.approx((0.001, 0.001))


class TestConfig:
    def test_every_scalar_can_be_overridden(self):
        config = ControllerConfig()
        assert override(config, flatten(config)) == config
        changed = override(config, {"qp.solver": "daqp", "safety.tracking_error": 1, "hold_periods": 6})
        assert (changed.qp.solver, changed.safety.tracking_error, changed.hold_periods) == ("daqp", 1.0, 6)

    @pytest.mark.parametrize(
        ("values", "words"),
        [
            ({"qp.colour": 1.0}, "qp.colour"),
            ({"period": "fast"}, "period must be of type float"),
            ({"safety.resync_on_jump": 1}, "bool"),
            ({"hold_periods": 2.5}, "int"),
            ({"hold_periods": 1}, "at least 2"),
            ({"period": -0.005}, "positive"),
            ({"period": float("nan")}, "positive"),
            ({"qp.solver": "gurobi"}, "gurobi"),
            ({"safety.joint_state_timeout": 0.0}, "joint_state_timeout"),
            ({"reference.free_lag": 1.0}, "free_lag"),
            ({"intake.max_horizon": 0}, "max_horizon"),
        ],
    )
    def test_what_makes_no_sense_is_named(self, values, words):
        with pytest.raises(ConfigError, match=words):
            override(ControllerConfig(), values)


class TestKinematics:
    def test_jacobian_and_manipulability_gradient_are_derivatives(self, robot):
        kinematics, rng, step = Kinematics(robot), np.random.default_rng(2), 1e-6
        for _ in range(5):
            positions = rng.uniform(-2.0, 2.0, robot.dof)
            kinematics.update(positions)
            jacobian, manipulability = kinematics.jacobian, kinematics.manipulability()
            gradient = kinematics.manipulability_gradient(manipulability)
            for joint in range(robot.dof):
                ends = []
                for sign in (-1.0, 1.0):
                    moved = positions.copy()
                    moved[joint] += sign * step
                    kinematics.update(moved)
                    ends.append((kinematics.position, kinematics.manipulability()))
                slope = (ends[1][0] - ends[0][0]) / (2 * step)
                assert np.allclose(slope, jacobian[:3, joint], atol=1e-8)
                assert (ends[1][1] - ends[0][1]) / (2 * step) == pytest.approx(gradient[joint], abs=1e-6)
