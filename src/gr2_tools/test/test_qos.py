"""Quality of service: asked for so that every publisher matches, offered so that every original listener does."""

from __future__ import annotations

from collections.abc import Callable

import yaml
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy, qos_profile_sensor_data
from rosbags.interfaces import Qos
from rosbags.rosbag2.metadata import dump_qos_v9, parse_qos

from gr2_tools import qos


def test_stored_as_rosbag2_does(offer: Callable[..., Qos]) -> None:
    offers = [offer(), offer(False), offer(latched=True), qos.offered(QoSProfile(depth=7))]
    assert qos.as_dicts(offers) == dump_qos_v9(offers)
    assert parse_qos(qos.as_yaml(offers)) == offers
    assert yaml.safe_load(qos.as_yaml([])) == []


def test_subscription_asks_for_what_all_can_give(offer: Callable[..., Qos]) -> None:
    assert qos.subscription_profile([offer()], 5).reliability is ReliabilityPolicy.RELIABLE
    mixed = qos.subscription_profile([offer(), offer(False)], 5)
    assert (mixed.reliability, mixed.depth) == (ReliabilityPolicy.BEST_EFFORT, 5)
    assert qos.subscription_profile([offer(latched=True)], 5).durability is DurabilityPolicy.VOLATILE
    assert qos.subscription_profile([], 5).reliability is ReliabilityPolicy.BEST_EFFORT


def test_player_offers_the_strongest(offer: Callable[..., Qos]) -> None:
    both = qos.publisher_profile("/x", [offer(False), offer(latched=True)])
    assert both.reliability is ReliabilityPolicy.RELIABLE
    assert both.durability is DurabilityPolicy.TRANSIENT_LOCAL
    assert both.depth == 1
    assert qos.publisher_profile("/tf_static", [offer(latched=True)]).depth == 100
    sensor = qos.publisher_profile("/x", [qos.offered(qos_profile_sensor_data)])
    assert (sensor.reliability, sensor.depth) == (ReliabilityPolicy.BEST_EFFORT, 5)
    assert qos.publisher_profile("/x", []).reliability is ReliabilityPolicy.RELIABLE
