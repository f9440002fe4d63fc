"""One run of `simvg gate`: pictures and texts in, gate layers and thresholds out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from simvg_core.derived import Cells, asked_for, is_derived
from simvg_core.errors import InputError
from simvg_core.gate import GateCurve, GatePoint, store
from simvg_core.gate_fit import FALSE, TRUE, UNKNOWN, Asked, FitSettings, collect, fit, measure
from simvg_core.grounder import Grounder
from simvg_core.images import Frame, read_frame
from simvg_core.lineworld.diverse import Ask, diverse
from simvg_core.lineworld.language import Grammar, rng_of
from simvg_core.lineworld.meaning import Meaning, Verdict, verdict
from simvg_core.lineworld.truth import Seen, read_truth, seen_in
from simvg_core.lineworld.vocabulary import COLOR_WORDS, CONCEPTS, SIZE_WORDS
from simvg_core.model_folder import rewriting
from simvg_core.reading import read
from simvg_core.standing import CompiledTexts, StandingQueries
from simvg_core.training.augment import AugmentSettings, augment
from simvg_core.training.rendered import open_for_scoring
from simvg_core.training.sets.errors import SetNotFoundError
from simvg_core.training.sets.sample import Sample

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
PHRASES = 5000

Pool = Mapping[str, Ask | None]
"""Texts that any picture may be asked, and what they mean where that is known."""

# Of so many of the pool's texts, up to so many that are true of a picture are asked of it: by chance they are few.
JUDGED, MOST_TRUE = 1500, 60
# Questions of the training's grammar about each picture whose scene is known, with this share of further wordings.
QUESTIONS, WORDINGS = 40, 0.3
# Pictures made of each picture, besides it: as in training, but gentler.
MORE_VIEWS = 2
AUGMENTATION = AugmentSettings(
    zoom=(0.75, 1.3), quarter_turn=0.25, any_turn=0.05, gain=(0.7, 1.35), tint=0.05, blur=0.12, heavy_blur=0.0,
    low_resolution=0.05, noise=0.25, jpeg=0.3, cutout=0.06,
)  # fmt: skip
HELD_OUT = "synonym"
"""Kind of the questions in phrasings that nothing is taught by."""


@dataclass(frozen=True)
class Known:
    """What is known of a picture: what it is asked and whether that is there, in phrasings that may teach and in
    others; and the scene, of a rendered one."""

    usual: dict[str, int]
    held_out: dict[str, int]
    scene: list[Seen] | None


class GateRun:
    """One model, the texts it is asked, and how many of them each picture."""

    def __init__(self, folder: Path, pool: Pool, *, by_truth: bool, count: int, seed: int) -> None:
        """Args:
        pool: that any picture may be asked, `count` of them each.
        by_truth: ask each picture also what the truth or the annotations beside it say.
        """
        self.folder, self.grounder = folder, Grounder.from_pretrained(folder, gate=False)
        self.composing = self.grounder.composing
        self.pool = pool if self.composing is None else in_parts(pool, self.composing)
        self.by_truth, self.count, self.seed = by_truth, count, seed

    def fit(self, files: list[Path], pictures: int, epochs: int) -> None:
        """Teaches the gate on at most so many of the pictures."""
        rng = np.random.default_rng(self.seed)
        chosen = [files[place] for place in sorted(rng.permutation(len(files))[:pictures].tolist())]
        with _bar() as bar:
            asked, texts = self._asked(chosen, self.seed + 1, teaches=True)
            # thousands of pictures have to fit into memory
            lessons = collect(self.grounder, texts, asked, _told(bar, "pictures"), torch.float16)
            fit(self.grounder, lessons, texts, FitSettings(epochs=epochs, seed=self.seed), _told(bar, "epochs"))

    def measure(self, files: list[Path]) -> GateCurve:
        """What the gate lets pass on other pictures."""
        with _bar() as bar:
            asked, texts = self._asked(files, self.seed + 2, teaches=False)
            return measure(self.grounder, collect(self.grounder, texts, asked, _told(bar, "pictures")), texts)

    def store(self, points: Sequence[GatePoint], *, with_layers: bool) -> None:
        """Writes what was chosen into the model's folder. Raises ConfigurationError where that cannot be written."""
        config = self.grounder.config
        store(config, points)
        with rewriting(self.folder) as part:
            if with_layers:
                self.grounder.model.save_pretrained(part)
            else:
                config.save_pretrained(part)

    def _asked(self, files: list[Path], seed: int, *, teaches: bool) -> tuple[list[Asked], CompiledTexts]:
        """What each picture is asked; what ``teaches`` are none of the texts that are held out, and of rendered
        pictures also others made of them."""
        rng = np.random.default_rng(seed)
        chosen: list[tuple[Callable[[], Frame], dict[str, int]]] = []
        for number, file in enumerate(files):
            picture = known(file, teaches=teaches) if self.by_truth else Known({}, {}, None)
            chosen.append((partial(read_frame, file), self._of(picture, rng, teaches)))
            if not teaches or picture.scene is None:
                continue
            for view in range(MORE_VIEWS):
                # made anew when it is looked at: thousands of pictures would fill the memory
                other = partial(self._augmented, file, picture.scene, (seed, number, view))
                chosen.append((_First(other), self._of(Known({}, {}, other()[1]), rng, teaches)))
        places = {text: place for place, text in enumerate(dict.fromkeys(text for _, own in chosen for text in own))}
        ready = self.grounder.compile_rows(list(places))
        assert isinstance(ready, StandingQueries), "simvg gate has looked"
        asked = [Asked(read, [places[text] for text in own], list(own.values())) for read, own in chosen]
        return asked, ready.texts

    def _augmented(self, file: Path, scene: list[Seen], seed: tuple[int, ...]) -> tuple[Frame, list[Seen]]:
        rng = np.random.default_rng(seed)
        return augment(read_frame(file), scene, self.grounder.config.image_size, AUGMENTATION, rng)

    def _of(self, picture: Known, rng: np.random.Generator, teaches: bool) -> dict[str, int]:
        scene, own = picture.scene, self._in_parts(picture.usual | ({} if teaches else picture.held_out))
        if scene is None:
            return dict.fromkeys(self._draw(rng, self.count), UNKNOWN) | own
        if teaches:
            grammar = Grammar(further_wordings=WORDINGS)
            asked = grammar.ask(scene, rng_of(self.seed, int(rng.integers(2**32)), 0), QUESTIONS)
            own = self._in_parts({query.text: TRUE if query.targets else FALSE for query in asked})
        fits = _Fits(scene)
        drawn = {text: _judged(self.pool[text], fits) for text in self._draw(rng, max(JUDGED, self.count))}
        true = [text for text, truth in drawn.items() if truth == TRUE][:MOST_TRUE]
        return {text: drawn[text] for text in [*true, *list(drawn)[: self.count]]} | own

    def _in_parts(self, known: Mapping[str, int]) -> dict[str, int]:
        """What a model is asked for texts; of one in parts that is not true some may be, and nobody knows which."""
        if self.composing is None:
            return dict(known)
        found: dict[str, int] = {}
        for text, truth in known.items():
            reading = read(text)
            if truth != FALSE or not reading.composed:
                found |= {part: truth for part in reading.parts if not is_derived(part, self.composing)}
        return found

    def _draw(self, rng: np.random.Generator, count: int) -> list[str]:
        texts = list(self.pool)
        return [texts[place] for place in rng.permutation(len(texts))[:count].tolist()]


