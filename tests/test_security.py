"""The contracts against running stacks; and a stack that has to be secure and cannot be."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.real_cell import real

from gr2_bringup import keystore, stack
from gr2_bringup.contracts import OTHERS, Contract, contract
from gr2_bringup.director import Director
from gr2_bringup.security.keystore import create, environment
from gr2_bringup.supervisor import Supervisor, command_line, executable_path

GENERIC = {"/rosout", "/parameter_events"}
WHILE_RESETTING = {"/joint_states", "/joint_trajectory_controller/controller_state"}
SERVICE_OF_ALL = "get_type_description"
ON_PIP = "ROS_DISTRO" not in os.environ  # its wheels have no DDS security; an installed ROS 2 has


def graph(director: Director, name: str) -> dict[str, set[str]]:
    """What a node says and hears, as discovery tells it."""
    node = director.node
    found = {
        "publishes": node.get_publisher_names_and_types_by_node(name, "/"),
        "subscribes": node.get_subscriber_names_and_types_by_node(name, "/"),
        "serves": node.get_service_names_and_types_by_node(name, "/"),
        "calls": node.get_client_names_and_types_by_node(name, "/"),
    }
    return {what: {one for one, _ in names} for what, names in found.items()}


def expected(made: Contract) -> dict[str, set[str]]:
    """The same by a contract."""
    sets = {what: set(getattr(made, what)) for what in ("publishes", "subscribes", "serves", "calls")}
    for actions, services, topics in ((made.acts, "serves", "publishes"), (made.goals, "calls", "subscribes")):
        for action in actions:
            sets[services] |= {f"{action}/_action/{name}" for name in ("send_goal", "cancel_goal", "get_result")}
            sets[topics] |= {f"{action}/_action/{name}" for name in ("feedback", "status")}
    return sets


@pytest.mark.parametrize("which", ["real", "sim"])
def test_contracts_are_what_the_nodes_say_and_hear(start: Callable[..., Any], tmp_path: Path, which: str) -> None:
    extra = {"console": True, "record": str(tmp_path / "bag")}
    small = {"image_width": 128, "image_height": 128}
    nodes = real(**extra) if which == "real" else stack.simulation(stack.defaults(stack.SIMULATION) | small | extra)
    running = start(nodes=nodes).ready()
    names = running.director.node.get_node_names
    for node in nodes:
        running.wait(lambda name=node.name: name in names(), 20.0, f"no node {node.name}")
        wanted = expected(contract(node))
        if node.executable == "recorder_node":
            wanted["subscribes"] = set()  # it takes what there is: judged below
        if node.executable == "arm_adapter":
            wanted["subscribes"] -= WHILE_RESETTING

        def difference(node: stack.Node = node, wanted: dict[str, set[str]] = wanted) -> dict[str, set[str]]:
            there = graph(running.director, node.name)
            there["publishes"] -= GENERIC
            there["serves"] -= {f"/{node.name}/{SERVICE_OF_ALL}"}
            if node.executable == "recorder_node":
                assert there["subscribes"] <= set(contract(node).subscribes)
                there["subscribes"] = set()
            if node.executable == "console_node":
                there["publishes"] -= {"/diagnostics"}
            return {what: there[what] ^ wanted[what] for what in wanted if there[what] ^ wanted[what]}

        running.wait(lambda check=difference: not check(), 20.0, f"{node.name}: {difference()}")


def test_who_directs_a_stack_needs_no_more_than_an_operator_may(domain: int) -> None:
    """Else ``./gr2 sim``, ``real`` and ``say`` would be refused by the permissions of their own enclave."""
    with Director("gr2_director", domain_id=domain) as director:
        assert director.wait_until(lambda: "gr2_director" in director.node.get_node_names(), 10.0)
        director.spin(0.5)
        there = graph(director, "gr2_director")
        there["publishes"] -= GENERIC
        there["serves"] -= {f"/gr2_director/{SERVICE_OF_ALL}"}
        assert {"/instruction", "/wbc_status", "/sim/outcome"} <= there["publishes"] | there["subscribes"]
        may = expected(OTHERS["operator"])
        assert not {what: names - may[what] for what, names in there.items() if names - may[what]}


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl command on this machine")
@pytest.mark.parametrize("which", ["sim", "real"])
def test_the_command_itself_directs_from_within_the_operators_enclave(domain: int, tmp_path: Path, which: str) -> None:
    """On the wheels, which have no security, that is refused before anything starts; elsewhere the task is done."""
    folder = tmp_path / "keystore"
    create(folder, keystore.enclaves(which, ["policy:=teacher"]), domain, 2)
    only = ["--headless"] if which == "sim" else ["--driver", "fake", "--armed", "true"]
    command = [sys.executable, "-m", "gr2_bringup.cli", which, *only, "--policy", "teacher", "--seed", "3"]
    command += ["--image-width", "128", "--image-height", "128", "--no-bag", "--runs", str(tmp_path / "runs")]
    command += ["--instruction", "press the red button", "--domain", str(domain), "--security", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, stdin=subprocess.DEVNULL)
    said = done.stdout + done.stderr
    if not ON_PIP:
        assert done.returncode == 0, said
        return
    assert done.returncode == 3, said
    assert f"gr2 {which}: nothing was started. ROS does not let us in: " in done.stderr
    assert "Traceback" not in said
    assert not list((tmp_path / "runs").rglob("*.log")), "something was started"
    own = os.environ | environment(folder) | {"ROS_SECURITY_ENCLAVE_OVERRIDE": "/gr2/operator"}
    say = [sys.executable, "-m", "gr2_bringup.cli", "say", "open the drawer", "--domain", str(domain)]
    done = subprocess.run(say, env=own, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "gr2 say: ROS does not let us in: " in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl command on this machine")
@pytest.mark.parametrize("name", ["wbc", "policy", "arm_adapter", "arm"])
@pytest.mark.parametrize("keys", ["sound", "missing"])
def test_a_node_that_has_to_be_secure_and_cannot_be_does_not_run(
    domain: int, tmp_path: Path, name: str, keys: str
) -> None:
    """Fail-closed: without an enclave nowhere, with one not on the wheels, which have no security."""
    if keys == "sound" and not ON_PIP:
        pytest.skip("this ROS 2 has DDS security: a sound keystore lets the node start")
    folder = tmp_path / "keystore"
    chosen = [enclave for enclave in keystore.enclaves("real", []) if keys == "sound" or enclave.node != name]
    create(folder, chosen, domain, 2)
    (node,) = [one for one in real() if one.name == name]
    prefixes = os.environ["AMENT_PREFIX_PATH"].split(":")
    command = command_line(node, executable_path(node, prefixes), stack.share_folder())
    command += ["--enclave", f"/gr2/{name}"]
    env = os.environ | {"ROS_DOMAIN_ID": str(domain), "ROS_SECURITY_ENABLE": "true"}
    env |= {"ROS_SECURITY_STRATEGY": "Enforce", "ROS_SECURITY_KEYSTORE": str(folder)}
    begun = time.monotonic()
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0, done.stdout + done.stderr
    assert "secur" in (done.stdout + done.stderr).lower()
    assert time.monotonic() - begun < 30.0


OPERATOR = (
    "import sys\nfrom gr2_bringup.director import Director\n"
    "with Director('operator') as d:\n"
    "    sys.exit(0 if d.wait_until(d.ready, 60) else d.not_ready_because())\n"
)
STRANGER = (
    "import sys, time, rclpy\nfrom rclpy.qos import qos_profile_sensor_data as sensor\n"
    "from gr2_msgs.msg import TrajectoryChunk\nfrom sensor_msgs.msg import Image, JointState\n"
    "rclpy.init()\nnode = rclpy.create_node('stranger')\ngot = []\n"
    "node.create_subscription(Image, '/head_camera/image_raw', got.append, sensor)\n"
    "node.create_subscription(JointState, '/joint_states', got.append, sensor)\n"
    "chunks = node.create_publisher(TrajectoryChunk, '/trajectory_chunk', 10)\n"
    "end = time.monotonic() + 8.0\n"
    "while time.monotonic() < end: rclpy.spin_once(node, timeout_sec=0.1)\n"
    "found = [name for name in node.get_node_names() if name != 'stranger']\n"
    "sys.exit(f'{len(got)} messages, {found}' if got or found or chunks.get_subscription_count() else 0)\n"
)


@pytest.mark.skipif(ON_PIP, reason="the pip wheels have no DDS security; an installed ROS 2 has")
@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl command on this machine")
def test_a_stranger_neither_sees_the_cameras_nor_reaches_the_controller(domain: int, tmp_path: Path) -> None:
    folder = tmp_path / "keystore"
    create(folder, keystore.enclaves("real", ["policy:=teacher"]), domain, 2)
    env = os.environ | {"ROS_DOMAIN_ID": str(domain)}
    supervisor = Supervisor(real(security=str(folder)), env, stack.share_folder(), tmp_path / "log", lambda *_: None)
    supervisor.start()
    try:
        own = env | environment(folder) | {"ROS_SECURITY_ENCLAVE_OVERRIDE": "/gr2/operator"}
        seen = subprocess.run(
            [sys.executable, "-c", OPERATOR], env=own, capture_output=True, text=True, timeout=90, check=False
        )
        assert seen.returncode == 0, seen.stderr
        other = subprocess.run(
            [sys.executable, "-c", STRANGER], env=env, capture_output=True, text=True, timeout=60, check=False
        )
        assert other.returncode == 0, other.stderr
    finally:
        supervisor.stop()
