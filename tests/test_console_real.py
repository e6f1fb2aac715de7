"""The console beside the real arm's stack, on the fake driver: which mode it is in, and what it then refuses."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING

from std_msgs.msg import String
from tests.browser import Browser, chromium
from tests.console_viewer import ConsoleUnderTest, artefacts
from tests.real_cell import INSTRUCTION, Cell, real

if TYPE_CHECKING:
    from tests.conftest import RunningStack

MOVES = ("instruct", "home")  # the commands that can move the arm


def shown(running: RunningStack, console: ConsoleUnderTest, mode: str) -> None:
    """Wait until the console says that it is in this mode."""
    running.wait(lambda: console.frame()["mode"]["name"] == mode, 20.0, f"the console is not in mode {mode}")


def set_off(cell: Cell, console: ConsoleUnderTest) -> None:
    """Tell the arm what to do and wait until it moves; again where a machine held up elsewhere has stopped it first."""
    for _ in range(5):
        if cell.state == "STOPPED":
            console.post("reset", reason=cell.reason)
            cell.director.spin(0.5)
        status, text = console.post("instruct", text=INSTRUCTION)
        cell.director.wait_until(lambda: cell.running.moving() or cell.state == "STOPPED", 30.0)
        if cell.running.moving():
            return
    raise AssertionError(f"the arm does not move: {status} {text}\n{cell.running.logs()}")


def test_a_dry_run_is_named_and_offers_nothing_that_moves_the_arm(start: Callable[..., RunningStack]) -> None:
    running = start(nodes=real(armed=False, console=True, console_port=0)).ready()
    cell, console = Cell(running), ConsoleUnderTest(running)
    shown(running, console, "DRY_RUN")
    there = cell.rest()
    said: list[String] = []
    running.director.node.create_subscription(String, "/instruction", said.append, 10)
    for command in MOVES:
        status, text = console.post(command, text=INSTRUCTION)
        assert (status, "armed:=true" in text) == (409, True), (command, text)
    assert console.post("scene", scene="table", seed="1")[0] == 409
    assert console.post("policy", name="unheard-of")[0] == 409
    cell.stands(1.0, there)
    assert said == [], "a refused command has been published"
    if chromium() is not None:
        with Browser(1600, 1000) as page:
            page.open(console.address + "/")
            page.wait("document.querySelector('#mode')?.textContent.includes('DRY RUN')", 60.0, "mode is not shown")
            assert page.text("#mode") == "REAL ARM · DRY RUN"
            page.wait("document.querySelectorAll('figure.seen').length >= 2", 30.0, "no cameras")
            for selector in ("#instruct button", "#withdraw", "#home", "#task-list button", "#scene-form button"):
                assert page.evaluate(f"document.querySelector('{selector}').disabled"), selector
            assert "armed:=true" in page.evaluate("document.querySelector('#home').title")
            assert "not sent" in page.text("#facts")
            page.screenshot(artefacts() / "dry_run.png")
    status, text = console.post("stop")
    assert (status, text.split(":")[0]) == (200, "stopped")
    cell.until("STOPPED")
    status, text = console.post("reset", reason=cell.reason)
    assert status == 200, text


def test_an_armed_arm_is_named_and_obeys_until_its_controller_falls_silent(start: Callable[..., RunningStack]) -> None:
    running = start(nodes=real(console=True, console_port=0)).ready()
    cell, console = Cell(running), ConsoleUnderTest(running)
    shown(running, console, "ARMED")
    running.wait(lambda: bool(console.frame()["scene"]), 60.0, "no 3-D view")
    set_off(cell, console)
    status, text = console.post("stop")
    assert (status, text.split(":")[0]) == (200, "stopped")
    cell.rest()
    assert console.post("home")[0] == 409, "home while stopped"
    assert console.post("reset", reason=cell.reason)[0] == 200
    wbc = running.process("wbc").pid
    os.kill(wbc, signal.SIGSTOP)
    try:
        shown(running, console, "UNKNOWN")
        for command in MOVES:
            status, text = console.post(command, text=INSTRUCTION)
            assert (status, "whether it is armed" in text) == (409, True), (command, text)
        status, text = console.post("stop")
        assert status == 409, "nobody has latched it"
        assert "no controller has reported the latch" in text
    finally:
        os.kill(wbc, signal.SIGCONT)
    shown(running, console, "ARMED")
    cell.until("STOPPED", 5.0)  # the stop of meanwhile
