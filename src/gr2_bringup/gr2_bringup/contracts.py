"""What each process of the stack says and hears: the topics, services and actions of every executable, as data.

A test compares it with the graph of a running stack; the permissions of a secured stack are made from it
(:mod:`gr2_bringup.security`). Names are those before remapping. ``~`` is the node's own name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

from gr2_bringup.stack import JOINT_TRAJECTORY_TOPIC, Node
from gr2_tools.topics import STACK_TOPICS

CAMERAS = tuple(f"/{name}_camera/{topic}" for name in ("head", "wrist") for topic in ("image_raw", "camera_info"))
IMAGES = ("/head_camera/image_raw", "/wrist_camera/image_raw")
IMAGINATION = ("/imagination/head", "/imagination/wrist", "/imagination/surprise")
TRAJECTORY_ACTION = "/joint_trajectory_controller/follow_joint_trajectory"  # MoveIt's way; gr2 streams on the topic
GRIPPER_ACTION = "/robotiq_gripper_controller/gripper_cmd"
PARAMETER_SERVICES = tuple(
    f"~/{name}"
    for name in (
        "describe_parameters",
        "get_parameter_types",
        "get_parameters",
        "list_parameters",
        "set_parameters",
        "set_parameters_atomically",
    )
)
LIFECYCLE_SERVICES = tuple(
    f"~/{name}"
    for name in (
        "change_state",
        "get_available_states",
        "get_available_transitions",
        "get_state",
        "get_transition_graph",
    )
)


@dataclass(frozen=True)
class Contract:
    """Of one process.

    Attributes:
        publishes, subscribes: topics.
        serves, calls: services that it offers, and those that it uses.
        acts, goals: actions that it carries out, and those that it asks for.
    """

    publishes: tuple[str, ...] = ()
    subscribes: tuple[str, ...] = ()
    serves: tuple[str, ...] = ()
    calls: tuple[str, ...] = ()
    acts: tuple[str, ...] = ()
    goals: tuple[str, ...] = ()

    def renamed(self, name: str, remappings: tuple[tuple[str, str], ...]) -> Contract:
        """With a node's own name for ``~`` and its remappings applied."""
        new = dict(remappings)

        def resolved(names: tuple[str, ...]) -> tuple[str, ...]:
            full = (f"/{name}{one[1:]}" if one.startswith("~") else one for one in names)
            return tuple(dict.fromkeys(new.get(one, one) for one in full))

        return replace(self, **{field.name: resolved(getattr(self, field.name)) for field in fields(self)})


CONTRACTS: Mapping[str, Contract] = {
    "sim_node": Contract(
        publishes=("/clock", "/joint_states", *CAMERAS, "/sim/truth", "/sim/outcome", "/diagnostics"),
        subscribes=("/joint_commands", "/gripper_command", "/instruction"),
        serves=("/sim/reset", *PARAMETER_SERVICES),
    ),
    "fake_kortex_node": Contract(
        publishes=(
            "/joint_states",
            *CAMERAS,
            "/sim/truth",
            "/sim/outcome",
            "/diagnostics",
            "/fault_controller/internal_fault",
            "/joint_trajectory_controller/controller_state",
        ),
        subscribes=(JOINT_TRAJECTORY_TOPIC, "/instruction", "/fake_kortex/inject"),
        serves=("/fault_controller/reset_fault", *PARAMETER_SERVICES),
        acts=(TRAJECTORY_ACTION, GRIPPER_ACTION),
    ),
    "wbc_node": Contract(
        publishes=("/joint_commands", "/gripper_command", "/robot_state", "/wbc_status", "/diagnostics"),
        subscribes=("/joint_states", "/trajectory_chunk", "/e_stop", "/planning_scene"),
        serves=(
            "/wbc/activate_policy",
            "/wbc/reset",
            "/wbc/move_to",
            "/wbc/apply_planning_scene",
            *PARAMETER_SERVICES,
        ),
    ),
    "policy_node": Contract(
        publishes=("/trajectory_chunk", *IMAGINATION, "~/transition_event", "/diagnostics"),
        subscribes=(*IMAGES, "/robot_state", "/wbc_status", "/instruction"),
        serves=(*LIFECYCLE_SERVICES, *PARAMETER_SERVICES),
        calls=("/wbc/activate_policy",),
    ),
    "arm_adapter": Contract(
        publishes=("/e_stop", JOINT_TRAJECTORY_TOPIC, "/diagnostics"),
        subscribes=(
            "/gripper_command",
            "/wbc_status",
            "/fault_controller/internal_fault",
            # while a fault is reset
            "/joint_states",
            "/joint_trajectory_controller/controller_state",
        ),
        serves=("/arm/reset_fault", *PARAMETER_SERVICES),
        calls=("/fault_controller/reset_fault",),
        goals=(GRIPPER_ACTION,),
    ),
    "planning_scene_node": Contract(
        subscribes=("/monitored_planning_scene",),
        serves=PARAMETER_SERVICES,
        calls=("/wbc/apply_planning_scene",),
    ),
    "console_node": Contract(
        publishes=("/instruction", "/e_stop"),
        subscribes=(
            *IMAGES,
            *IMAGINATION,
            "/diagnostics",
            "/instruction",
            "/joint_commands",
            "/joint_states",
            "/robot_state",
            "/sim/outcome",
            "/sim/truth",
            "/trajectory_chunk",
            "/wbc_status",
        ),
        calls=(
            "/policy/change_state",
            "/policy/get_parameters",
            "/policy/get_state",
            "/policy/set_parameters",
            "/sim/reset",
            "/wbc/move_to",
            "/wbc/reset",
        ),
    ),
    "recorder_node": Contract(publishes=("/diagnostics",), subscribes=STACK_TOPICS),
    "viewer_node": Contract(subscribes=("/joint_states", "/sim/truth"), serves=PARAMETER_SERVICES),
}
"""By executable."""

