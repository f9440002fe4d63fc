"""The one form in which the words of a text are read: in lower case, without marks, with "w/" and the numbers of things
in words. Free of torch."""

from __future__ import annotations

import re

from simvg_core.words import clean_text

NUMBERS = {
    "two": 2, "both": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10
}  # fmt: skip
"""Not "one": "one bolt is missing" is true where two are."""
NUMBER_WORD = "|".join(word if word != "six" else r"six(?! (?:\S+ ){0,2}sided)" for word in NUMBERS)
"""Matches such a word; not in "six sided bolt"."""
AHEAD = rf"(?:(?:a|an|any|the|all|both|{NUMBER_WORD})(?: of)? )*"
"""Matches articles and number ahead of a thing, or nothing."""
_AHEAD = re.compile(AHEAD)
_SPELLED = {str(number): word for word, number in NUMBERS.items() if word != "both"}
_WITH = re.compile(r"\bw/(o?)(?=\W)", re.IGNORECASE)
_QUOTES = str.maketrans("‘’“”", "''\"\"")
_DIGITS = re.compile(r"^(\W*(?:(?:all|any) )?(?:the )?)(10|[2-9])(?= [a-z])")
"""A number of things only ahead of them: elsewhere it is a type, as in "label A 7"."""
_MOST = re.compile(r"\b(left|right|top|bottom|upper|lower) most\b")


def in_full(text: str) -> str:
    """A text as it was written, with "w/" and "w/o" as words and typographic quotes as plain ones."""
    return _WITH.sub(lambda found: "without" if found[1] else "with", text.translate(_QUOTES))


def in_words(words: str) -> str:
    """With the number of things in words, as training says it: "two bolts" of "2 bolts"."""
    return _DIGITS.sub(lambda found: found[1] + _SPELLED[found[2]], words)


def plain(text: str) -> str:
    """The words of a text, one blank between them; "left-most" is one."""
    return in_words(_MOST.sub(r"\1most", " ".join(clean_text(in_full(text)).split())))


def without_article(words: str) -> str:
    """Plain words without the articles and the number ahead of them."""
    return _AHEAD.sub("", words, count=1)
