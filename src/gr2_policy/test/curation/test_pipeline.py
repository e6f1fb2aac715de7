"""Curation on Ray Data: damaged videos cost a line, killed workers nothing, and every clip is there once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from gr2_policy.curation.export import export
from gr2_policy.curation.pipeline import LOG, MANIFEST, Cluster, Summary, check, curate
from gr2_policy.curation.settings import Settings, load_settings
from gr2_policy.curation.shards import read_shard
from gr2_policy.curation.sources import Source, find_sources
from gr2_policy.curation.statistics import clips_in, page
from gr2_policy.curation.work import Finisher, cut
from gr2_policy.data.reader import Dataset
from gr2_policy.data.writer import DatasetError
from gr2_policy.model.checkpoint import Origin, save_tokenizer
from gr2_policy.model.config import load_size
from gr2_policy.model.vqgan import VqGan

pytest.importorskip("ray", reason="ray is not installed; `./gr2 curate` installs requirements/curate.txt")

SETTINGS = load_settings(changes={"hands.use": "off", "job": 4, "output.shard": 8, "cutting.size": 64})
SAMPLE = Path(__file__).parents[4] / "docs" / "video_sample"
Draw = Callable[..., np.ndarray]
Film = Callable[..., Path]


@pytest.fixture
def videos(draw: Draw, film: Film, tmp_path: Path) -> list[Source]:
    """Drawn videos with captions, one of them twice, two damaged; and the rendered sample."""
    for number in range(6):
        path = film(f"drawn/{number}.mp4", draw(number, 75), draw(10 + number, 75))
        path.with_suffix(".json").write_text(json.dumps({"caption": f"moves square {'abcdef'[number]} about"}))
    again = film("drawn/again.mp4", draw(0, 75), draw(10, 75))
    again.with_suffix(".json").write_text(json.dumps({"caption": "moves a square about again"}))
    (tmp_path / "drawn/broken.mp4").write_bytes(b"\0" * 3000)
    whole = (tmp_path / "drawn/5.mp4").read_bytes()
    (tmp_path / "drawn/cut.mp4").write_bytes(whole[: len(whole) // 2])
    return find_sources([tmp_path / "drawn", SAMPLE])


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((folder / "shards").glob("*"))}


def by_hand(sources: list[Source], settings: Settings, folder: Path) -> None:
    """The same without Ray, in one process."""
    from gr2_policy.curation.fingerprint import find_duplicates

    jobs = [sources[i : i + settings.job] for i in range(0, len(sources), settings.job)]
    parts = [cut(number, job, settings, folder) for number, job in enumerate(jobs)]
    prints = [(clip["key"], bytes.fromhex(clip["print"])) for part in parts for clip in part["clips"]]
    alike = find_duplicates(prints, settings.duplicates.most)
    wanted = [(part["job"], clip["key"]) for part in parts for clip in part["clips"] if clip["key"] not in alike]
    finisher, size = Finisher(settings, folder), settings.output.shard
    for number, begin in enumerate(range(0, len(wanted), size)):
        finisher.finish(number, wanted[begin : begin + size])


class Killer:
    """Kills the first worker of Ray that is seen to cut, and the first that is seen to finish."""

    def __init__(self) -> None:
        self.left = ["_cut", "_Finish"]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Killer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while self.left and not self._stop.wait(0.02):
            for name, worker in _workers():
                if self.left and self.left[0] in name and "__init__" not in name:
                    worker.kill()
                    del self.left[0]


def _workers() -> Iterator[tuple[str, psutil.Process]]:
    """What Ray's processes are at, and these."""
    for process in psutil.Process().children(recursive=True):
        try:
            name = " ".join(process.cmdline()[:1])
        except psutil.Error:
            continue
        if name.startswith("ray::"):
            yield name, process


def test_killed_workers_and_damaged_videos(videos: list[Source], tmp_path: Path) -> None:
    with Killer() as killer:
        summary = curate(videos, SETTINGS, tmp_path / "out", Cluster(workers=1))
    assert not killer.left, f"no worker was killed that does {killer.left}: the test shows nothing"
    assert check(tmp_path / "out") == []
    assert_right(summary, tmp_path / "out")
    by_hand(videos, SETTINGS, tmp_path / "calm")
    assert content(tmp_path / "out").keys() == content(tmp_path / "calm").keys()
    for name, data in content(tmp_path / "calm").items():
        if name.endswith(".tar"):
            assert content(tmp_path / "out")[name] == data, name  # byte by byte


_DEADLY = """
import os, signal, sys
from pathlib import Path
from gr2_policy.curation import work
from gr2_policy.curation.settings import load_settings
from gr2_policy.curation.sources import find_sources
read = work.moments
def read_or_die(source, fps, size):
    if source.name.endswith("episode-000001"):
        os.kill(os.getpid(), signal.SIGKILL)
    return read(source, fps, size)
work.moments = read_or_die
work.cut(0, find_sources([Path(sys.argv[1])])[:3], load_settings(changes={"hands.use": "off"}), Path(sys.argv[2]))
"""


def test_a_video_that_kills_its_process_is_left_out_at_last(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _DEADLY, str(SAMPLE), str(tmp_path)]
    assert [subprocess.run(command).returncode for _ in range(4)] == [-signal.SIGKILL] * 3 + [0]
    ledger = json.loads((tmp_path / "parts/part-000000.json").read_text())
    assert ledger["errors"] == ["video_sample/episode-000001: left out, the process died 3 times over it"]
    assert len(ledger["clips"]) == 2


