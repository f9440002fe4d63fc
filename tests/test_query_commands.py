"""`simvg query …` against a real Redis."""

from __future__ import annotations

import json

import pytest
import redis

from infra import query_cli
from infra.contracts import StandingQuery
from infra.errors import BadQuery, QueryExists, QueryNotFound, RevisionConflict
from infra.queries import QueryRegistry
from infra.settings import RedisSettings
from tests.query_terminal import run


def test_a_query_is_added_changed_paused_and_removed(registry: QueryRegistry) -> None:
    """The whole life of a query at the terminal."""
    run("add", "missing bolt", "--camera", "line-*", "--threshold", "0.8", "--on-delay", "1.5s")
    added = registry.get("missing-bolt")
    assert (added.text, added.cameras, str(added.on_delay)) == ("missing bolt", ("line-*",), "1.5s")
    run("edit", "missing-bolt", "--threshold", "0.9")
    run("pause", "missing-bolt")
    changed = registry.get("missing-bolt")
    assert (changed.raise_threshold, changed.enabled) == (0.9, False)
    run("rm", "missing-bolt")
    assert registry.list() == ()


def test_list_and_show_are_readable_by_people_and_programs(registry: QueryRegistry) -> None:
    """A table for people, JSON lines and one JSON object for programs."""
    run("add", "red cap", "--id", "cap")
    assert "red cap" in run("list")
    assert json.loads(run("list", "--json"))["id"] == "cap"
    assert json.loads(run("show", "cap"))["text"] == "red cap"


def test_a_broken_query_is_listed_and_removed(registry: QueryRegistry, redis_settings: RedisSettings) -> None:
    """What nobody can read is named with its fault and the way out, and that way leads out."""
    client = redis.Redis.from_url(redis_settings.url)
    client.hset(f"{redis_settings.prefix}:queries", "bro ken", '{"id": "bro ken"}')
    client.close()
    run("add", "red cap", "--id", "cap")
    for listed in (run("list"), run("list", "--json")):
        assert "stored query 'bro ken': " in listed and "remove it with `simvg query rm 'bro ken'`" in listed
    with pytest.raises(BadQuery, match="remove it with"):
        run("pause", "bro ken")
    run("rm", "bro ken")
    assert "bro ken" not in run("list")
    assert [query.id for query in registry.list()] == ["cap"]


def test_camera_globs_are_shown_as_they_are(registry: QueryRegistry) -> None:
    """Brackets of a glob are no markup of the terminal."""
    assert "line-[ab]" in run("add", "missing bolt", "--camera", "line-[ab]")
    assert "line-[ab]" in run("list")


@pytest.mark.parametrize("pattern", ["line-[!ab]", "[]x]*", "[!]]", "line-[a[]"])
def test_sets_with_brackets_of_their_own_are_taken(registry: QueryRegistry, pattern: str) -> None:
    """A bracket right behind the opening one belongs to the set."""
    run("add", "missing bolt", "--camera", pattern)
    assert registry.get("missing-bolt").cameras == (pattern,)


