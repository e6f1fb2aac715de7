"""Shared by the tests: one world (building it costs most of the time), states laid by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from gr2_sim.rollout import Rollout, RolloutConfig
from gr2_sim.teacher import Teacher
from gr2_sim.world import FAST_TIMESTEP, World


@pytest.fixture(scope="session")
def shared_world() -> Iterator[World]:
    world = World()
    yield world
    world.close()


@pytest.fixture(scope="session")
def quick_world() -> Iterator[World]:
    """A world with the time step of the suites."""
    world = World(timestep=FAST_TIMESTEP)
    yield world
    world.close()


@pytest.fixture
def world(shared_world: World) -> World:
    shared_world.reset(seed=0, scene="table", time=0.0)
    return shared_world


@pytest.fixture
def teach(shared_world: World) -> Callable[..., Rollout]:
    """Rollouts of the teacher, configured as RolloutConfig."""

    def make(**config: object) -> Rollout:
        return Rollout(shared_world, Teacher(), RolloutConfig(**config))

    return make


@pytest.fixture
def put(world: World) -> Callable[..., None]:
    """Put an object of the shared world somewhere: name, position (3,) [m], yaw [rad]."""

    def move(name: str, position: np.ndarray, yaw: float = 0.0) -> None:
        joint = world.model.joint(name)
        start, dof = joint.qposadr[0], joint.dofadr[0]
        world.data.qpos[start : start + 3] = position
        world.data.qpos[start + 3 : start + 7] = (np.cos(yaw / 2), 0.0, 0.0, np.sin(yaw / 2))
        world.data.qvel[dof : dof + 6] = 0.0

    return move