PRIVILEGED = {"teacher": ("/sim/truth",)}
"""What policies read beside cameras and robot state, by their names."""

OTHERS: Mapping[str, Contract] = {
    # ros2_control_node, its controllers, spawners and robot_state_publisher, as ros2_kortex starts them
    "driver": Contract(
        publishes=(
            "/joint_states",
            "/dynamic_joint_states",
            "/robot_description",
            "/tf",
            "/tf_static",
            "/diagnostics",
            "/controller_manager/*",
            "/joint_state_broadcaster/*",
            "/joint_trajectory_controller/*",
            "/twist_controller/*",
            "/robotiq_gripper_controller/*",
            "/fault_controller/*",
        ),
        subscribes=(
            "/joint_states",
            "/robot_description",
            JOINT_TRAJECTORY_TOPIC,
            "/twist_controller/commands",
            "/controller_manager/*",
        ),
        serves=(
            "/controller_manager/*",
            "/joint_state_broadcaster/*",
            "/joint_trajectory_controller/*",
            "/twist_controller/*",
            "/robotiq_gripper_controller/*",
            "/fault_controller/*",
            "/robot_state_publisher/*",
        ),
        calls=("/controller_manager/*",),
        acts=(TRAJECTORY_ACTION, GRIPPER_ACTION),
    ),
    # the cameras' drivers, whatever they are
    "cameras": Contract(
        publishes=(*CAMERAS, *(f"{topic}/compressed" for topic in IMAGES), "/diagnostics"), serves=("/camera/*",)
    ),
    # a person with the ros2 command, ./gr2 sim, real and say: may instruct, stop, look and reset; may not move the arm
    # past the controller
    "operator": Contract(
        publishes=("/instruction", "/e_stop"),
        subscribes=(
            "/wbc_status",
            "/robot_state",
            "/joint_states",
            "/diagnostics",
            "/sim/outcome",
            "/fault_controller/internal_fault",
        ),
        calls=(
            "/wbc/reset",
            "/wbc/move_to",
            "/arm/reset_fault",
            "/sim/reset",
            "/policy/change_state",
            "/policy/get_state",
        ),
    ),
}
"""Processes that are not ours, by the name of their enclave."""


def contract(node: Node) -> Contract:
    """Of a node of the stack, as it is started.

    Raises:
        KeyError: an executable without a contract.
    """
    found = CONTRACTS[node.executable]
    if node.parameters.get("use_sim_time"):
        found = replace(found, subscribes=(*found.subscribes, "/clock"))
    if node.parameters.get("compressed_images"):
        taken = tuple(f"{topic}/compressed" if topic in IMAGES else topic for topic in found.subscribes)
        found = replace(found, subscribes=taken)
    extra = PRIVILEGED.get(str(node.parameters.get("policy")), ())
    return replace(found, subscribes=(*found.subscribes, *extra)).renamed(node.name, node.remappings)
