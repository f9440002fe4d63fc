"""Programs that run as if some libraries were not installed."""

from __future__ import annotations

from collections.abc import Collection

_PROGRAM = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {absent}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
sys.path.insert(0, sys.argv.pop(1))
{body}
"""


def without(libraries: Collection[str], body: str) -> str:
    """Source for ``python -c``: ``body`` where these top-level modules cannot be imported. Its first argument is the
    repository's folder, which goes in front of the path; ``sys.argv`` holds the others."""
    return _PROGRAM.format(absent=set(libraries), body=body)
