"""A page about curated clips: verbs, durations, sources, what was dropped and why, what it cost."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from gr2_policy.curation.pipeline import MANIFEST
from gr2_policy.curation.shards import read_json
from gr2_policy.data.writer import DatasetError
from gr2_policy.model.config import CONFIGS

_NOUNS = ("hand", "light", "water")
"""Words that are more often things."""


@lru_cache
def _forms() -> dict[str, str]:
    data = yaml.safe_load((CONFIGS / "verbs.yaml").read_text(encoding="utf-8"))
    forms = dict(data["irregular"])
    for verb in data["verbs"]:
        stem = verb[:-1] if verb.endswith("e") else verb
        doubled = verb + verb[-1] if re.search(r"[^aeiou][aeiou][bdgklmnprt]$", verb) else ""
        forms |= {verb: verb, verb + "s": verb, verb + "es": verb, stem + "ing": verb, stem + "ed": verb}
        if doubled:
            forms |= {doubled + "ing": verb, doubled + "ed": verb}
        if verb.endswith("y"):
            forms |= {verb[:-1] + "ies": verb, verb[:-1] + "ied": verb}
        if verb.endswith("ie"):
            forms |= {verb[:-2] + "ying": verb}
    return forms


def verb_of(caption: str) -> str:
    """The first word of a caption that says what is done, in its plain form; empty where there is none."""
    words = re.findall(r"[a-z]+", caption.casefold())
    forms = _forms()
    return next((forms[word] for word in words if word in forms and word not in _NOUNS), "")


def clips_in(folder: Path) -> list[dict[str, Any]]:
    """What is known of each clip of a finished curation.

    Raises:
        DatasetError: it is not finished, or a ledger is missing.
    """
    manifest = _manifest(folder)
    clips: list[dict[str, Any]] = []
    for entry in manifest["shards"]:
        ledger = read_json((folder / entry["file"]).with_suffix(".json"))
        if ledger is None:
            raise DatasetError(f"{folder / entry['file']} has no ledger beside it")
        clips += ledger["clips"]
    return clips


def page(folder: Path) -> str:
    """The page, in Markdown.

    Raises:
        DatasetError: the curation is not finished.
    """
    manifest, clips = _manifest(folder), clips_in(folder)
    seconds = [float(clip["seconds"]) for clip in clips]
    size = sum(int(entry["bytes"]) for entry in manifest["shards"])
    verbs = Counter(verb_of(clip["caption"]) or "(none)" for clip in clips)
    words = Counter(len(clip["caption"].split()) for clip in clips)
    durations = Counter(int(value) for value in seconds)
    sources = Counter(clip["collection"] for clip in clips)
    lines = [
        f"# Curated clips: {folder.name}",
        "",
        f"{len(clips)} clips of {manifest['videos']} videos, {sum(seconds) / 3600.0:.2f} hours, {size / 1e6:.1f} MB in"
        f" {len(manifest['shards'])} shards; {len({clip['caption'] for clip in clips})} different captions.",
        "",
        *_table("dropped", manifest["dropped"]),
        *_table("verb", dict(verbs.most_common(30))),
        *_table("seconds", {f"{key} to {key + 1}": durations[key] for key in sorted(durations)}),
        *_table("words", {str(key): words[key] for key in sorted(words)}),
        *_table("collection", dict(sources.most_common(30))),
        *_cost(manifest["cpu"], len(clips)),
    ]
    if manifest["errors"]:
        lines += [
            "## Videos that could not be read to the end",
            "",
            *(f"- {line}" for line in manifest["errors"][:50]),
            "",
        ]
    return "\n".join(lines)


def _table(name: str, counts: Mapping[str, int]) -> list[str]:
    if not counts:
        return []
    top = max(counts.values())
    rows = [f"| {key} | {count} | {'#' * -(-24 * count // max(top, 1))} |" for key, count in counts.items()]
    return [f"| {name} | clips | |", "|---|---:|---|", *rows, ""]


def _cost(cpu: Mapping[str, float], clips: int) -> Sequence[str]:
    if not cpu or not clips:
        return []
    total = sum(cpu.values())
    rows = [f"| {step} | {seconds:.1f} | {1000.0 * seconds / clips:.1f} |" for step, seconds in cpu.items()]
    return [
        "| step | CPU seconds | ms a clip kept |",
        "|---|---:|---:|",
        *rows,
        f"| together | {total:.1f} | {1000.0 * total / clips:.1f} |",
        "",
        f"{3600.0 * clips / max(total, 1e-9):.0f} clips an hour and core.",
        "",
    ]


def _manifest(folder: Path) -> dict[str, Any]:
    manifest = read_json(folder / MANIFEST)
    if manifest is None:
        raise DatasetError(f"{folder} has no {MANIFEST}: the curation is not finished")
    return manifest
