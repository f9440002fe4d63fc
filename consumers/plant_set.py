"""Sets of pictures with expressions, as `simvg train` reads them, that grow by what operators say.

`OUT/train`, `OUT/val` and `OUT/test` hold `annotations.json` and `images/` (docs/data.md). `OUT/collected.json` holds
the shares of the sets, what was learned of which alerts, and of every expression that was written a digest of what it
said: what is no longer as it was written, or is no longer there, a person has changed or removed, and it stays so.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path, PurePath
from typing import Any

from consumers.saving import writing
from infra.errors import SettingsError

SETS = ("train", "val", "test")
DOCUMENT = "annotations.json"
LEDGER = "collected.json"
LISTS = ("images", "annotations", "expressions")
VERSION = 1

Record = dict[str, Any]
DEFAULT_SHARES: Mapping[str, float] = {"train": 0.6, "val": 0.2, "test": 0.2}
BoxPx = tuple[float, float, float, float]
"""x, y, width, height in pixels, as COCO has it."""


class Became(StrEnum):
    """What became of an expression that was put in."""

    NEW = "new"
    CHANGED = "changed with their verdicts"
    SAME = "as they were"
    CORRECTED = "corrected by hand, left so"
    REMOVED = "removed by hand, left so"


@dataclass(frozen=True, slots=True)
class Expression:
    """A text, and all the places on a picture that it means; ``alerts``: whose verdicts say so."""

    image_id: str
    file_name: str
    image: bytes
    width: int
    height: int
    text: str
    boxes: tuple[BoxPx, ...]
    kind: str
    alerts: tuple[str, ...]

    @property
    def id(self) -> str:
        """The same for the same words on the same picture, whichever alert they are of."""
        return f"{self.image_id}-{_hashed(self.text.casefold())[:8]}"


class PlantSet:
    """The sets of one folder. Pictures are written when they are put in, what is said of them by :meth:`save`."""

    def __init__(self, out: Path, shares: Mapping[str, float] | None) -> None:
        """``shares``: of the sets, by name; None: those that the folder was begun with.

        Raises SettingsError: the folder is none of ours, was begun with other shares, or a file of it cannot be read.
        """
        self._out = out
        self._ledger = _read_ledger(out, shares)
        self._written = self._ledger.written
        self._documents = {name: _Document(out / name, name) for name in SETS}
        self._gone: set[Path] = set()

    @property
    def shares(self) -> Mapping[str, float]:
        return self._ledger.shares

    @property
    def alerts(self) -> set[str]:
        """All that something was learned of."""
        return {alert for lesson in self._ledger.lessons.values() for alert in lesson["alerts"]}

    def said_of(self, key: str) -> str | None:
        """What was learned under a key, as given to :meth:`learned`; None: nothing."""
        known = self._ledger.lessons.get(key)
        return None if known is None else str(known["said"])

    def learned(self, key: str, said: str, alerts: Sequence[str]) -> None:
        """Keeps what all expressions of one picture and query were made of."""
        self._ledger.lessons[key] = {"said": said, "alerts": list(alerts)}

    def home_of(self, image_id: str) -> str | None:
        """The set that has this picture."""
        return next((name for name, one in self._documents.items() if image_id in one.by_id["images"]), None)

    def put(self, name: str, one: Expression, *, overwrite: bool = False) -> Became:
        """Puts an expression into a set; one that a person has changed or removed stays so unless ``overwrite``.

        Raises SettingsError: its picture cannot be written.
        """
        document, digest = self._documents[name], _digest(one.text, one.boxes)
        stored, was = document.by_id["expressions"].get(one.id), self._written.get(one.id)
        if stored is None and was is not None and not overwrite:
            return Became.REMOVED
        found = None if stored is None else document.said(stored)
        if found == digest:
            self._written[one.id] = digest
            return Became.SAME
        if stored is not None and found != was and not overwrite:
            return Became.CORRECTED
        self._put_image(document, one)
        if stored is None:
            stored = {"id": one.id, "image_id": one.image_id, "kind": one.kind}
            document.add("expressions", stored)
        else:
            document.drop_annotations(stored)
        stored |= {"text": one.text, "annotation_ids": [], "alerts": list(one.alerts)}
        for number, box in enumerate(one.boxes, 1):
            id = f"{one.id}-{number}"
            document.add("annotations", {"id": id, "image_id": one.image_id, "bbox": list(box)})
            stored["annotation_ids"].append(id)
        self._written[one.id] = digest
        return Became.NEW if was is None else Became.CHANGED

    def take_back(self, alerts: Set[str], *, but: Set[str] = frozenset()) -> int:
        """Removes what verdicts on these alerts have said, where it is still as it was written, but for expressions of
        some ids. Returns how many."""
        count, lessons = 0, self._ledger.lessons
        for key in [key for key, lesson in lessons.items() if not alerts.isdisjoint(lesson["alerts"])]:
            del lessons[key]
        for document in self._documents.values():
            for stored in list(document.lists["expressions"]):
                id, about = stored.get("id"), stored.get("alerts")
                if id in but or not isinstance(about, list) or alerts.isdisjoint(map(str, about)):
                    continue
                if self._written.get(str(id)) == document.said(stored):
                    document.drop_annotations(stored)
                    document.remove("expressions", stored)
                    del self._written[str(id)]
                    self._gone |= document.drop_image(stored.get("image_id"))
                    count += 1
        return count

    def figures(self) -> dict[str, tuple[int, int, int]]:
        """By set: pictures, expressions that mean something on them, and expressions that mean nothing."""
        found = {}
        for name, document in self._documents.items():
            meant = Counter(bool(one.get("annotation_ids")) for one in document.lists["expressions"])
            found[name] = len(document.lists["images"]), meant[True], meant[False]
        return found

    def save(self) -> None:
        """Writes what is said of the pictures, each file at once: whoever stops it leaves whole sets.

        Raises SettingsError: a person has changed a file meanwhile; the system has something against it.
        """
        with writing(self._out):
            self._begin()
            changed = [one for one in self._documents.values() if one.is_changed()]
            for document in changed:
                document.require_untouched()
            for document in changed:
                _replace(document.path, document.written_out().encode())
            self._ledger.write(self._out)
            still = {one.image(image) for one in self._documents.values() for image in one.lists["images"]}
            for path in self._gone - still:
                path.unlink(missing_ok=True)

    def _begin(self) -> None:
        """The folder is known as ours from the first picture on."""
        if not (self._out / LEDGER).exists():
            _Ledger(self._ledger.shares, {}, {}).write(self._out)

    def _put_image(self, document: _Document, one: Expression) -> None:
        stored = document.by_id["images"].get(one.image_id)
        if stored is None:
            stored = {"id": one.image_id, "file_name": one.file_name, "width": one.width, "height": one.height}
            document.add("images", stored)
        path = document.image(stored)
        if path is not None and not path.exists():
            with writing(self._out):
                self._begin()
                _replace(path, one.image)


class _Document:
    """`annotations.json` of one set. Whatever else it holds stays in it."""

    def __init__(self, folder: Path, name: str) -> None:
        self.path = folder / DOCUMENT
        info = {"version": "1", "split": name, "description": "what operators said of alerts (simvg alerts collect)"}
        self._whole: Record = {"info": info, **{key: [] for key in LISTS}}
        self._read = _content(self.path)
        if self._read is not None:
            self._whole = _json(self.path, self._read)
        for key in LISTS:
            records = self._whole.get(key) if isinstance(self._whole, dict) else None
            if not isinstance(records, list) or not all(
                isinstance(one, dict) and isinstance(one.get("id"), str | int) for one in records
            ):
                raise SettingsError(
                    f"{self.path} has no list {key!r} of records with ids; `simvg data check` says what is wrong"
                )
        self.lists: dict[str, list[Record]] = {key: self._whole[key] for key in LISTS}
        self.by_id = {key: {one["id"]: one for one in self.lists[key]} for key in LISTS}
        self._before = self.written_out()

    def is_changed(self) -> bool:
        """Since it was read."""
        return self.written_out() != self._before

    def require_untouched(self) -> None:
        """Raises SettingsError: the file is another than when it was read."""
        if _content(self.path) != self._read:
            raise SettingsError(f"{self.path} was changed by somebody else meanwhile and is left so; run it again")

    def add(self, key: str, record: Record) -> None:
        self.lists[key].append(record)
        self.by_id[key][record["id"]] = record

    def remove(self, key: str, record: Record) -> None:
        self.lists[key].remove(record)
        self.by_id[key].pop(record["id"], None)

    def image(self, record: Record) -> Path | None:
        """The file of a picture; None where a person has named one elsewhere, which is theirs."""
        name = PurePath(str(record.get("file_name")))
        return None if name.is_absolute() or ".." in name.parts else self.path.parent / "images" / name

    def said(self, expression: Record) -> str:
        """Digest of what an expression says."""
        boxes = [self.by_id["annotations"].get(id, {}).get("bbox") for id in _ids(expression)]
        return _digest(expression.get("text"), boxes)

    def drop_annotations(self, expression: Record) -> None:
        """Those of one expression that no other one means."""
        kept = {id for one in self.lists["expressions"] if one is not expression for id in _ids(one)}
        for id in set(_ids(expression)) - kept:
            if id in self.by_id["annotations"]:
                self.remove("annotations", self.by_id["annotations"][id])

    def drop_image(self, image_id: object) -> set[Path]:
        """A picture that nothing is said of any more; its file."""
        if any(one.get("image_id") == image_id for key in LISTS[1:] for one in self.lists[key]):
            return set()
        found = [one for one in self.lists["images"] if one["id"] == image_id]
        for one in found:
            self.remove("images", one)
        return {path for one in found if (path := self.image(one)) is not None}

    def written_out(self) -> str:
        """One record a line, so that two versions can be compared line by line."""
        parts = []
        for key, value in self._whole.items():
            text = json.dumps(value, ensure_ascii=False)
            if key in LISTS and value:
                rows = ",\n".join(json.dumps(one, ensure_ascii=False) for one in value)
                text = f"[\n{rows}\n]"
            parts.append(f"{json.dumps(key)}: {text}")
        return "{\n" + ",\n".join(parts) + "\n}\n"


@contextmanager
def alone(out: Path) -> Iterator[None]:
    """While nobody else collects into the folder, which is made. Raises SettingsError: somebody does, or the system has
    something against it."""
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
        lock = (out / ".collecting").open("w")
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise SettingsError(
                f"--out {out}: another `simvg alerts collect` writes there; wait for its end"
            ) from error
        yield


@dataclass(frozen=True, slots=True)
class _Ledger:
    """`collected.json`."""

    shares: dict[str, float]
    written: dict[str, str]
    lessons: dict[str, Record]

    def write(self, out: Path) -> None:
        content = {"version": VERSION, "shares": self.shares, "lessons": self.lessons, "written": self.written}
        _replace(out / LEDGER, (json.dumps(content, indent=1) + "\n").encode())


def _read_ledger(out: Path, shares: Mapping[str, float] | None) -> _Ledger:
    path = out / LEDGER
    content = _content(path)
    if content is None:
        strangers = sorted(one.name for one in out.iterdir() if not one.name.startswith(".")) if out.is_dir() else []
        if strangers:
            raise SettingsError(
                f"--out {out} holds {strangers[0]!r} and no {LEDGER}: these are no collected sets; name another folder"
            )
        return _Ledger(dict(shares or DEFAULT_SHARES), {}, {})
    found = _json(path, content)
    try:
        if found["version"] != VERSION:
            raise SettingsError(f"{path} is of version {found['version']!r}, known is {VERSION}; take the simvg of it")
        kept = {name: float(found["shares"][name]) for name in SETS}
        lessons = {str(key): {"said": one["said"], "alerts": one["alerts"]} for key, one in found["lessons"].items()}
        ledger = _Ledger(kept, {str(id): str(digest) for id, digest in found["written"].items()}, lessons)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise SettingsError(f"{path} cannot be read ({error!r}); get it back, or name another --out") from error
    if shares is not None and dict(shares) != kept:
        told = " ".join(f"--{name} {kept[name]:g}" for name in SETS[1:])
        raise SettingsError(
            f"--out {out} was begun with {told}: other shares would move pictures from one set to another; leave --val "
            "and --test away, or name another folder"
        )
    return ledger


def _content(path: Path) -> bytes | None:
    """None: there is no such file."""
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}") from error


def _json(path: Path, content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise SettingsError(f"{path} cannot be read as JSON ({error}); correct it, or name another --out") from error


def _replace(path: Path, content: bytes) -> None:
    """Writes a file so that whoever looks finds the old one or the new one."""
    part = path.with_name(f".{path.name}.part")
    path.parent.mkdir(parents=True, exist_ok=True)
    with part.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def _ids(expression: Record) -> list[str | int]:
    meant = expression.get("annotation_ids")
    return [id for id in meant if isinstance(id, str | int)] if isinstance(meant, list) else []


def _digest(text: object, boxes: Sequence[object]) -> str:
    return _hashed(json.dumps([text, sorted(map(_shown, boxes))]))[:16]


def _shown(box: object) -> str:
    """A box in words that are the same for 410 and 410.0, which tools that rewrite a file make of each other."""
    values = list(box) if isinstance(box, list | tuple) else [box]
    return json.dumps([float(value) if isinstance(value, int | float) else value for value in values])


def _hashed(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
