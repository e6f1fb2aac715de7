"""The cell as URDF and SDFormat says what the MuJoCo model, robot.yaml and pinocchio say, to 1e-5."""

from __future__ import annotations

import ctypes
import ctypes.util
from functools import lru_cache
from pathlib import Path
from xml.etree import ElementTree

import mujoco
import numpy as np
import pinocchio
import pytest
import yaml

from gr2_bringup.description.cell_model import BODY_TO_OPTICAL, CAMERA_TO_BODY, CellModel, Pose, read_cell
from gr2_bringup.description.files import compare, generated, same
from gr2_bringup.description.world import NotForGazebo, horizontal_view, world, world_files
from gr2_sim.build import ARM_JOINTS, GRIPPER, KNUCKLE_JOINT, build_model
from gr2_sim.cell import load_cell
from gr2_sim.fake_kortex.settings import urdf_limits
from gr2_wbc.robots import load_robot

xacro = pytest.importorskip("xacro", reason="xacro is not installed; `./gr2 test` installs requirements/test.txt")

PACKAGE = Path(__file__).resolve().parents[1]
DESCRIPTION = PACKAGE / "description" / "cell.urdf.xacro"
TOLERANCE = 1e-5
GIVEN = {
    "mujoco": {},
    "gz": {"controllers": "/gazebo_controllers.yaml", "surroundings": "false"},
    "kortex": {"robot_ip": "192.168.1.10"},
}


@pytest.fixture(scope="module")
def cell() -> CellModel:
    return read_cell()


@lru_cache
def urdf(hardware: str) -> str:
    return xacro.process_file(str(DESCRIPTION), mappings={"hardware": hardware, **GIVEN[hardware]}).toxml()


@lru_cache
def tree(hardware: str) -> ElementTree.Element:
    return ElementTree.fromstring(urdf(hardware))


def numbers(text: str | None) -> np.ndarray:
    return np.array((text or "").split(), dtype=float)


def joints(root: ElementTree.Element) -> dict[str, ElementTree.Element]:
    return {joint.attrib["name"]: joint for joint in root.findall("joint")}


# -------------------------------------------------------------------------------------------- generated files


def test_generated_files_are_up_to_date(cell: CellModel) -> None:
    assert compare(PACKAGE, generated(cell)) == [], "run: python -m gr2_bringup.description"


def test_comparison_finds_another_number_another_word_a_missing_and_a_superfluous_file(tmp_path: Path) -> None:
    assert same('<a x="1.00001"/>', '<a x="1.0"/>')
    assert not same('<a x="1.0001"/>', '<a x="1.0"/>')
    assert not same('<a x="1"/>', '<b x="1"/>')
    (tmp_path / "worlds" / "meshes").mkdir(parents=True)
    (tmp_path / "worlds" / "meshes" / "old.obj").touch()
    assert compare(tmp_path, {"worlds/a.sdf": ""}) == ["worlds/meshes/old.obj: superfluous", "worlds/a.sdf: missing"]


# ------------------------------------------------------------------------------- URDF, MJCF and pinocchio agree


