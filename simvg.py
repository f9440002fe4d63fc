"""`simvg …`: the command line. The only file that knows every room; each room brings its own commands."""

from __future__ import annotations

import sys

import typer
from rich.console import Console
from rich.markup import escape

from consumers.cameras_cli import app as cameras_app
from consumers.collect_cli import app as alerts_app
from consumers.demo.cli import demo
from consumers.evidence_cli import evidence
from consumers.grounding.cli import work
from consumers.grounding.replay_cli import replay
from consumers.rejected_cli import app as rejected_app
from consumers.why_cli import why
from infra.acl_cli import app as acl_app
from infra.cli import app as stack_app
from infra.cli import topics_app
from infra.errors import SimVGLineError
from infra.query_cli import app as query_app
from infra.redaction import redact
from infra.secrecy import refuse_secret_options
from infra.settings import all_secret_names, environment_name
from producers.cli import camera
from simvg_core.convert_cli import app as convert_app
from simvg_core.errors import SimVGError
from simvg_core.explain_cli import explain
from simvg_core.export_cli import export
from simvg_core.gate_cli import gate
from simvg_core.lineworld.cli import app as line_app
from simvg_core.training.cli import app as training_app
from simvg_core.training.sets.cli import app as data_app

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="SimVG Line: standing queries in plain words, watched on every frame of a production line.",
)
app.command("demo")(demo)
app.command("camera")(camera)
app.add_typer(cameras_app, name="cameras")
app.command("work")(work)
app.add_typer(alerts_app, name="alerts")
app.command("evidence")(evidence)
app.command("explain")(explain)
app.command("export")(export)
app.command("gate")(gate)
app.command("replay")(replay)
app.command("why")(why)
app.add_typer(query_app, name="query")
app.add_typer(topics_app, name="topics")
app.add_typer(acl_app, name="acl")
app.add_typer(rejected_app, name="rejected")
app.add_typer(convert_app, name="convert")
app.add_typer(line_app, name="line")
app.add_typer(data_app, name="data")
for own in (stack_app, training_app):
    app.registered_commands.extend(own.registered_commands)


def main() -> None:
    """Runs a command. Errors of ours end with one clear line and exit code 2, without a traceback; Ctrl-C before the
    command has begun ends with 130, as a shell calls it."""
    try:
        refuse_secret_options(sys.argv[1:], {name: environment_name(name) for name in all_secret_names()})
        app()
    except (SimVGLineError, SimVGError) as error:
        Console(stderr=True).print(f"[bold red]error:[/] {escape(redact(str(error)))}", highlight=False, soft_wrap=True)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
