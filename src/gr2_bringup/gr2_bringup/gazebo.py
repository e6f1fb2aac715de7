"""Gazebo Harmonic in the place of MuJoCo: ``ros2 launch gr2_bringup sim.launch.py simulator:=gazebo``.

    gz (world) ──bridge──► /clock, cameras          wbc ──► /joint_trajectory_controller/joint_trajectory
    robot, spawned from its URDF: gz_ros2_control with the controllers that the real arm has, too

Names of packages, executables and arguments: docs/interfaces.md.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from ament_index_python.packages import PackageNotFoundError, get_package_share_directory
from launch.actions import AppendEnvironmentVariable, IncludeLaunchDescription, RegisterEventHandler
from launch.event_handlers import OnProcessExit
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch_ros.actions import Node

from gr2_bringup import stack
from launch import Action

PACKAGES = (
    "ros_gz_sim",
    "ros_gz_bridge",
    "gz_ros2_control",
    "controller_manager",
    "joint_state_broadcaster",
    "joint_trajectory_controller",
    "parallel_gripper_controller",
    "robot_state_publisher",
    "xacro",
)
CONTROLLERS = ("joint_state_broadcaster", "joint_trajectory_controller", "robotiq_gripper_controller")
ENGINE = "gz-physics-bullet-featherstone-plugin"
"""Physics of Gazebo that knows mimic joints; the default one lets the gripper's linkage fall apart."""


def require() -> None:
    """Make sure that all is installed.

    Raises:
        stack.BadArgument: something is not; the message says what and how to install it.
    """
    lacking = [] if shutil.which("gz") else ["the command gz"]
    lacking += [f"the package {name}" for name in PACKAGES if not _installed(name)]
    if lacking:
        raise stack.BadArgument(
            f"simulator is 'gazebo', but this machine lacks {', '.join(lacking)}. Gazebo Harmonic comes with ROS: "
            "apt install ros-jazzy-ros-gz ros-jazzy-gz-ros2-control ros-jazzy-ros2-controllers ros-jazzy-xacro. "
            "Without it: simulator:=mujoco"
        )


def _installed(package: str) -> bool:
    try:
        get_package_share_directory(package)
    except PackageNotFoundError:
        return False
    return True


def actions(values: Mapping[str, object]) -> list[Action]:
    """All that runs beside gr2's nodes where ``simulator:=gazebo``; nothing otherwise.

    Raises:
        stack.BadArgument: something is not installed; the teacher was asked for, which reads the truth that only
            gr2's own simulator tells; or real_time_factor is not 1.
        NotForGazebo: the task begins with an open fixture.
    """
    if values["simulator"] != "gazebo":
        return []
    require()
    if values["policy"] == "teacher":
        raise stack.BadArgument("policy 'teacher' reads the truth of gr2's own simulator; with gazebo: policy:=gr2")
    if values["real_time_factor"] != 1.0:
        raise stack.BadArgument(f"real_time_factor is {values['real_time_factor']}; Gazebo's world runs at 1")
    if values["security"]:
        raise stack.BadArgument("security: Gazebo's bridge and controllers have no enclaves; leave it empty")
    share = stack.share_folder()
    world, bridge = _write_world(values)
    robot, whole = _urdf(values, share, surroundings=False), _urdf(values, share, surroundings=True)
    arguments = "" if values["viewer"] else "-s --headless-rendering "
    source = PythonLaunchDescriptionSource(
        str(Path(get_package_share_directory("ros_gz_sim")) / "launch" / "gz_sim.launch.py")
    )
    server = IncludeLaunchDescription(
        source,
        launch_arguments={
            "gz_args": f"-r -v 3 {arguments}--physics-engine {ENGINE} {world}",
            "on_exit_shutdown": "true",
        }.items(),
    )
    publisher = Node(
        package="robot_state_publisher",
        executable="robot_state_publisher",
        parameters=[{"robot_description": whole, "use_sim_time": True}],
        output="screen",
    )
    spawn = Node(
        package="ros_gz_sim", executable="create", arguments=["-string", robot, "-name", "gen3_2f85"], output="screen"
    )
    carry = Node(
        package="ros_gz_bridge",
        executable="parameter_bridge",
        parameters=[{"config_file": str(bridge), "use_sim_time": True}],
        output="screen",
    )
    resources = AppendEnvironmentVariable("GZ_SIM_RESOURCE_PATH", str(share.parent))
    return [resources, server, publisher, spawn, carry, *_spawners(spawn, share)]


def _spawners(after: Action, share: Path) -> list[Action]:
    """Controllers one after the other, the first when the robot is there."""
    chain: list[Action] = []
    file = str(share / "config" / "gazebo_controllers.yaml")
    for name in CONTROLLERS:
        spawner = Node(
            package="controller_manager", executable="spawner", arguments=[name, "--param-file", file], output="screen"
        )
        chain.append(RegisterEventHandler(OnProcessExit(target_action=after, on_exit=[spawner])))
        after = spawner
    return chain


def _write_world(values: Mapping[str, object]) -> tuple[Path, Path]:
    """World and bridge of the scene, arranged as the simulator arranges it; in a folder that the system clears."""
    from gr2_bringup.description.cell_model import read_cell
    from gr2_bringup.description.files import write
    from gr2_bringup.description.world import world_files

    cell = read_cell(str(values["scene"]), str(values["task"]), int(str(values["seed"])))
    size = (int(str(values["image_width"])), int(str(values["image_height"])))
    files = world_files(cell, *size, float(str(values["camera_rate"])))
    folder = Path(tempfile.mkdtemp(prefix=f"gr2_gazebo_{os.getpid()}_"))
    write(folder, files)
    return folder / f"{cell.scene}.sdf", folder / f"{cell.scene}_bridge.yaml"


def _urdf(values: Mapping[str, object], share: Path, surroundings: bool) -> str:
    import xacro

    given = {
        "hardware": "gz",
        "surroundings": str(surroundings).lower(),
        "controllers": str(share / "config" / "gazebo_controllers.yaml"),
        **{name: str(values[name]) for name in ("image_width", "image_height", "camera_rate")},
    }
    return str(xacro.process_file(str(share / "description" / "cell.urdf.xacro"), mappings=given).toxml())