@pytest.mark.parametrize("hardware", sorted(GIVEN))
def test_forward_kinematics_of_links_tool_and_cameras_are_those_of_mujoco(hardware: str) -> None:
    model = build_model(load_cell("table"))
    data = mujoco.MjData(model)
    arm = pinocchio.buildModelFromXML(urdf(hardware))
    state = arm.createData()
    followers = [j.attrib["name"] for j in tree(hardware).findall("joint") if j.find("mimic") is not None]
    random = np.random.default_rng(7)
    for _ in range(10):
        angles = dict(zip(ARM_JOINTS, random.uniform(-2.0, 2.0, 7), strict=True))
        knuckle = float(random.uniform(0.0, 0.8))
        angles |= dict.fromkeys((KNUCKLE_JOINT, *followers), knuckle)
        step = np.zeros(arm.nv)
        for name, angle in angles.items():
            step[arm.joints[arm.getJointId(name)].idx_v] = angle
            at = name if name in ARM_JOINTS else GRIPPER + name
            data.qpos[model.joint(at).qposadr[0]] = angle
        mujoco.mj_kinematics(model, data)
        mujoco.mj_camlight(model, data)
        pinocchio.framesForwardKinematics(arm, state, pinocchio.integrate(arm, pinocchio.neutral(arm), step))
        expected = {
            model.body(i).name.removeprefix(GRIPPER): (data.xpos[i], data.xmat[i].reshape(3, 3))
            for i in range(1, model.nbody)
            if model.body(model.body_rootid[i]).name == "base_link"
        }
        site = model.site("tool_frame").id
        expected["tool_frame"] = (data.site_xpos[site], data.site_xmat[site].reshape(3, 3))
        cameras = ("wrist",) if hardware == "gz" else ("wrist", "head")  # Gazebo's world has the other
        for name in cameras:
            index = model.camera(name).id
            body = data.cam_xmat[index].reshape(3, 3) @ CAMERA_TO_BODY
            expected[f"{name}_camera_frame"] = (data.cam_xpos[index], body)
            expected[f"{name}_camera_optical_frame"] = (data.cam_xpos[index], body @ BODY_TO_OPTICAL)
        for name, (position, rotation) in expected.items():
            frame = state.oMf[arm.getFrameId(name)]
            np.testing.assert_allclose(frame.translation, position, atol=TOLERANCE, err_msg=name)
            np.testing.assert_allclose(frame.rotation, rotation, atol=TOLERANCE, err_msg=name)


def test_optical_frame_looks_along_z_with_x_right_and_y_down() -> None:
    mujoco_to_optical = CAMERA_TO_BODY @ BODY_TO_OPTICAL
    np.testing.assert_array_equal(mujoco_to_optical, np.diag([1.0, -1.0, -1.0]))


def test_masses_centres_and_inertias_are_those_of_mujoco() -> None:
    model = build_model(load_cell("table"))
    links = {link.attrib["name"]: link for link in tree("mujoco").findall("link")}
    compared = 0
    for i in range(1, model.nbody):
        if model.body(model.body_rootid[i]).name != "base_link":
            continue
        inertial = links[model.body(i).name.removeprefix(GRIPPER)].find("inertial")
        assert inertial is not None
        mass, origin, inertia = (inertial.find(tag) for tag in ("mass", "origin", "inertia"))
        assert mass is not None
        assert origin is not None
        assert inertia is not None
        assert float(mass.attrib["value"]) == pytest.approx(float(model.body_mass[i]), abs=TOLERANCE)
        np.testing.assert_allclose(numbers(origin.attrib["xyz"]), model.body_ipos[i], atol=TOLERANCE)
        matrix = np.empty(9)
        mujoco.mju_quat2Mat(matrix, model.body_iquat[i])
        axes = matrix.reshape(3, 3)
        expected = axes @ np.diag(model.body_inertia[i]) @ axes.T
        found = [[float(inertia.attrib["i" + "".join(sorted(a + b))]) for b in "xyz"] for a in "xyz"]
        np.testing.assert_allclose(found, expected, atol=1e-8)
        compared += 1
    assert compared == 15


@pytest.mark.parametrize("hardware", sorted(GIVEN))
def test_limits_are_those_of_the_controller_everywhere(hardware: str) -> None:
    robot = load_robot("gen3_2f85")
    system = tree(hardware).find("ros2_control")
    assert system is not None
    tags = {joint.attrib["name"]: joint for joint in system.findall("joint")}
    lower, upper = robot.limits.lower, robot.limits.upper
    for i, name in enumerate(ARM_JOINTS):
        limit = joints(tree(hardware))[name].find("limit")
        command = tags[name].find("command_interface")
        assert command is not None
        assert command.attrib["name"] == "position"
        if hardware == "kortex" and not np.isfinite(lower[i]):
            assert limit is None, "ros2_control would walk through whole turns"
            assert command.findall("param") == []
            continue
        assert limit is not None
        bounds = {p.attrib["name"]: float(p.text or "") for p in command.findall("param")}
        assert float(limit.attrib["velocity"]) == pytest.approx(float(robot.limits.velocity[i]), abs=TOLERANCE)
        if np.isfinite(lower[i]):
            expected = pytest.approx([float(lower[i]), float(upper[i])], abs=TOLERANCE)
            assert [float(limit.attrib["lower"]), float(limit.attrib["upper"])] == expected
            assert [bounds["min"], bounds["max"]] == expected
        else:
            assert joints(tree(hardware))[name].attrib["type"] == "continuous"
            assert bounds == {}


