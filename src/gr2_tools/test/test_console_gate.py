"""Who may look and who may command."""

import pytest

from gr2_tools.console.gate import BadToken, Gate, is_loopback

TOKEN = "a-token-of-sufficient-length"
LOCAL = {"host": "127.0.0.1:8090"}


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("localhost", True), ("::1", True), ("0.0.0.0", False), ("192.168.1.5", False), ("x", False)],
)
def test_what_reaches_only_this_machine(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


def test_without_a_token_only_local_names_are_served() -> None:
    gate = Gate()
    for host in ("127.0.0.1:8090", "localhost:8090", "[::1]:8090"):
        assert gate.admits({"host": host}, {})
    # a foreign name that was made to point here (DNS rebinding), or none
    for host in ("evil.example", "127.0.0.1.evil.example:8090", ""):
        assert not gate.admits({"host": host}, {})


def test_with_a_token_nothing_is_seen_without_it() -> None:
    gate = Gate(TOKEN)
    headers = {"host": "robot:8090"}
    assert not gate.admits(headers, {})
    assert not gate.admits(headers, {"token": TOKEN[:-1]})
    assert gate.admits(headers, {"token": TOKEN})
    assert gate.admits(headers | {"cookie": f"other=1; gr2_console={TOKEN}"}, {})
    assert not gate.admits(headers | {"cookie": "gr2_console="}, {})


def test_commands_need_our_page() -> None:
    gate = Gate()
    assert gate.may_command(LOCAL, {}, gate.key)
    assert not gate.may_command(LOCAL, {}, "")
    assert not gate.may_command(LOCAL, {}, gate.ticket)
    assert not gate.may_command(LOCAL | {"origin": "http://evil.example"}, {}, gate.key)
    assert gate.may_command(LOCAL | {"origin": "http://127.0.0.1:8090"}, {}, gate.key)
    assert not Gate(TOKEN).may_command(LOCAL, {}, gate.key), "the key is no token"


def test_keys_are_new_each_time_and_tokens_not_short() -> None:
    assert Gate().key != Gate().key
    with pytest.raises(BadToken, match="5 characters"):
        Gate("short")


def test_the_scene_asks_for_its_ticket() -> None:
    gate = Gate()
    assert gate.may_see_scene(f"/scene/{gate.ticket}")
    assert not gate.may_see_scene("/scene/")
    assert not gate.may_see_scene(f"/scene/{gate.key}")
