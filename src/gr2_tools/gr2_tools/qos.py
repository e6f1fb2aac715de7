"""Quality of service between live topics and bags: what publishers offered, and what to ask or offer for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml
from rclpy.duration import Duration
from rclpy.qos import (
    DurabilityPolicy,
    HistoryPolicy,
    LivelinessPolicy,
    QoSProfile,
    ReliabilityPolicy,
)
from rosbags.interfaces import Qos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime

_SECOND = 1_000_000_000
INFINITE = QosTime(9223372036, 854775807)


def _time(duration: Duration) -> QosTime:
    return QosTime(*divmod(int(duration.nanoseconds), _SECOND))


def offered(profile: QoSProfile) -> Qos:
    """What a publisher offers, as bags store it."""
    return Qos(
        QosHistory(int(profile.history)),
        int(profile.depth),
        QosReliability(int(profile.reliability)),
        QosDurability(int(profile.durability)),
        _time(profile.deadline),
        _time(profile.lifespan),
        QosLiveliness(int(profile.liveliness)),
        _time(profile.liveliness_lease_duration),
        bool(profile.avoid_ros_namespace_conventions),
    )


def as_dicts(offers: Sequence[Qos]) -> list[dict[str, Any]]:
    """Offers as rosbag2 metadata of version 9 spells them."""
    return [
        {
            "history": q.history.name.lower(),
            "depth": q.depth,
            "reliability": q.reliability.name.lower(),
            "durability": q.durability.name.lower(),
            "deadline": {"sec": q.deadline.sec, "nsec": q.deadline.nsec},
            "lifespan": {"sec": q.lifespan.sec, "nsec": q.lifespan.nsec},
            "liveliness": q.liveliness.name.lower(),
            "liveliness_lease_duration": {
                "sec": q.liveliness_lease_duration.sec,
                "nsec": q.liveliness_lease_duration.nsec,
            },
            "avoid_ros_namespace_conventions": q.avoid_ros_namespace_conventions,
        }
        for q in offers
    ]


def as_yaml(offers: Sequence[Qos]) -> str:
    """Offers as the text that MCAP channels carry."""
    return yaml.safe_dump(as_dicts(offers), sort_keys=False).strip()


def is_latched(offers: Sequence[Qos]) -> bool:
    """Whether any publisher keeps its last messages for late joiners."""
    return any(q.durability is QosDurability.TRANSIENT_LOCAL for q in offers)


def subscription_profile(offers: Sequence[Qos], depth: int) -> QoSProfile:
    """Asks for what every publisher can give: reliable only if all of them are. Volatile always."""
    reliable = bool(offers) and all(q.reliability is QosReliability.RELIABLE for q in offers)
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=depth,
        reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
        durability=DurabilityPolicy.VOLATILE,
    )


def history_profile(depth: int) -> QoSProfile:
    """Asks for what transient-local publishers have kept."""
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=depth,
        reliability=ReliabilityPolicy.RELIABLE,
        durability=DurabilityPolicy.TRANSIENT_LOCAL,
    )


def publisher_profile(topic: str, offers: Sequence[Qos]) -> QoSProfile:
    """What a player offers for a recorded topic.

    The strongest of the recorded offers, so that everyone matches who matched one of the original publishers.
    Where the bag tells no depth (publishers do not announce it): 1 for latched topics (100 for /tf_static),
    100 for reliable ones, so that nothing is lost to a slow listener, 5 for best effort.
    """
    if not offers:
        return QoSProfile(depth=100)
    reliable = any(q.reliability is not QosReliability.BEST_EFFORT for q in offers)
    latched = is_latched(offers)
    depth = max((q.depth for q in offers if q.history is QosHistory.KEEP_LAST), default=0)
    if not depth and latched:
        depth = 100 if topic == "/tf_static" else 1
    profile = QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=depth or (100 if reliable else 5),
        reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
    )
    first = offers[0]
    if all(q.deadline == first.deadline for q in offers) and _finite(first.deadline):
        profile.deadline = Duration(seconds=first.deadline.sec, nanoseconds=first.deadline.nsec)
    if all(q.liveliness == first.liveliness for q in offers) and first.liveliness is QosLiveliness.AUTOMATIC:
        profile.liveliness = LivelinessPolicy.AUTOMATIC
        if _finite(first.liveliness_lease_duration):
            lease = first.liveliness_lease_duration
            profile.liveliness_lease_duration = Duration(seconds=lease.sec, nanoseconds=lease.nsec)
    return profile


def _finite(time: QosTime) -> bool:
    return (time.sec, time.nsec) != (0, 0) and time.sec < 2**31 - 1