def assert_right(summary: Summary, folder: Path) -> None:
    assert summary.videos == 9 + 24
    assert len(summary.errors) == 2
    assert {line.split(":")[0] for line in summary.errors} == {"drawn/broken.mp4", "drawn/cut.mp4"}
    assert (folder / LOG).read_text().splitlines() == summary.errors
    assert summary.dropped["duplicate"] >= 2  # both shots of the video that is there twice
    keys = [sample.key for path in sorted((folder / "shards").glob("*.tar")) for sample in read_shard(path)]
    assert len(keys) == len(set(keys)) == summary.clips
    assert summary.clips + sum(summary.dropped.values()) >= 12 + 24
    known = {clip["source"] for clip in clips_in(folder)}
    assert len([name for name in known if name.startswith("video_sample/")]) >= 22
    assert {f"drawn/{number}.mp4" for number in range(5)} <= known
    text = page(folder)
    for word in ("duplicate", "video_sample", "drawn/broken.mp4", "clips an hour and core", "| push |"):
        assert word in text
    assert not [path for path in folder.rglob("*") if path.name.startswith((".", "encode-"))]


_RUN = """
import sys
from pathlib import Path
from gr2_policy.curation.pipeline import Cluster, curate
from gr2_policy.curation.settings import load_settings
from gr2_policy.curation.sources import find_sources
settings = load_settings(changes={"hands.use": "off", "job": 4, "output.shard": 8, "cutting.size": 64})
curate(find_sources([Path(sys.argv[1])]), settings, Path(sys.argv[2]), Cluster(workers=1),
       lambda step, done, total: print(step, done, flush=True))
"""


@pytest.mark.slow
def test_a_run_that_was_killed_goes_on(tmp_path: Path) -> None:
    """All of it, with SIGKILL, in the midst of cutting; parts that were whole are not made again."""
    process = subprocess.Popen(
        [sys.executable, "-c", _RUN, str(SAMPLE), str(tmp_path / "out")],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("cut 3"):
            break
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    parts = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out/parts").glob("part-??????.json")}
    assert 3 <= len(parts) < 7
    assert not (tmp_path / "out" / MANIFEST).exists()
    with pytest.raises(DatasetError, match="not finished"):
        check(tmp_path / "out")
    sources = find_sources([SAMPLE])
    summary = curate(sources, SETTINGS, tmp_path / "out", Cluster(workers=1))
    assert check(tmp_path / "out") == []
    for name, when in parts.items():
        assert (tmp_path / "out/parts" / name).stat().st_mtime_ns == when, f"{name} was made again"
    shards = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out/shards").glob("*.tar")}
    again = curate(sources, SETTINGS, tmp_path / "out", Cluster(workers=1))  # nothing is left to do
    assert (again.clips, again.dropped) == (summary.clips, summary.dropped)
    assert shards == {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out/shards").glob("*.tar")}
    damage(tmp_path / "out")


def damage(folder: Path) -> None:
    first = folder / "shards/shard-000000.tar"
    first.write_bytes(first.read_bytes()[:-1024] + b"x" * 1024)
    assert any("shard-000000" in line for line in check(folder))


def test_tokens_and_export(tmp_path: Path) -> None:
    """Without Ray: what a shard holds, and the dataset that becomes of it."""
    from gr2_policy.curation.pipeline import _manifest
    from gr2_policy.curation.shards import write_json

    tokenizer = VqGan(load_size("nano").tokenizer)
    save_tokenizer(tmp_path / "tokenizer", tokenizer, Origin(data={}, metrics={}))
    settings = load_settings(
        changes={"hands.use": "off", "output.shard": 5, "output.tokenizer": str(tmp_path / "tokenizer"), "job": 50}
    )
    sources = find_sources([SAMPLE])[:8]
    by_hand(sources, settings, tmp_path / "out")
    shards = [json.loads(path.read_text()) for path in sorted((tmp_path / "out/shards").glob("*.json"))]
    clips = sum(len(shard["clips"]) for shard in shards)
    summary = Summary(videos=8, clips=clips, shards=len(shards))
    write_json(tmp_path / "out" / MANIFEST, _manifest(shards, settings, summary))
    samples = [sample for path in sorted((tmp_path / "out/shards").glob("*.tar")) for sample in read_shard(path)]
    grid = (tokenizer.config.resolution // tokenizer.config.downsampling) ** 2
    for sample in samples:
        assert sample.tokens is not None
        assert sample.tokens.shape == (sample.about["frames"], grid)
        assert sample.tokens.dtype == np.uint16
    assert export(tmp_path / "out", tmp_path / "set") == clips
    assert export(tmp_path / "out", tmp_path / "set") == clips  # once is enough
    dataset = Dataset(tmp_path / "set")
    assert [info.instruction for info in dataset.episodes] == [sample.about["caption"] for sample in samples]
    assert [info.length for info in dataset.episodes] == [sample.about["frames"] for sample in samples]
    assert not dataset.shape.robot


def test_other_folders_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("x")
    with pytest.raises(DatasetError, match="holds no curation"):
        curate([], SETTINGS, tmp_path / "mine", Cluster())
    summary = curate([], SETTINGS, tmp_path / "none", Cluster())
    assert summary.clips == 0
    assert check(tmp_path / "none") == []
