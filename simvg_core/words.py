"""From words to token ids as plain lists: cleaning, the fast tokenizer, packing. Every engine begins here."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

from tokenizers import Tokenizer

from simvg_core.errors import CheckpointError, QueryIndexError, TextError

BEGIN, PAD, END, UNKNOWN = 0, 1, 2, 3
UNREADABLE = "text the model cannot read"
"""Why a sample is left out, where samples are counted."""
COMPLAINTS = 20_000
"""Texts that are remembered to be in order, or why not: thousands are asked with every frame."""
TEXTS_AT_ONCE = 500
"""Texts that go through a model's text pass together, so that thousands of them do not need memory for all at once."""

LEARNED = "words.json"
"""File of a model folder: word → how often training said it."""
_TYPE = re.compile(r"[a-z]?[1-9]\d?")
"""A type or number as training says them: "M6", "A17", "A-17"."""
_NEAR = 0.75  # "mising" is "missing", "gasket" is no "basket"
_SEVERAL, _AS_NEAR = 5, 0.05
"""Near words that are compared, and how much less alike they may be than the nearest."""
_LEAST_HALF, _NO_HALVES = 3, frozenset({"for", "out"})
"""Letters of each of two words that are written as one: "into" is a word of its own, and so is "outside"."""
MIN_TIMES = 20
"""A word that training said less often is not learned."""

_SPECIAL = {"<s>": BEGIN, "<pad>": PAD, "</s>": END, "<unk>": UNKNOWN}
REMOVED, SPACED = ".,'!?\"()*#:;", "-/"
_CLEANED = str.maketrans({**dict.fromkeys(REMOVED), **dict.fromkeys(SPACED, " ")})


def clean_text(text: str) -> str:
    """Lower case; without . , ' ! ? " ( ) * # : ; and with a space for - and /. Everything else stays as it is."""
    return text.lower().translate(_CLEANED)


class Pieces(Protocol):
    """A tokenizer: a cleaned text to piece ids, without begin and end."""

    def __call__(self, text: str) -> list[int]: ...

    def knows(self, word: str) -> bool:
        """Whether the model can be expected to understand a cleaned word."""
        ...

    def near(self, word: str) -> str | None:
        """A word that the model knows and that an unknown one may be a misspelling of."""
        ...

    def save(self, folder: Path) -> None:
        """Writes the tokenizer's files into a model folder."""
        ...


class FastPieces:
    """A `tokenizer.json` of the tokenizers library with <s>, <pad>, </s>, <unk> as ids 0 to 3.

    Args:
        learned: words that the model was trained on, and how often; none = it knows all that have pieces. A model that
            began with nothing takes a word that it never read for any other: it must not be asked with it.
    """

    def __init__(self, tokenizer: Tokenizer, learned: Mapping[str, int] | None = None) -> None:
        self.tokenizer = tokenizer
        self.learned = dict(learned or {})
        wrong = {name: tokenizer.token_to_id(name) for name, want in _SPECIAL.items()}
        if wrong != _SPECIAL:
            raise CheckpointError(f"the tokenizer gives its special tokens the ids {wrong}; they must be {_SPECIAL}.")

    def __call__(self, text: str) -> list[int]:
        return list(self.tokenizer.encode(text, add_special_tokens=False).ids)

    def knows(self, word: str) -> bool:
        """Types and small numbers ("m6", "a17") are no words: training says others at every turn."""
        if UNKNOWN in self(word):
            return False
        return not self.learned or word in self.learned or _TYPE.fullmatch(word) is not None

    def near(self, word: str) -> str | None:
        """Two learned words that it is made of, "missing bolt" of "missingbolt" and "missing_bolt"; else of the learned
        words, of those about equally near the one that training said most often.

        A slip seldom hits the first letter, and a word with another one may say the opposite: "undamaged", "damaged".
        """
        if (apart := self._apart(word)) is not None:
            return apart
        alike = [known for known in self.learned if known[0] == word[0]]
        found = difflib.get_close_matches(word, alike, _SEVERAL, _NEAR)
        likeness = [difflib.SequenceMatcher(None, near, word).ratio() for near in found]
        close = [near for near, like in zip(found, likeness, strict=True) if like >= likeness[0] - _AS_NEAR]
        return max(close, key=self.learned.__getitem__, default=None)

    def _apart(self, word: str) -> str | None:
        if "_" in word.strip("_"):
            parts = [part for part in word.split("_") if part]
            return " ".join(parts) if all(map(self.knows, parts)) else None
        cuts = range(_LEAST_HALF, len(word) - _LEAST_HALF + 1)
        known = self.learned.keys() - _NO_HALVES
        pairs = [(word[:cut], word[cut:]) for cut in cuts if word[:cut] in known and word[cut:] in known]
        often = max(pairs, key=lambda pair: min(self.learned[half] for half in pair), default=None)
        return None if often is None else " ".join(often)

    def save(self, folder: Path) -> None:
        """Writes `tokenizer.json`, and the learned words where they are known, into a model folder."""
        self.tokenizer.save(str(folder / "tokenizer.json"))
        if self.learned:
            (folder / LEARNED).write_text(json.dumps(self.learned, indent=0, sort_keys=True) + "\n", encoding="utf-8")


