"""The command line: one small file per verb, no logic.

A verb is one module here with a click command of the module's name (``list`` is ``list_``); it is found by its file
name and imported only when it is called, so that ``dcase-asd --help`` stays fast.
"""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from importlib import import_module

import click

from dcase_asd import __version__
from dcase_asd.errors import DcaseAsdError

__all__ = ["main"]

#: Verb to one-line help; kept here so that ``--help`` imports no verb.
VERBS = {
    "run": "Run the stages of a recipe.",
    "list": "List detectors, extractors, features, corpora, ensembles, rules or recipes.",
    "info": "Show versions, devices, one plug-in's options, or a bundle.",
    "fit": "Fit a detector to recordings of your own machine.",
    "score": "Score recordings with a fitted detector.",
    "update": "Add normal recordings to a fitted detector.",
    "trial": "Measure fit on recordings with known truth: AUC and false alarms.",
    "synth": "Synthesise a corpus of machine recordings.",
    "download": "Download a challenge year's recordings.",
    "manifest": "Make or check the table of clips of a corpus.",
    "evaluate": "Evaluate anybody's score files by an official rule.",
    "submit": "Write or check a challenge submission.",
    "results": "Print the result tables of experiments.",
}


class _Verbs(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            from dcase_asd.errors import nearest

            ctx.fail(f"no such command {cmd_name!r}{nearest(cmd_name, VERBS)}; commands: {', '.join(VERBS)}")
        module = import_module(f"dcase_asd.cli.{cmd_name}_verb")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl(list(VERBS.items()))


@click.group(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="dcase-asd")
def cli() -> None:
    """Anomaly scores from machine recordings and product pictures; challenge submissions, official metrics."""


def normalise(arguments: Sequence[str]) -> list[str]:
    """Accept ``--stop_stage`` for ``--stop-stage`` in every option, with a value after a space or ``=``."""
    result = []
    for text in arguments:
        name, sign, value = text.partition("=")
        result.append(name.replace("_", "-") + sign + value if name.startswith("--") and len(name) > 2 else text)
    return result


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; exit 0 on success, 1 on failure, 2 on wrong usage, 130 and 143 after SIGINT and SIGTERM."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    stopped: list[int] = []
    if isinstance(sys.stdout, io.TextIOWrapper):  # a name that the terminal's encoding lacks must not end a run
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        with _sigterm_as_interrupt(stopped):
            cli.main(args=normalise(given), prog_name="dcase-asd", standalone_mode=False, obj=given)
    except click.exceptions.Exit as done:
        sys.exit(done.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted; run the same command to go on", err=True)
        sys.exit(128 + (stopped or [signal.SIGINT])[0])
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        help_at = f"; see {context.command_path} --help" if context is not None else ""
        click.echo(f"error: {error.format_message().rstrip('.')}{help_at}", err=True)
        sys.exit(error.exit_code)
    except DcaseAsdError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:  # permissions, a full disk, a folder that is a file: the system says what and where
        click.echo(f"error: {error.strerror or error}{': ' + str(error.filename) if error.filename else ''}", err=True)
        sys.exit(1)


@contextlib.contextmanager
def _sigterm_as_interrupt(stopped: list[int]) -> Iterator[None]:
    """Take a polite request to end like Ctrl-C, so that executors end their jobs: those of another process would write on."""

    def stop(number: int, _: object) -> None:
        stopped.append(number)
        raise KeyboardInterrupt

    try:
        before = signal.signal(signal.SIGTERM, stop)
    except ValueError:  # only the main thread of a program may ask for signals
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
