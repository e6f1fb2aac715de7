"""What runs: the nodes of gr2, as data.

Both ways to run it read this file and nothing else: the launch files turn it into ``launch_ros`` actions, the
runner of ``./gr2`` into supervised processes. A newcomer starts here.

    sim_node ──images, joint states, /clock──► policy_node ──/trajectory_chunk──► wbc_node ──/joint_commands──► sim_node

On the real arm the same policy and controller stand beside the vendor's driver instead of ``sim_node``, with an adapter
for gripper and faults between them; the fake driver takes the vendor's place on a machine without an arm.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

PACKAGE = "gr2_bringup"


@dataclass(frozen=True)
class Node:
    """One process.

    Attributes:
        package, executable, name: as for ``ros2 run`` and ``__node:=``.
        parameter_files: YAML files, relative to this package's ``config`` folder.
        parameters: set after the files, so they win. A text ``config/...`` is a file in this package's share folder.
        remappings: pairs (from, to).
        required: when it ends, everything ends.
        enclave: of SROS 2, e.g. ``/gr2/wbc``; empty: without security.
        environment: variables of this process alone.
    """

    package: str
    executable: str
    name: str
    parameter_files: tuple[str, ...] = ()
    parameters: Mapping[str, object] = field(default_factory=dict)
    remappings: tuple[tuple[str, str], ...] = ()
    required: bool = True
    enclave: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Argument:
    """One setting of the stack, offered alike by launch files and by the ``gr2`` command.

    Attributes:
        name: launch argument ``name:=``, command line ``--name`` with dashes.
        default: also tells the type.
        help: one line.
        choices: if only these are allowed.
    """

    name: str
    default: bool | int | float | str
    help: str
    choices: tuple[str, ...] = ()


COMMON = (
    Argument("policy", "gr2", "policy to run, by its name in the entry-point group gr2.policies"),
    Argument("checkpoint", "", "folder with the weights of policy gr2; empty: those that ship"),
    Argument("untrained", "", "size to run policy gr2 in with random weights instead: nano, mini, S, B, L, XL"),
    Argument("policy_options", "", "more settings of the policy, e.g. device=cuda,seed=1 (docs/runtime.md)"),
    Argument("replan_rate", 5.0, "chunks per second"),
    Argument("delay", -1.0, "time from an image to its chunk that the policy is told [s]; negative: as measured"),
    Argument("imagination_rate", 1.0, "imagined instants per second, of a policy that can imagine; 0: none"),
    Argument(
        "surprise_action",
        "none",
        "what follows when reality leaves what was imagined: nothing, a plan at once, or rest until it is as expected",
        choices=("none", "replan", "hold"),
    ),
    Argument("surprise_threshold", 6.0, "surprise (in spreads above the median) from which that follows"),
    Argument("image_width", 256, "width of both camera images [pixel]"),
    Argument("image_height", 256, "height of both camera images [pixel]"),
    Argument("record", "", "folder to record a rosbag2 into; empty records nothing"),
    Argument("console", False, "serve the operator's console, a web page"),
    Argument("console_host", "127.0.0.1", "address that it listens on; beyond this machine it asks for a token"),
    Argument("console_port", 8090, "port that it listens on, or the next free one"),
    Argument("console_open", False, "open it in a browser"),
    Argument("security", "", "keystore (./gr2 keystore): nothing runs, or talks, without; empty: no security"),
)
SIMULATION = COMMON + (
    Argument(
        "simulator",
        "mujoco",
        "simulator to run; gazebo needs ros2 launch and Gazebo Harmonic",
        choices=("mujoco", "gazebo"),
    ),
    Argument("scene", "table", "scene of the simulated cell"),
    Argument("task", "", "task that the scene is arranged for; empty for any"),
    Argument("seed", 0, "seed of the arrangement"),
    Argument("real_time_factor", 1.0, "simulated seconds per second"),
    Argument("camera_rate", 10.0, "images per simulated second from each camera"),
    Argument("viewer", False, "open a window that shows the cell"),
)
REAL = COMMON + (
    Argument("robot_ip", "", "address of the arm; required with driver:=kortex"),
    Argument("armed", False, "send commands to the arm; without it the controller only prints what it would send"),
    Argument(
        "driver",
        "kortex",
        "kortex includes the vendor's bring-up; fake is a simulated arm behind the same interfaces; none expects a "
        "running driver (or a replayed bag)",
        choices=("kortex", "fake", "none"),
    ),
    Argument("head_camera", "/head_camera", "namespace of the head camera's topics"),
    Argument("wrist_camera", "/camera/color", "namespace of the wrist camera's topics"),
    Argument("compressed_images", False, "the policy takes the cameras' image_raw/compressed (JPEG or PNG)"),
    Argument("calibration", "", "file of the cameras' calibration, told on /tf_static (./gr2 calibration checks it)"),
    Argument("planner", "ompl", "who plans motions to a configuration", choices=("ompl", "moveit")),
    Argument("planning_scene", False, "keep clear of what move_group's planning scene holds; needs MoveIt"),
    Argument("use_sim_time", False, "driver:=none: follow /clock, for a replayed bag; never armed"),
    Argument("scene", "table", "driver:=fake: scene around the arm"),
    Argument("task", "", "driver:=fake: task that the scene is arranged for; empty for any"),
    Argument("seed", 0, "driver:=fake: seed of the arrangement"),
    Argument("camera_rate", 10.0, "driver:=fake: images per second from each camera"),
    Argument("joint_state_rate", 250.0, "driver:=fake: joint states per second (an arm's: 1000)"),
)

# Environment of every process. The profile gives shared memory a segment that holds large images: with the
# default one, half of the frames above 512 kB are lost.
ENVIRONMENT = {
    "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
    "FASTRTPS_DEFAULT_PROFILES_FILE": "config/fastdds_large_images.xml",
    "RCUTILS_COLORIZED_OUTPUT": "0",
    "PYTHONUNBUFFERED": "1",
    "MUJOCO_GL": "egl",  # MuJoCo binds to it when it is first imported, by whomever
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "LP_NUM_THREADS": "1",  # of the software renderer
}

JOINT_TRAJECTORY_TOPIC = "/joint_trajectory_controller/joint_trajectory"  # of ros2_kortex


class BadArgument(ValueError):
    """An argument of the stack has an impossible value; the message names both."""


def defaults(arguments: tuple[Argument, ...]) -> dict[str, object]:
    """Default values by name."""
    return {argument.name: argument.default for argument in arguments}


def parse(arguments: tuple[Argument, ...], given: Mapping[str, str]) -> dict[str, object]:
    """Turn strings, as launch files have them, into typed values.

    Raises:
        BadArgument: unknown name, wrong type, or not one of the choices.
    """
    known = {argument.name: argument for argument in arguments}
    values = defaults(arguments)
    for name, text in given.items():
        if name not in known:
            raise BadArgument(f"there is no argument '{name}' (there are: {', '.join(known)})")
        values[name] = _typed(known[name], text)
    return values


def _typed(argument: Argument, text: str) -> object:
    if argument.choices and text not in argument.choices:
        raise BadArgument(f"{argument.name} is '{text}'; it may be {' or '.join(argument.choices)}")
    try:
        if isinstance(argument.default, bool):
            return {"true": True, "1": True, "false": False, "0": False}[text.strip().lower()]
        return type(argument.default)(text)
    except (ValueError, KeyError) as error:
        kind = type(argument.default).__name__
        raise BadArgument(f"{argument.name} is '{text}', which is no {kind}") from error


def simulation(values: Mapping[str, object]) -> list[Node]:
    """Nodes of the simulated stack, in starting order.

    Args:
        values: by the names in :data:`SIMULATION`.

    Raises:
        BadArgument: another simulator than ours was asked for, which only ``ros2 launch`` can start.
    """
    if values["simulator"] != "mujoco":
        raise BadArgument(
            f"simulator is '{values['simulator']}', which needs ROS 2: "
            f"ros2 launch gr2_bringup sim.launch.py simulator:={values['simulator']}"
        )
    nodes = [
        Node(
            "gr2_sim",
            "sim_node",
            "sim",
            parameters={
                name: values[name]
                for name in (
                    "scene",
                    "task",
                    "seed",
                    "real_time_factor",
                    "camera_rate",
                    "image_width",
                    "image_height",
                )
            },
        ),
        Node(
            "gr2_wbc",
            "wbc_node",
            "wbc",
            ("wbc_simulation.yaml",),
            {"use_sim_time": True, "armed": True},
        ),
        _policy(values, use_sim_time=True),
    ]
    if values["viewer"]:
        scene = {"scene": values["scene"]}
        nodes.append(Node("gr2_sim", "viewer_node", "viewer", parameters=scene, required=False))
    return _secured(nodes + _console(values) + _recorder(values, use_sim_time=True), values)


def launched_simulation(values: Mapping[str, object]) -> list[Node]:
    """Nodes of gr2 in a simulation that ``ros2 launch`` starts: with our simulator, or beside Gazebo.

    Args:
        values: by the names in :data:`SIMULATION`.
    """
    if values["simulator"] == "mujoco":
        return simulation(values)
    wbc = Node(
        "gr2_wbc",
        "wbc_node",
        "wbc",
        ("wbc_simulation.yaml",),
        {"use_sim_time": True, "armed": True},
        remappings=(("/joint_commands", JOINT_TRAJECTORY_TOPIC),),
    )
    policy = _policy(values, use_sim_time=True)
    commands = ("/joint_commands", JOINT_TRAJECTORY_TOPIC)
    adapter = Node(PACKAGE, "arm_adapter", "arm_adapter", parameters={"use_sim_time": True})
    nodes = [wbc, adapter, policy, *_console(values, (commands,)), *_recorder(values, use_sim_time=True)]
    return _secured(nodes, values)


def real(values: Mapping[str, object]) -> list[Node]:
    """Nodes of gr2 beside a real arm's driver, in starting order.

    Args:
        values: by the names in :data:`REAL`.

    Raises:
        BadArgument: the teacher, which reads a simulator's truth, was asked to drive a real arm; or no address.
    """
    if values["policy"] == "teacher" and values["armed"] and values["driver"] != "fake":
        raise BadArgument("policy 'teacher' reads the simulator's truth; it cannot drive a real arm")
    sim_time = bool(values["use_sim_time"])
    if sim_time and (values["armed"] or values["driver"] != "none"):
        raise BadArgument("use_sim_time is for a replayed bag: driver:=none, and not armed")
    if values["compressed_images"] and values["driver"] == "fake":
        raise BadArgument("compressed_images: the fake driver's cameras send image_raw only")
    if values["driver"] == "kortex" and not values["robot_ip"]:
        raise BadArgument("robot_ip is empty; give the arm's address, e.g. robot_ip:=192.168.1.10")
    cameras = camera_remappings(values)
    wbc = Node(
        "gr2_wbc",
        "wbc_node",
        "wbc",
        ("wbc_real.yaml",),
        {"use_sim_time": sim_time, "armed": values["armed"], "planner": values["planner"]}
        | ({"moveit_config": "config/moveit.yaml"} if values["planner"] == "moveit" else {}),
        # MoveIt has a topic of this name for messages of its own.
        remappings=(("/joint_commands", JOINT_TRAJECTORY_TOPIC), ("/planning_scene", "/wbc/planning_scene")),
    )
    nodes = [
        *_fake_driver(values, cameras),
        wbc,
        Node(PACKAGE, "arm_adapter", "arm_adapter", parameters={"use_sim_time": sim_time}),
        _policy(values, use_sim_time=sim_time, remappings=cameras),
    ]
    if values["planning_scene"]:
        nodes.append(Node(PACKAGE, "planning_scene_node", "planning_scene"))
    nodes += _console(values, (*cameras, ("/joint_commands", JOINT_TRAJECTORY_TOPIC)))
    nodes += _recorder(values, use_sim_time=sim_time, remappings=cameras)
    return _secured(nodes, values)


def camera_remappings(values: Mapping[str, object]) -> tuple[tuple[str, str], ...]:
    """From our names of the cameras' topics to those of their drivers."""
    return tuple(
        (f"/{name}_camera/{topic}", f"{values[f'{name}_camera']}/{topic}")
        for name in ("head", "wrist")
        for topic in ("image_raw", "image_raw/compressed", "camera_info")
        if values[f"{name}_camera"] != f"/{name}_camera"
    )