@dataclass(frozen=True)
class _First:
    """The picture of a picture and its scene."""

    make: Callable[[], tuple[Frame, list[Seen]]]

    def __call__(self) -> Frame:
        return self.make()[0]


class _Fits:
    """What of one scene fits a meaning, looked up once for all the texts that share it."""

    def __init__(self, scene: list[Seen]) -> None:
        self.scene = scene
        self.known: dict[tuple[str, str | None, str | None], Verdict] = {}

    def __call__(self, meaning: Meaning) -> Verdict:
        key = meaning.concept.key, meaning.color, meaning.size  # a concept itself takes long to hash
        if (found := self.known.get(key)) is None:
            found = self.known[key] = verdict(meaning, self.scene)
        return found


def _judged(ask: Ask | None, fits: _Fits) -> int:
    said = None if ask is None else ask.judged(fits)
    return UNKNOWN if said is None else TRUE if said else FALSE


def _told(bar: Progress, what: str) -> Callable[[int, int], None]:
    task = bar.add_task(what)
    return lambda done, total: bar.update(task, completed=done, total=total)


def _bar() -> Progress:
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console, disable=not console.is_terminal)


def known(file: Path, *, teaches: bool) -> Known:
    """What the set that a picture lies in says of it; nothing of a picture that lies in none, and only the scene of a
    rendered one that ``teaches``: other questions are made of it."""
    folder = file.absolute().parents[1]  # of a picture that was named from inside its own folder, too
    truth = folder / "truth" / f"{file.stem}.json"
    scene = seen_in(read_truth(truth)) if truth.is_file() else None
    found = Known({}, {}, scene)
    if teaches and scene is not None:
        return found
    for one in _samples(folder).get(file.name, []):
        own = found.held_out if one.kind == HELD_OUT else found.usual
        own[one.text] = TRUE if one.boxes_xyxy_px else FALSE
    return found


