"""Texts of known words that a model must not be asked, because its answer would be that to another question.

A model that has read only what training says takes "no label" and "missing label" for "label", of two things in one
text it finds one or neither, "bolt in the hole" it takes for the hole without one, and numbers it cannot compare. And a
query names what raises the alarm, not what there should be. Free of torch.
"""

from __future__ import annotations

import re
from itertools import pairwise, takewhile

from simvg_core.nameless import LINKS, PRONOUNS, WHOLE, names_with, nothing_named, without_a_thing
from simvg_core.phrasing import ORDERS, Phrase, answered, is_order, phrase, silences
from simvg_core.predicates import ABSENT, ARTICLES, CONDITIONS, NEGATIONS, STATES, said_so
from simvg_core.reading import EXTREME_IN, WORDS, Reading, read
from simvg_core.sayings import is_fault, is_name, meaning, names_fastener, names_plate, names_tool, nouns
from simvg_core.sides import is_relation
from simvg_core.singular import each_as_one, of_one
from simvg_core.spelling import NUMBER_WORD, in_words, plain, without_article
from simvg_core.taught import SIZES, one_thing, states_of, untaught
from simvg_core.trained import COLORS, as_trained, trained

_COMPARING = frozenset({
    "about", "between", "bigger", "couple", "dozen", "enough", "exactly", "few", "fewer", "greater", "how", "just",
    "larger", "least", "less", "lot", "lots", "many", "max", "maximum", "min", "minimum", "more", "most", "number",
    "only", "over", "pair", "smaller", "than", "too", "up",
})  # fmt: skip
_NUMBER = rf"(?:{NUMBER_WORD}|one|\d+)"
_COMPARED = re.compile(
    r"[<>=≤≥]|\b(?:more|less|fewer|greater|larger|smaller|bigger|longer) than\b|\bat (?:least|most)\b"
    rf"|\b{_NUMBER} ?(?:-|to|or|and) ?(?:{_NUMBER}|more|less|fewer)\b"
    rf"|\b(?:exactly|only|just|up to|min|minimum|max|maximum|between|about) {_NUMBER}\b"
    rf"|^(?:over|under|above|below) {_NUMBER}\b|\b(?:too|how) (?:many|few)\b|\b\d+ ?x\b|\benough\b"
    r"|\b(?:half|most|couple|lots?|number|dozen|pairs?)(?: of)? (?:the )?(?!of |pliers|tongs|pincers)\w+s\b"
    r"|^\W*(?:1[1-9]|[2-9]\d|\d{3,}) (?:\w+ )*\w+s\b"
)
_ORDINAL = r"(?:first|second|third|fourth|fifth|last|previous|2nd|3rd|[4-9]th)"
_COUNTED_OFF = re.compile(rf"\b{_ORDINAL}\b|\bnext (?!to\b)")
_LISTED = re.compile(r"[,;/&+\n]")
_AND = re.compile(r" (?:or|and|plus|but) ")
_OR = r"(?:,? (?:or|and) | ?[/&] ?|, ?)"


def _chosen(words: frozenset[str], between: str) -> str:
    one = rf"(?:{'|'.join(sorted(words, key=len, reverse=True))})"
    return rf"\b{one}(?:{between}{one})+\b"


_TYPE = r"[a-z]\d\d?"
_CHOICE = re.compile(
    f"{_chosen(COLORS, f'(?:{_OR}| )')}|{_chosen(ABSENT | CONDITIONS, _OR)}|{_chosen(STATES, ' (?:or|and) ')}"
    rf"|\b{_TYPE}(?:{_OR}{_TYPE})+\b"
)
"""A comma between a state and a colour says both: "crooked, white label"."""
_GONE = ABSENT | {"where"}
"""And "gap where a label belongs"."""
_LACKED = frozenset({"absent", "gone", "missing"})
_DENIERS = ("no", "without", "zero", "0", "lacks", "lacking")
_OF_ABSENCE = ABSENT | NEGATIONS | ARTICLES | {
    "are", "been", "does", "exist", "exists", "has", "have", "is", "installed", "present", "there", "visible", "was",
    "were",
}  # fmt: skip
_BOLT_HOLE = re.compile(r"\b(?:bolt|screw|fastener) (?:thread )?holes?\b|\bholes? (?:for|missing) (?:an? |the )?\w+")
_THERE = re.compile(r"\b(?:holes?|there|installed|should be|in place)\b")
_QUOTED = re.compile("“([^”]+)”")
_WHERE = WORDS - {"at", "close", "hand", "half", "of", "on", "part", "side", "the", "to"}
"""Words of a place, relation or extreme that are left in a part have not been read."""
_EACH = re.compile(r"(?:all|both|each|every)(?: one)?(?: of)?(?: the)? ")
_MISJUDGED = re.compile(
    r"\b(right)(?= colou?r\b)|\bcolou?r (?:is )?(right)\b|\b(?:at|in|on) (?:the )?(wrong) (?!colou?r)"
    r"|\b((?:half|hand) (?:tight|tightened|fastened))\b|^(?:an? |the )?(half)\b|\b(half)$|\b(fallen)\b(?! out\b)"
)
"""Of what training calls wrong, which is a colour, of what it calls tight, and of what has fallen out."""
_UTMOST_SO = re.compile(rf"{EXTREME_IN.pattern}(?:is|are|has|have)\b")
_STATE_UTMOST = re.compile(rf"\b({'|'.join(sorted(STATES))}) ({EXTREME_IN.pattern[2:].rstrip()}) ?(.+)")
_PLACE_ALONE = WORDS - {"hand", "part"} | ARTICLES | {"in"}
_EMPTY = ABSENT | {"empty", "open", "unoccupied", "vacant"}


