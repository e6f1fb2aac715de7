"""The compiled kernels: each gives what numpy gives, at random, at the edges, and with infinities and NaN."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable

import kernels_in_numpy
import numpy as np
import pinocchio as pin
import pytest

from gr2_wbc import kernels

RUNS = 1200
INFINITE = (np.nan, np.inf, -np.inf)


RESULTS = {"evaluate_command": 2, "joint_bounds": 2, "make_command": 3, "path_sample": 3, "add_box": 3}
RESULTS |= {"collision_rows": 3, "pack_program": 4, "part_norms": 0, "all_finite": 0, "manipulability": 0}
RESULTS |= {"command_passes": 1, "pair_margins": 2}  # how many of the last arguments are not to be spoilt; else 1


class Draw:
    """Random arguments; every array is remembered, so that one of its numbers can be spoilt.

    ``most_joints`` bounds how many joints an arm has.
    """

    def __init__(self, seed: int, most_joints: int = 14) -> None:
        self.random = np.random.default_rng(seed)
        self.joints = int(self.random.integers(1, most_joints + 1))

    def vector(self, size: int | None = None, scale: float = 1.0) -> np.ndarray:
        return self.random.normal(0.0, scale, self.joints if size is None else size)

    def positive(self, scale: float = 1.0) -> np.ndarray:
        return self.random.uniform(0.1, 1.0, self.joints) * scale

    def matrix(self, rows: int, columns: int) -> np.ndarray:
        """In row or column order, or a part of a larger one."""
        whole = self.random.normal(size=(rows + 1, columns + 2))
        return (np.ascontiguousarray, np.asfortranarray, np.asarray)[self.random.integers(3)](whole[:rows, 1:-1])

    def rotation(self) -> np.ndarray:
        angle = self.random.choice([0.0, 1e-12, 1e-7, 1e-4, 1.0, 3.0, 3.1415, self.random.uniform(0.0, 3.14)])
        axis = self.random.choice([self.random.normal(size=3), np.eye(3)[self.random.integers(3)]])
        return np.ascontiguousarray(pin.exp3(angle * axis / np.linalg.norm(axis)))

    def limits(self) -> tuple[np.ndarray, np.ndarray]:
        """Position limits; some joints are continuous."""
        lower, upper = -self.positive(3.0), self.positive(3.0)
        free = self.random.random(self.joints) < 0.3
        return np.where(free, -np.inf, lower), np.where(free, np.inf, upper)

    def angles(self) -> np.ndarray:
        """Also several turns away, and next to half a turn."""
        turns = self.random.integers(-3, 4, self.joints) * 2.0 * np.pi
        return self.vector() + turns * (self.random.random() < 0.5)


def joint_bounds(draw: Draw) -> list:
    lower, upper = draw.limits()
    q = np.where(draw.random.random(draw.joints) < 0.5, draw.vector(scale=2.0), np.nan_to_num(upper, posinf=0.0))
    out = draw.vector(), draw.vector()
    limits = lower, upper, draw.positive(), draw.positive(5.0), draw.positive(0.02)
    return [q, draw.vector(), *limits, 0.0025, 9.0, 0.1, *out]


def make_command(draw: Draw) -> list:
    v = draw.vector() * draw.random.choice([0.0, 1e-6, 1.0])
    out = draw.vector(3), draw.matrix(3, draw.joints), draw.matrix(3, draw.joints)
    return [draw.vector(), draw.vector(), v, draw.positive(5.0), 0.005, 0.02, 1e-4, 0.5, *out]


def command(draw: Draw) -> list:
    arguments = make_command(draw)
    kernels_in_numpy.make_command(*arguments)
    start, before, *_, times, positions, velocities = arguments
    return [start, before, times, positions, velocities]


def evaluate_command(draw: Draw) -> list:
    start, before, times, positions, velocities = command(draw)
    elapsed = draw.random.choice([*times, -0.1, 0.0, draw.random.uniform(0.0, times[2]), 10.0])
    return [float(elapsed), times, start, before, positions, velocities, draw.vector(), draw.vector()]


def command_passes(draw: Draw) -> list:
    start, before, times, positions, velocities = command(draw)
    values = kernels_in_numpy.command_values(start, before, start, times, positions, velocities)
    allowed = values + 1e-9
    if draw.random.random() < 0.5:  # one of the nine does not fit
        allowed[draw.random.integers(9), draw.random.integers(draw.joints)] -= draw.random.choice([1e-8, 1.0])
    allowed[5:] = np.where(draw.random.random((4, draw.joints)) < 0.3, np.inf, allowed[5:])
    return [start.copy(), before, start, times, positions, velocities, allowed]


def joint_errors(draw: Draw) -> list:
    turns = (draw.random.random(draw.joints) < 0.5).astype(float)
    weights = np.where(draw.random.random(draw.joints) < 0.3, 5.0, 1.0)
    return [draw.angles(), draw.angles(), turns, weights, draw.vector()]


def pose_error(draw: Draw) -> list:
    return [draw.vector(3), draw.rotation(), draw.vector(3), draw.rotation(), draw.vector(6)]


def part_norms(draw: Draw) -> list:
    return [draw.vector(6) * draw.random.choice([0.0, 1.0])]


def path_sample(draw: Draw) -> list:
    table = draw.matrix(6, 18)
    table *= draw.random.choice([0.0, 1e-6, 0.3])
    numbers = float(draw.random.random()), float(draw.random.random()), float(draw.vector(1)[0]), 0.005
    return [table, *numbers, draw.rotation(), draw.vector(3), draw.matrix(3, 3), draw.vector(6)]


def add_tracking(draw: Draw) -> list:
    n = draw.joints
    speeds = float(draw.random.choice([0.1, 100.0])), float(draw.random.choice([0.1, 100.0]))
    vectors = draw.positive()[:1].repeat(6), draw.vector(6), draw.vector(6)
    return [draw.matrix(6, n), *vectors, 10.0, *speeds, draw.matrix(n, n), draw.vector()]


def add_posture(draw: Draw) -> list:
    lower, upper = draw.limits()
    return [draw.vector(scale=3.0), draw.vector(), lower, upper, draw.positive(), 0.5, 0.3, 2e-4, draw.vector()]


def add_scaled(draw: Draw) -> list:
    return [float(draw.vector(1)[0]), draw.vector(), draw.vector()]


def jacobian(draw: Draw) -> np.ndarray:
    draw.joints = max(draw.joints, 6)
    return draw.matrix(6, draw.joints)


def manipulability(draw: Draw) -> list:
    return [jacobian(draw)]


def manipulability_gradient(draw: Draw) -> list:
    spatial = jacobian(draw)
    carrying = np.sort(draw.random.permutation(draw.joints)[: draw.random.integers(6, draw.joints + 1)])
    return [spatial, carrying, float(draw.random.random()), 1e-12, draw.vector()]


def contacts(draw: Draw, most: int = 40) -> tuple[np.ndarray, np.ndarray, int]:
    """Distances and geoms as MuJoCo has them, between other numbers, and the number of geoms."""
    count, geoms = int(draw.random.integers(0, most)), 6
    distances = np.ascontiguousarray(draw.random.normal(size=(count, 5)))[:, 2]
    return distances, draw.random.integers(0, geoms, (count, 4)).astype(np.int32)[:, 1:3], geoms


def pair_margins(draw: Draw) -> list:
    distances, pairs, geoms = contacts(draw)
    table = draw.random.integers(0, 20, geoms * geoms)
    out = np.zeros(len(distances), dtype=np.int64), np.zeros(len(distances))
    return [distances, pairs, table, draw.vector(20), *out]


def collision_rows(draw: Draw) -> list:
    count, n = int(draw.random.integers(0, 40)), draw.joints
    margins = draw.vector(count, 0.1)
    margins[: count // 2] = np.repeat(margins[: count // 4 + 1], 2)[: count // 2]  # ties
    pairs = draw.random.integers(0, 20, count)
    moved_by = draw.random.integers(-1, 2, (20, n)).astype(float)
    found = margins, draw.matrix(count, 9), draw.matrix(count, 3), pairs, moved_by
    box = -draw.positive(), draw.positive()
    out = draw.matrix(16, n + 1), draw.vector(16)
    return [
        *(*found, draw.rotation(), draw.vector(3), draw.matrix(6, n), *box, (8.0, 1.5, 0.05), *out),
        int(draw.random.integers(0, 17)),
    ]


def add_box(draw: Draw) -> list:
    n = draw.joints
    out = draw.matrix(n + 1, n + 1), draw.vector(n + 1), draw.vector(n + 1)
    return [0.1, 1e3, draw.vector(), draw.vector(), *out]


def all_finite(draw: Draw) -> list:
    return [draw.vector(int(draw.random.integers(0, 300)), 1e100)]


def pack_program(draw: Draw) -> list:
    n, taken = draw.joints, int(draw.random.integers(0, 17))
    hessian = draw.matrix(n, n)
    hessian[:] = hessian + hessian.T
    out = draw.vector(n * (n + 1) // 2), draw.matrix(n, taken + 1), draw.vector(n + taken), draw.vector(n + taken)
    return [hessian, draw.vector(), draw.vector(), draw.matrix(16, n), draw.vector(16), *out]


def clip_answer(draw: Draw) -> list:
    longest = float(draw.random.choice([0.1, 1e3]))
    return [draw.vector(), -draw.positive(), draw.positive(), longest, draw.vector()]


ALL: dict[str, Callable[[Draw], list]] = {
    name: globals()[name] for name in kernels.__all__ if inspect.isfunction(globals().get(name))
}


def copied(arguments: list) -> list:
    return [each.copy(order="K") if isinstance(each, np.ndarray) else each for each in arguments]


def both(name: str, arguments: list) -> tuple[list, list]:
    """What a kernel returns and leaves in its arguments, compiled and in numpy."""
    ends = []
    for module in (kernels, kernels_in_numpy):
        mine = copied(arguments)
        with np.errstate(all="ignore"):
            answer = getattr(module, name)(*mine)
        ends.append([np.asarray(np.nan if answer is None else answer, dtype=float), *mine])
    return ends[0], ends[1]


def same(mine: np.ndarray, expected: np.ndarray) -> bool:
    """Equal but for rounding, infinite and NaN in the same places."""
    with np.errstate(invalid="ignore"):
        near = np.abs(mine - expected) <= 1e-9 + 1e-7 * np.abs(expected)
    return bool((near | (mine == expected) | (np.isnan(mine) & np.isnan(expected))).all())


def test_every_kernel_is_compared() -> None:
    assert sorted(ALL) == sorted(kernels.__all__)


@pytest.mark.parametrize("name", sorted(ALL))
def test_it_gives_what_numpy_gives(name: str) -> None:
    for seed in range(RUNS):
        arguments = ALL[name](Draw(seed))
        compiled, reference = both(name, arguments)
        for mine, expected in zip(compiled, reference, strict=True):
            if isinstance(expected, np.ndarray):
                assert same(mine, expected), f"{name}, seed {seed}: {mine} instead of {expected}"


def spoilt(name: str, seed: int) -> list:
    """Arguments with one number of one array (not of a result only) that is not finite."""
    draw = Draw(seed)
    arguments = ALL[name](draw)
    kept = len(arguments) - RESULTS.get(name, 1)
    choices = [i for i in range(kept) if isinstance(arguments[i], np.ndarray) and arguments[i].dtype == float]
    target = arguments[draw.random.choice(choices)]
    if target.size:
        place = np.unravel_index(draw.random.integers(target.size), target.shape)
        target[place] = draw.random.choice(INFINITE)
    return arguments


# log3 of a matrix that is none, and factors of a matrix with such numbers, are NaN, infinite or refused as it comes;
# joint_errors may say which joint is worst in another way if several are beyond all measure.
LOOSE = {"pose_error", "manipulability", "manipulability_gradient", "path_sample"}


@pytest.mark.parametrize("name", sorted(ALL))
def test_what_is_not_finite_stays_so(name: str) -> None:
    """Numbers that are finite in numpy are the same; those that are not are not finite here either."""
    for seed in range(RUNS // 2):
        compiled, reference = both(name, spoilt(name, seed))
        for mine, expected in zip(compiled, reference, strict=True):
            if not isinstance(expected, np.ndarray) or expected.dtype == np.int64:
                continue
            if name in LOOSE:
                assert not np.isnan(expected).any() or not np.isfinite(mine).all() or name.startswith("manip"), seed
                continue
            fine = np.isfinite(expected)
            assert same(mine[fine], expected[fine]), (name, seed)
            assert not np.isfinite(mine[~fine]).any(), (name, seed)


def test_half_a_turn_and_tiny_ones() -> None:
    for angle in (0.0, 1e-300, 1e-10, 1e-8, 1e-3, 1.0, 3.0, np.pi - 1e-5, np.pi - 1e-9):
        for axis in (*np.eye(3), *-np.eye(3), np.array([0.6, -0.8, 0.0]), np.ones(3) / np.sqrt(3.0)):
            error = np.zeros(6)
            kernels.pose_error(np.zeros(3), pin.exp3(angle * axis), np.zeros(3), np.eye(3), error)
            assert np.allclose(error[3:], angle * axis, atol=1e-7 if angle > 3.0 else 1e-12)


@pytest.mark.parametrize("name", sorted(ALL))
def test_what_does_not_fit_is_refused(name: str) -> None:
    """Wrong type, wrong size, too few dimensions, a read-only result: an exception, and no number is written."""
    call = getattr(kernels, name)
    arguments = ALL[name](Draw(3))
    with pytest.raises(TypeError):
        call(*arguments[:-1])
    with pytest.raises(TypeError):
        call(*arguments, 1.0)
    for index, each in enumerate(arguments):
        wrong: list = ["text"]
        if isinstance(each, np.ndarray):
            wrong = [
                np.zeros(each.shape, dtype=np.float32),
                each.tolist(),
                each[None],
                np.zeros((7,) * each.ndim + (0,)),
                None,
            ]
            if each.ndim == 1 and index not in (0, 2, 3) and name != "manipulability_gradient":
                wrong.append(np.zeros(each.size + 1, dtype=each.dtype))
        for bad in wrong:
            before = copied(arguments)
            with pytest.raises((TypeError, ValueError)):
                call(*before[:index], bad, *before[index + 1 :])
            for mine, kept in zip(before, arguments, strict=True):
                if isinstance(kept, np.ndarray):
                    assert np.array_equal(mine, kept)


def test_results_are_not_written_into_what_is_read_only() -> None:
    out = np.zeros(3)
    out.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        kernels.add_scaled(1.0, np.ones(3), out)


def test_two_geoms_that_are_no_pair_are_refused() -> None:
    for geoms, table in (([[0, 9]], [0, 0, 0, 0]), ([[0, -1]], [0, 0, 0, 0]), ([[0, 1]], [0, 7, 0, 0])):
        out = np.zeros(1, dtype=np.int64), np.zeros(1)
        with pytest.raises(IndexError, match="no pair"):
            kernels.pair_margins(np.zeros(1), np.array(geoms, dtype=np.int32), np.array(table), np.ones(2), *out)


def test_without_the_compiled_part_the_message_says_how_to_build_it(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "gr2_wbc._kernels", None)
    monkeypatch.delitem(sys.modules, "gr2_wbc.kernels")
    with pytest.raises(ImportError, match=r"built by ./gr2"):
        importlib.import_module("gr2_wbc.kernels")
