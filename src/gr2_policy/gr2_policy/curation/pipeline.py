"""Runs curation on Ray Data: cut all videos, find duplicates among all clips, finish what is left, and write it up.

    videos -> jobs of some videos --cut--> parts -> duplicates (all fingerprints, in one place) -> shards of some clips
    --finish--> shards -> manifest, statistics

Ray may run a job again when a worker dies; see work.py for why that changes nothing. A run that was broken off goes on
with the jobs that are lacking.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from gr2_policy.curation.fingerprint import find_duplicates
from gr2_policy.curation.settings import Settings
from gr2_policy.curation.shards import read_json, read_shard, write_json
from gr2_policy.curation.sources import Source
from gr2_policy.curation.work import Finisher, cut, shard_path
from gr2_policy.data.writer import DatasetError
from gr2_policy.model.config import from_dict

MANIFEST = "manifest.json"
LOG = "curation.log"

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Cluster:
    """Where it runs.

    Attributes:
        address: of a Ray cluster whose machines share the folders; empty: processes on this machine.
        workers: processes at a time.
        gpus: of each process that finishes clips; may be a fraction.
    """

    address: str = ""
    workers: int = 1
    gpus: float = 0.0


@dataclass
class Summary:
    """How a run went.

    Attributes:
        videos, clips, hours: that went in; that came out, and how much that is.
        dropped: clips by reason (a video without any clip counts as one, too short).
        errors: in words.
        cpu: seconds of CPU time by step, of the work that is in the result.
        shards: number of files.
    """

    videos: int = 0
    clips: int = 0
    hours: float = 0.0
    dropped: dict[str, int] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    cpu: dict[str, float] = field(default_factory=dict)
    shards: int = 0


def curate(
    sources: Sequence[Source], settings: Settings, folder: Path, cluster: Cluster, progress: Progress | None = None
) -> Summary:
    """Make shards of clips of videos, as far as they are not there.

    Args:
        sources: the videos.
        settings: of all steps.
        folder: of the result; on a cluster one that all machines see.
        cluster: see Cluster.
        progress: called with a step, and the jobs done and all.

    Raises:
        DatasetError: the folder holds something else. RuntimeError: a job cannot be done; the message says why.
    """
    folder = folder.resolve()
    if folder.exists() and any(folder.iterdir()) and not (folder / "parts").is_dir():
        raise DatasetError(f"{folder} is not empty and holds no curation; choose another folder")
    (folder / "parts").mkdir(parents=True, exist_ok=True)
    jobs = [sources[begin : begin + settings.job] for begin in range(0, len(sources), settings.job)]
    summary = Summary(videos=len(sources))
    with _Ray(cluster) as run:
        parts = sorted(run(_cut_rows(jobs, settings, folder), _cut, "cut", progress, 0.0), key=lambda part: part["job"])
        _take(summary, parts, folder)
        wanted = _deduplicated(parts, settings, summary)
        shards = [
            wanted[begin : begin + settings.output.shard] for begin in range(0, len(wanted), settings.output.shard)
        ]
        rows = _finish_rows(shards, settings, folder)
        done = sorted(run(rows, _Finish, "finish", progress, cluster.gpus), key=lambda shard: shard["shard"])
    _take(summary, done, folder)
    _clear(folder, len(jobs), len(done))
    summary.shards = len(done)
    clips = [clip for shard in done for clip in shard["clips"]]
    summary.clips, summary.hours = len(clips), sum(clip["seconds"] for clip in clips) / 3600.0
    write_json(folder / MANIFEST, _manifest(done, settings, summary))
    return summary


def _deduplicated(parts: Sequence[dict[str, Any]], settings: Settings, summary: Summary) -> list[tuple[int, str]]:
    """Job and key of each clip that is not like one before."""
    prints = [(clip["key"], bytes.fromhex(clip["print"])) for part in parts for clip in part["clips"]]
    alike = find_duplicates(prints, settings.duplicates.most)
    if alike:
        summary.dropped["duplicate"] = len(alike)
    return [(part["job"], clip["key"]) for part in parts for clip in part["clips"] if clip["key"] not in alike]


def _take(summary: Summary, ledgers: Iterable[dict[str, Any]], folder: Path) -> None:
    for ledger in ledgers:
        for reason, count in ledger["dropped"].items():
            summary.dropped[reason] = summary.dropped.get(reason, 0) + count
        summary.errors += ledger["errors"]
        for step, seconds in ledger["cpu"].items():
            summary.cpu[step] = summary.cpu.get(step, 0.0) + seconds
    (folder / LOG).write_text("".join(f"{line}\n" for line in summary.errors), encoding="utf-8")


def _manifest(shards: Sequence[dict[str, Any]], settings: Settings, summary: Summary) -> dict[str, Any]:
    return {
        "shards": [
            {"file": f"shards/{shard_path(Path(), shard['shard']).name}", "clips": len(shard["clips"]),
             "bytes": shard["bytes"], "sha256": shard["sha256"]}
            for shard in shards
        ],
        "settings": asdict(settings),
        **{name: value for name, value in asdict(summary).items() if name not in ("cpu", "shards")},
        "cpu": {step: round(seconds, 3) for step, seconds in summary.cpu.items()},
    }  # fmt: skip


def _clear(folder: Path, jobs: int, shards: int) -> None:
    """Remove what is left of a run with more jobs, and of workers that died."""
    for path in (folder / "parts").glob("part-*"):
        if int(path.name.split(".")[0].removeprefix("part-")) >= jobs:
            path.unlink()
    for path in (folder / "shards").glob("shard-*"):
        if int(path.name.split(".")[0].removeprefix("shard-")) >= shards:
            path.unlink()
    for name in ("parts", "shards"):
        for path in (folder / name).glob("*"):
            if path.name.startswith((".", "encode-")) or path.name.count(".") > 1:
                path.unlink(missing_ok=True)


def check(folder: Path) -> list[str]:
    """What is wrong with a finished curation, in words: every clip must be there once, as the manifest says.

    Raises:
        DatasetError: there is none.
    """
    manifest = read_json(folder / MANIFEST)
    if manifest is None:
        raise DatasetError(f"{folder} has no {MANIFEST}: the curation is not finished")
    found: list[str] = []
    seen: Counter[str] = Counter()
    for number, entry in enumerate(manifest["shards"]):
        path = folder / entry["file"]
        ledger = read_json(shard_path(folder, number).with_suffix(".json"))
        if ledger is None or ledger["sha256"] != entry["sha256"]:
            found.append(f"{path}: its ledger is missing or another's")
            continue
        with open(path, "rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != entry["sha256"]:
                found.append(f"{path}: the file is not what was written")
                continue
        keys = [sample.key for sample in read_shard(path)]
        if keys != [clip["key"] for clip in ledger["clips"]]:
            found.append(f"{path}: clips are missing, or others are there")
        seen.update(keys)
    found += [f"clip {key} is there {count} times" for key, count in seen.items() if count > 1]
    if len(seen) != manifest["clips"]:
        found.append(f"{len(seen)} clips are there, {manifest['clips']} are counted")
    return found


# --- on Ray ---


def _cut(row: dict[str, Any]) -> dict[str, Any]:
    """Cuts one job; runs in Ray's workers."""
    sources = [Source(**item) for item in json.loads(row["sources"])]
    settings = from_dict(Settings, json.loads(row["settings"]))
    return {"ledger": json.dumps(cut(int(row["number"]), sources, settings, Path(row["folder"])))}


