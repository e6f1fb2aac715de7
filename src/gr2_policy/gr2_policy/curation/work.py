"""The two kinds of work, each a function of its inputs and files alone: cutting videos, and finishing clips.

Either may be done twice, or half and then again: what it writes has a fixed name and content, and comes into being by
a rename. That is what makes the whole run exact however often a worker dies.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from gr2_policy.curation.captions import Captioner, TemplateCaptioner, reject_caption, too_common
from gr2_policy.curation.clips import Clip, clips_of
from gr2_policy.curation.decode import moments
from gr2_policy.curation.fingerprint import fingerprint
from gr2_policy.curation.hands import HandDetector, PalmDetector, reject_hands
from gr2_policy.curation.motion import reject_motion
from gr2_policy.curation.settings import Settings
from gr2_policy.curation.shards import Sample, encode, read_json, read_shard, write_json, write_shard
from gr2_policy.curation.sources import Source
from gr2_policy.data.video import VideoError

DEATHS = 3
"""Processes that may die over one video before it is left out; Ray starts a job four times."""
STEPS = ("decode and cut", "motion", "hands", "fingerprint", "encode", "caption", "tokens")


@dataclass
class Ledger:
    """What became of clips, what went wrong, and what it cost.

    Attributes:
        kept: clips that went on.
        dropped: others, by reason.
        errors: in words.
        cpu: seconds of CPU time by step.
    """

    kept: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    errors: list[str] = field(default_factory=list)
    cpu: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def timed(self, step: str) -> Iterator[None]:
        """Book what is done within to a step."""
        start = time.process_time()
        try:
            yield
        finally:
            self.cpu[step] = self.cpu.get(step, 0.0) + time.process_time() - start

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "kept": self.kept,
            "dropped": dict(self.dropped),
            "errors": self.errors,
            "cpu": {step: round(seconds, 4) for step, seconds in self.cpu.items()},
        }


def fitting(*parts: Any) -> str:
    """A short digest of plain data: what was made from the same parts need not be made again."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:20]


def part_path(folder: Path, number: int) -> Path:
    """Tar of the clips of a cutting job; its ledger is beside it with ending .json."""
    return folder / "parts" / f"part-{number:06d}.tar"


def shard_path(folder: Path, number: int) -> Path:
    """Tar of finished clips; its ledger is beside it with ending .json."""
    return folder / "shards" / f"shard-{number:06d}.tar"


# --- cutting ---


def cut(number: int, sources: Sequence[Source], settings: Settings, folder: Path) -> dict[str, Any]:
    """Make clips of some videos, unless that was done before.

    A video that is damaged, or kills the process again and again, costs a line among the errors; clips before the
    damage are kept.

    Returns:
        the job's ledger.

    Raises:
        DetectorUnavailable: hands are to be looked for, and cannot. OSError: the disk does not take it.
    """
    path = part_path(folder, number)
    of = fitting(asdict(settings.cutting), asdict(settings.motion), asdict(settings.hands), settings.output.quality,
                 [asdict(source) for source in sources])  # fmt: skip
    before = read_json(path.with_suffix(".json"))
    if before is not None and before.get("of") == of and path.exists():
        return before
    path.parent.mkdir(parents=True, exist_ok=True)
    ledger, clips = Ledger(), []

    trying = _Trying(path)

    def samples() -> Iterator[Sample]:
        for source in sources:
            if trying.begin(source.name) > DEATHS:
                ledger.errors.append(f"{source.name}: left out, the process died {DEATHS} times over it")
                continue
            for clip in _clips(source, settings, ledger):
                if reason := _rejected(clip, settings, ledger):
                    ledger.dropped[reason] += 1
                    continue
                with ledger.timed("fingerprint"):
                    print_ = fingerprint(clip.frames)
                with ledger.timed("encode"):
                    video = encode(clip.frames, clip.fps, settings.output.quality, path.parent)
                ledger.kept += 1
                clips.append({"key": clip.key, "print": print_.hex()})
                yield Sample(clip.key, video, _about(clip))
            trying.end()

    _, digest = write_shard(path, samples())
    result = {"job": number, "of": of, "sha256": digest, "clips": clips, "sources": len(sources), **ledger.to_json()}
    write_json(path.with_suffix(".json"), result)
    trying.forget()
    return result


class _Trying:
    """Notes on disk which video is being read, so that one that kills its process is not tried for ever."""

    def __init__(self, part: Path) -> None:
        self._path = part.with_suffix(".trying.json")
        self._counts: dict[str, int] = (read_json(self._path) or {}).get("counts", {})

    def begin(self, name: str) -> int:
        """A video is to be read; says for the how manieth time."""
        self._counts[name] = self._counts.get(name, 0) + 1
        self._now = name
        write_json(self._path, {"counts": self._counts})
        return self._counts[name]

    def end(self) -> None:
        """It was read."""
        del self._counts[self._now]
        write_json(self._path, {"counts": self._counts})

    def forget(self) -> None:
        """The part is whole."""
        self._path.unlink(missing_ok=True)


