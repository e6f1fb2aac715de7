"""Keystores: who may say and hear what, signatures, dates; nothing half made, nothing that is open by mistake."""

from __future__ import annotations

import importlib.util
import shutil
import stat
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest

from gr2_bringup import keystore as verb
from gr2_bringup import stack
from gr2_bringup.contracts import CONTRACTS, Contract, contract
from gr2_bringup.security.documents import allowed, policy, rights
from gr2_bringup.security.keystore import Enclave, KeystoreError, create, environment, verify

needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl command on this machine")
ENCLAVES = {enclave.path: enclave for enclave in verb.enclaves("real", ["policy:=gr2"])}
RIGHTS = {path: rights(enclave.contract, enclave.node) for path, enclave in ENCLAVES.items()}


def may(what: str, topic: str) -> set[str]:
    """Enclaves that may publish or subscribe a DDS topic."""
    return {path for path, one in RIGHTS.items() if allowed(getattr(one, what), topic)}


# ------------------------------------------------------------------------------------------- who may do what


def test_only_a_policy_sends_chunks_and_only_controller_and_adapter_move_the_arm() -> None:
    assert may("publish", "rt/trajectory_chunk") == {"/gr2/policy"}
    movers = may("publish", f"rt{stack.JOINT_TRAJECTORY_TOPIC}")
    assert movers - {"/gr2/driver"} == {"/gr2/wbc", "/gr2/arm_adapter"}
    assert may("publish", "rt/gripper_command") == {"/gr2/wbc"}
    assert may("publish", "rt/joint_states") == {"/gr2/driver", "/gr2/arm"}
    assert may("publish", "rr/wbc/activate_policyReply") == {"/gr2/wbc"}


def test_only_those_who_need_them_see_the_cameras() -> None:
    for topic in ("rt/head_camera/image_raw", "rt/camera/color/image_raw"):
        assert may("subscribe", topic) == {"/gr2/policy", "/gr2/console", "/gr2/recorder"}
        assert may("publish", topic) == {"/gr2/cameras", "/gr2/arm"}
    assert may("subscribe", "rt/wrist_camera/image_raw") == set(), "the camera's topic is another here"


def test_an_operator_instructs_stops_and_resets_and_cannot_pose_as_a_policy() -> None:
    for topic in (
        "rt/instruction",
        "rt/e_stop",
        "rq/wbc/resetRequest",
        "rq/arm/reset_faultRequest",
        "rq/sim/resetRequest",
    ):
        assert "/gr2/operator" in may("publish", topic)
    for topic in ("rq/wbc/activate_policyRequest", "rt/trajectory_chunk", "rq/fault_controller/reset_faultRequest"):
        assert "/gr2/operator" not in may("publish", topic)


def test_the_learned_policy_does_not_read_the_truth_and_the_teacher_does() -> None:
    assert "/gr2/policy" not in may("subscribe", "rt/sim/truth")
    teacher = {enclave.path: enclave for enclave in verb.enclaves("real", ["policy:=teacher"])}["/gr2/policy"]
    assert "/sim/truth" in teacher.contract.subscribes


def test_every_executable_of_both_stacks_has_a_contract() -> None:
    real = stack.real(
        stack.defaults(stack.REAL) | {"driver": "fake", "console": True, "record": "x", "planning_scene": True}
    )
    simulated = stack.simulation(stack.defaults(stack.SIMULATION) | {"console": True, "record": "x", "viewer": True})
    assert {node.executable for node in real + simulated} == set(CONTRACTS)
    for node in real + simulated:
        made = contract(node)
        assert ("/clock" in made.subscribes) or not node.parameters.get("use_sim_time")


