"""What the frames before it say of a frame's camera: the questions of a worker, with the reason not to ask."""

from __future__ import annotations

from collections.abc import Callable

from consumers.grounding.cameras import CameraLimits
from consumers.grounding.frames import Picture
from consumers.grounding.plan import Look
from consumers.grounding.scoring import Question
from consumers.grounding.vision import Sight, look


class Eyes:
    """Watches the cameras of one worker for frozen and stale pictures. Frames come in the order of their camera."""

    def __init__(self, limits_of: Callable[[str], CameraLimits]) -> None:
        self._limits_of = limits_of
        self._sights: dict[str, Sight] = {}

    def question(self, picture: Picture, looks: tuple[Look, ...]) -> Question:
        """A frame and what is asked of it, with its camera's limits and why the camera cannot be trusted, if so."""
        header = picture.frame.header
        limits = self._limits_of(header.camera)
        self._sights[header.camera], problem = look(
            self._sights.get(header.camera),
            picture.sample,
            captured_ns=header.captured_ns,
            published_ns=header.published_ns,
            limits=limits.vision,
        )
        return Question(picture, looks, problem, limits.picture)

    def forget(self) -> None:
        """Cameras come and go; of those that stay, a frozen one is found again within seconds."""
        self._sights.clear()