def test_ros2_control_takes_for_the_arm_what_the_fake_driver_has() -> None:
    """By ros2_control's rules: URDF limits, position range only where its own tags enable it."""
    root, limits = tree("kortex"), urdf_limits(load_robot("gen3_2f85"))
    for i, name in enumerate(ARM_JOINTS):
        limit = joints(root)[name].find("limit")
        taken = {} if limit is None else {key: float(value) for key, value in limit.attrib.items()}
        expected = [limits.velocity[i], limits.lower[i], limits.upper[i]]
        found = [taken.get("velocity", np.inf), taken.get("lower", -np.inf), taken.get("upper", np.inf)]
        assert found == pytest.approx(expected, abs=TOLERANCE)
    system = root.find("ros2_control")
    assert system is not None
    enabled = {j.attrib["name"]: j.find("limits") is None for j in system.findall("joint")}
    assert [name for name, value in enabled.items() if not value] == [KNUCKLE_JOINT]


def test_vendors_launch_files_can_use_our_description() -> None:
    """As kortex_control.launch.py calls xacro, with arguments that our file does not know."""
    given = {
        "robot_ip": "192.168.1.10",
        "name": "arm",
        "arm": "gen3",
        "dof": "7",
        "prefix": "",
        "use_fake_hardware": "false",
        "fake_sensor_commands": "false",
        "gripper": "robotiq_2f_85",
        "use_internal_bus_gripper_comm": "true",
        "gripper_max_velocity": "100.0",
        "gripper_max_force": "100.0",
        "gripper_joint_name": KNUCKLE_JOINT,
    }
    made = xacro.process_file(str(DESCRIPTION.with_name("kortex.urdf.xacro")), mappings=given).toxml()
    found = ElementTree.fromstring(made)
    ours, theirs = tree("kortex").find("ros2_control"), found.find("ros2_control")
    assert ours is not None
    assert theirs is not None
    assert ElementTree.tostring(theirs) == ElementTree.tostring(ours)
    assert set(joints(found)) == set(joints(tree("kortex")))


def test_moveit_checks_the_links_that_the_controller_checks() -> None:
    root = ElementTree.parse(DESCRIPTION.with_name("gen3_2f85.srdf")).getroot()
    names = {link.attrib["name"] for link in tree("mujoco").findall("link")}
    pairs = {frozenset((p.attrib["link1"], p.attrib["link2"])) for p in root.findall("disable_collisions")}
    assert {name for pair in pairs for name in pair} <= names
    assert frozenset(("base_link", "shoulder_link")) in pairs
    assert frozenset(("palm", "left_finger")) in pairs
    assert frozenset(("base_link", "forearm_link")) not in pairs
    assert frozenset(("base_link", "left_finger")) not in pairs
    chain = root.find("group[@name='manipulator']/chain")
    assert chain is not None
    assert set(chain.attrib.values()) <= names
    states = {state.attrib["name"] for state in root.findall("group_state")}
    assert states == set(load_robot("gen3_2f85").configurations)


def test_torque_limits_are_no_looser_than_the_simulators() -> None:
    model = build_model(load_cell("table"))
    for name in ARM_JOINTS:
        limit = joints(tree("mujoco"))[name].find("limit")
        assert limit is not None
        assert float(limit.attrib["effort"]) <= float(model.actuator(name).forcerange[1])


