"""The same loop with mink and Pink, in alternating segments with ours, so that all see the same machine.

Each peer is a process in an environment of its own; see ``peer_worker.py``. Equal work: the same arm, 50 pairs,
trajectory, period and velocity limits. What ours does beyond that (acceleration limits, braking tails, the last check,
making the reference from chunks) counts as our time.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
from benchmarks.wbc.cycle import WARM_UP, settled_memory
from benchmarks.wbc.scene import LOOP_TIME, PERIOD, Loop, Times, loop_motion

from gr2_wbc.collision_model import build_collision_model
from gr2_wbc.config import ControllerConfig
from gr2_wbc.robot import Robot

PEERS = (("mink", "daqp"), ("mink", "osqp"), ("pink", "daqp"), ("pink", "osqp"))
_HERE = Path(__file__).parent
_THREADS = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


class PeerFailed(RuntimeError):
    """A peer could not be installed or run. The message says why."""


def compare(robot: Robot, root: Path, segments: int, segment: int) -> dict[str, Any]:
    """Alternate segments of cycles of ours (OSQP, DAQP) and of each peer.

    Args:
        robot: with the pairs.
        root: the checkout, for the peers' environment.
        segments: how many of each.
        segment: cycles in one; Pink is given a quarter.

    Raises:
        PeerFailed: see there.
    """
    python = environment(root)
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        _describe(robot, folder)
        peers = {(library, solver): _Peer(python, folder, library, solver) for library, solver in PEERS}
        for peer in peers.values():
            stack.callback(peer.close)
        ours = {solver: Loop(robot, solver) for solver in ("osqp", "daqp")}
        for loop in ours.values():
            loop.run(WARM_UP)
            loop.forget()
        for peer in peers.values():
            peer.warm_up(WARM_UP // 4)
        with settled_memory():
            for _ in range(segments):
                for loop in ours.values():
                    loop.run(segment)
                for (library, _solver), peer in peers.items():
                    peer.run(segment // 4 if library == "pink" else segment)
    report: dict[str, Any] = {f"ours_{solver}": loop.times.figures() for solver, loop in ours.items()}
    for (library, solver), peer in peers.items():
        errors = np.array(peer.errors)
        report[f"{library}_{solver}"] = peer.times.figures() | {
            "pairs": peer.pairs,
            "distance_to_target_median_mm": 1e3 * float(np.median(errors)),
        }
    ours_cpu, ours_wall = report["ours_osqp"]["cpu_p50_us"], report["ours_osqp"]["p50_us"]
    names = [f"{library}_{solver}" for library, solver in PEERS]
    report["ratio"] = {name: report[name]["cpu_p50_us"] / ours_cpu for name in names}
    report["ratio_wall"] = {name: report[name]["p50_us"] / ours_wall for name in names}
    report["versions"] = [line for line in (_HERE / "peers.txt").read_text().splitlines() if "==" in line]
    return report


def environment(root: Path) -> Path:
    """The Python of the peers' environment; made on first use, and again when the pinned versions change.

    Raises:
        PeerFailed: it could not be made.
    """
    requirements = _HERE / "peers.txt"
    folder = root / ".bench" / "wbc"
    python, stamp = folder / "bin" / "python", folder / "peers.sha256"
    wanted = hashlib.sha256(requirements.read_bytes()).hexdigest()
    if python.exists() and stamp.exists() and stamp.read_text() == wanted:
        return python
    print(f"making the peers' environment in {folder} (once; a few minutes) ...", file=sys.stderr, flush=True)
    for command in (
        [sys.executable, "-m", "venv", "--clear", str(folder)],
        [str(python), "-m", "pip", "install", "--disable-pip-version-check", "-r", str(requirements)],
    ):
        # Output is shown as it comes; it belongs to progress, not to the figures.
        if subprocess.run(command, stdout=sys.stderr.fileno(), env=_clean(), check=False).returncode:
            raise PeerFailed(f"'{' '.join(command)}' failed; --no-peers measures without mink and Pink")
    stamp.write_text(wanted)
    return python


def _clean() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")} | _THREADS


def _describe(robot: Robot, folder: Path) -> None:
    """Write what the peers need to know of the robot and the trajectory."""
    model = build_collision_model(robot).model
    mujoco.mj_saveModel(model, str(folder / "arm.mjb"))
    robot.model.saveToText(str(folder / "arm.txt"))
    start = robot.configurations["ready"]
    home, orientation = robot.tool_pose(start)
    rotation = np.empty(9)
    mujoco.mju_quat2Mat(rotation, np.roll(orientation, 1))
    motion = loop_motion(home)
    names = [model.geom(index).name for index in range(model.ngeom)]
    carriers, placements = _placements(robot, model)
    setup = {
        "period": PERIOD,
        "start": start.tolist(),
        "joints": robot.joint_names,
        "velocity": robot.limits.velocity.tolist(),
        "rotation_length": ControllerConfig().qp.rotation_length,
        "posture_cost": float(np.sqrt(ControllerConfig().qp.posture)),
        "safe_distance": robot.collision.safe_distance,
        "influence_distance": robot.collision.influence_distance,
        "pairs": [
            (names[first], names[second])
            for first, second in zip(model.pair_geom1.tolist(), model.pair_geom2.tolist(), strict=True)
        ],
        "carriers": carriers,
        "placements": placements,
        "rotation": rotation.reshape(3, 3).tolist(),
        "positions": [motion(cycle * PERIOD).tolist() for cycle in range(round(LOOP_TIME / PERIOD))],
    }
    (folder / "peer.json").write_text(json.dumps(setup))


def _placements(robot: Robot, model: mujoco.MjModel) -> tuple[dict[str, int], dict[str, list[list[float]]]]:
    """For each geom the number of the joint that carries its body, and the body's placement on it (4, 4)."""
    import pinocchio as pin

    data, engine = robot.model.createData(), mujoco.MjData(model)
    rest = np.zeros(robot.dof)
    pin.forwardKinematics(robot.model, data, rest)
    mujoco.mj_kinematics(model, engine)
    number = {name: robot.model.getJointId(name) for name in robot.joint_names}
    carriers, placements = {}, {}
    for geom in range(model.ngeom):
        body = bearer = int(model.geom_bodyid[geom])
        while bearer > 0 and model.body_jntnum[bearer] == 0:
            bearer = int(model.body_parentid[bearer])
        joint = number[model.joint(int(model.body_jntadr[bearer])).name] if bearer > 0 else 0
        world = pin.SE3(engine.xmat[body].reshape(3, 3), engine.xpos[body])
        name = model.geom(geom).name
        carriers[name] = joint
        placements[name] = data.oMi[joint].actInv(world).homogeneous.tolist()
    return carriers, placements


class _Peer:
    """One worker process."""

    def __init__(self, python: Path, folder: Path, library: str, solver: str) -> None:
        self._name = f"{library}+{solver}"
        self._log = (folder / f"{library}_{solver}.log").open("w+")
        command: Sequence[str] = [str(python), str(_HERE / "peer_worker.py"), str(folder), library, solver]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, text=True, env=_clean()
        )
        self.times = Times()
        self.errors: list[float] = []
        self.pairs = int(self._answer()["pairs"])

    def warm_up(self, cycles: int) -> None:
        """Cycles that do not count."""
        self.run(cycles)
        self.times, self.errors = Times(), []

    def run(self, cycles: int) -> None:
        """Cycles whose times are added."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{cycles}\n")
        self._process.stdin.flush()
        answer = self._answer()
        self.times.wall += answer["wall"]
        self.times.cpu += answer["cpu"]
        self.errors += answer["errors"]

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(timeout=10.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._log.seek(0)
            raise PeerFailed(f"{self._name} ended: {self._log.read()[-2000:].strip()}")
        answer: dict[str, Any] = json.loads(line)
        return answer