_TOLD = (
    _COMPARING | NEGATIONS | ABSENT | WORDS | ORDERS | {"&", "+", "and", "but", "each", "every", "from", "or", "plus"}
)
"""Words of which a refusal tells more than that a model does not know them."""


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
    said = phrase(text)
    text, words = said.text, said.stated
    if _COMPARED.search(text.lower()) or _COMPARED.search(words):
        return (
            f"the model cannot compare numbers or sizes ({text!r}); name the thing, or how many are meant: "
            "“two bolts” gives no more boxes than that"
        )
    if silences(words):
        return f"a query names what raises an alarm, not what raises none ({text!r}); leave it out"
    if _COUNTED_OFF.search(words):
        return f"the model cannot count things off ({text!r}); name the utmost one, “leftmost bolt”, or a place"
    listed = _listed(text)
    if listed is not None:
        return f"{text!r} names several things ({listed}), of which the model finds the first; write a query for each"
    reading = read(text)
    return (
        _choice(text)
        or reading.unclear
        or _wanted(said, reading)
        or _all_so(said)
        or next(filter(None, (_misread(reading, part) for part in reading.parts)), None)
    )


def understood(word: str) -> bool:
    """Whether a refusal tells more of a word than that a model does not know it."""
    return not word.isalpha() or word in _TOLD or re.fullmatch(_ORDINAL, word) is not None


def _listed(text: str) -> str | None:
    """The things that a text lists, where it lists any."""
    lists = [_LISTED.split(text)]
    lists += [_AND.split(part) for part in read(text).parts if trained(_bare(part)) is None]
    for things in lists:
        named = [one for one in map(plain, things) if nouns(one) and not is_relation(one) and not is_order(one)]
        if len(named) > 1:
            return ", ".join(f"“{one}”" for one in named)
    return None


def _choice(text: str) -> str | None:
    """Why a text that asks for one colour or state or another should not be asked: "red or blue cap"."""
    found = _CHOICE.search(text.lower())
    if found is None or any(
        trained(_bare(part)) and (_AND.search(part) or found[0] in part.lower()) for part in read(text).parts
    ):
        return None
    each = [text[: found.start()] + one + text[found.end() :] for one in re.split(f"{_OR}| ", found[0])]
    remedy = _either(each) or "each thing as it is called"
    return f"the model cannot judge one or the other ({found[0]!r}) in one text; write a query for each: {remedy}"


def _misread(said: Reading, part: str) -> str | None:
    """Why a part of a text should not be asked; None where training says it, or nothing that speaks against it."""
    if _UTMOST_SO.search(plain(part)) is not None:
        return without_a_thing(part, plain(part))
    if (why := _utmost(part)) is not None:
        return why
    words = _bare(part)
    if trained(words) is not None:
        return None
    of_part = said if part == said.part else Reading(part)
    judges = (_absence, _presence, _untaught, nothing_named, _unread, _two_things, _unlinked)
    return next(filter(None, (judge(of_part, words) for judge in judges)), None)


def _utmost(part: str) -> str | None:
    """Of a text with an extreme behind what is so of the thing: "loose leftmost bolt"."""
    found = _STATE_UTMOST.search(plain(part))
    if found is None:
        return None
    state, extreme, thing = found.groups()
    so = "" if state in ABSENT else f", or “the {extreme} {thing} is {state}” for that one of all"
    return f"{part!r} can be meant in two ways; write “{extreme} {state} {thing}” for the {extreme} of those{so}"


