"""
The ``lmgateway`` command: its sub-commands, and what they have in common.

=============  ================================================================
exit status    when
=============  ================================================================
0              it went well
1              it did not
2              the command line makes no sense
78             the config cannot be used (``EX_CONFIG``): the report is on stderr
=============  ================================================================

Each command imports what it takes itself: ``serve`` is a service that others wait for, and
``healthcheck`` runs every few seconds.
"""

from __future__ import annotations

import gc
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, NoReturn, TypeVar

import click

from lmgateway.errors import ConfigError, GatewayError

DEFAULT_SOURCE = Path("/etc/lm-gateway/config.toml")
EX_CONFIG = 78

_Command = TypeVar("_Command", bound=Callable[..., Any])


def _tell_version(invocation: click.Context, _: click.Parameter, asked: bool) -> None:
    if not asked or invocation.resilient_parsing:
        return
    from importlib.metadata import PackageNotFoundError, version

    try:
        release = version("lmgateway")
    except PackageNotFoundError:
        release = "unknown (not installed)"
    click.echo(f"lmgateway, version {release}")
    invocation.exit()


def _config_option(command: _Command) -> _Command:
    """Add ``--config``, which every command that reads a config has."""
    return click.option(
        "--config",
        "source",
        type=click.Path(path_type=Path),
        envvar="LMG_CONFIG",
        default=DEFAULT_SOURCE,
        show_default=True,
        help="The main config file; also taken from $LMG_CONFIG.",
    )(command)


@click.group(invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_tell_version,
    help="Show the version and exit.",
)
@click.option("--healthcheck", "ask", is_flag=True, help="The same as the healthcheck command.")
@click.pass_context
def main(invocation: click.Context, ask: bool) -> None:
    """A self-hosted LLM routing gateway."""
    if ask:
        healthcheck.main(args=[], prog_name="lmgateway healthcheck")
    elif invocation.invoked_subcommand is None:
        click.echo(invocation.get_help())


@main.command()
@_config_option
def serve(source: Path) -> None:
    """Serve until told to stop."""
    gc.disable()  # until it runs, as ``service.start`` says; this imports much already
    from lmgateway.service.start import run

    run(str(source))


@main.command()
@_config_option
def check(source: Path) -> None:
    """Tell what a config would serve, or all that is wrong with it."""
    from twisted.internet.task import Clock

    from lmgateway.commands.check import summary
    from lmgateway.config.load import load
    from lmgateway.service.rehearsal import rehearse
    from lmgateway.stores.courier import surroundings

    environ = surroundings(os.environ)
    try:
        found = load(source, environ)
        rehearse(found, environ, Clock())
        click.echo(summary(found), nl=False)
    except ConfigError as error:
        _refuse(error)


@main.command()
@_config_option
@click.option("--model", help="The model name asked for.")
@click.option(
    "--file", "file", type=click.File("rb"), help="A chat request as JSON; else a short one."
)
@click.option("--client", help="The name of the client that asks; else nobody in particular.")
@click.option("--label", help="What the classifier is supposed to say.")
@click.option("--json", "as_json", is_flag=True, help="Print the whole document.")
def explain(
    source: Path,
    model: str | None,
    file: IO[bytes] | None,
    client: str | None,
    label: str | None,
    as_json: bool,
) -> None:
    """Tell where a request would go, and why not elsewhere; no model is asked."""
    from lmgateway.commands.explain import Asking, explained, worded

    asking = Asking(
        model=model, body=None if file is None else file.read(), client=client, label=label
    )
    try:
        document = explained(source, os.environ, asking)
    except ConfigError as error:
        _refuse(error)
    except GatewayError as error:
        raise click.ClickException(str(error)) from None
    click.echo(json.dumps(document, indent=2) if as_json else worded(document))


@main.command()
@_config_option
@click.option("--json", "as_json", is_flag=True, help="Print the whole document.")
def selftest(source: Path, as_json: bool) -> None:
    """Tell what the config does when backends fail, by trying it on stand-ins for them."""
    from lmgateway.commands.selftest import tested

    try:
        card = tested(source, os.environ)
    except ConfigError as error:
        _refuse(error)
    click.echo(card.json() if as_json else card.text())
    if not card.passed:
        sys.exit(1)


@main.command()
@_config_option
@click.option("--profile", default="default", show_default=True, help="Whose classifier it is.")
@click.option(
    "--prompts",
    type=click.Path(path_type=Path),
    help='Labelled prompts, {"prompt": ..., "label": ...} on each line; else those shipped.',
)
@click.option("--limit", type=click.IntRange(min=1), help="Only so many prompts, from the first.")
@click.option(
    "--concurrency",
    type=click.IntRange(1, 64),
    default=4,
    show_default=True,
    help="How many are asked at once.",
)
@click.option("--report", type=click.Path(path_type=Path), help="Write the report to this file.")
def tune(
    source: Path,
    profile: str,
    prompts: Path | None,
    limit: int | None,
    concurrency: int,
    report: Path | None,
) -> None:
    """Measure a profile's classifier on labelled prompts, and propose a better prompt."""
    from lmgateway.commands.tune import Tuning, measured

    tuning = Tuning(
        profile=profile, prompts=prompts, limit=limit, concurrency=concurrency, report=report
    )
    try:
        measured(source, os.environ, tuning)
    except ConfigError as error:
        _refuse(error)


@main.group()
def audit() -> None:
    """Look at the audit log."""


@audit.command("verify")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--last", help="The hash of a last line that was kept elsewhere.")
def audit_verify(file: Path, last: str | None) -> None:
    """Tell whether the lines of an audit log are all there and unchanged, or where not."""
    from lmgateway.commands.audit import Broken, verified

    try:
        click.echo(verified(file, last))
    except Broken as error:
        click.echo(error, err=True)
        sys.exit(1)
    except OSError as error:
        raise click.ClickException(f"{file} cannot be read: {error.strerror}") from None


@main.group()
def config() -> None:
    """Tell of the config file format."""


@config.command()
def schema() -> None:
    """Print a JSON Schema of the config file, for editors."""
    from lmgateway.commands.schema import schema_text

    click.echo(schema_text())


@main.command()
@click.argument("path", type=click.Path(path_type=Path), default="config.toml")
def init(path: Path) -> None:
    """Write a commented config to start from, that serves at once."""
    from lmgateway.commands.init import write_starter

    try:
        write_starter(path)
    except FileExistsError:
        raise click.ClickException(f"{path} exists already; it was not touched") from None
    except OSError as error:
        raise click.ClickException(f"{path} cannot be written: {error.strerror}") from None
    click.echo(f"{path} is written; serve it with: lmgateway serve --config {path}")


@main.command()
@_config_option
def healthcheck(source: Path) -> None:
    """Ask the running gateway whether it is alive (for containers)."""
    from lmgateway.commands.healthcheck import is_healthy

    if not is_healthy(source, os.environ):
        sys.exit(1)


def _refuse(error: ConfigError) -> NoReturn:
    count = len(error.problems)
    click.echo(error, err=True)
    click.echo(f"{count} problem{'s' if count > 1 else ''}: the config is not used", err=True)
    sys.exit(EX_CONFIG)
