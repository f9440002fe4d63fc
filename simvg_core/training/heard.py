"""Which words a run has said so far: a model that began with nothing knows these and no others."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from simvg_core.errors import CheckpointError
from simvg_core.training.data import Batch
from simvg_core.training.processes import Processes
from simvg_core.words import MIN_TIMES, UNKNOWN, FastPieces, Pieces, clean_text, read_fast_pieces


def count_words(heard: dict[str, int], batches: Iterable[Batch], pieces: Pieces, from_nothing: bool = True) -> None:
    """Adds the words of the texts that a step asks.

    Of rendered sets' questions those that are one piece: others are designations, of which no two are alike. Of data
    sets of expressions also those that are spelt in several pieces, for they say what a line's own things are called.

    Args:
        from_nothing: the run began without weights. Where it did not, and `heard` is empty, its start knows more words
            than can be told, and nothing is counted for expressions: the model is asked all that has pieces.
    """
    if not isinstance(pieces, FastPieces):
        return
    for batch in batches:
        rendered = bool(batch.queries)
        if not (rendered or from_nothing or heard):
            continue
        for text in batch.texts:
            for word in clean_text(text).split():
                if word in heard or pieces.tokenizer.token_to_id(word) is not None:
                    heard[word] = heard.get(word, 0) + 1
                elif not rendered and UNKNOWN not in pieces(word):
                    heard[word] = 1


def heard_by_all(before: dict[str, int], own: dict[str, int], processes: Processes) -> dict[str, int]:
    """What all processes have heard, the same in each: a process hears only the texts of its own batches.

    Args:
        before: what they last agreed on, which is in `own` of each.
    """
    news = processes.collect({word: times - before.get(word, 0) for word, times in own.items()})
    words = dict.fromkeys(word for one in news for word in one)
    return {word: before.get(word, 0) + sum(one.get(word, 0) for one in news) for word in words}


def learned_words(heard: dict[str, int]) -> dict[str, int]:
    """Those said often enough."""
    return {word: times for word, times in heard.items() if times >= MIN_TIMES}


def heard_before(start: str | None) -> dict[str, int]:
    """What a run begins with: the learned words of the model folder whose weights are its start, where it tells them.

    Raises CheckpointError: they cannot be read.
    """
    if start is None or not (Path(start) / "tokenizer.json").is_file():
        return {}
    try:
        return read_fast_pieces(Path(start)).learned
    except CheckpointError:
        if (Path(start) / "sentencepiece.bpe.model").is_file():  # a tokenizer of published weights, which counts none
            return {}
        raise
