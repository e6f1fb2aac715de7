"""What can be made to go wrong, by name: told on ``/fake_kortex/inject``."""

from __future__ import annotations

from gr2_sim.fake_kortex.control_loop import ControlLoop
from gr2_sim.fake_kortex.gen3 import Gen3

FAULTS = {
    "": "a sound driver: undoes `frozen`, `order` and `exchanged`, and what causes a fault (which stays until reset)",
    "fault": "the arm enters its fault state: it stops, and takes no commands until the fault is reset",
    "lasting fault": "the same, and a reset of it fails",
    "session": "the session is lost: the driver gives up, its controllers stop; only a new process helps",
    "frozen": "the driver hangs: no states, no commands; the arm stays at the last set points",
    "order": "joints are told in another order, by their names",
    "exchanged": "two joints are told under each other's names",
}


class UnknownFault(ValueError):
    """There is no such fault; the message lists those there are."""


class Faults:
    """Applies faults to the parts.

    Attributes:
        naming: how joint states are told: one of "", "order", "exchanged".
    """

    def __init__(self, arm: Gen3, loop: ControlLoop) -> None:
        self._arm = arm
        self._loop = loop
        self.naming = ""

    def inject(self, name: str) -> str:
        """Apply a fault; what it means.

        Raises:
            UnknownFault: there is none of this name.
        """
        if name not in FAULTS:
            raise UnknownFault(f"there is no fault '{name}' (there are: {', '.join(repr(n) for n in FAULTS)})")
        if name in ("fault", "lasting fault"):
            self._arm.enter_fault(f"injected: {name}")
            self._arm.stubborn = name == "lasting fault"
        elif name == "session":
            self._arm.session = False
        elif name == "frozen":
            self._loop.frozen = True
        elif name:
            self.naming = name
        else:
            self._loop.frozen, self.naming, self._arm.stubborn = False, "", False
        return FAULTS[name]

    def told(self, names: list[str]) -> tuple[list[str], list[int]]:
        """The names as joint states tell them, and which joint's values stand under each: indices into ``names``."""
        indices = list(range(len(names)))
        if self.naming == "order":
            indices = indices[::-1]
            return [names[i] for i in indices], indices
        if self.naming == "exchanged":
            names = names.copy()
            names[1], names[3] = names[3], names[1]
        return names, indices
