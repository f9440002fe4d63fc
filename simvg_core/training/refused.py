"""Texts of a data set that a worker would not ask a model, or not as they stand, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from simvg_core.asked_words import AskedWords
from simvg_core.composing import rows_of
from simvg_core.refusals import refusal
from simvg_core.training.sets.sample import Sample
from simvg_core.words import clean_text

UNKNOWN_WORDS = "a word that training never says"
MISREAD = "known words that a worker refuses"
WAY_OUT = "model: {composed_answers: false}"
"""The setting of a run whose model is asked such texts as they stand."""


@dataclass(frozen=True)
class Refused:
    """So many of so many expressions, and the first one's text with why it is refused."""

    count: int
    total: int
    text: str = ""
    reason: str = ""

    def __str__(self) -> str:
        first = f" (first: {self.text!r}: {self.reason})" if self.count else ""
        return f"{self.count} of {self.total} left out: unknown words or refused{first}"


NOTHING = Refused(0, 0)


def sort_of(words: AskedWords, text: str) -> str | None:
    """Why a worker refuses a text, `UNKNOWN_WORDS` or `MISREAD`; None where it asks it."""
    told = words.complaint(text)
    if told is None:
        return None
    return MISREAD if told == refusal(text) else UNKNOWN_WORDS


def asked(words: AskedWords, samples: Sequence[Sample]) -> tuple[list[Sample], Refused]:
    """The samples that a worker would ask, and what it would not."""
    told = [words.complaint(sample.text) for sample in samples]
    kept = [sample for sample, reason in zip(samples, told, strict=True) if reason is None]
    first = next(((one.text, reason) for one, reason in zip(samples, told, strict=True) if reason), ("", ""))
    return kept, Refused(len(samples) - len(kept), len(samples), *first)


def misread(texts: Iterable[str]) -> Refused:
    """Of the texts of a training those that its model will not be asked although it learned their words, where it is
    asked in parts (`SimVGConfig.composed_answers`)."""
    counts = Counter(texts)
    reasons = {text: reason for text in counts if (reason := refusal(text)) is not None}
    first = next(iter(reasons.items()), ("", ""))
    return Refused(sum(counts[text] for text in reasons), counts.total(), *first)


@dataclass(frozen=True)
class Divided:
    """So many of so many expressions are asked in parts only, and the first one's text with what is asked for it."""

    count: int
    total: int
    text: str = ""
    asked: tuple[str, ...] = ()


def divided(texts: Iterable[str]) -> Divided:
    """Of the texts of a training those that a model which is asked in parts (`SimVGConfig.composed_answers`) never gets
    as they stand, and is not refused either: what they teach of themselves, no answer is made of."""
    counts = Counter(texts)
    # which states cells will tell is found out once the model is trained: here none do
    asked = {text: tuple(rows_of([text], ())) for text in counts}
    found = [text for text, rows in asked.items() if _is_divided(text, rows)]
    first = next(((text, asked[text]) for text in found), ("", ()))
    return Divided(sum(counts[text] for text in found), counts.total(), *first)


def _is_divided(text: str, asked: Sequence[str]) -> bool:
    return clean_text(text).strip() not in (clean_text(one).strip() for one in asked) and refusal(text) is None
