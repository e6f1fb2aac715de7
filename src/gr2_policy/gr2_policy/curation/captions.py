"""Captions: what the source says, or what a vision-language model sees; and whether a caption is worth keeping."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from gr2_policy.curation.settings import CaptionSettings

_EMPTY_WORDS = ("i cannot", "i can't", "unable to", "as an ai", "unanswerable", "no image", "not sure", "<loc", "http")
_WORD = re.compile(r"[^\W\d_]+(?:['-][^\W\d_]+)*")


class Captioner(Protocol):
    """Says what happens in clips."""

    def captions(self, clips: Sequence[np.ndarray], told: Sequence[str]) -> list[str]:
        """One caption for each clip.

        Args:
            clips: (T, h, w, 3) uint8 RGB each.
            told: what their sources say; may be empty.
        """
        ...


class TemplateCaptioner:
    """Takes the words of the source: for video that we render, which knows what it shows."""

    def captions(self, clips: Sequence[np.ndarray], told: Sequence[str]) -> list[str]:
        """See Captioner."""
        del clips
        return [tidied(text) for text in told]


def tidied(text: str) -> str:
    """One line without markup, blanks at the ends or a full stop."""
    text = re.sub(r"<[^>]{1,40}>", " ", text)
    return " ".join(text.split()).strip(" .\"'")


def reject_caption(text: str, settings: CaptionSettings) -> str:
    """Why a caption is not good enough; empty if it is."""
    words = [word.casefold() for word in _WORD.findall(text)]
    if not words:
        return "caption: empty"
    if not settings.words[0] <= len(words) <= settings.words[1]:
        return "caption: too short" if len(words) < settings.words[0] else "caption: too long"
    if any(phrase in text.casefold() for phrase in _EMPTY_WORDS):
        return "caption: says nothing"
    pairs = list(itertools.pairwise(words))
    if pairs and 1.0 - len(set(pairs)) / len(pairs) > settings.repeats:
        return "caption: repeats itself"
    letters = sum(character.isalpha() or character.isspace() for character in text)
    return "caption: not words" if letters < 0.7 * len(text) else ""


def too_common(captions: Sequence[str], settings: CaptionSettings, least: int = 10) -> frozenset[str]:
    """Captions given to so many clips that they say nothing about any of them."""
    counts = Counter(text.casefold() for text in captions)
    bound = max(least, settings.same * len(captions))
    return frozenset(text for text, count in counts.items() if count > bound)
