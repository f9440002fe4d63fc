"""What `simvg demo` says to wrong settings, before anything is started."""

from __future__ import annotations

from pathlib import Path

import pytest

from consumers.demo import cli
from consumers.demo.cli import demo
from consumers.demo.settings import DemoSettings
from infra.errors import SettingsError


@pytest.mark.parametrize("name", ["file/table.svg", "."], ids=["below a file", "a folder"])
def test_a_picture_that_cannot_be_saved_is_refused(tmp_path: Path, name: str) -> None:
    """Else the run would be lost for it."""
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match=r"--picture .* cannot be written .*name another file"):
        demo(seconds=1.0, picture=tmp_path / name)


@pytest.mark.parametrize(
    ("settings", "looped"),
    [({}, True), ({"seconds": 60.0}, False), ({"seconds": 60.0, "loop": True}, True)],
    ids=["no end", "an end", "an end, and a loop"],
)
def test_a_run_without_an_end_plays_the_clip_over_and_over(settings: dict[str, object], looped: bool) -> None:
    """So does one with an end that asks for it, by a flag or in a file."""
    assert DemoSettings.model_validate(settings).looped is looped


@pytest.mark.parametrize("looped", [False, True])
def test_what_a_settings_file_says_of_the_loop_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, looped: bool
) -> None:
    """A flag that is not given does not stand against it."""
    given: list[DemoSettings] = []

    def start(settings: DemoSettings, *others: object) -> None:
        given.append(settings)
        raise InterruptedError

    monkeypatch.setattr(cli, "Session", start)
    (tmp_path / "demo.yaml").write_text(f"seconds: 60\nloop: {str(looped).lower()}\n")
    with pytest.raises(InterruptedError):
        demo(config=tmp_path / "demo.yaml")
    assert [settings.looped for settings in given] == [looped]