def test_services_and_actions_become_the_topics_that_carry_them() -> None:
    made = rights(Contract(("/a",), ("/b",), ("/serve",), ("/call",), ("/act",), ("/goal",)), "me")
    assert {"rt/a", "rr/serveReply", "rq/callRequest", "rr/act/_action/send_goalReply"} <= set(made.publish)
    assert {"rt/act/_action/feedback", "rq/goal/_action/get_resultRequest"} <= set(made.publish)
    assert {"rt/b", "rq/serveRequest", "rr/callReply", "rt/goal/_action/status"} <= set(made.subscribe)
    assert "rt/b" not in made.publish
    assert "rt/a" not in made.subscribe
    assert "rr/me/get_type_descriptionReply" in made.publish


def test_policy_files_of_sros2_say_the_same() -> None:
    enclave = ENCLAVES["/gr2/arm_adapter"]
    root = ElementTree.fromstring(policy(enclave.path, enclave.node, enclave.contract))
    profile = root.find("enclaves/enclave[@path='/gr2/arm_adapter']/profiles/profile")
    assert profile is not None
    assert profile.attrib == {"ns": "/", "node": "arm_adapter"}
    published = {item.text for item in profile.findall("topics[@publish='ALLOW']/topic")}
    assert published == {*enclave.contract.publishes, "/rosout", "/parameter_events"}
    assert [item.text for item in profile.findall("actions[@call='ALLOW']/action")] == list(enclave.contract.goals)


# ---------------------------------------------------------------------------------------------- the keystore


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("security") / "keystore"
    create(folder, [ENCLAVES["/gr2/wbc"], ENCLAVES["/gr2/policy"]], domain=7, days=2)
    return folder


@needs_openssl
def test_a_keystore_is_whole_signed_and_private(made: Path) -> None:
    verify(made, ["/gr2/wbc", "/gr2/policy"], domain=7)
    for key in made.rglob("*key.pem"):
        assert stat.S_IMODE(key.resolve().stat().st_mode) == 0o600, key
    assert [path.name for path in made.parent.iterdir()] == ["keystore"], "nothing is left aside"
    with pytest.raises(KeystoreError, match="never overwritten"):
        create(made, [], 0, 1)


@needs_openssl
def test_permissions_have_the_order_that_the_schema_wants_and_deny_the_rest(made: Path) -> None:
    root = ElementTree.parse(made / "enclaves/gr2/policy/permissions.xml").getroot()
    grant = root.find("permissions/grant")
    assert grant is not None
    assert [child.tag for child in grant] == ["subject_name", "validity", "allow_rule", "default"]
    assert grant.findtext("subject_name") == "CN=/gr2/policy"
    assert grant.findtext("default") == "DENY"
    rule = grant.find("allow_rule")
    assert rule is not None
    assert [child.tag for child in rule] == ["domains", "publish", "subscribe"]
    assert rule.findtext("domains/id") == "7"
    topics = [topic.text for topic in rule.findall("publish/topics/topic")]
    assert topics == list(RIGHTS["/gr2/policy"].publish)
    governance = ElementTree.parse(made / "enclaves/governance.xml").getroot()
    assert governance.findtext(".//allow_unauthenticated_participants") == "false"
    assert governance.findtext(".//enable_join_access_control") == "true"
    assert governance.findtext(".//enable_read_access_control") == "true"
    assert governance.findtext(".//enable_write_access_control") == "true"
    assert governance.findtext(".//data_protection_kind") == "ENCRYPT"


@needs_openssl
@pytest.mark.skipif(
    importlib.util.find_spec("sros2") is None or importlib.util.find_spec("lxml") is None,
    reason="the OMG's schemas come with sros2 of ROS 2, which is not here",
)
def test_documents_are_valid_by_the_schemas_of_the_omg(made: Path) -> None:
    from lxml import etree
    from sros2.policy import get_transport_schema

    for kind, files in (
        ("permissions", sorted(made.glob("enclaves/gr2/*/permissions.xml"))),
        ("governance", [made / "enclaves/governance.xml"]),
    ):
        schema = etree.XMLSchema(etree.parse(str(get_transport_schema("dds", f"{kind}.xsd"))))
        for file in files:
            schema.assertValid(etree.parse(str(file)))


