"""Worker processes that make things one by one; one that dies is replaced, and what it was making is tried again."""

from __future__ import annotations

import multiprocessing
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

DEATHS = 2
"""Workers that may die over one job before it is given up."""

Job = TypeVar("Job")
Outcome = TypeVar("Outcome")


@dataclass(frozen=True)
class Work(Generic[Job, Outcome]):
    """What workers do.

    Attributes:
        make: does one job; it, its arguments and what it returns travel between processes.
        arguments: what `make` is called with for a job.
        prepare, about: called with `about` in each worker before anything else.
        workers: processes.
    """

    make: Callable[..., Outcome]
    arguments: Callable[[Job], tuple[Any, ...]]
    prepare: Callable[[Any], None]
    about: Any
    workers: int

    def do(self, jobs: Sequence[Job], done: Callable[[Job, Outcome], None], lost: Callable[[Job, str], None]) -> None:
        """Have all jobs done, begun in this order.

        Args:
            jobs: different ones.
            done: called with each job and what came of it, as they come.
            lost: called with each job that is given up, and why.

        Raises:
            what `make`, `done` or `lost` raises.
        """
        deaths: dict[Job, int] = defaultdict(int)
        left = list(jobs)
        while left:
            for job in self._until_a_worker_dies(left, done):
                deaths[job] += 1
                if deaths[job] >= DEATHS:
                    left.remove(job)
                    lost(job, f"its worker died {DEATHS} times")

    def _until_a_worker_dies(self, left: list[Job], done: Callable[[Job, Outcome], None]) -> set[Job]:
        """Takes what is done off the list; the jobs that were being done when a worker died, if one did."""
        context = multiprocessing.get_context("spawn")
        waiting = list(reversed(left))
        running: dict[Future[Outcome], Job] = {}
        with ProcessPoolExecutor(self.workers, context, initializer=self.prepare, initargs=(self.about,)) as pool:
            try:
                while waiting or running:
                    while waiting and len(running) < self.workers:  # no more, so that a death has few suspects
                        job = waiting.pop()
                        running[pool.submit(self.make, *self.arguments(job))] = job
                    finished, _ = wait(running, return_when=FIRST_COMPLETED)
                    for future in finished:
                        outcome = future.result()
                        job = running.pop(future)
                        left.remove(job)
                        done(job, outcome)
            except BrokenProcessPool:
                return set(running.values())
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        return set()