class _Finish:
    """Finishes shards; runs in Ray's workers, and keeps its models."""

    def __init__(self) -> None:
        self._finisher: Finisher | None = None

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        if self._finisher is None:
            self._finisher = Finisher(from_dict(Settings, json.loads(row["settings"])), Path(row["folder"]))
        wanted = [(int(part), str(key)) for part, key in json.loads(row["wanted"])]
        return {"ledger": json.dumps(self._finisher.finish(int(row["number"]), wanted))}


def _cut_rows(jobs: Sequence[Sequence[Source]], settings: Settings, folder: Path) -> list[dict[str, Any]]:
    common = {"settings": json.dumps(asdict(settings)), "folder": str(folder)}
    return [
        {"number": number, "sources": json.dumps([asdict(source) for source in job]), **common}
        for number, job in enumerate(jobs)
    ]


def _finish_rows(shards: Sequence[Sequence[tuple[int, str]]], settings: Settings, folder: Path) -> list[dict[str, Any]]:
    common = {"settings": json.dumps(asdict(settings)), "folder": str(folder)}
    return [{"number": number, "wanted": json.dumps(list(wanted)), **common} for number, wanted in enumerate(shards)]


class _Ray:
    """Ray for the time of a run, from the first row on; gives a function that maps rows in worker processes."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._started = False

    def __enter__(self) -> Callable[..., Iterator[dict[str, Any]]]:
        return self._map

    def _start(self) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_DATA_DISABLE_PROGRESS_BARS", "1")
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
        import ray
        import ray.data

        local: dict[str, Any] = {
            "num_cpus": self._cluster.workers,
            "include_dashboard": False,
            "object_store_memory": 2**28,
        }
        threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        ray.init(
            address=self._cluster.address or "local",
            log_to_driver=False,
            logging_level=logging.ERROR,
            runtime_env={"env_vars": threads},
            **({} if self._cluster.address else local),
        )
        context = ray.data.DataContext.get_current()
        for name in ("ray", "ray.data"):  # after the import of ray.data, which sets them up
            for handler in logging.getLogger(name).handlers:
                if not isinstance(handler, logging.FileHandler):
                    handler.setLevel(logging.ERROR)
        context.enable_progress_bars = False
        context.max_errored_blocks = 0
        self._started = True

    def __exit__(self, *_: object) -> None:
        if self._started:
            import ray

            ray.shutdown()

    def _map(
        self, rows: Sequence[dict[str, Any]], work: Any, step: str, progress: Progress | None, gpus: float
    ) -> Iterator[dict[str, Any]]:
        """Rows through a function, or through objects of a class that live as long as their process."""
        if not rows:
            return
        if not self._started:
            self._start()
        import ray

        keeps = isinstance(work, type)
        pool = ray.data.ActorPoolStrategy(min_size=1, max_size=self._cluster.workers)
        compute = pool if keeps else ray.data.TaskPoolStrategy(size=self._cluster.workers)
        items = ray.data.from_items(list(rows), override_num_blocks=len(rows))
        try:
            data = items.map(work, compute=compute, num_cpus=1, num_gpus=gpus or None)
            for number, row in enumerate(data.iter_rows(), start=1):
                if progress:
                    progress(step, number, len(rows))
                yield json.loads(row["ledger"])
        except ray.exceptions.RayError as error:
            cause = getattr(error, "cause", None) or error
            raise RuntimeError(f"step '{step}' failed: {cause}") from error
