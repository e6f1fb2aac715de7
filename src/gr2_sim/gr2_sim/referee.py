"""The referee: watches the scene and says whether the task in hand has been done."""

from __future__ import annotations

from dataclasses import dataclass

from gr2_policy.policy import SceneTruth, UnknownInstruction
from gr2_sim.cell import load_cell
from gr2_sim.success import View, check
from gr2_sim.tasks import Task, lacking, task_for


@dataclass(frozen=True)
class Outcome:
    """What the referee sees.

    Attributes:
        stamp: simulation time [s].
        episode: of the scene.
        task: name of the task in hand; empty: none known.
        instruction: by which it was found.
        success: the condition has held for the required time since the instruction was given; stays true.
        held: time [s] for which the condition has now held without a break.
        elapsed: time [s] since the instruction was given.
        detail: the condition in words, with its figures.
    """

    stamp: float
    episode: int
    task: str
    instruction: str
    success: bool
    held: float
    elapsed: float
    detail: str


class Referee:
    """Judges one task at a time. Feed it the truth at 10 Hz or more."""

    def __init__(self) -> None:
        self._task: Task | None = None
        self._start: SceneTruth | None = None
        self._since: float | None = None
        self.clear()

    def begin(self, instruction: str, truth: SceneTruth) -> None:
        """An instruction was given; what is true now is what the outcome is compared with."""
        self._instruction, self._start = instruction, truth
        self._since, self._success = None, False
        try:
            self._task = task_for(instruction)
            missing = lacking(self._task, load_cell(truth.scene))
            if missing:
                self._task, self._detail = None, f"cannot follow '{instruction}': {missing}"
        except UnknownInstruction as unknown:
            self._task, self._detail = None, str(unknown)

    def clear(self, reason: str = "no instruction has been given") -> None:
        """No task is in hand any more."""
        self._task, self._start, self._since = None, None, None
        self._instruction, self._detail = "", reason
        self._success = False

    def update(self, truth: SceneTruth, touched: frozenset[str]) -> Outcome:
        """Look once.

        Args:
            truth: the scene now.
            touched: names of the objects that the robot touches.
        """
        start = self._start
        if start is not None and truth.episode != start.episode:
            self.clear("the scene was reset after the instruction")
            start = None
        if self._task is None or start is None:
            elapsed = truth.stamp - start.stamp if start else 0.0
            return Outcome(truth.stamp, truth.episode, "", self._instruction, False, 0.0, elapsed, self._detail)
        met, detail = check(View(load_cell(truth.scene), self._task, start, truth, touched))
        if not met:
            self._since = None
        elif self._since is None:
            self._since = truth.stamp
        held = truth.stamp - self._since if self._since is not None else 0.0
        self._success = self._success or (met and held >= self._task.hold - 1e-6)
        return Outcome(
            stamp=truth.stamp,
            episode=truth.episode,
            task=self._task.name,
            instruction=self._instruction,
            success=self._success,
            held=held,
            elapsed=truth.stamp - start.stamp,
            detail=detail,
        )
