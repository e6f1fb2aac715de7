"""The ``gr2`` command as a user types it: exit codes, what it prints, what it leaves behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

SMALL = ["--image-width", "128", "--image-height", "128"]


def gr2(*arguments: str, timeout: float = 240.0) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gr2_bringup.cli", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=timeout, check=False, stdin=subprocess.DEVNULL
    )


@pytest.mark.parametrize(
    "instruction",
    [
        "put the red block in the bin",
        pytest.param("open the drawer", marks=pytest.mark.slow),
        pytest.param("press the red button", marks=pytest.mark.slow),
        pytest.param("stack the red block on the blue block", marks=pytest.mark.slow),
        pytest.param("push the red block to the left", marks=pytest.mark.slow),
        pytest.param("pick up the yellow block", marks=pytest.mark.slow),
    ],
)
def test_success_is_exit_0_and_leaves_a_readable_bag(instruction: str, domain: int, tmp_path: Path) -> None:
    from gr2_tools.bag_reader import BagReader

    done = gr2("sim", "--headless", "--policy", "teacher", "--instruction", instruction, "--timeout", "60",
               "--seed", "3", "--domain", str(domain), "--runs", str(tmp_path), *SMALL)  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert f'SUCCESS: "{instruction}"' in done.stdout
    found = re.search(r"^bag:\s+(\S+)$", done.stdout, re.M)
    assert found, done.stdout
    with BagReader(Path(found.group(1))) as bag:
        topics = {message.topic for message in bag.messages()}
    assert {"/head_camera/image_raw", "/wrist_camera/image_raw", "/joint_states", "/joint_commands"} <= topics
    assert {"/instruction", "/trajectory_chunk", "/wbc_status", "/robot_state", "/sim/outcome"} <= topics
    assert "Traceback" not in done.stdout + done.stderr


def test_timeout_is_exit_1(domain: int, tmp_path: Path) -> None:
    done = gr2("sim", "--headless", "--instruction", "put the red block in the bin", "--timeout", "1",
               "--domain", str(domain), "--runs", str(tmp_path), *SMALL)  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr
    assert "FAILED" in done.stdout
    assert re.search(r"^bag:\s+\S+$", done.stdout, re.M)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--instruction", "put the red block in the bim"], "put the red block in the bin"),
        (["--instruction", ""], "--instruction is empty"),
        (["--policy", "nobody"], "installed: "),
        (["--task", "juggle"], "juggle"),
        (["--domain", "200"], "0 to 101"),
        (["--timeout", "-1"], "must be positive"),
        (["--replan-rate", "0"], "must be positive"),
        (["--speed", "9"], "unrecognized arguments"),
    ],
)
def test_wrong_call_is_exit_2_and_says_why(arguments: list[str], words: str) -> None:
    done = gr2("sim", "--headless", *arguments)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_second_stack_in_the_same_domain_is_refused_and_ctrl_c_ends_the_first(domain: int, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "gr2_bringup.cli", "sim", "--headless", "--no-bag"]
    command += ["--domain", str(domain), "--runs", str(tmp_path), *SMALL]
    first = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        stdin=subprocess.DEVNULL,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # a shell's background ignores it
    )
    try:
        assert first.stdout is not None
        lines = []
        for line in first.stdout:
            lines.append(line)
            if "ready after" in line:
                break
        else:
            pytest.fail("".join(lines))
        second = gr2("sim", "--headless", "--domain", str(domain), "--runs", str(tmp_path))
        assert second.returncode == 3
        assert f"ROS domain {domain} is used by another ./gr2 sim" in second.stderr
        heard = gr2("say", "press the red button", "--domain", str(domain), "--wait", "--timeout", "60")
        assert heard.returncode == 0, heard.stdout + heard.stderr
    finally:
        first.send_signal(signal.SIGINT)
        try:
            rest = first.communicate(timeout=30)[0]
        except subprocess.TimeoutExpired:
            first.terminate()  # the nodes with it: they must not burden the tests that follow
            rest = first.communicate(timeout=30)[0] + "\nCtrl-C did not end it"
    assert first.returncode == 0, rest
    assert "Traceback" not in rest
    assert not nodes_of(domain), "orphans"


def nodes_of(domain: int) -> list[str]:
    """Command lines of processes that live in this ROS domain."""
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit() or int(folder.name) == os.getpid():
            continue
        try:
            environment = (folder / "environ").read_bytes().split(b"\0")
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if f"ROS_DOMAIN_ID={domain}".encode() in environment and "_node" in command:
            found.append(command)
    return found


def test_dead_process_stops_everything_and_is_named(domain: int, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "gr2_bringup.cli", "sim", "--headless", "--no-bag"]
    command += ["--domain", str(domain), "--runs", str(tmp_path), *SMALL]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, stdin=subprocess.DEVNULL
    )
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if "ready after" in line:
            break
    victims = [int(p.name) for p in Path("/proc").iterdir() if p.name.isdigit() and is_node(p, domain, "policy_node")]
    assert victims, "".join(lines)
    for victim in victims:
        os.kill(victim, signal.SIGKILL)
    rest = process.communicate(timeout=30)[0]
    assert process.returncode == 3, rest
    assert "policy has ended with exit code -9" in rest
    deadline = time.monotonic() + 5
    while nodes_of(domain) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not nodes_of(domain)


def is_node(folder: Path, domain: int, executable: str) -> bool:
    try:
        return (
            f"ROS_DOMAIN_ID={domain}".encode() in (folder / "environ").read_bytes().split(b"\0")
            and executable.encode() in (folder / "cmdline").read_bytes()
        )
    except OSError:
        return False


def test_say_without_a_stack_says_so(domain: int) -> None:
    done = gr2("say", "open the drawer", "--domain", str(domain))
    assert done.returncode == 1
    assert "nobody listens on /instruction" in done.stderr


@pytest.mark.parametrize("verb", ["sim", "say", "record", "replay", "eval", "model", "doctor", "test", "shell"])
def test_every_verb_teaches(verb: str) -> None:
    done = gr2(verb, "--help")
    assert done.returncode == 0, done.stderr
    assert f"usage: gr2 {verb}" in done.stdout
    assert done.stdout.count(f"gr2 {verb} ") >= 2, "no example"