def _clips(source: Source, settings: Settings, ledger: Ledger) -> Iterator[Clip]:
    stream = moments(source, settings.cutting.fps, settings.cutting.size)
    clips = clips_of(source, stream, settings.cutting)
    given = 0
    while True:
        try:
            with ledger.timed("decode and cut"):
                clip = next(clips, None)
        except VideoError as error:
            ledger.errors.append(f"{source.name}: {error} ({given} clips before that are kept)")
            return
        if clip is None:
            if not given:
                ledger.dropped["too short"] += 1
            return
        given += 1
        yield clip


def _rejected(clip: Clip, settings: Settings, ledger: Ledger) -> str:
    with ledger.timed("motion"):
        if reason := reject_motion(clip.frames, settings.motion):
            return reason
    check = settings.hands
    if check.use == "off" or (check.use == "trusted" and clip.source.hands):
        return ""
    with ledger.timed("hands"):
        return reject_hands(clip.frames, _detector(), check)


@lru_cache(maxsize=1)
def _detector() -> HandDetector:
    return PalmDetector()


def _about(clip: Clip) -> dict[str, Any]:
    return {
        "source": clip.source.name,
        "collection": clip.source.collection,
        "begin": round(clip.source.begin + clip.begin, 4),
        "seconds": round(clip.seconds, 4),
        "fps": clip.fps,
        "size": clip.frames.shape[1],
        "told": clip.source.caption,
    }


# --- finishing ---


class Finisher:
    """Captions and tokenises clips; keeps its models from one shard to the next.

    Args:
        settings: see there.
        folder: of the run.

    Raises:
        CaptionerError, CheckpointError: a model cannot be used.
    """

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.settings, self.folder = settings, folder
        self._captioner: Captioner | None = None
        self._tokenizer: Any = None

    def finish(self, number: int, wanted: Sequence[tuple[int, str]]) -> dict[str, Any]:
        """Make a shard of some clips, unless that was done before.

        Args:
            number: of the shard.
            wanted: cutting job and key of each clip, in order.

        Returns:
            the shard's ledger.

        Raises:
            ShardError: a part is damaged. OSError: the disk does not take it.
        """
        path, settings = shard_path(self.folder, number), self.settings
        of = fitting(asdict(settings.captions), settings.output.tokenizer, list(wanted))
        before = read_json(path.with_suffix(".json"))
        if before is not None and before.get("of") == of and path.exists():
            return before
        path.parent.mkdir(parents=True, exist_ok=True)
        ledger, samples = Ledger(), self._wanted(wanted)
        with ledger.timed("decode and cut"):
            frames = [sample.frames(path.parent) for sample in samples]
        with ledger.timed("caption"):
            captions = self._captions(frames, [str(sample.about["told"]) for sample in samples])
        common = too_common(captions, settings.captions) if settings.captions.captioner != "template" else frozenset()
        made: list[Sample] = []
        for sample, pictures, caption in zip(samples, frames, captions, strict=True):
            reason = "caption: like many others" if caption.casefold() in common else ""
            if reason := reason or reject_caption(caption, settings.captions):
                ledger.dropped[reason] += 1
                continue
            with ledger.timed("tokens"):
                tokens = self._tokens(pictures)
            about = {
                **sample.about,
                "caption": caption,
                "captioner": settings.captions.captioner,
                "frames": len(pictures),
            }
            made.append(Sample(sample.key, sample.video, about, tokens))
        ledger.kept, digest = write_shard(path, made)
        clips = [{"key": sample.key, **_listed(sample.about)} for sample in made]
        result = {"shard": number, "of": of, "sha256": digest, "bytes": path.stat().st_size, "clips": clips}
        result |= ledger.to_json()
        write_json(path.with_suffix(".json"), result)
        return result

    def _wanted(self, wanted: Sequence[tuple[int, str]]) -> list[Sample]:
        found: dict[str, Sample] = {}
        for part in dict.fromkeys(number for number, _ in wanted):
            keys = frozenset(key for number, key in wanted if number == part)
            found |= {sample.key: sample for sample in read_shard(part_path(self.folder, part), keys)}
        return [found[key] for _, key in wanted]

    def _captions(self, frames: Sequence[np.ndarray], told: Sequence[str]) -> list[str]:
        if self._captioner is None:
            if self.settings.captions.captioner == "template":
                self._captioner = TemplateCaptioner()
            else:
                from gr2_policy.curation.vision_language import TransformersCaptioner

                self._captioner = TransformersCaptioner(self.settings.captions)
        return self._captioner.captions(frames, told)

    def _tokens(self, frames: np.ndarray) -> np.ndarray | None:
        if not self.settings.output.tokenizer:
            return None
        import torch

        from gr2_policy.model.checkpoint import load_tokenizer
        from gr2_policy.model.transforms import Transforms
        from gr2_policy.training.tokens import encode as to_tokens

        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        if self._tokenizer is None:
            self._tokenizer = load_tokenizer(Path(self.settings.output.tokenizer))[0].to(device)
        transforms = Transforms(views=("head",), resolution=self._tokenizer.config.resolution, frame_dt=0.1)
        images = np.stack([transforms.resize(frame) for frame in frames])
        return to_tokens(self._tokenizer, images[:, None], device)[:, 0]


def _listed(about: Mapping[str, Any]) -> dict[str, Any]:
    return {name: about[name] for name in ("caption", "collection", "seconds", "source")}
