"""Limits per camera, from the settings to the measures."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from consumers.grounding.cameras import CameraLimits
from consumers.grounding.findings import PictureLimits
from consumers.grounding.settings import WorkerSettings
from infra.settings import load
from simvg_core.quality import QualityLimits


def test_defaults_are_those_of_the_measures() -> None:
    """The worker's defaults, which it may not import, are the model package's."""
    assert asdict(PictureLimits()) == asdict(QualityLimits())
    assert CameraLimits().picture == PictureLimits()


def test_limits_are_read_from_a_file(tmp_path: Path) -> None:
    """Rules in the settings file hold for the cameras that they name; null switches a check off."""
    file = tmp_path / "worker.yaml"
    file.write_text("camera_limits:\n- {cameras: 'dark-*', black: 4, blind_s: null}\n- {frozen_s: 30}\n")
    settings = load(WorkerSettings, file=file)
    assert settings.limits_of("dark-1").picture.black == 4
    assert settings.limits_of("dark-1").blind_s is None
    assert settings.limits_of("line-1").vision.frozen_s == 30


def test_under_every_an_old_frame_is_not_stale_unless_a_rule_says_so() -> None:
    """Who asks for every frame gets old ones judged; a rule that names an age is kept."""
    assert WorkerSettings().limits_of("line-1").stale_s == CameraLimits().stale_s
    assert WorkerSettings(freshness="every").limits_of("line-1").stale_s is None
    rule = CameraLimits(stale_s=3)
    assert WorkerSettings(freshness="every", camera_limits=(rule,)).limits_of("line-1").stale_s == 3