@cache
def _samples(folder: Path) -> dict[str, list[Sample]]:
    try:
        samples = open_for_scoring(folder).samples()
    except SetNotFoundError:
        return {}
    found: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        found[sample.image.name].append(sample)
    return found


def pool_of(file: Path | None, seed: int) -> Pool:
    """Texts of a file, one a line, or what one can ask of the rendered line. Raises InputError."""
    if file is None:
        return line_queries(seed)
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file} cannot be read ({error}); give a text file in UTF-8, one query a line.") from error
    texts = [line.strip() for line in lines if line.strip()]
    if not texts:
        raise InputError(f"{file} holds no query; write one a line.")
    return dict.fromkeys(texts)


def line_queries(seed: int) -> Pool:
    """What one can ask of the line: each thing by its names, plain, in its colours and sizes, and many phrases."""
    asks = []
    for concept in CONCEPTS:
        for name, _ in concept.names:
            asks.append(Ask(name, Meaning(concept)))
            for color, words in COLOR_WORDS.items() if concept.colored else ():
                asks += [Ask(f"{word} {name}", Meaning(concept, color=color)) for word in words]
            for size, words in SIZE_WORDS.items() if concept.sized else ():
                asks += [Ask(f"{word} {name}", Meaning(concept, size=size)) for word in words]
    return {ask.text: ask for ask in [*diverse(PHRASES, seed), *asks]}


def in_parts(pool: Pool, cells: Cells) -> dict[str, Ask | None]:
    """What a model that composes is asked for texts. Wholes are too seldom asked to teach or measure by."""
    found: dict[str, Ask | None] = {}
    for text, ask in pool.items():
        reading = read(text)
        for part, meaning in zip(reading.parts, (ask.meaning, ask.other) if ask else (None, None), strict=False):
            if not is_derived(part, cells):
                found[part] = Ask(part, meaning) if meaning else None
                continue
            for row in asked_for(part, cells):
                found.setdefault(row, None)
        if not reading.composed and not is_derived(text, cells):
            found[text] = ask
    return found


def pictures_in(folder: Path) -> list[Path]:
    """Pictures of a folder and its sub-folders. Raises InputError for none."""
    files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES)
    if not files:
        raise InputError(f"{folder} holds no picture ({', '.join(SUFFIXES)}).")
    return files
