"""The XML documents of a secured stack: DDS permissions and governance (OMG DDS Security), and SROS 2's own policies.

Names on the wire are ROS 2's: ``rt/`` before topics, ``rq/…Request`` and ``rr/…Reply`` for services; an action is three
services and two topics.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from xml.etree import ElementTree

from gr2_bringup.contracts import Contract

SCHEMAS = "http://www.omg.org/spec/DDS-SECURITY/20170901/omg_shared_ca_"
_INSTANCE = "http://www.w3.org/2001/XMLSchema-instance"
_EVERY_NODE = ("/rosout", "/parameter_events")


@dataclass(frozen=True)
class Rights:
    """DDS topics that a process may publish and subscribe; everything else is denied."""

    publish: tuple[str, ...]
    subscribe: tuple[str, ...]


def rights(contract: Contract, name: str) -> Rights:
    """Of a process with this contract and node name (``*``: any)."""
    publish, subscribe = ["ros_discovery_info"], ["ros_discovery_info"]
    publish += [f"rt{topic}" for topic in (*contract.publishes, *_EVERY_NODE)]
    subscribe += [f"rt{topic}" for topic in (*contract.subscribes, "/parameter_events")]
    serves, calls = [*contract.serves, f"/{name}/get_type_description"], list(contract.calls)
    for action in contract.acts:
        serves += _services(action)
        publish += [f"rt{action}/_action/{topic}" for topic in ("feedback", "status")]
    for action in contract.goals:
        calls += _services(action)
        subscribe += [f"rt{action}/_action/{topic}" for topic in ("feedback", "status")]
    subscribe += [f"rq{service}Request" for service in serves] + [f"rr{service}Reply" for service in calls]
    publish += [f"rr{service}Reply" for service in serves] + [f"rq{service}Request" for service in calls]
    return Rights(tuple(dict.fromkeys(sorted(publish))), tuple(dict.fromkeys(sorted(subscribe))))


def _services(action: str) -> list[str]:
    return [f"{action}/_action/{service}" for service in ("send_goal", "cancel_goal", "get_result")]


def permissions(enclave: str, rights: Rights, domain: int, begin: datetime, end: datetime) -> str:
    """DDS permissions of one enclave, unsigned.

    Args:
        enclave: its path, which is also the common name of its certificate.
        rights: what it may do.
        domain: ROS domain it may do that in.
        begin, end: UTC.
    """
    root = _document("permissions")
    grant = _add(_add(root, "permissions"), "grant", name=enclave)
    _add(grant, "subject_name", f"CN={enclave}")
    validity = _add(grant, "validity")
    _add(validity, "not_before", begin.strftime("%Y-%m-%dT%H:%M:%S"))
    _add(validity, "not_after", end.strftime("%Y-%m-%dT%H:%M:%S"))
    rule = _add(grant, "allow_rule")
    _add(_add(rule, "domains"), "id", str(domain))
    for what, names in (("publish", rights.publish), ("subscribe", rights.subscribe)):
        topics = _add(_add(rule, what), "topics")
        for name in names:
            _add(topics, "topic", name)
    _add(grant, "default", "DENY")
    return _text(root)


def governance(domain: int) -> str:
    """DDS governance, unsigned: no strangers, everything encrypted, access control on every topic."""
    root = _document("governance")
    rule = _add(_add(root, "domain_access_rules"), "domain_rule")
    _add(_add(rule, "domains"), "id", str(domain))
    for tag, text in (
        ("allow_unauthenticated_participants", "false"),
        ("enable_join_access_control", "true"),
        ("discovery_protection_kind", "ENCRYPT"),
        ("liveliness_protection_kind", "ENCRYPT"),
        ("rtps_protection_kind", "SIGN"),
    ):
        _add(rule, tag, text)
    topic = _add(_add(rule, "topic_access_rules"), "topic_rule")
    for tag, text in (
        ("topic_expression", "*"),
        ("enable_discovery_protection", "true"),
        ("enable_liveliness_protection", "true"),
        ("enable_read_access_control", "true"),
        ("enable_write_access_control", "true"),
        ("metadata_protection_kind", "ENCRYPT"),
        ("data_protection_kind", "ENCRYPT"),
    ):
        _add(topic, tag, text)
    return _text(root)


def policy(enclave: str, name: str, contract: Contract) -> str:
    """The same as a policy file of SROS 2 (``ros2 security create_permission``).

    Args:
        enclave: its path.
        name: of the node in it.
        contract: of the node.
    """
    root = ElementTree.Element("policy", version="0.2.0")
    profiles = _add(_add(_add(root, "enclaves"), "enclave", path=enclave), "profiles")
    profile = _add(profiles, "profile", ns="/", node=name)
    for container, item, verb, names in (
        ("topics", "topic", "publish", (*contract.publishes, *_EVERY_NODE)),
        ("topics", "topic", "subscribe", (*contract.subscribes, "/parameter_events")),
        ("services", "service", "reply", (*contract.serves, f"/{name}/get_type_description")),
        ("services", "service", "request", contract.calls),
        ("actions", "action", "execute", contract.acts),
        ("actions", "action", "call", contract.goals),
    ):
        if names:
            holder = _add(profile, container, **{verb: "ALLOW"})
            for one in names:
                _add(holder, item, one)
    return _text(root)


def _document(kind: str) -> ElementTree.Element:
    ElementTree.register_namespace("xsi", _INSTANCE)
    return ElementTree.Element("dds", {f"{{{_INSTANCE}}}noNamespaceSchemaLocation": f"{SCHEMAS}{kind}.xsd"})


def _add(parent: ElementTree.Element, tag: str, text: str = "", **attributes: str) -> ElementTree.Element:
    child = ElementTree.SubElement(parent, tag, attributes)
    child.text = text or None
    return child


def _text(root: ElementTree.Element) -> str:
    ElementTree.indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ElementTree.tostring(root, encoding="unicode")}\n'


def allowed(patterns: Iterable[str], topic: str) -> bool:
    """Whether one of these expressions (POSIX fnmatch, as DDS Security has them) matches a DDS topic."""
    from fnmatch import fnmatchcase

    return any(fnmatchcase(topic, pattern) for pattern in patterns)
