"""`simvg camera`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from infra.errors import SettingsError
from infra.settings import KafkaSettings
from producers.cli import camera
from producers.settings import CameraSettings
from producers.sources import FORMS

app = typer.Typer()
app.command()(camera)

PROGRAM = "import typer; from producers.cli import camera; app = typer.Typer(); app.command()(camera); app()"


def test_help_lists_forms_and_an_example() -> None:
    """Help says what the command does, every form of SOURCE, and how a call looks."""
    shown = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "140"}).stdout
    assert "simvg camera --id line-2 recording.mp4 --loop" in shown
    assert all(line.split("  ")[0] in shown for line in FORMS.splitlines())


@pytest.mark.parametrize(
    ("arguments", "environment", "message"),
    [
        pytest.param([], {}, r"setting 'id' is missing", id="nothing"),
        pytest.param(["--id", "c 1", "0"], {}, r"'c 1' is no valid id", id="id"),
        pytest.param(
            ["--id", "c", "nothing.mp4"], {}, r"source 'nothing\.mp4' cannot be used: it is no URL", id="source"
        ),
        pytest.param(["--id", "c", "  "], {}, r"the source is empty; name a URL", id="empty-source"),
        pytest.param(["--id", "c", "0", "--fps", "-1"], {}, r"setting 'fps' = -1\.0: .*greater than 0", id="fps"),
        pytest.param(["--id", "c", "0", "--jpeg-quality", "101"], {}, r"'jpeg_quality' = 101: .*100", id="quality"),
        pytest.param(["--id", "c", "0", "--loop"], {}, r"--loop does not apply to source '0'", id="loop"),
        pytest.param(["--id", "c", "0", "--capture-width", "1920"], {}, r"capture_height go together", id="half-size"),
        pytest.param(
            ["--id", "c", "line:", "--capture-width", "1920", "--capture-height", "1080"],
            {},
            r"--capture-width and --capture-height do not apply to source 'line:'",
            id="size",
        ),
        pytest.param(
            ["--id", "c", "0"], {"SIMVG_QEUE_FRAMES": "3"}, r"did you mean SIMVG_QUEUE_FRAMES", id="unknown-key"
        ),
    ],
)
def test_wrong_settings_are_named(arguments: list[str], environment: dict[str, str], message: str) -> None:
    """What is wrong stops the command before anything is opened, with key, value and remedy."""
    error = CliRunner().invoke(app, arguments, env=environment).exception
    assert isinstance(error, SettingsError)
    with pytest.raises(SettingsError, match=message):
        raise error


def test_source_is_secret() -> None:
    """Settings never show the source: it may hold a password."""
    settings = CameraSettings.model_validate({"id": "c", "source": "rtsp://me:secret@host/s"})
    assert "secret@" not in repr(settings) + str(settings.model_dump()) + settings.model_dump_json()


def test_device_number_may_be_a_number() -> None:
    """``source: 0`` in a YAML file is the first device."""
    assert CameraSettings.model_validate({"id": "c", "source": 0}).source.get_secret_value() == "0"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_ends_a_camera_cleanly(kafka: KafkaSettings, clip: Callable[..., Path], number: signal.Signals) -> None:
    """Ctrl-C or a stop by the system ends the command with its sum of frames and exit code 0."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SIMVG_")}
    environment |= {"SIMVG_KAFKA__BOOTSTRAP": kafka.bootstrap, "SIMVG_KAFKA__PREFIX": kafka.prefix}
    arguments = ["--id", "c", str(clip(5)), "--loop", "--log-format", "json"]
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *arguments], env=environment, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    lines = []
    for line in process.stderr:
        lines.append(line)
        if "camera gives frames" in line:
            process.send_signal(number)
    assert process.wait(30) == 0
    process.stderr.close()
    assert '"event": "frames"' in lines[-1] and '"published": ' in lines[-1]
