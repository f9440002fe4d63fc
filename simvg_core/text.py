"""From words to token ids."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from tokenizers import Tokenizer
from torch import Tensor

from simvg_core.configuration import SimVGConfig
from simvg_core.errors import CheckpointError, TextError

BEGIN, PAD, END, UNKNOWN = 0, 1, 2, 3
_SPECIAL = {"<s>": BEGIN, "<pad>": PAD, "</s>": END, "<unk>": UNKNOWN}
_REMOVED = str.maketrans({**dict.fromkeys(".,'!?\"()*#:;"), "-": " ", "/": " "})


def clean_text(text: str) -> str:
    """Lower case; without . , ' ! ? " ( ) * # : ; and with a space for - and /. Everything else stays as it is."""
    return text.lower().translate(_REMOVED)


class Pieces(Protocol):
    """A tokenizer: a cleaned text to piece ids, without begin and end."""

    def __call__(self, text: str) -> list[int]: ...

    def save(self, folder: Path) -> None: ...


class FastPieces:
    """A `tokenizer.json` of the tokenizers library with <s>, <pad>, </s>, <unk> as ids 0 to 3."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        wrong = {name: tokenizer.token_to_id(name) for name, want in _SPECIAL.items()}
        if wrong != _SPECIAL:
            raise CheckpointError(f"the tokenizer gives its special tokens the ids {wrong}; they must be {_SPECIAL}.")

    def __call__(self, text: str) -> list[int]:
        return list(self.tokenizer.encode(text, add_special_tokens=False).ids)

    def save(self, folder: Path) -> None:
        self.tokenizer.save(str(folder / "tokenizer.json"))


class XLMRobertaPieces:
    """The tokenizer of published weights, read by transformers from a folder with `sentencepiece.bpe.model`."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer

    def __call__(self, text: str) -> list[int]:
        return list(self.tokenizer.convert_tokens_to_ids(self.tokenizer.tokenize(text)))

    def save(self, folder: Path) -> None:
        self.tokenizer.save_pretrained(folder)


def read_pieces(folder: Path, kind: str) -> Pieces:
    """The tokenizer in a model folder; `kind` is `SimVGConfig.tokenizer`.

    Raises:
        CheckpointError: its file is missing or does not fit.
    """
    if kind == "fast":
        path = folder / "tokenizer.json"
        if not path.is_file():
            raise CheckpointError(f"{folder} has no tokenizer.json; copy the one the model was trained with.")
        try:
            return FastPieces(Tokenizer.from_file(str(path)))
        except CheckpointError:
            raise
        except Exception as error:  # the library raises bare Exception for a broken file
            raise CheckpointError(f"{path} is not a readable tokenizer ({error}).") from error
    from transformers import XLMRobertaTokenizer

    # Given a file under another name, transformers silently reads every word as <unk>.
    if not any((folder / name).is_file() for name in ("sentencepiece.bpe.model", "tokenizer.json")):
        raise CheckpointError(f"{folder} has no sentencepiece.bpe.model; copy beit3.spm there under that name.")
    return XLMRobertaPieces(XLMRobertaTokenizer.from_pretrained(folder))


class TextBatch(NamedTuple):
    """N packed texts."""

    input_ids: Tensor  # (N, T) long
    attention_mask: Tensor  # (N, T) long, 1 = real token
    truncated: list[str]  # per text, the words that were cut off ("" if none)


class TextPacker:
    """Cleaning, tokenizing and packing: [begin, pieces, end, padding …]."""

    def __init__(self, config: SimVGConfig, pieces: Pieces) -> None:
        self.config, self.pieces = config, pieces

    def __call__(self, texts: list[str], pad_to_longest: bool = False) -> TextBatch:
        """Packs texts to `max_text_tokens`, or to the longest of them.

        Raises:
            TextError: not a string, nothing left after cleaning, or too long where the config says "error".
        """
        rows, truncated = [], []
        for text in texts:
            row, cut = self._row(text)
            rows.append(row)
            truncated.append(cut)
        length = max(map(len, rows), default=0) if pad_to_longest else self.config.max_text_tokens
        ids = torch.full((len(rows), length), PAD, dtype=torch.long)
        mask = torch.zeros_like(ids)
        for index, row in enumerate(rows):
            ids[index, : len(row)] = torch.tensor(row)
            mask[index, : len(row)] = 1
        return TextBatch(ids, mask, truncated)

    def _row(self, text: Any) -> tuple[list[int], str]:
        if not isinstance(text, str):
            raise TextError(f"a text is a {type(text).__name__} ({text!r}); pass a string.")
        cleaned = clean_text(text)
        pieces = self.pieces(cleaned) if cleaned.strip() else []
        if not pieces:
            raise TextError(f'text {text!r} has no words after cleaning; name a thing, for example "missing bolt".')
        room = self.config.max_text_tokens - 2
        if len(pieces) <= room:
            return pack(pieces, self.config.max_text_tokens), ""
        words = cleaned.split()
        kept = len(words)
        while kept and len(self.pieces(" ".join(words[:kept]))) > room:
            kept -= 1
        cut = " ".join(words[kept:])
        if self.config.text_overflow == "error":
            raise TextError(
                f"text {text!r} has {len(pieces)} tokens, the model reads {room}; shorten it, {cut!r} would be cut off."
            )
        return pack(pieces, self.config.max_text_tokens), cut

    def unknown_words(self, text: str) -> list[str]:
        """Words of a text that the tokenizer does not know, in order; the model cannot tell them apart."""
        return [word for word in clean_text(text).split() if UNKNOWN in self.pieces(word)]


def pack(pieces: list[int], max_tokens: int) -> list[int]:
    """Begin, the first `max_tokens` − 2 pieces, end."""
    return [BEGIN, *pieces[: max_tokens - 2], END]