def _secured(nodes: list[Node], values: Mapping[str, object]) -> list[Node]:
    """The nodes, each in its enclave where a keystore was given. What is asked for and cannot be had ends here.

    Raises:
        BadArgument: the keystore does not hold what the nodes need.
    """
    if not values["security"]:
        return nodes
    from gr2_bringup.security.keystore import KeystoreError, environment, verify

    folder = Path(str(values["security"]))
    enclaves = {node.name: f"/gr2/{node.name}" for node in nodes}
    try:
        verify(folder, list(enclaves.values()))
    except KeystoreError as error:
        raise BadArgument(f"security: {error}") from error
    extra = environment(folder)
    return [replace(node, enclave=enclaves[node.name], environment={**node.environment, **extra}) for node in nodes]


def _fake_driver(values: Mapping[str, object], cameras: tuple[tuple[str, str], ...]) -> list[Node]:
    if values["driver"] != "fake":
        return []
    names = ("scene", "task", "seed", "camera_rate", "image_width", "image_height", "joint_state_rate")
    parameters = {name: values[name] for name in names} | {"controllers": "config/kortex_controllers.yaml"}
    return [Node("gr2_sim", "fake_kortex_node", "arm", (), parameters, cameras)]


def _policy(values: Mapping[str, object], use_sim_time: bool, remappings: tuple[tuple[str, str], ...] = ()) -> Node:
    runtime = ("policy", "replan_rate", "image_width", "image_height", "delay")
    names = [*runtime, "imagination_rate", "surprise_action", "surprise_threshold"]
    names += [name for name in ("compressed_images",) if name in values]
    options = [f"{name}={values[name]}" for name in ("checkpoint", "untrained") if values[name]]
    options += [item.strip() for item in str(values["policy_options"]).split(",") if item.strip()]
    return Node(
        "gr2_policy",
        "policy_node",
        "policy",
        parameters={name: values[name] for name in names}
        | {"policy_options": options or [""], "use_sim_time": use_sim_time},
        remappings=remappings,
    )


