"""Which words a run has said so far: a model that began with nothing knows these and no others."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from simvg_core.errors import CheckpointError
from simvg_core.training.data import Batch
from simvg_core.words import MIN_TIMES, FastPieces, Pieces, clean_text, read_fast_pieces


def count_words(heard: dict[str, int], batches: Iterable[Batch], pieces: Pieces) -> None:
    """Adds the words of rendered sets' questions that are one piece; in others the model reads single letters.

    Data sets of expressions are not counted: who trains on them begins with weights that know far more words.
    """
    if not isinstance(pieces, FastPieces):
        return
    for batch in batches:
        for query in batch.queries:
            for word in clean_text(query.text).split():
                if word in heard or pieces.tokenizer.token_to_id(word) is not None:
                    heard[word] = heard.get(word, 0) + 1


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
