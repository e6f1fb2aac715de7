"""Turns the stack, which is data, into actions of ``launch`` and ``launch_ros``."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from ament_index_python.packages import PackageNotFoundError, get_package_share_directory
from launch.actions import (
    DeclareLaunchArgument,
    GroupAction,
    IncludeLaunchDescription,
    OpaqueFunction,
    SetEnvironmentVariable,
    Shutdown,
)
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node as LaunchNode

from gr2_bringup import stack
from gr2_bringup.calibration import BadCalibration, load
from gr2_bringup.security.keystore import environment
from gr2_wbc.robots import load_robot
from launch import Action, LaunchContext, LaunchDescription

Values = Mapping[str, object]


def description(
    arguments: tuple[stack.Argument, ...],
    nodes: Callable[[Values], list[stack.Node]],
    includes: Callable[[Values], list[Action]] | None = None,
) -> LaunchDescription:
    """A launch description that declares ``arguments`` and starts ``nodes`` with the values given."""

    def actions(context: LaunchContext) -> list[Action]:
        given = {a.name: LaunchConfiguration(a.name).perform(context) for a in arguments}
        values = stack.parse(arguments, given)
        share = Path(get_package_share_directory(stack.PACKAGE))
        wanted = [_node(node, share) for node in nodes(values)]
        environment = [
            SetEnvironmentVariable(name, value)
            for name, value in stack.environment(share).items()
            if name not in os.environ
        ]
        return environment + (includes(values) if includes else []) + wanted

    declared = [
        DeclareLaunchArgument(
            argument.name,
            default_value=str(argument.default).lower()
            if isinstance(argument.default, bool)
            else str(argument.default),
            description=argument.help,
            choices=list(argument.choices) or (["true", "false"] if isinstance(argument.default, bool) else None),
        )
        for argument in arguments
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=actions)])


def _node(node: stack.Node, share: Path) -> LaunchNode:
    ending = [Shutdown(reason=f"{node.name} has ended")] if node.required else None
    return LaunchNode(
        package=node.package,
        executable=node.executable,
        name=node.name,
        parameters=[str(share / "config" / file) for file in node.parameter_files]
        + [{name: stack.located(value, share) for name, value in node.parameters.items()}],
        remappings=list(node.remappings),
        ros_arguments=["--enclave", node.enclave] if node.enclave else None,
        additional_env=dict(node.environment) or None,
        output="screen",
        emulate_tty=True,
        on_exit=ending,
    )


def beside_real(values: Values) -> list[Action]:
    """All that runs beside gr2's nodes on the real arm: the vendor's bring-up, and the cameras' places.

    Raises:
        stack.BadArgument: something is not installed, or the calibration is not usable.
    """
    return kortex(values) + calibrated(values)


def calibrated(values: Values) -> list[Action]:
    """Publishers of where the cameras are, where a calibration is given.

    Raises:
        stack.BadArgument: the file is not usable.
    """
    if not values["calibration"]:
        return []
    try:
        cameras = load(Path(str(values["calibration"])), load_robot("gen3_2f85"))
    except BadCalibration as error:
        raise stack.BadArgument(f"calibration: {error}") from error
    actions: list[Action] = []
    for name, camera in cameras.items():
        place = zip(("x", "y", "z", "qx", "qy", "qz", "qw"), [*camera.position, *camera.quaternion], strict=True)
        told = [text for key, value in place for text in (f"--{key}", f"{float(value):.9g}")]
        actions.append(
            LaunchNode(
                package="tf2_ros",
                executable="static_transform_publisher",
                name=f"{name}_camera_calibration",
                arguments=[*told, "--frame-id", camera.parent, "--child-frame-id", camera.frame],
                output="screen",
            )
        )
    return actions


def kortex(values: Values) -> list[Action]:
    """The vendor's bring-up of the Gen3, where ``driver:=kortex``.

    Raises:
        stack.BadArgument: it is not installed.
    """
    if values["driver"] != "kortex":
        return []
    try:
        folder = get_package_share_directory("kortex_bringup")
    except PackageNotFoundError as error:
        raise stack.BadArgument(
            "the package kortex_bringup (ros2_kortex) is not installed: build it from source beside gr2, "
            "or start a driver yourself and pass driver:=none"
        ) from error
    share = stack.share_folder()
    arguments = {
        "robot_type": "gen3",
        "robot_ip": str(values["robot_ip"]),
        "dof": "7",
        "gripper": "robotiq_2f_85",
        "gripper_joint_name": "robotiq_85_left_knuckle_joint",
        "robot_controller": "joint_trajectory_controller",
        "launch_rviz": "false",
        # Looked up in a folder of the description's package, but an absolute path wins.
        "description_package": stack.PACKAGE,
        "description_file": str(share / "description" / "kortex.urdf.xacro"),
        "controllers_file": str(share / "config" / "kortex_controllers.yaml"),
    }
    source = PythonLaunchDescriptionSource(str(Path(folder) / "launch" / "kortex_control.launch.py"))
    include = IncludeLaunchDescription(source, launch_arguments=arguments.items())
    if not values["security"]:
        return [include]
    # The vendor's launch file names no enclaves: all that it starts shares one.
    variables = environment(Path(str(values["security"]))) | {"ROS_SECURITY_ENCLAVE_OVERRIDE": "/gr2/driver"}
    return [GroupAction([*(SetEnvironmentVariable(name, value) for name, value in variables.items()), include])]