@pytest.mark.parametrize(
    ("hardware", "plugin"),
    [
        ("mujoco", "mock_components/GenericSystem"),
        ("gz", "gz_ros2_control/GazeboSimSystem"),
        ("kortex", "kortex_driver/KortexMultiInterfaceHardware"),
    ],
)
def test_each_hardware_has_its_plugin_and_the_same_commands(hardware: str, plugin: str) -> None:
    system = tree(hardware).find("ros2_control")
    assert system is not None
    assert system.findtext("hardware/plugin") == plugin
    commanded = [j.attrib["name"] for j in system.findall("joint") if j.find("command_interface") is not None]
    assert commanded == [*ARM_JOINTS, KNUCKLE_JOINT]
    assert (tree(hardware).find("gazebo") is not None) == (hardware == "gz")


def test_simulated_arms_begin_in_the_ready_configuration() -> None:
    ready = load_robot("gen3_2f85").configurations["ready"]
    system = tree("gz").find("ros2_control")
    assert system is not None
    found = [
        float(system.findtext(f"joint[@name='{name}']/state_interface/param[@name='initial_value']") or "nan")
        for name in ARM_JOINTS
    ]
    np.testing.assert_allclose(found, ready, atol=TOLERANCE)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"hardware": "gazebo"}, "may be mujoco, gz or kortex"),
        ({"hardware": "kortex"}, "address of the arm"),
        ({"hardware": "gz"}, "controllers file"),
    ],
)
def test_xacro_refuses_what_cannot_work(given: dict[str, str], message: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Exception, match=message):
        xacro.process_file(str(DESCRIPTION), mappings=given)


# ------------------------------------------------------------------------------------------------- Gazebo


def test_world_has_what_the_cell_has_where_it_stands(cell: CellModel) -> None:
    root = ElementTree.parse(PACKAGE / "worlds" / "table.sdf").getroot()
    models = {model.attrib["name"]: model for model in root.iter("model")}
    layout = load_cell("table")
    assert set(models) == {*layout.objects, *layout.fixtures, "surroundings", "head_camera"}
    for name, bodies in cell.things.items():
        place = numbers(models[name].findtext("pose"))
        np.testing.assert_allclose(place[:3], bodies[0].pose.position, atol=TOLERANCE)
        masses = {link.attrib["name"]: link.findtext("inertial/mass") for link in models[name].findall("link")}
        for body in bodies:
            assert float(masses[f"{body.name}_link"] or 0.0) == pytest.approx(body.mass, abs=TOLERANCE)


def test_cameras_of_gazebo_see_what_those_of_mujoco_see(cell: CellModel) -> None:
    root = ElementTree.parse(PACKAGE / "worlds" / "table.sdf").getroot()
    camera = next(c for c in cell.cameras if c.name == "head")
    pose = numbers(next(m for m in root.iter("model") if m.attrib["name"] == "head_camera").findtext("pose"))
    np.testing.assert_allclose(pose[:3], camera.pose.position, atol=TOLERANCE)
    np.testing.assert_allclose(pinocchio.rpy.rpyToMatrix(*pose[3:]), camera.pose.rotation, atol=TOLERANCE)
    head = root.find(".//sensor[@name='head_camera']/camera/horizontal_fov")
    wrist = tree("gz").find(".//sensor[@name='wrist_camera']/camera/horizontal_fov")
    fields = load_cell("table").cameras
    for found, name in ((head, "head"), (wrist, "wrist")):
        assert found is not None
        assert float(found.text or "") == pytest.approx(np.deg2rad(fields[name]["fovy"]), abs=TOLERANCE)
    assert horizontal_view(1.0, 320, 240) > 1.0


def test_poses_survive_roll_pitch_yaw_also_where_the_pitch_is_a_right_angle() -> None:
    random = np.random.default_rng(3)
    for angles in (*random.uniform(-np.pi, np.pi, (20, 3)), [0.4, np.pi / 2, 1.1], [0.4, -np.pi / 2, 1.1]):
        rotation = pinocchio.rpy.rpyToMatrix(*angles)
        again = pinocchio.rpy.rpyToMatrix(*Pose(np.zeros(3), rotation).rpy())
        np.testing.assert_allclose(again, rotation, atol=1e-9)


def test_a_fixture_that_starts_open_is_refused() -> None:
    opened = read_cell(task="close_drawer")
    with pytest.raises(NotForGazebo, match="joint 'drawer' starts at"):
        world(opened, 256, 256, 10.0)


