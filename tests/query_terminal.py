"""`simvg query …` as it is typed."""

from __future__ import annotations

from typer.testing import CliRunner

from simvg import app

_RUNNER = CliRunner()


def run(*arguments: str, exit_code: int | None = None) -> str:
    """What it prints; raises what it fails with. Its exit code must be ``exit_code``, if one is given."""
    result = _RUNNER.invoke(app, ["query", *arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert exit_code in (None, result.exit_code)
    return result.output
