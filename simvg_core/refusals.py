"""Texts of known words that a model must not be asked, because its answer would be that to another question.

A model that has read only what training says takes "no label" and "missing label" for "label", of two things in one
text it finds the first, "bolt in the hole" it takes for the hole without one, and numbers it cannot compare. Free of
torch.
"""

from __future__ import annotations

import re

from simvg_core.phrasing import plain
from simvg_core.predicates import ABSENT, ARTICLES, CONDITIONS, NEGATIONS, STATES
from simvg_core.reading import EXTREME_IN, WORDS, Reading, read
from simvg_core.sayings import is_name, meaning, names_fastener, names_tool, nouns
from simvg_core.taught import states_of, untaught
from simvg_core.trained import COLORS, as_trained, trained

_COMPARING = frozenset({"more", "less", "fewer", "than", "least", "most", "greater", "larger", "smaller", "bigger"})
_COMPARED = re.compile(
    r"[<>≤≥]|\b(?:more|less|fewer|greater|larger|smaller|bigger|longer) than\b|\bat (?:least|most)\b"
)
_LISTED = re.compile(r"[,;/\n]")
_OR = r"(?:,? or | ?/ ?|, ?)"


def _chosen(words: frozenset[str], between: str) -> str:
    one = rf"(?:{'|'.join(sorted(words, key=len, reverse=True))})"
    return rf"\b{one}(?:{between}{one})+\b"


_CHOICE = re.compile(f"{_chosen(COLORS, _OR)}|{_chosen(ABSENT | CONDITIONS, _OR)}|{_chosen(STATES, ' or ')}")
"""A comma between a state and a colour says both: "crooked, white label"."""
_NUMBERED = re.compile(r"\bno (?=\d)")  # "label no. 7"
_DENIERS = ("no", "without", "zero", "0", "lacks", "lacking")
_OF_ABSENCE = ABSENT | NEGATIONS | ARTICLES | {
    "are", "been", "does", "exist", "exists", "has", "have", "is", "installed", "present", "there", "visible", "was",
    "were",
}  # fmt: skip
_PRONOUNS = frozenset({"it", "its", "their", "them", "these", "they", "this", "those"})
_BOLT_HOLE = re.compile(r"\b(?:bolt|screw|fastener) (?:thread )?holes?\b|\bholes? for (?:an? |the )?\w+")
_THERE = re.compile(r"\b(?:holes?|there|installed|should be|in place)\b")
_QUOTED = re.compile("“([^”]+)”")
_EMPTY = ABSENT | {"empty", "open", "unoccupied", "vacant"}


def refusal(text: str) -> str | None:
    """Why a text that a model is asked in parts should not be asked, with what to write instead; None if it may be."""
    why = _why(text)
    if why is None:
        return None
    reason, _, remedy = why.partition("; ")
    if all(_why(offered) is None for offered in _QUOTED.findall(remedy)):
        return why
    return f"{reason}; say it in simpler words, as in “loose bolt” or “red cap left of the gear”"


def _why(text: str) -> str | None:
    """Why not; what is offered instead may be refused as well, where a text has two faults."""
    if _COMPARED.search(text.lower()):
        return (
            f"the model cannot compare numbers or sizes ({text!r}); name the thing, or how many are meant: "
            "“two bolts” gives no more boxes than that"
        )
    listed = _listed(text)
    if listed is not None:
        return f"{text!r} names several things ({listed}), of which the model finds the first; write a query for each"
    said = read(text)
    return _choice(text) or said.unclear or next(filter(None, (_misread(said, part) for part in said.parts)), None)


def understood(word: str) -> bool:
    """Whether a refusal tells more of a word than that a model does not know it."""
    return not word.isalpha() or word in _COMPARING | NEGATIONS | ABSENT | WORDS


def _listed(text: str) -> str | None:
    """The things that a text lists, where it lists any."""
    lists = [_LISTED.split(text)]
    lists += [part.split(" or ") for part in read(text).parts if trained(_bare(part)) is None]
    for things in lists:
        named = [one for one in map(plain, things) if nouns(one)]
        if len(named) > 1:
            return ", ".join(f"“{one}”" for one in named)
    return None


def _choice(text: str) -> str | None:
    """Why a text that asks for one colour or state or another should not be asked: "red or blue cap"."""
    found = _CHOICE.search(text.lower())
    if found is None or any(trained(_bare(part)) and " or " in part for part in read(text).parts):
        return None
    each = [text[: found.start()] + one + text[found.end() :] for one in re.split(_OR, found[0])]
    remedy = _either(each) or "each thing as it is called"
    return f"the model cannot judge one or the other ({found[0]!r}) in one text; write a query for each: {remedy}"