def change_text(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@needs_openssl
@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("more rights", "smime failed"),
        ("another authority", "failed"),
        ("no key", "lacks key.pem"),
        ("another's certificate", "expected CN=/gr2/wbc"),
        ("another domain", "ROS domain 7, not 8"),
        ("another enclave", "lacks cert.pem"),
    ],
)
def test_what_was_tampered_with_is_refused(made: Path, tmp_path: Path, what: str, words: str) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(made, folder, symlinks=True)
    place, paths, domain = folder / "enclaves/gr2/wbc", ["/gr2/wbc"], 7
    if what == "more rights":
        change_text(place / "permissions.p7s", "<default>DENY</default>", "<default>ALLOW</default>")
    elif what == "another authority":
        create(tmp_path / "other", [ENCLAVES["/gr2/wbc"]], domain=7, days=2)
        for name in ("permissions.p7s", "permissions_ca.cert.pem"):
            shutil.copy(tmp_path / "other/enclaves/gr2/wbc" / name, place / name)
        shutil.copy(made / "public/ca.cert.pem", place / "permissions_ca.cert.pem")
    elif what == "no key":
        (place / "key.pem").unlink()
    elif what == "another's certificate":
        shutil.copy(folder / "enclaves/gr2/policy/cert.pem", place / "cert.pem")
    elif what == "another domain":
        domain = 8
    else:
        paths = ["/gr2/nobody"]
    with pytest.raises(KeystoreError, match=words):
        verify(folder, paths, domain)


@needs_openssl
def test_expired_permissions_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "keystore"
    create(folder, [Enclave("/gr2/wbc", "wbc", CONTRACTS["wbc_node"])], domain=0, days=2)
    place = folder / "enclaves/gr2/wbc"
    year = ElementTree.parse(place / "permissions.xml").getroot().findtext(".//not_after", "")[:4]
    change_text(place / "permissions.xml", f"<not_after>{year}", "<not_after>2020")
    command = ["openssl", "smime", "-sign", "-text", "-in", "permissions.xml", "-out", "permissions.p7s"]
    command += ["-signer", str(folder / "public/ca.cert.pem"), "-inkey", str(folder / "private/ca.key.pem")]
    subprocess.run(command, cwd=place, check=True, capture_output=True)
    with pytest.raises(KeystoreError, match="ended at 2020"):
        verify(folder, ["/gr2/wbc"])


@needs_openssl
def test_a_stack_that_is_asked_to_be_secure_gets_enclaves_or_nothing(made: Path, tmp_path: Path) -> None:
    values = stack.defaults(stack.REAL) | {"driver": "none", "policy": "gr2"}
    assert all(node.enclave == "" for node in stack.real(values))
    with pytest.raises(stack.BadArgument, match=r"no keystore; make one with: \./gr2 keystore"):
        stack.real(values | {"security": str(tmp_path / "nowhere")})
    with pytest.raises(stack.BadArgument, match="enclave /gr2/arm_adapter"):
        stack.real(values | {"security": str(made)})
    whole = tmp_path / "whole"
    create(whole, [ENCLAVES[f"/gr2/{name}"] for name in ("wbc", "arm_adapter", "policy")], 0, 2)
    nodes = stack.real(values | {"security": str(whole)})
    assert [node.enclave for node in nodes] == ["/gr2/wbc", "/gr2/arm_adapter", "/gr2/policy"]
    assert all(node.environment == environment(whole) for node in nodes)
    assert nodes[0].environment["ROS_SECURITY_STRATEGY"] == "Enforce"


def test_arguments_of_the_verb_are_checked(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(stack.BadArgument, match="name:=value"):
        verb.enclaves("real", ["policy=gr2"])
    with pytest.raises(stack.BadArgument, match="no argument 'scen'"):
        verb.enclaves("sim", ["scen:=table"])
    assert "/gr2/sim" in {enclave.path for enclave in verb.enclaves("sim", [])}