def _recorder(
    values: Mapping[str, object], use_sim_time: bool, remappings: tuple[tuple[str, str], ...] = ()
) -> list[Node]:
    if not values["record"]:
        return []
    return [
        Node(
            "gr2_tools",
            "recorder_node",
            "recorder",
            parameters={"output": str(Path(str(values["record"])).absolute()), "use_sim_time": use_sim_time},
            remappings=remappings,
            required=False,
        )
    ]


def _console(values: Mapping[str, object], remappings: tuple[tuple[str, str], ...] = ()) -> list[Node]:
    if not values["console"]:
        return []
    parameters = {name: values[f"console_{name}"] for name in ("host", "port", "open")}
    parameters |= {name: values[name] for name in ("scene", "robot") if name in values}
    return [Node("gr2_tools", "console_node", "console", (), parameters, remappings, required=False)]


def share_folder() -> Path:
    """Share folder of this package in the built workspace."""
    from ament_index_python.packages import get_package_share_directory

    return Path(get_package_share_directory(PACKAGE))


def environment(share: Path) -> dict[str, str]:
    """Environment variables for every process.

    Args:
        share: this package's share folder, which holds ``config``.
    """
    return {name: str(located(value, share)) for name, value in ENVIRONMENT.items()}


def located(value: object, share: Path) -> object:
    """A value of a parameter or variable; texts ``config/...`` become paths in the share folder."""
    return str(share / value) if isinstance(value, str) and value.startswith("config/") else value