def _absence(said: Reading, words: str) -> str | None:
    """Of a text that says what a thing is not, or that it is not there."""
    told = words.split()
    if (unnamed := _unnamed(told)) is not None:
        known = f", or, where it was taught what is meant, “{unnamed}” with --expect present"
        return (
            f"of what is missing the model was taught bolts, screws and fasteners alone ({said.part!r}); write “missing"
            f" bolt” or “missing screw”{known if _why(unnamed) is None else ''}"
        )
    gone = _GONE - {"forgot", "forgotten"} if names_tool(words) else _GONE
    if "where" in told and names_plate(as_trained(without_article(" ".join(told[: told.index("where")])))):
        gone = gone - {"where"}  # "plate where the label is crooked"
    absent = not gone.isdisjoint(told) and bool(nouns(words)) and not names_fastener(words)
    if NEGATIONS.isdisjoint(told) and not absent:
        return None
    thing = _denied(told) or (_lacked(told) if absent else None)
    remedy = "say what is so instead, as in “loose bolt” or “straight label”"
    if thing is not None:
        whole, sought = said.with_part(thing), read(thing).part
        fault = is_fault(sought) and not (absent and names_tool(sought))
        if fault or (meaning(sought) is None and not absent):
            otherwise = "" if fault else ", or, with --expect present, when none is"
            remedy = _first_accepted("ask for {}; it alarms when one is there" + otherwise, whole, thing) or remedy
        elif names_fastener(sought):
            instead = _opposites(sought)
            remedy = f"ask for {instead}" if instead else f"write “{_empty(said, thing)}” for a place that is empty"
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
    if found is None and (judged := _MISJUDGED.search(words)) is not None and nouns(words):
        found = judged[judged.lastindex or 0], as_trained(nouns(words)[0])
    if found is None:
        return None
    state, thing = found
    empty = [f"missing {thing}"] if state == "fallen" else []
    taught = [one for one in (*states_of(thing), *empty) if _why(one) is None]
    if (utmost := SIZES.get(state)) is not None:
        known = f"write “{utmost} {thing}” for the {utmost} of all"
    else:
        known = f"of one it was taught {_quoted(taught)}" if taught else "it was taught no such word of one"
    alone = said.with_part(thing)
    return f"the model was never taught {state!r} of a {thing} ({said.part!r}): {known}; or ask for “{alone}”"


def _two_things(said: Reading, words: str) -> str | None:
    """Of a text that says of a thing what it has, or that it is on or in another: the model finds one of both, or
    neither."""
    parts = words.split()
    at = _places_of_things(parts)
    # what is ahead need be no name of training's: "oil on the label", "paint on the label"; but "product with a dent"
    # is a dent
    silent = ARTICLES if "on" in parts else ARTICLES | WHOLE
    begin = next((place for place, word in enumerate(parts) if word not in silent), 0)
    links = [place for place, word in enumerate(parts) if word in LINKS and at and begin < place < at[-1]]
    if not links or _BOLT_HOLE.search(words):
        return None
    first, second = (
        as_trained(" ".join(parts[: links[0]])),
        as_trained(without_article(in_words(" ".join(parts[links[-1] + 1 :])))),
    )
    said_of_plate = names_plate(first) and meaning(second) is not None  # "plate where a bolt is missing"
    second = second if is_name(second) or said_of_plate else as_trained(parts[at[-1]])
    if names_plate(second) and parts[links[0]] in ("in", "of", "on"):
        return None
    if not is_name(first):
        faults = filter(is_fault, names_with(first))
        ahead = (nouns(first) or list(faults)) if at[0] > links[0] else [parts[at[0]]]
        first = as_trained(ahead[-1]) if ahead else second
    instead = second if names_plate(first) or first == second else f"{first} next to the {second}"
    remedy = _first_accepted("write {}", instead, first) or "write a query for each"
    return f"{said.part!r} names two things, and the model cannot judge whether one is on, in or of the other; {remedy}"


def _unlinked(said: Reading, words: str) -> str | None:
    """Of a text that names one thing after another: "missing bolt crooked label"."""
    parts = words.split()
    at = _places_of_things(parts)
    things = [as_trained(parts[place]) for place in at]
    close = [(each_as_one(parts[one]), each_as_one(parts[after])) for one, after in pairwise(at) if after == one + 1]
    if all(one_thing(*pair) for pair in close):
        in_one = len(at) < len(close) + 2 or _BOLT_HOLE.search(words) is not None
        if in_one or any(map(names_plate, things)):
            return None
    named = _quoted(things)
    return f"{said.part!r} names several things ({named}), of which the model finds one or none; write a query for each"