def _misread(said: Reading, part: str) -> str | None:
    """Why a part of a text should not be asked; None where training says it, or nothing that speaks against it."""
    words = _NUMBERED.sub("", _bare(part))
    if trained(words) is not None:
        return None
    told = words.split()
    of_part = said if part == said.part else Reading(part)
    found = _absence(of_part, words) or _presence(of_part, words) or _untaught(of_part, words)
    pronoun = next((word for word in told if word in _PRONOUNS), None)
    if found is None and pronoun is not None:
        return f"what {pronoun!r} stands for is not told in {part!r}; write the thing itself"
    return found


def _absence(said: Reading, words: str) -> str | None:
    """Of a text that says what a thing is not, or that it is not there."""
    told = words.split()
    absent = not ABSENT.isdisjoint(told) and bool(nouns(words)) and not names_fastener(words) and not names_tool(words)
    if NEGATIONS.isdisjoint(told) and not absent:
        return None
    thing = _denied(told) or (as_trained(nouns(words)[0]) if absent else None)
    remedy = "say what is so instead, as in “loose bolt” or “straight label”"
    if thing is not None:
        whole, sought = said.with_part(thing), read(thing).part
        if names_tool(sought) or ((said_so := meaning(sought)) is not None and said_so.concept.defect):
            remedy = _first_accepted("ask for {}; it alarms when one is there", whole, thing) or remedy
        elif names_fastener(sought):
            remedy = f"write “{_empty(said, thing)}” for a place that is empty"
        else:
            asking = "ask for {} and expect it to be there (--expect present)"
            remedy = _first_accepted(asking, whole, thing) or remedy
    instead = "for its opposite or for something else: it cannot judge what is denied"
    return f"the model takes {said.part!r} {instead}; {remedy}"


def _presence(said: Reading, words: str) -> str | None:
    """Of a text that says that a bolt or screw is where it belongs."""
    told = words.split()
    beyond = _BOLT_HOLE.sub("hole", words)
    if not _EMPTY.isdisjoint(told) or not names_fastener(beyond) or _THERE.search(beyond) is None:
        return None
    thing = _fastener(beyond)
    remedy = f"write “{said.with_part(thing)}” for it, or “{_empty(said, thing)}” for the empty place"
    return f"the model takes {said.part!r} for a place where a {thing} is missing; {remedy}"


def _untaught(said: Reading, words: str) -> str | None:
    """Of a text that says of a thing what training never says of it: the model would take it for the thing alone."""
    found = untaught(words)
    if found is None:
        return None
    state, thing = found
    taught = [one for one in states_of(thing) if _why(one) is None]
    known = f"of one it was taught {_quoted(taught)}" if taught else "it was taught no such word of one"
    alone = said.with_part(thing)
    return f"the model was never taught {state!r} of a {thing} ({said.part!r}): {known}; or ask for “{alone}”"


def _denied(words: list[str]) -> str | None:
    """The thing of which a text says that it is not there, as one."""
    place = next((place for place, word in enumerate(words) if word in _DENIERS), None)
    behind = [] if place is None else words[place + 1 :]
    while behind and behind[0] in ARTICLES:
        behind = behind[1:]
    if nouns(" ".join(behind)):
        return as_trained(" ".join(behind))
    thing = " ".join(word for word in words if word not in _OF_ABSENCE)
    return as_trained(thing) if is_name(thing) else None


def _fastener(words: str) -> str:
    return next(noun for noun in map(as_trained, nouns(words)) if names_fastener(noun))


def _empty(said: Reading, words: str) -> str:
    """What a text says of a fastener in these words, of the place where it is missing."""
    missing = f"missing {_fastener(words)}"
    return said.with_part(read(words).with_part(missing if meaning(missing) is not None else "missing bolt"))


def _first_accepted(remedy: str, *texts: str) -> str | None:
    """A remedy with the first text that is not refused itself."""
    text = next((text for text in texts if _why(text) is None), None)
    return None if text is None else remedy.format(f"“{text}”")


def _either(texts: list[str]) -> str:
    return _quoted([text for text in texts if _why(text) is None])


def _quoted(texts: list[str]) -> str:
    return ", ".join(f"“{text}”" for text in texts)


def _bare(part: str) -> str:
    return EXTREME_IN.sub("", plain(part))