def read_fast_pieces(folder: Path) -> FastPieces:
    """The `tokenizer.json` in a model folder, and its learned words where it tells them.

    Raises CheckpointError: it is missing or does not fit.
    """
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise CheckpointError(f"{folder} has no tokenizer.json; copy the one the model was trained with.")
    try:
        return FastPieces(Tokenizer.from_file(str(path)), _read_learned(folder / LEARNED))
    except CheckpointError:
        raise
    except Exception as error:  # the library raises bare Exception for a broken file
        raise CheckpointError(f"{path} is not a readable tokenizer ({error}).") from error


def _read_learned(path: Path) -> dict[str, int]:
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{path} cannot be read ({error}); copy it from where the model was trained.") from error
    if not isinstance(found, dict) or not all(isinstance(times, int) for times in found.values()):
        raise CheckpointError(f"{path} must hold words and how often each was said; copy it anew.")
    return found


class WordPacker:
    """Cleaning, tokenizing and packing: [begin, pieces, end].

    Args:
        max_tokens: begin and end included.
        overflow: "truncate" cuts what is too long at a word, "error" refuses it.
    """

    def __init__(self, pieces: Pieces, max_tokens: int, overflow: str) -> None:
        self.pieces, self.max_tokens, self.overflow = pieces, max_tokens, overflow
        self.complaint = lru_cache(COMPLAINTS)(self._complaint)

    def rows(self, texts: Sequence[Any]) -> tuple[list[list[int]], list[str]]:
        """Ids of each text, and the words of each that were cut off ("" if none).

        Raises:
            TextError: not a string, nothing left after cleaning, or too long.
        """
        pairs = [self._row(text) for text in texts]
        return [row for row, _ in pairs], [cut for _, cut in pairs]

    def _row(self, text: Any) -> tuple[list[int], str]:
        if not isinstance(text, str):
            raise TextError(f"a text is a {type(text).__name__} ({text!r}); pass a string.")
        cleaned = clean_text(text)
        pieces = self.pieces(cleaned) if cleaned.strip() else []
        if not pieces:
            raise TextError(f'text {text!r} has no words after cleaning; name a thing, for example "missing bolt".')
        room = self.max_tokens - 2
        if len(pieces) <= room:
            return pack(pieces, self.max_tokens), ""
        words = cleaned.split()
        kept = len(words)
        while kept and len(self.pieces(" ".join(words[:kept]))) > room:
            kept -= 1
        cut = " ".join(words[kept:])
        if self.overflow == "error":
            raise TextError(
                f"text {text!r} has {len(pieces)} tokens, the model reads {room}; shorten it, {cut!r} would be cut off."
            )
        return pack(pieces, self.max_tokens), cut

    def reads(self, text: Any) -> bool:
        """Whether :meth:`rows` takes the text."""
        try:
            self._row(text)
        except TextError:
            return False
        return True

    def unknown_words(self, text: str) -> list[str]:
        """Words of a text that the model does not know, in order: it takes each for any other."""
        return [word for word in clean_text(text).split() if not self.pieces.knows(word)]

    def _joined(self, text: str) -> dict[str, str]:
        """Unknown words, each with what it makes up with the one beside it: "unscrewed" of "un screwed"."""
        found: dict[str, str] = {}
        for first, second in pairwise(clean_text(text).split()):
            whole = first + second
            if whole.isalpha() and self.pieces.knows(whole):
                found |= {word: whole for word in (first, second) if not self.pieces.knows(word)}
        return found

    def _complaint(self, text: str) -> str | None:
        """`complaint`: why a text should not be asked, in words, or None: the model does not know some of its words."""
        named = []
        joined = self._joined(text)
        for word in dict.fromkeys(self.unknown_words(text)):
            near = joined.get(word) or self.pieces.near(word)
            hint = "" if near is None else f" (did you mean {near!r}?)"
            if near is None and any(map(str.isdigit, word)):
                hint = " (numbers are read in types alone, as in 'M6' or 'A17')"
            named.append(f"{word!r}{hint}")
        return f"the model does not know {', '.join(named)}; use other words" if named else None


def pack(pieces: list[int], max_tokens: int) -> list[int]:
    """Begin, the first `max_tokens` − 2 pieces, end."""
    return [BEGIN, *pieces[: max_tokens - 2], END]


def places(texts: str | int | Iterable[str | int], names: Sequence[str]) -> set[int]:
    """Where compiled texts stand among all of them, from 0; each is named by its words or its place.

    Raises:
        QueryIndexError: there is no such text or place.
    """
    found = set()
    for item in [texts] if isinstance(texts, str | int) else texts:
        if isinstance(item, str) and item not in names:
            raise QueryIndexError(f"no compiled query {item!r}; there are {len(names)}.")
        if not isinstance(item, str) and not 0 <= item < len(names):
            raise QueryIndexError(f"no compiled query at {item}; there are {len(names)} (from 0).")
        found.add(names.index(item) if isinstance(item, str) else item)
    return found