def test_a_narrow_terminal_shows_every_column(registry: QueryRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long id takes several lines; it does not push the words that are looked for out of sight."""
    monkeypatch.setattr(query_cli.console, "_width", 80)
    run("add", "the red cap to the left of the gear", "--camera", "line-1", "--camera", "line-2")
    rows = [line.split("│")[1:-1] for line in run("list").splitlines() if line.startswith("│")]
    columns = ["".join(cell.strip() for cell in column) for column in zip(*rows, strict=True)]
    assert columns == [
        "the-red-cap-to-the-left-of-the-gear",
        "the red capto the leftof the gear",
        "line-1line-2",
        "0.50/0.40",
        "3f/5f",
        "active",
        "1",
    ]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("add", "  "), BadQuery, "no word in it"),
        (("add", "x" * 300), BadQuery, "200"),
        (("add", "bolt", "--camera", "line 1!"), BadQuery, r"camera pattern 'line 1!'"),
        (("add", "bolt", "--camera", "line-[12"), BadQuery, r"camera pattern 'line-\[12' has a bracket without its"),
        (("add", "bolt", "--camera", "line-[]"), BadQuery, r"camera pattern 'line-\[\]' has a bracket without its"),
        (("add", "bolt", "--camera", "line-1]"), BadQuery, r"camera pattern 'line-1\]' has a bracket without its"),
        (("add", "bolt", "--threshold", "1.5"), BadQuery, r"raise_threshold.*1\.5"),
        (("add", "bolt", "--threshold", "0.5", "--clear-threshold", "0.7"), BadQuery, r"clear threshold 0\.7 is above"),
        (("add", "bolt", "--on-delay", "soon"), BadQuery, r"--on-delay 'soon'.*'1\.5s'"),
        (("add", "bolt", "--region", "0,0,2"), BadQuery, r"--region '0,0,2'.*four numbers"),
        (("add", "bolt", "--tiles", "9x9"), BadQuery, "1 to 8"),
        (("show", "nothing"), QueryNotFound, "nothing"),
        (("edit", "nothing"), BadQuery, "nothing to change"),
    ],
    ids=[
        "empty",
        "long",
        "pattern",
        "open-set",
        "empty-set",
        "no-set",
        "threshold",
        "clear",
        "delay",
        "region",
        "tiles",
        "unknown-id",
        "no-change",
    ],
)
def test_bad_input_names_the_value_and_the_remedy(
    registry: QueryRegistry, arguments: tuple[str, ...], error: type[Exception], message: str
) -> None:
    """Nothing is written, and the message says what was wrong."""
    with pytest.raises(error, match=message):
        run(*arguments)
    assert registry.list() == ()


def test_an_id_is_given_once(registry: QueryRegistry) -> None:
    """A second query under the same id is refused by name."""
    run("add", "missing bolt")
    with pytest.raises(QueryExists, match="missing-bolt"):
        run("add", "missing bolt")


def test_a_change_by_somebody_else_is_not_overwritten(registry: QueryRegistry) -> None:
    """An edit on an old revision is refused."""
    run("add", "missing bolt")
    old = registry.get("missing-bolt").revision
    run("edit", "missing-bolt", "--threshold", "0.9")
    with pytest.raises(RevisionConflict, match="missing-bolt"):
        run("edit", "missing-bolt", "--threshold", "0.7", "--revision", str(old))


@pytest.mark.parametrize("again", [("edit", "bolt", "--threshold", "0.8", "--camera", "line-1"), ("resume", "bolt")])
def test_what_is_so_already_gets_no_new_revision(registry: QueryRegistry, again: tuple[str, ...]) -> None:
    """A new one would close the alerts that are open; as where a script sets the same every night."""
    run("add", "bolt", "--camera", "line-1", "--threshold", "0.8")
    before = registry.get("bolt")
    assert f"is so already: it stays at revision {before.revision}" in run(*again)
    assert registry.get("bolt") == before
    run("edit", "bolt", "--threshold", "0.9")
    with pytest.raises(RevisionConflict):
        run("edit", "bolt", "--threshold", "0.9", "--revision", str(before.revision))


def test_hours_latch_and_realarm_are_set_and_ended(registry: QueryRegistry) -> None:
    """What makes an alarm fit a shift is written in words, shown in words, and taken back."""
    run("add", "missing bolt", "--latch", "--realarm", "10m", "--schedule", "mon-fri 06:00-22:00 Europe/Berlin",
        "--episodes", "query", "--mode", "shadow", "--object-size", "0.5")  # fmt: skip
    added = registry.get("missing-bolt")
    assert (added.latch, added.realarm_interval, added.episodes, added.mode) == (True, 600.0, "query", "shadow")
    assert str(added.schedule) == "mon,tue,wed,thu,fri 06:00-22:00 Europe/Berlin"
    run("edit", "missing-bolt", "--no-latch", "--realarm", "never", "--schedule", "always")
    changed = registry.get("missing-bolt")
    assert (changed.latch, changed.realarm_interval, changed.schedule) == (False, None, None)


@pytest.mark.parametrize(
    ("option", "value", "fault"),
    [("--realarm", "often", "--realarm 'often'"), ("--schedule", "mo 6-22", "--schedule 'mo 6-22'")],
)
def test_spans_and_hours_that_cannot_be_read_are_refused(
    registry: QueryRegistry, option: str, value: str, fault: str
) -> None:
    """A wrong word names its option and the right form."""
    with pytest.raises(BadQuery, match=fault):
        run("add", "missing bolt", option, value)


def test_id_of_the_system_is_not_given_away(registry: QueryRegistry) -> None:
    """The alarm of a blind camera cannot be replaced by a query of its name."""
    with pytest.raises(BadQuery, match="belongs to the system"):
        run("add", "camera", "--id", "camera-blind")


def test_query_stored_without_the_newer_fields_still_loads() -> None:
    """A registry written by the version before is read, with today's defaults."""
    former = (
        '{"id": "q", "text": "missing bolt", "cameras": ["*"], "region": null, "tiles": [1, 1], "expect": "absent",'
        ' "raise_threshold": 0.5, "clear_threshold": null, "on_delay": {"value": 3, "unit": "frames"},'
        ' "off_delay": {"value": 5, "unit": "frames"}, "severity": "high", "action": "notify", "mode": "live",'
        ' "rate": null, "enabled": true, "revision": 4, "author": "mia", "created": "2026-01-01T00:00:00.000Z",'
        ' "changed": "2026-01-01T00:00:00.000Z"}'
    )
    query = StandingQuery.model_validate_json(former)
    assert (query.latch, query.realarm_interval, query.schedule, query.episodes) == (False, None, None, "object")
