"""The stack as data: arguments, node lists, and what the runner and the launch files make of them."""

from pathlib import Path

import pytest
import yaml

from gr2_bringup import stack
from gr2_bringup.supervisor import MissingExecutable, command_line, executable_path

CONFIG = Path(__file__).resolve().parents[1] / "config"


def simulation(**given: object) -> list[stack.Node]:
    return stack.simulation(stack.defaults(stack.SIMULATION) | given)


def real(**given: object) -> list[stack.Node]:
    return stack.real(stack.defaults(stack.REAL) | {"robot_ip": "192.168.1.10", "policy": "gr2"} | given)


def test_simulation_is_simulator_controller_policy_in_processes_of_their_own() -> None:
    nodes = simulation()
    assert [(n.package, n.name) for n in nodes] == [("gr2_sim", "sim"), ("gr2_wbc", "wbc"), ("gr2_policy", "policy")]
    assert all(n.required for n in nodes)


def test_recorder_only_on_request_and_its_death_stops_nothing() -> None:
    (recorder,) = [n for n in simulation(record="somewhere") if n.name == "recorder"]
    assert not recorder.required
    assert str(recorder.parameters["output"]).endswith("/somewhere")


def test_console_only_on_request_on_this_machine_alone_and_its_death_stops_nothing() -> None:
    assert not [n for n in simulation() + real() if n.name == "console"]
    for nodes in (simulation(console=True), real(console=True, head_camera="/camera")):
        (console,) = [n for n in nodes if n.name == "console"]
        assert not console.required
        assert console.parameters["host"] == "127.0.0.1"
    assert ("/head_camera/image_raw", "/camera/image_raw") in console.remappings


def test_only_the_simulated_arm_may_jump() -> None:
    def parameters(nodes: list[stack.Node]) -> dict:
        (file,) = next(n for n in nodes if n.name == "wbc").parameter_files
        return yaml.safe_load((CONFIG / file).read_text())["/**"]["ros__parameters"]

    assert parameters(simulation())["resync_on_jump"] is True
    assert parameters(real())["resync_on_jump"] is False
    assert parameters(real())["safety"]["joint_state_timeout"] <= 0.25


def test_real_arm_is_a_dry_run_by_default() -> None:
    wbc = next(n for n in real() if n.name == "wbc")
    assert wbc.parameters["armed"] is False
    assert ("/joint_commands", stack.JOINT_TRAJECTORY_TOPIC) in wbc.remappings


def test_gazebo_is_for_ros2_launch_and_has_the_topics_of_the_arm() -> None:
    values = stack.defaults(stack.SIMULATION) | {"simulator": "gazebo"}
    with pytest.raises(stack.BadArgument, match=r"ros2 launch gr2_bringup sim\.launch\.py simulator:=gazebo"):
        stack.simulation(values)
    nodes = stack.launched_simulation(values)
    assert [n.name for n in nodes] == ["wbc", "arm_adapter", "policy"]
    assert ("/joint_commands", stack.JOINT_TRAJECTORY_TOPIC) in nodes[0].remappings
    assert all(n.parameters["use_sim_time"] is True for n in nodes)
    assert stack.launched_simulation(stack.defaults(stack.SIMULATION)) == simulation()


def test_teacher_may_not_be_armed_on_a_real_arm() -> None:
    with pytest.raises(stack.BadArgument, match="truth"):
        real(policy="teacher", armed=True)


def test_a_bag_in_the_place_of_the_arm_has_its_own_time_and_is_never_armed() -> None:
    nodes = real(driver="none", use_sim_time=True)
    assert [node.parameters["use_sim_time"] for node in nodes] == [True] * 3
    for given in ({"driver": "none", "armed": True}, {"driver": "fake"}, {}):
        with pytest.raises(stack.BadArgument, match="replayed bag"):
            real(use_sim_time=True, **given)


