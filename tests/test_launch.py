"""The launch files under the real ``ros2 launch``; runs where ROS 2's command line is installed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(shutil.which("ros2") is None, reason="no ros2 command on this machine (pip has none)")

SMALL = ["image_width:=128", "image_height:=128"]


def ros2(domain: int, *arguments: str, timeout: float = 60.0) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"ROS_DOMAIN_ID": str(domain)}
    return subprocess.run(["ros2", *arguments], env=env, capture_output=True, text=True, timeout=timeout, check=False)


class Launch:
    """A running ``ros2 launch``."""

    def __init__(self, domain: int, log: Path, *arguments: str) -> None:
        self.log = log
        self.domain = domain
        env = os.environ | {"ROS_DOMAIN_ID": str(domain), "OVERRIDE_LAUNCH_PROCESS_OUTPUT": "both"}
        self._file = open(log, "w")  # noqa: SIM115 - closed in stop
        # A child of a test may have inherited an ignored SIGINT, which `ros2 launch` needs.
        self.process = subprocess.Popen(
            ["ros2", "launch", "gr2_bringup", *arguments],
            env=env,
            stdout=self._file,
            stderr=subprocess.STDOUT,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )

    def until(self, text: str, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while text not in self.log.read_text():
            assert time.monotonic() < deadline, f"no '{text}' within {timeout} s:\n{self.log.read_text()}"
            time.sleep(0.1)

    def stop(self) -> str:
        self.process.send_signal(signal.SIGINT)
        self.process.wait(30)
        self._file.close()
        return self.log.read_text()


@pytest.fixture
def launch(domain: int, tmp_path: Path) -> Iterator:
    running: list[Launch] = []

    def begin(*arguments: str) -> Launch:
        running.append(Launch(domain, tmp_path / f"launch{len(running)}.log", *arguments))
        return running[-1]

    yield begin
    for one in running:
        if one.process.poll() is None:
            one.stop()


@pytest.mark.parametrize("file", ["sim.launch.py", "real.launch.py"])
def test_arguments_are_explained(file: str, domain: int) -> None:
    done = ros2(domain, "launch", "gr2_bringup", file, "--show-args")
    assert done.returncode == 0, done.stderr
    assert "'policy':" in done.stdout
    assert "chunks per second" in done.stdout


def test_simulation_carries_out_what_ros2_topic_pub_says(launch, domain: int) -> None:  # type: ignore[no-untyped-def]
    running = launch("sim.launch.py", "seed:=3", *SMALL)
    running.until("active with policy", 60)
    said = ros2(domain, "topic", "pub", "--once", "-w", "1", "/instruction", "std_msgs/msg/String",
                "{data: 'press the red button'}")  # fmt: skip
    assert said.returncode == 0, said.stderr
    watch = (
        "import sys\nfrom gr2_bringup.director import Director\n"
        "with Director('watch') as d:\n"
        "    sys.exit(0 if d.wait_until(lambda: d.outcome is not None and d.outcome.success, 60) else 1)\n"
    )
    env = os.environ | {"ROS_DOMAIN_ID": str(domain)}
    assert subprocess.run([sys.executable, "-c", watch], env=env, timeout=90, check=False).returncode == 0
    text = running.stop()
    assert "Traceback" not in text
    assert running.process.returncode == 0, text


def test_bad_arguments_are_refused_by_name(domain: int) -> None:
    done = ros2(domain, "launch", "gr2_bringup", "sim.launch.py", "simulator:=holodeck")
    assert done.returncode != 0
    assert "simulator" in done.stdout + done.stderr


def test_gazebo_says_what_is_missing_or_asks_for_a_policy(domain: int) -> None:
    done = ros2(domain, "launch", "gr2_bringup", "sim.launch.py", "simulator:=gazebo")
    said = done.stdout + done.stderr
    assert done.returncode != 0
    assert "Gazebo Harmonic comes with ROS" in said or "policy:=gr2" in said
    assert "simulator:=mujoco" in said or "policy:=gr2" in said


def test_real_arm_needs_its_address(domain: int) -> None:
    done = ros2(domain, "launch", "gr2_bringup", "real.launch.py")
    assert done.returncode != 0
    assert "robot_ip" in done.stdout + done.stderr


def test_dry_run_prints_and_sends_nothing(launch, domain: int) -> None:  # type: ignore[no-untyped-def]
    """The controller beside a driver that only publishes joint states: nothing reaches the arm's topic."""
    running = launch("real.launch.py", "driver:=none", "policy:=teacher", *SMALL)
    arm = (
        "import sys, rclpy\nfrom rclpy.qos import qos_profile_sensor_data\n"
        "from sensor_msgs.msg import JointState\nfrom trajectory_msgs.msg import JointTrajectory\n"
        "rclpy.init()\nnode = rclpy.create_node('arm')\ngot = []\n"
        "node.create_subscription(JointTrajectory, '/joint_trajectory_controller/joint_trajectory', got.append, 10)\n"
        "pub = node.create_publisher(JointState, '/joint_states', qos_profile_sensor_data)\n"
        "def tick():\n"
        "    m = JointState(name=[f'joint_{i}' for i in range(1, 8)] + ['robotiq_85_left_knuckle_joint'])\n"
        "    m.header.stamp = node.get_clock().now().to_msg()\n"
        "    m.position, m.velocity = [0.0, 0.26, 3.14, -2.27, 0.0, 0.96, 1.57, 0.0], [0.0] * 8\n"
        "    pub.publish(m)\n"
        "node.create_timer(0.005, tick)\n"
        "end = node.get_clock().now().nanoseconds + 8_000_000_000\n"
        "while node.get_clock().now().nanoseconds < end: rclpy.spin_once(node, timeout_sec=0.1)\n"
        "sys.exit(len(got))\n"
    )
    env = os.environ | {"ROS_DOMAIN_ID": str(domain)}
    running.until("process started", 30)
    assert subprocess.run([sys.executable, "-c", arm], env=env, timeout=60, check=False).returncode == 0
    text = running.stop()
    assert "dry run" in text.lower()
    assert "Traceback" not in text