def _places_of_things(words: list[str]) -> list[int]:
    return [place for place, word in enumerate(words) if nouns(word) and meaning(as_trained(word)) is not None]


def _unread(said: Reading, words: str) -> str | None:
    """Of a text with more words for a place, or others, than are read."""
    told, things = words.split(), nouns(words)
    word = next((word for word in told if word in _WHERE), None)
    if word and _PLACE_ALONE.issuperset(told):
        return without_a_thing(said.part, words)
    if word is None or not things or (word == "left" and names_tool(words)):
        return None
    head = as_trained(" ".join(takewhile(lambda word: word not in _WHERE | LINKS, told)))
    around = as_trained(" ".join(one for one in told if one != word))  # "loose left bolt"
    thing = next(filter(is_name, (head, around)), as_trained(things[0]))
    if word in ("middle", "center", "centre") and "in the middle" not in words:  # that is what would be offered
        rest = as_trained(without_article(" ".join(one for one in told if one not in LINKS | {word})))
        if (remedy := _first_accepted("write {}", f"{rest} in the middle", f"{thing} in the middle")) is not None:
            return f"{word!r} is not understood in {said.part!r}; {remedy} for the middle of the picture"
    other = "gear" if "label" in thing else "label"
    examples = f"“{thing} on the left”, “{thing} next to the {other}” or “leftmost {thing}”"
    return f"{word!r} is not understood in {said.part!r}; write one place, relation or extreme, as in {examples}"


def _wanted(said: Phrase, reading: Reading) -> str | None:
    """Of an order for what there should be: a text names what raises the alarm."""
    wanted = said.wanted
    if wanted is None or reading.composed:
        return None
    instead = _opposites(read(wanted).part)
    remedy = f"ask for “{wanted}” and expect it to be there (--expect present)" + (
        f", or for {instead}" if instead else ""
    )
    return _why(wanted) or f"{said.text!r} says what there should be, and a query what raises the alarm; {remedy}"


def _all_so(text: Phrase) -> str | None:
    """Of a text that says that all things are in order: where one is, it would be answered with that one."""
    full = answered(text.stated) or text.stated
    quantified = _EACH.match(full)
    about = full[quantified.end() :] if quantified else full
    said = said_so(about)
    if said is None:
        return None
    part = read(about).part
    instead = _opposites(part)
    if quantified is None and (not instead or of_one(said[0]) == said[0]):
        return None
    instead = instead or (f"“{part}”, which may be one" if is_fault(part) else "")
    remedy = f"ask for {instead}" if instead else "ask for what should not be there, as in “loose bolt”"
    return f"{text.text!r} asks whether all are so, and the model finds each that is, of all or of some; {remedy}"


def _opposites(words: str) -> str:
    """What may be wrong with a thing that a text says to be in order: “loose bolt” of "tight bolt"; "" of others."""
    said = meaning(words)
    if said is None or said.concept.state is None or said.concept.defect:
        return ""
    return _quoted([one for noun in nouns(words)[:1] for one in states_of(noun) if is_fault(one)])


def _unnamed(words: list[str]) -> str | None:
    """What a text says to be missing that is no thing of training's: “motor” of "the motor is missing", “tooth” of
    "gear with a missing tooth"; None of any other text."""
    place = next((place for place, word in enumerate(words) if word in _LACKED), None)
    if place is None:
        return None
    behind = takewhile(lambda word: word not in LINKS | _WHERE, words[place + 1 :])
    silent = _OF_ABSENCE | PRONOUNS
    thing = [word for word in behind if word.isalpha() and word not in silent]
    if not thing and not nouns(" ".join(words)):
        thing = [word for word in words if word.isalpha() and word not in silent]
    return " ".join(thing) if thing and not nouns(" ".join(thing)) else None


def _lacked(words: list[str]) -> str:
    """The thing of which a text says that it is missing: that behind the word after another thing, else the first."""
    place = next(place for place, word in enumerate(words) if word in _GONE)
    behind = nouns(" ".join(words[place + 1 :]))
    ahead = nouns(" ".join(words[:place]))
    return as_trained((behind or ahead)[0])


def _denied(words: list[str]) -> str | None:
    """The thing of which a text says that it is not there, as one."""
    place = next((place for place, word in enumerate(words) if word in _DENIERS), None)
    behind = "" if place is None else without_article(" ".join(words[place + 1 :]))
    if nouns(behind):
        return as_trained(behind)
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
