"""What the console is looking at, and which of its controls make sense there. No ROS in here."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum

STALE = 1.0  # [s] without status: the controller's state is unknown


class Mode(Enum):
    """What stands behind the topics, in the words that the page shows."""

    WAITING = "nothing here yet"
    SIMULATION = "simulation"
    REPLAY = "replay of a bag"
    DRY_RUN = "real arm · dry run"
    UNKNOWN = "real arm · armed? not known"
    ARMED = "REAL ARM · ARMED"


@dataclass(frozen=True)
class Surroundings:
    """What the graph shows.

    Attributes:
        status_sources: names of the nodes that publish the controller's status.
        joint_sources: and the joint states.
        services: names of the services that answer.
        instruction_listeners: names of the nodes that listen to instructions.
        armed: as the controller last said; None if it has said nothing lately.
        state: name of the controller's state; empty if it has said nothing lately.
    """

    status_sources: Collection[str] = ()
    joint_sources: Collection[str] = ()
    services: Collection[str] = ()
    instruction_listeners: Collection[str] = ()
    armed: bool | None = None
    state: str = ""


@dataclass(frozen=True)
class Control:
    """Whether a control can be used, and if not, why."""

    enabled: bool
    why: str = ""


def mode_of(around: Surroundings) -> Mode:
    """Which mode this is."""
    sources = {*around.status_sources, *around.joint_sources}
    if any("player" in name for name in sources):
        return Mode.REPLAY
    if "/sim/reset" in around.services or "sim" in around.joint_sources:
        return Mode.SIMULATION
    if not sources:
        return Mode.WAITING
    if around.armed is None:
        return Mode.UNKNOWN
    return Mode.ARMED if around.armed else Mode.DRY_RUN


def controls(around: Surroundings) -> dict[str, Control]:
    """Each control by name. Stop is always there: it must never be refused by a guess about the surroundings."""
    mode = mode_of(around)
    found = {
        "stop": Control(True),
        "record": Control(mode is not Mode.WAITING, "" if mode is not Mode.WAITING else "there is nothing to record"),
    }
    for name in ("instruct", "reset", "home", "scene", "policy"):
        why = _obstacle(name, mode, around)
        found[name] = Control(not why, why)
    return found


def _obstacle(name: str, mode: Mode, around: Surroundings) -> str:
    """Why a control cannot be used; empty if it can."""
    if mode is Mode.REPLAY:
        return "a bag is being replayed: there is nobody to command"
    if mode is Mode.WAITING:
        return "no stack runs in this ROS domain"
    moves = name in {"instruct", "home"}
    if moves and mode is Mode.DRY_RUN:
        return "dry run: what can move a real arm needs armed:=true"
    if moves and mode is Mode.UNKNOWN:
        return "the controller does not say whether it is armed"
    if name in {"reset", "home"} and not around.state:
        return "the controller does not report"
    if moves and around.state == "STOPPED":
        return "stopped: reset first"
    if name == "instruct" and not around.instruction_listeners:
        return "no policy listens"
    if name == "reset" and around.state != "STOPPED":
        return "not stopped"
    needed = {"home": "/wbc/move_to", "scene": "/sim/reset", "reset": "/wbc/reset", "policy": "/policy/change_state"}
    if name in needed and needed[name] not in around.services:
        return "simulation only" if name == "scene" else f"{needed[name]} does not answer"
    return ""
