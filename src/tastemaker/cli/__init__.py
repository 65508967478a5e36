"""The command line: thin, one file a subject. Heavy packages are imported when a command runs."""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from tastemaker import __version__
from tastemaker.errors import TastemakerError, did_you_mean

COMMANDS = {
    "demo": "tastemaker.cli.demo:demo",
    "up": "tastemaker.cli.up:up",
    "serve": "tastemaker.cli.processes:serve",
    "stream": "tastemaker.cli.processes:stream",
    "archive": "tastemaker.cli.processes:archive",
    "import": "tastemaker.cli.data:import_",
    "run": "tastemaker.cli.pipeline:run",
    "step": "tastemaker.cli.step:step",
    "runs": "tastemaker.cli.pipeline:runs",
    "alerts": "tastemaker.cli.alerts:alerts",
    "tune": "tastemaker.cli.tuning:tune",
    "plan": "tastemaker.cli.plan:plan",
    "models": "tastemaker.cli.models:models",
    "experiment": "tastemaker.cli.experiment:experiment",
    "deadletter": "tastemaker.cli.deadletter:deadletter",
    "keys": "tastemaker.cli.access:keys",
    "erase": "tastemaker.cli.access:erase",
    "check": "tastemaker.cli.check:check",
    "migrate": "tastemaker.cli.moving:migrate",
    "rebuild": "tastemaker.cli.moving:rebuild",
    "relabel": "tastemaker.cli.relabel:relabel",
    "replay": "tastemaker.cli.replay:replay",
    "whatif": "tastemaker.cli.whatif:whatif",
    "simulate": "tastemaker.cli.simulate:simulate",
    "config": "tastemaker.cli.settings:config",
}


class Lazy(click.Group):
    """A group whose commands are imported when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        if cmd_name not in COMMANDS:
            return None
        import importlib

        module, _, name = COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            ctx.fail(f"there is no command {args[0]!r}; {did_you_mean(args[0], COMMANDS)}")
        return super().resolve_command(ctx, args)


@click.group(cls=Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--config", "file", type=click.Path(dir_okay=False), help="Configuration file; default: tastemaker.toml if it exists."
)
@click.option(
    "--log-level", default="WARNING", type=click.Choice(["DEBUG", "INFO", "WARNING", "ERROR"]), help="What goes to stderr."
)
@click.version_option(__version__, prog_name="tastemaker")
@click.pass_context
def app(context: click.Context, file: str | None, log_level: str) -> None:
    """Recommendations from clicks: events in, models trained and judged, answers in milliseconds.

    Begin with `tastemaker demo`.
    """
    from tastemaker.telemetry import configure_logging

    configure_logging(log_level)
    context.obj = file


def main(arguments: list[str] | None = None) -> Any:
    """Runs a command; an error that we foresaw is one line, not a traceback."""
    try:
        return app.main(arguments, prog_name="tastemaker", standalone_mode=False)
    except click.exceptions.Exit as done:
        sys.exit(done.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("\nstopped; the same command goes on from here", err=True)
        sys.exit(130)
    except BrokenPipeError:  # whoever read our output has had enough, as `head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except (TastemakerError, OSError) as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(1)
