"""The pinhole camera, and what the renderer says when it cannot run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simvg_core.errors import RenderError
from simvg_core.lineworld import tracer as tracer_module
from simvg_core.lineworld.tracer import ENVIRONMENT, MAX_POINTS, Tracer, View

VIEW = View((40.0, -150.0, 320.0), (5.0, 2.0, 0.0), 34.0, 0.07, 384, 288)


@given(
    column=st.floats(0, 384),
    row=st.floats(0, 288),
    far=st.floats(1, 5000),
    fov=st.floats(10, 90),
    roll=st.floats(-3, 3),
    height=st.floats(50, 2000),
)
def test_a_point_is_seen_along_its_ray(
    column: float, row: float, far: float, fov: float, roll: float, height: float
) -> None:
    """Projection and rays are each other's inverse for every camera and pixel."""
    view = replace(VIEW, fov=fov, roll=roll, origin=(40.0, -150.0, height))
    points = np.asarray(view.origin) + far * view.rays(np.array([column]), np.array([row]))
    assert np.allclose(view.project(points), [[column, row]], atol=1e-4)


def test_the_target_is_in_the_middle() -> None:
    """The camera looks at its target whatever its roll."""
    assert np.allclose(VIEW.project(np.array([VIEW.target])), [[192, 144]])


def test_a_point_behind_the_camera_has_no_pixel() -> None:
    """Nothing behind the camera is taken for something in view."""
    assert np.isnan(VIEW.project(np.array([[40.0, -150.0, 900.0]]))).all()


def test_a_camera_straight_above_has_axes() -> None:
    """Looking straight down leaves no horizontal direction to derive the axes from; they are still orthonormal."""
    axes = np.array(View((0, 0, 300), (0, 0, 0), 30, 0.0, 96, 72).axes())
    assert np.allclose(axes @ axes.T, np.eye(3))


def test_a_missing_compiler_library_names_its_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without LLVM 19 the renderer says what to install."""
    monkeypatch.delenv("DRJIT_LIBLLVM_PATH", raising=False)
    monkeypatch.setattr(tracer_module, "LIBRARIES", tmp_path)
    with pytest.raises(RenderError, match="libllvm19"):
        Tracer()


def test_a_mesh_over_the_limits_is_refused(tracer: Tracer) -> None:
    """The renderer's arrays have a fixed size; a larger mesh is named, not cut."""
    points = np.zeros((MAX_POINTS + 1, 3))
    with pytest.raises(RenderError, match=str(MAX_POINTS + 1)):
        tracer.load(points, points, points[:, :2], np.zeros((1, 3), int), {}, np.zeros((*ENVIRONMENT, 3), np.float32))
