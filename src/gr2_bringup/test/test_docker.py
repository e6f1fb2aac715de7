"""What the packages and the images ask for exists and is complete: rosdep keys, apt names, pip names, pins."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
DOCKER = ROOT / "docker"
PACKAGES = {path.parent.name: path for path in sorted((ROOT / "src").glob("*/package.xml"))}

SYSTEM_KEYS = {
    "numpy": "python3-numpy",
    "scipy": "python3-scipy",
    "yaml": "python3-yaml",
    "rich": "python3-rich",
    "PIL": "python3-pil",
    "hypothesis": "python3-hypothesis",
    "pytest": "python3-pytest",
}
"""rosdep keys of what Ubuntu packages; their Ubuntu names are the same."""

ROS_PACKAGES = {
    "action_msgs", "ament_cmake", "ament_index_python", "builtin_interfaces", "control_msgs", "controller_manager",
    "diagnostic_msgs", "domain_coordinator", "example_interfaces", "geometry_msgs", "gz_ros2_control",
    "joint_state_broadcaster", "joint_trajectory_controller", "launch", "launch_ros", "lifecycle_msgs",
    "parallel_gripper_controller", "rcl_interfaces", "rclpy", "robot_state_publisher", "ros2launch", "ros_gz_bridge",
    "ros_gz_sim", "rosgraph_msgs", "rosidl_default_generators", "rosidl_default_runtime", "sensor_msgs", "shape_msgs",
    "std_msgs", "std_srvs", "tf2_ros", "trajectory_msgs", "visualization_msgs", "xacro",
}  # fmt: skip
"""Packages of ROS 2 Jazzy that gr2 uses: each is a rosdep key and, as ros-jazzy-..., an apt name."""

ROS_REPOSITORY = {"python3-colcon-common-extensions", "python3-rosdep", "python3-vcstool"}
"""apt names of packages.ros.org beside ros-jazzy-...; other names are Ubuntu's own."""

BY_PIP = {
    "OpenGL": "pyopengl", "accelerate": "accelerate", "apsw": "apsw", "av": "av", "daqp": "daqp", "lz4": "lz4",
    "matplotlib": "matplotlib",
    "mcap": "mcap", "mujoco": "mujoco", "ompl": "ompl", "osqp": "osqp", "pinocchio": "pin", "pyarrow": "pyarrow",
    "rosbags": "rosbags", "safetensors": "safetensors", "tensorboard": "tensorboard", "torch": "torch",
    "transformers": "transformers", "trimesh": "trimesh", "viser": "viser", "zstandard": "zstandard",
    "backports": "backports.zstd", "ray": "ray",
    "ai_edge_litert": "ai-edge-litert",
}  # fmt: skip
"""Names on PyPI of what is imported and no package of the system: locked in requirements/."""

OPTIONAL = {"rerun", "compression", "cv_bridge", "moveit", "moveit_msgs", "xacro"}
"""Imported only where it is: what a user may install, and a module of newer Pythons."""


def dependencies(package: Path) -> set[str]:
    root = ElementTree.parse(package).getroot()
    return {element.text or "" for element in root if element.tag.endswith("depend")}


def imports(folder: Path) -> set[str]:
    """Top-level names that the modules of a folder import from outside the standard library and themselves."""
    names: set[str] = set()
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names.add(node.module.partition(".")[0])
    siblings = {path.stem for path in folder.rglob("*.py")}
    return names - set(sys.stdlib_module_names) - siblings - {folder.name}


def locked() -> set[str]:
    lines = [
        line
        for name in ("gr2.txt", "torch.txt", "test.txt", "curate.txt", "experiments.txt")
        for line in _lines(ROOT / "requirements" / name)
    ]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.!+_-]+", line) for line in lines), "not pinned exactly"
    return {line.partition("==")[0].lower().replace("_", "-") for line in lines}