def test_a_mesh_that_is_touched_is_a_collision_of_its_own() -> None:
    files = world_files(read_cell("workshop"))
    (hull,) = [path for path in files if "touched" in path]
    collisions = ElementTree.fromstring(files["workshop.sdf"]).findall(".//collision/geometry/mesh/uri")
    assert [uri.text for uri in collisions] == [hull]


def test_bridge_carries_clock_cameras_and_joints_of_the_fixtures_one_way() -> None:
    entries = yaml.safe_load((PACKAGE / "worlds" / "table_bridge.yaml").read_text())
    assert {e["direction"] for e in entries} == {"GZ_TO_ROS"}
    topics = {e["ros_topic_name"] for e in entries}
    cameras = {f"/{n}_camera/{t}" for n in ("head", "wrist") for t in ("image_raw", "camera_info")}
    assert topics == {"/clock", "/sim/cabinet/joint_states", "/sim/button/joint_states", *cameras}
    sdf = (PACKAGE / "worlds" / "table.sdf").read_text() + urdf("gz")
    for topic in topics - {"/clock"}:
        assert f">{topic}<" in sdf, topic


@pytest.mark.parametrize("name", ["gazebo", "kortex"])
def test_controllers_enforce_limits_time_out_and_stream_from_the_desired_state(name: str) -> None:
    files = yaml.safe_load((PACKAGE / "config" / f"{name}_controllers.yaml").read_text())
    manager = files["controller_manager"]["ros__parameters"]
    trajectory = files["joint_trajectory_controller"]["ros__parameters"]
    assert manager["enforce_command_limits"] is True
    assert manager.get("use_sim_time", False) is (name == "gazebo")
    assert manager["update_rate"] == 1000
    assert 0.0 < trajectory["cmd_timeout"] <= 1.0
    assert trajectory["interpolate_from_desired_state"] is True
    assert trajectory["allow_nonzero_velocity_at_trajectory_end"] is (name == "gazebo")
    assert trajectory["allow_partial_joints_goal"] is False
    assert trajectory["command_interfaces"] == ["position"]
    loaded = {key for key, value in manager.items() if isinstance(value, dict) and "type" in value}
    assert loaded >= {"joint_state_broadcaster", "joint_trajectory_controller", "robotiq_gripper_controller"}
    assert ("fault_controller" in loaded) is (name == "kortex")
    assert trajectory["joints"] == list(ARM_JOINTS)
    assert files["robotiq_gripper_controller"]["ros__parameters"]["joint"] == KNUCKLE_JOINT


# -------------------------------------------------------------------------------- the real SDFormat parser


@pytest.fixture(scope="module")
def sdformat() -> ctypes.CDLL:
    for version in ("14", "13", "12"):
        for name in (f"libsdformat{version}.so.{version}", f"libsdformat{version}.so"):
            try:
                library = ctypes.CDLL(name)
            except OSError:
                continue
            if not hasattr(library, "cmdCheck"):  # what `gz sdf --check` calls
                continue
            library.cmdCheck.argtypes, library.cmdCheck.restype = [ctypes.c_char_p], ctypes.c_int
            return library
    pytest.skip("no SDFormat parser here; apt-get install libsdformat12-12 sdformat-sdf (Debian) or gz-harmonic")


def test_parser_accepts_the_world_and_the_robot(
    sdformat: ctypes.CDLL, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    robot = tmp_path / "robot.urdf"
    robot.write_text(urdf("gz"))
    for path in (PACKAGE / "worlds" / "table.sdf", robot):
        assert sdformat.cmdCheck(str(path).encode()) == 0
        printed = capfd.readouterr()
        assert "Error" not in printed.err, printed.err


def test_parser_refuses_a_wrong_world(sdformat: ctypes.CDLL, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.sdf"
    good = (PACKAGE / "worlds" / "table.sdf").read_text()
    wrong.write_text(good.replace("<child>cabinet_drawer_link</child>", "<child>nothing</child>"))
    assert sdformat.cmdCheck(str(wrong).encode()) != 0
