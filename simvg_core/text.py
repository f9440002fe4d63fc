"""From words to tensors of token ids."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from simvg_core.configuration import SimVGConfig
from simvg_core.errors import CheckpointError
from simvg_core.words import PAD, UNKNOWN, Pieces, WordPacker, read_fast_pieces


class XLMRobertaPieces:
    """The tokenizer of published weights, read by transformers from a folder with `sentencepiece.bpe.model`."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer

    @property
    def size(self) -> int:
        """Ids it can give, begin, padding, end and unknown included."""
        return len(self.tokenizer) - 1  # its mask token is no word

    def __call__(self, text: str) -> list[int]:
        return list(self.tokenizer.convert_tokens_to_ids(self.tokenizer.tokenize(text)))

    def knows(self, word: str) -> bool:
        """Whether it has pieces for a cleaned word; BEiT-3 has read most."""
        return UNKNOWN not in self(word)

    def near(self, word: str) -> str | None:
        """Its pieces are no whole words."""
        return None

    def save(self, folder: Path) -> None:
        """Writes the tokenizer's files into a model folder."""
        self.tokenizer.save_pretrained(folder)


def read_pieces(folder: Path, kind: str) -> Pieces:
    """The tokenizer in a model folder; `kind` is `SimVGConfig.tokenizer`.

    Raises:
        CheckpointError: its file is missing or does not fit.
    """
    if kind == "fast":
        return read_fast_pieces(folder)
    from transformers import XLMRobertaTokenizer

    # Given a file under another name, transformers silently reads every word as <unk>.
    if not any((folder / name).is_file() for name in ("sentencepiece.bpe.model", "tokenizer.json")):
        raise CheckpointError(f"{folder} has no sentencepiece.bpe.model; copy beit3.spm there under that name.")
    try:
        return XLMRobertaPieces(XLMRobertaTokenizer.from_pretrained(folder))
    except Exception as error:  # transformers raises many kinds for a broken file
        raise CheckpointError(
            f"the tokenizer in {folder} cannot be read ({str(error).splitlines()[0]}); make the folder anew with "
            "`simvg convert`."
        ) from error


def read_sentencepiece(path: Path, vocab_size: int) -> XLMRobertaPieces:
    """The tokenizer of published weights from its SentencePiece file (`beit3.spm`), every piece of it checked.

    Raises:
        CheckpointError: no such file, not a SentencePiece model, other special pieces, or more pieces than the model
            has words.
    """
    from sentencepiece import SentencePieceProcessor
    from transformers import XLMRobertaTokenizer

    if not path.is_file():
        raise CheckpointError(f"{path} is not a file; give the SentencePiece model, beit3.spm for published weights.")
    try:
        model: Any = SentencePieceProcessor(model_file=str(path))
    except (RuntimeError, OSError, TypeError) as error:
        raise CheckpointError(f"{path} is not a SentencePiece model ({error}); download beit3.spm again.") from error
    names = [model.id_to_piece(i) for i in range(model.get_piece_size())]
    if names[:3] != ["<unk>", "<s>", "</s>"]:
        raise CheckpointError(
            f"{path} starts with the pieces {names[:3]}, not <unk>, <s>, </s>: it is the tokenizer of another model. "
            "Give beit3.spm."
        )
    if len(names) >= vocab_size:
        raise CheckpointError(
            f"{path} has {len(names)} pieces, the model has words for {vocab_size - 1}: it is the tokenizer of another "
            "model. Give beit3.spm."
        )
    with tempfile.TemporaryDirectory() as folder:
        shutil.copyfile(path, Path(folder) / "sentencepiece.bpe.model")
        pieces = XLMRobertaPieces(XLMRobertaTokenizer.from_pretrained(folder))
    ids = pieces.tokenizer.convert_tokens_to_ids(names[3:])
    if wrong := [name for place, name in enumerate(names[3:], start=4) if ids[place - 4] != place]:
        raise CheckpointError(f"transformers reads pieces of {path} under other ids, {wrong[0]!r} among them.")
    return pieces


class TextBatch(NamedTuple):
    """N packed texts."""

    input_ids: Tensor  # (N, T) long
    attention_mask: Tensor  # (N, T) long, 1 = real token
    truncated: list[str]  # per text, the words that were cut off ("" if none)


class TextPacker:
    """Texts to tensors: [begin, pieces, end, padding …]."""

    def __init__(self, config: SimVGConfig, pieces: Pieces) -> None:
        self.pieces, self.max_tokens = pieces, config.max_text_tokens
        self.words = WordPacker(pieces, config.max_text_tokens, config.text_overflow)

    def __call__(self, texts: list[str], pad_to_longest: bool = False) -> TextBatch:
        """Packs texts to `max_text_tokens`, or to the longest of them.

        Raises:
            TextError: not a string, nothing left after cleaning, or too long where the config says "error".
        """
        rows, truncated = self.words.rows(texts)
        length = max(map(len, rows), default=0) if pad_to_longest else self.max_tokens
        ids = torch.full((len(rows), length), PAD, dtype=torch.long)
        mask = torch.zeros_like(ids)
        for index, row in enumerate(rows):
            ids[index, : len(row)] = torch.tensor(row)
            mask[index, : len(row)] = 1
        return TextBatch(ids, mask, truncated)
