"""`simvg line …`: its helps, and what it says to wrong settings."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from simvg_core.errors import ConfigurationError
from simvg_core.lineworld.cli import app, frame_size
from simvg_core.lineworld.produce import render_set

PLAIN = {"NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "200"}


def said(output: str) -> str:
    """Output on one line, without the frames around it."""
    return " ".join(output.replace("│", " ").split())


@pytest.mark.parametrize("command", ["render", "clip"])
def test_a_help_has_an_example(command: str) -> None:
    """Whoever asks for help sees a command that can be copied."""
    result = CliRunner().invoke(app, [command, "--help"], env=PLAIN)
    assert result.exit_code == 0
    assert f"Example: simvg line {command} --" in said(result.output)


def test_the_commands_are_listed() -> None:
    """Without a command the help names both."""
    output = CliRunner().invoke(app, [], env=PLAIN).output
    assert "render" in output
    assert "clip" in output


@pytest.mark.parametrize("size", ["640", "640x", "x480", "641x480", "640x480x2", "-640x480", "0x480", "wide", ""])
def test_a_wrong_size_is_refused_with_an_example(tmp_path: Path, size: str) -> None:
    """The message names the value and how to write it; nothing is rendered."""
    result = CliRunner().invoke(app, ["clip", "--out", str(tmp_path / "out"), f"--size={size}"], env=PLAIN)
    assert result.exit_code == 2
    assert f"{size!r}: write width x height, both even, e.g. 640x480" in said(result.output)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", ["render", "clip"])
def test_a_negative_seed_is_refused(tmp_path: Path, command: str) -> None:
    """No picture can be drawn from one."""
    result = CliRunner().invoke(app, [command, "--out", str(tmp_path / "out"), "--seed=-1"], env=PLAIN)
    assert result.exit_code == 2
    assert "Invalid value for '--seed'" in said(result.output)
    assert not (tmp_path / "out").exists()


def test_a_size_is_width_by_height() -> None:
    """The first number is the width."""
    assert frame_size("640x480") == (640, 480)
    with pytest.raises(typer.BadParameter):
        frame_size("²x²")


def test_a_finished_set_is_not_rendered_again(tmp_path: Path) -> None:
    """Pictures on disk count, and the command says that none is new."""
    render_set(tmp_path, 0, 1, "train")
    (tmp_path / "images" / "000000.jpg").touch()
    result = CliRunner().invoke(app, ["render", "--images", "1", "--out", str(tmp_path)], env=PLAIN)
    assert result.exit_code == 0
    assert f"0 new pictures in {tmp_path}" in said(result.output)


def test_an_unknown_split_ends_the_command(tmp_path: Path) -> None:
    """The error reaches the command line, which prints it in one line."""
    result = CliRunner().invoke(app, ["render", "--split", "validation", "--out", str(tmp_path)], env=PLAIN)
    assert isinstance(result.exception, ConfigurationError)
    assert str(result.exception) == (
        "split 'validation' is none of train, val, test, val_hard, test_hard, faults, rare, varied, commissioning"
    )
