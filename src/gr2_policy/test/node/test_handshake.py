"""The policy's side of the handshake, without a controller."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from gr2_msgs.msg import WbcStatus

from gr2_policy.handshake import Handshake


@pytest.fixture
def handshake() -> Handshake:
    return Handshake(SimpleNamespace(create_client=lambda *_: None), wanted=False)  # type: ignore[arg-type]


def test_chunks_of_a_second_publisher_are_no_refusals_of_ours(handshake: Handshake) -> None:
    handshake.on_status(WbcStatus(refusal_names=["unknown_session", "too_far"], refusal_counts=[99, 0]))
    assert handshake.refusals == 0
    handshake.on_status(WbcStatus(refusal_names=["unknown_session", "too_far"], refusal_counts=[99, 2]))
    assert handshake.refusals == 2


def test_session_is_lost_only_after_it_was_confirmed(handshake: Handshake) -> None:
    handshake.begin()
    handshake.on_status(WbcStatus(session="another"))
    assert not handshake.lost
    handshake.on_status(WbcStatus(session="offline"))
    assert not handshake.lost
    handshake.on_status(WbcStatus(session=""))
    assert handshake.lost
