"""The launch files under the real ``ros2 launch``; runs where ROS 2's command line is installed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gr2_bringup.keystore import enclaves
from gr2_bringup.security.keystore import create

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
        try:
            self.process.wait(60)  # it escalates to SIGTERM and SIGKILL by itself
        finally:
            self.process.kill()
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
    running = launch("sim.launch.py", "policy:=teacher", "seed:=3", *SMALL)
    running.until("active with policy", 60)
    said = ros2(domain, "topic", "pub", "--once", "-w", "2", "/instruction", "std_msgs/msg/String",
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


WATCH = (
    "import sys\nfrom gr2_bringup.director import Director\n"
    "with Director('watch') as d:\n"
    "    sys.exit(0 if d.wait_until(lambda: d.outcome is not None and d.outcome.success, 60) else 1)\n"
)


def test_real_stack_carries_out_an_instruction_on_the_fake_driver(launch, domain: int) -> None:  # type: ignore[no-untyped-def]
    running = launch("real.launch.py", "driver:=fake", "policy:=teacher", "armed:=true", "seed:=3", *SMALL)
    running.until("active with policy", 60)
    said = ros2(domain, "topic", "pub", "--once", "-w", "2", "/instruction", "std_msgs/msg/String",
                "{data: 'put the red block in the bin'}")  # fmt: skip
    assert said.returncode == 0, said.stderr
    env = os.environ | {"ROS_DOMAIN_ID": str(domain)}
    assert subprocess.run([sys.executable, "-c", WATCH], env=env, timeout=90, check=False).returncode == 0
    text = running.stop()
    assert "Traceback" not in text
    assert running.process.returncode == 0, text


STUB = """
import json, os
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, LogInfo, OpaqueFunction
from launch.substitutions import LaunchConfiguration

NAMES = ["robot_type", "robot_ip", "dof", "gripper", "gripper_joint_name", "robot_controller", "launch_rviz",
         "description_package", "description_file", "controllers_file"]

def told(context):
    given = {name: LaunchConfiguration(name).perform(context) for name in NAMES}
    variables = ("ROS_SECURITY_ENCLAVE_OVERRIDE", "ROS_SECURITY_ENABLE")
    given |= {name: context.environment.get(name, "") for name in variables}
    with open(os.environ["STUB_SAW"], "w") as file:
        json.dump(given, file)
    return [LogInfo(msg="the vendor's driver was started")]

def generate_launch_description():
    return LaunchDescription([*(DeclareLaunchArgument(name) for name in NAMES), OpaqueFunction(function=told)])
"""


@pytest.fixture
def vendor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """kortex_bringup with a launch file of the vendor's name that only writes down how it was called."""
    prefix = tmp_path / "vendor"
    (prefix / "share/ament_index/resource_index/packages").mkdir(parents=True)
    (prefix / "share/ament_index/resource_index/packages/kortex_bringup").touch()
    (prefix / "share/kortex_bringup/launch").mkdir(parents=True)
    (prefix / "share/kortex_bringup/launch/kortex_control.launch.py").write_text(STUB)
    monkeypatch.setenv("AMENT_PREFIX_PATH", f"{prefix}:{os.environ['AMENT_PREFIX_PATH']}")
    monkeypatch.setenv("STUB_SAW", str(tmp_path / "saw.json"))
    return tmp_path / "saw.json"


def test_vendors_driver_gets_our_description_and_our_controllers(launch, vendor: Path) -> None:  # type: ignore[no-untyped-def]
    running = launch("real.launch.py", "robot_ip:=192.168.1.10", "policy:=gr2", "untrained:=nano", *SMALL)
    running.until("the vendor's driver was started", 30)
    running.until("DRY RUN", 30)
    text = running.stop()
    assert "Traceback" not in text
    saw = json.loads(vendor.read_text())
    assert saw["robot_ip"] == "192.168.1.10"
    assert (saw["dof"], saw["gripper"], saw["launch_rviz"]) == ("7", "robotiq_2f_85", "false")
    for name, ending in (("description_file", "kortex.urdf.xacro"), ("controllers_file", "kortex_controllers.yaml")):
        assert saw[name].endswith(ending)
        assert Path(saw[name]).is_file()
    assert saw["ROS_SECURITY_ENABLE"] == ""


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl command on this machine")
def test_vendors_driver_has_an_enclave_of_its_own(launch, vendor: Path, tmp_path: Path, domain: int) -> None:  # type: ignore[no-untyped-def]
    create(tmp_path / "keystore", enclaves("real", []), domain, 2)
    running = launch("real.launch.py", "robot_ip:=192.168.1.10", "policy:=gr2", f"security:={tmp_path / 'keystore'}")
    running.until("the vendor's driver was started", 30)
    # Where DDS has no security the nodes end by themselves, and the launch with them.
    deadline = time.monotonic() + 20.0
    while running.process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.2)
    if running.process.poll() is None:
        running.stop()
    saw = json.loads(vendor.read_text())
    assert (saw["ROS_SECURITY_ENCLAVE_OVERRIDE"], saw["ROS_SECURITY_ENABLE"]) == ("/gr2/driver", "true")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["security:=/nowhere"], "is no keystore; make one with"),
        (["calibration:=/nowhere.yaml"], "/nowhere.yaml"),
        (["driver:=fake", "compressed_images:=true"], "image_raw only"),
        (["driver:=none", "use_sim_time:=true", "armed:=true"], "replayed bag"),
        (["policy:=teacher", "armed:=true", "driver:=none"], "simulator's truth"),
    ],
)
def test_real_stack_refuses_what_cannot_work(domain: int, arguments: list[str], words: str) -> None:
    done = ros2(domain, "launch", "gr2_bringup", "real.launch.py", "policy:=gr2", "driver:=none", *arguments)
    assert done.returncode != 0
    assert words in done.stdout + done.stderr


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