def _lines(path: Path) -> list[str]:
    lines = (line.partition("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line]


@pytest.mark.parametrize("package", sorted(PACKAGES))
def test_package_xml_names_all_that_is_imported_by_keys_that_rosdep_knows(package: str) -> None:
    known = dependencies(PACKAGES[package])
    assert known <= {*SYSTEM_KEYS.values(), *ROS_PACKAGES, *PACKAGES, "python3-dev"}
    used = imports(PACKAGES[package].parent / package) | imports(PACKAGES[package].parent / "launch")
    used -= OPTIONAL | {package}
    pip = {name for name in used if name in BY_PIP}
    assert {BY_PIP[name].replace("_", "-") for name in pip} <= locked()
    needed = {SYSTEM_KEYS.get(name, name) for name in used - pip}
    assert needed <= known, f"{package}/package.xml lacks {sorted(needed - known)}"


def test_apt_names_exist() -> None:
    names = {name for file in ("apt.txt", "apt-development.txt") for name in _lines(DOCKER / file)}
    ros = {name for name in names if name.startswith("ros-jazzy-")}
    known_ros = {
        f"ros-jazzy-{name.replace('_', '-')}" for name in {*ROS_PACKAGES, "launch_pytest", "launch_testing_ros"}
    }
    assert ros <= known_ros
    ubuntu = (names | set(SYSTEM_KEYS.values())) - ros - ROS_REPOSITORY
    if shutil.which("apt-cache") is None:
        pytest.skip("no apt-cache here: names of Ubuntu's packages were not looked up")
    found = subprocess.run(["apt-cache", "pkgnames"], capture_output=True, text=True, check=True).stdout.split()
    if len(found) < 10_000:
        pytest.skip("apt's lists are not on this machine (apt-get update): names were not looked up")
    assert ubuntu <= set(found), f"apt does not know {sorted(ubuntu - set(found))}"


def test_dockerfile_copies_what_exists_and_every_package_xml() -> None:
    text = (DOCKER / "Dockerfile").read_text(encoding="utf-8")
    sources = [source for line in re.findall(r"^COPY (.+)$", text, re.MULTILINE) for source in line.split()[:-1]]
    assert [source for source in sources if not (ROOT / source).exists()] == []
    assert {f"src/{name}/package.xml" for name in PACKAGES} <= set(sources)
    assert ":latest" not in text
    assert re.search(r"^ARG BASE=ros:jazzy-ros-base-noble$", text, re.MULTILINE)


def test_sources_built_from_are_pinned_to_commits() -> None:
    repositories = yaml.safe_load((DOCKER / "kortex.repos").read_text(encoding="utf-8"))["repositories"]
    assert {"ros2_kortex", "picknik_controllers", "ros2_robotiq_gripper", "serial"} == set(repositories)
    for name, entry in repositories.items():
        assert re.fullmatch(r"[0-9a-f]{40}", str(entry["version"])), f"{name} is at '{entry['version']}'"


def test_compose_gives_network_shared_memory_and_real_time() -> None:
    services = yaml.safe_load((DOCKER / "compose.yaml").read_text(encoding="utf-8"))["services"]
    assert set(services) == {"sim", "real", "development"}
    for service in services.values():
        assert service["ulimits"]["rtprio"] == 99
        assert service["ulimits"]["memlock"] == -1
        assert service["cap_add"] == ["SYS_NICE"]
        assert "privileged" not in service
        assert service.get("ipc") == "host" or service["shm_size"] == "1gb"
    assert services["sim"]["ports"] == ["127.0.0.1:8090:8090"]
    assert "network_mode" not in services["sim"]
    real = services["real"]
    assert real["network_mode"] == "host"
    assert real["restart"] == "no"
    assert real["environment"]["ROS_AUTOMATIC_DISCOVERY_RANGE"] == "LOCALHOST"
    assert "armed:=${ARMED:-false}" in real["command"]


def test_entrypoint_runs_a_command_where_nothing_is_set_up(tmp_path: Path) -> None:
    done = subprocess.run([DOCKER / "entrypoint", "echo", "a b"], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "a b\n"), done.stderr
