"""Definitions found here equal those that ROS itself hashes."""

from __future__ import annotations

import pytest
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from gr2_tools.errors import UnknownType
from gr2_tools.msgdefs import _nested_msg, find_definition, message_class


@pytest.mark.parametrize(
    "type_name",
    [
        "gr2_msgs/msg/TrajectoryChunk",
        "gr2_msgs/msg/SceneTruth",
        "sensor_msgs/msg/CameraInfo",
        "diagnostic_msgs/msg/DiagnosticArray",
        "rcl_interfaces/msg/ParameterEvent",
        "trajectory_msgs/msg/JointTrajectory",
        "visualization_msgs/msg/InteractiveMarkerUpdate",
    ],
)
def test_text_is_complete_and_hashes_like_the_installed_type(type_name: str) -> None:
    definition = find_definition(type_name)
    store = get_typestore(Stores.EMPTY)
    store.register(get_types_from_msg(definition.text, type_name))
    assert definition.type_hash.startswith("RIHS01_")
    assert store.hash_rihs01(type_name) == definition.type_hash


def test_fields_of_every_spelling() -> None:
    text = """
# geometry_msgs/Nope in a comment
uint8 KIND=1
string<=10[<=3] names "a/b c"
Point[3] corners     # Nope
std_msgs/Header header
geometry_msgs/msg/Pose[<=5] poses
  float64[] data
"""
    assert sorted(_nested_msg(text, "own")) == [
        ("geometry_msgs", "Pose"),
        ("own", "Point"),
        ("std_msgs", "Header"),
    ]


@pytest.mark.parametrize(
    ("type_name", "named"),
    [
        ("no_such_msgs/msg/Thing", "no_such_msgs"),
        ("std_msgs/msg/Nope", "Nope"),
        ("std_srvs/srv/Trigger", "std_srvs/srv/Trigger"),
        ("nonsense", "nonsense"),
    ],
)
def test_unknown_types_are_named(type_name: str, named: str) -> None:
    with pytest.raises(UnknownType, match=named):
        find_definition(type_name)
    with pytest.raises(UnknownType, match=named):
        message_class(type_name)