def test_the_fake_driver_stands_where_the_vendors_does_and_may_be_armed_for_the_teacher() -> None:
    nodes = real(driver="fake", policy="teacher", armed=True, robot_ip="")
    assert [node.name for node in nodes] == ["arm", "wbc", "arm_adapter", "policy"]
    assert nodes[0].parameters["controllers"] == "config/kortex_controllers.yaml"
    assert ("/wrist_camera/image_raw", "/camera/color/image_raw") in nodes[0].remappings
    assert [node.name for node in real()] == ["wbc", "arm_adapter", "policy"]
    with pytest.raises(stack.BadArgument, match="image_raw only"):
        real(driver="fake", compressed_images=True)


def test_files_of_the_share_folder_are_found_there() -> None:
    share = Path("/share/gr2_bringup")
    assert stack.located("config/a.yaml", share) == "/share/gr2_bringup/config/a.yaml"
    assert stack.located("text", share) == "text"
    assert stack.located(3, share) == 3


def test_kortex_needs_an_address() -> None:
    with pytest.raises(stack.BadArgument, match="robot_ip"):
        real(robot_ip="")
    assert real(robot_ip="", driver="none")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"sed": "1"}, "no argument 'sed'"),
        ({"seed": "one"}, "seed is 'one', which is no int"),
        ({"viewer": "perhaps"}, "viewer is 'perhaps', which is no bool"),
        ({"simulator": "gazebo2"}, "simulator is 'gazebo2'; it may be"),
    ],
)
def test_bad_arguments_are_named(given: dict, words: str) -> None:
    with pytest.raises(stack.BadArgument, match=words):
        stack.parse(stack.SIMULATION, given)


def test_text_becomes_typed_values() -> None:
    values = stack.parse(stack.SIMULATION, {"seed": "7", "viewer": "True", "replan_rate": "2"})
    assert (values["seed"], values["viewer"], values["replan_rate"]) == (7, True, 2.0)


def test_command_line_is_what_ros2_run_would_take(tmp_path) -> None:  # type: ignore[no-untyped-def]
    node = stack.Node(
        "p",
        "exe",
        "me",
        ("a.yaml",),
        {"text": "it's", "flag": True, "real": 2.0, "whole": 3, "list": ["a=1", "b=2"]},
        (("/a", "/b"),),
    )
    command = command_line(node, tmp_path / "exe", tmp_path)
    assert command[:4] == [str(tmp_path / "exe"), "--ros-args", "-r", "__node:=me"]
    assert command[4:6] == ["-r", "/a:=/b"]
    assert command[6:8] == ["--params-file", str(tmp_path / "config" / "a.yaml")]
    assert command[9::2] == ["text:='it''s'", "flag:=true", "real:=2.0", "whole:=3", "list:=['a=1', 'b=2']"]


def test_a_node_in_an_enclave_says_so_and_files_of_the_share_folder_are_paths(tmp_path) -> None:  # type: ignore[no-untyped-def]
    node = stack.Node("p", "exe", "me", parameters={"file": "config/a.yaml"}, enclave="/gr2/me")
    command = command_line(node, tmp_path / "exe", tmp_path)
    assert command[4:6] == ["--enclave", "/gr2/me"]
    assert command[-1] == f"file:='{tmp_path / 'config' / 'a.yaml'}'"


@pytest.mark.parametrize(
    ("given", "options"),
    [
        ({}, [""]),
        ({"untrained": "mini"}, ["untrained=mini"]),
        ({"checkpoint": "/w", "policy_options": "seed=1, device=cuda"}, ["checkpoint=/w", "seed=1", "device=cuda"]),
    ],
)
def test_settings_of_the_policy_reach_it_in_both_stacks(given: dict, options: list[str]) -> None:
    for nodes in (simulation(**given), real(**given)):
        assert next(n for n in nodes if n.name == "policy").parameters["policy_options"] == options


def test_missing_executable_is_named(tmp_path) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(MissingExecutable, match="gr2_sim/sim_node"):
        executable_path(simulation()[0], [str(tmp_path)])
