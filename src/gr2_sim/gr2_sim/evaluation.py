"""Runs the episodes of a suite in worker processes; what is done is kept, so that a broken run can go on."""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

from gr2_policy.data.video import VideoError
from gr2_policy.policy import ActionChunk, Observation, PolicyError, UnknownInstruction, UnknownPolicy, load_policy
from gr2_sim.cameras import RenderingUnavailable
from gr2_sim.chains import CHAIN_TASK, run_chain
from gr2_sim.episode_videos import EpisodeVideos
from gr2_sim.imagining import ImaginationWatch
from gr2_sim.layout import LayoutError
from gr2_sim.parts import DataError
from gr2_sim.rollout import Rollout, RolloutConfig
from gr2_sim.suites import Job, Suite, jobs_of
from gr2_sim.tally import Result
from gr2_sim.tasks import UnknownTask
from gr2_sim.world import World
from gr2_wbc.intake import HandshakeRefused

ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "LP_NUM_THREADS")
KNOWN_ERRORS = (
    UnknownPolicy,
    UnknownTask,
    UnknownInstruction,
    HandshakeRefused,
    PolicyError,
    DataError,
    LayoutError,
    RenderingUnavailable,
    VideoError,
)


class KnownFailure(Exception):
    """A known error, in a form that travels between processes."""


class Journal:
    """Results so far, one a line, beside the file that the results will go to.

    Args:
        path: the final file; None: nothing is kept.
        suite: results of another suite, policy or timing are passed over.
    """

    def __init__(self, path: Path | None, suite: Suite) -> None:
        self.path = path.with_name(path.name + ".partial.jsonl") if path else None
        self._print = json.loads(json.dumps(suite.fingerprint, default=str))
        self.known: dict[str, Result] = {}
        if path is not None and path.exists():
            content = _read_json(path.read_text(encoding="utf-8"))
            if content and content.get("fingerprint") == self._print:
                self._take(content.get("keys", []), content.get("results", []))
        if self.path is not None and self.path.exists():
            for line in self.path.read_text(encoding="utf-8").splitlines():
                entry = _read_json(line)  # the last line of a killed run may be cut short
                if entry and entry.get("fingerprint") == self._print:
                    self._take([entry["key"]], [entry["result"]])

    def _take(self, keys: Sequence[str], results: Sequence[dict[str, Any]]) -> None:
        names = {f.name for f in fields(Result)}
        for key, result in zip(keys, results, strict=True):
            self.known[key] = Result(**{name: value for name, value in result.items() if name in names})

    def add(self, job: Job, result: Result) -> None:
        """Note a result."""
        self.known[job.key] = result
        if self.path is not None:
            line = {"fingerprint": self._print, "key": job.key, "result": asdict(result)}
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")

    def finish(self) -> None:
        """The final file has been written: the notes are not needed any more."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)


def _read_json(text: str) -> dict[str, Any] | None:
    try:
        content = json.loads(text)
    except json.JSONDecodeError:
        return None
    return content if isinstance(content, dict) else None


def evaluate(
    suite: Suite,
    workers: int = 1,
    progress: Callable[[Result], None] | None = None,
    journal: Journal | None = None,
) -> list[Result]:
    """Run a suite; results in the order of its jobs, the same for any number of workers.

    Args:
        suite: what to run.
        workers: processes.
        progress: called with each result as it comes.
        journal: where results are kept and taken from.

    Raises:
        one of KNOWN_ERRORS, KnownFailure: the suite cannot be run.
    """
    jobs, journal = jobs_of(suite), journal or Journal(None, suite)
    for name in ONE_THREAD:
        os.environ.setdefault(name, "1")
    missing = [job for job in jobs if job.key not in journal.known]

    def note(job: Job, result: Result) -> None:
        journal.add(job, result)
        if progress:
            progress(result)

    if workers <= 1:
        _prepare(suite)
        for job in missing:
            note(job, _run(job))
    else:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(workers, mp_context=context, initializer=_prepare, initargs=(suite,)) as pool:
            futures: dict[Future[Result], Job] = {pool.submit(_run, job): job for job in missing}
            try:
                for future in as_completed(futures):
                    note(futures[future], future.result())
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
    return [journal.known[job.key] for job in jobs]


_rollout: Rollout | KnownFailure
_videos: EpisodeVideos | None
_imagination: ImaginationWatch | None


def _prepare(suite: Suite) -> None:
    """Make this process's world and policy once."""
    global _rollout, _videos, _imagination
    _videos = _imagination = None
    try:
        policy = load_policy(suite.policy, **suite.options)
        config = suite.rollout
        if (suite.videos or not policy.privileged) and not config.images:
            config = RolloutConfig(**{**asdict(config), "images": ("head", "wrist")})
        if suite.videos:
            _videos = EpisodeVideos(Path(suite.videos), round(1.0 / config.replan_period))
        if suite.imagine:
            _imagination = ImaginationWatch(policy, suite.imagine)
        watches = [watcher.watch for watcher in (_videos, _imagination) if watcher]

        def watch(observation: Observation, chunk: ActionChunk) -> None:
            for one in watches:
                one(observation, chunk)

        _rollout = Rollout(World(timestep=suite.timestep), policy, config, watch)
    except (*KNOWN_ERRORS, TypeError, ValueError) as error:
        _rollout = KnownFailure(str(error))


def _run(job: Job) -> Result:
    if isinstance(_rollout, KnownFailure):
        raise _rollout
    try:
        result = run_chain(_rollout, job.seed, job.label) if job.task == CHAIN_TASK else _one(_rollout, job)
        if _videos:
            _videos.finish(job.label, job.seed, result.success)
        agreement = _imagination.finish() if _imagination else None
        return replace(result, imagined=asdict(agreement) if agreement else None)
    except KNOWN_ERRORS as error:
        raise KnownFailure(f"task '{job.label}', seed {job.seed}: {error}") from None


def _one(rollout: Rollout, job: Job) -> Result:
    episode = rollout.run(job.task, job.seed, job.instruction, job.scene)
    found = asdict(episode)
    del found["tool_path"]
    return Result(**{**found, "task": job.label, "steps": int(episode.success)})
