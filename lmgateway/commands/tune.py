"""
``lmgateway tune``: how well a profile's classifier sorts labelled prompts.

Each prompt goes through the classifier that live traffic goes through, with
the same prompt, deadline, fallback and breakers; nothing is listened on, and
nothing is written but the report.  The calls are real ones: they cost what
they cost, and no budget knows of them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from importlib.resources import files
from pathlib import Path
from typing import Any

import click
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.error import ReactorNotRunning
from twisted.python.failure import Failure

from lmgateway.classes import frozen
from lmgateway.commands.tuning import (
    MAX_BYTES,
    Case,
    Expectations,
    Outcome,
    PromptFileError,
    Score,
    read_cases,
)
from lmgateway.commands.tuning_report import TITLE, Run, report_of, verdict_of
from lmgateway.config.load import load
from lmgateway.config.schema import Config
from lmgateway.dialects.document import encode
from lmgateway.dialects.openai import OPENAI
from lmgateway.exchange import Exchange
from lmgateway.principal import Principal
from lmgateway.routing.cascade import Cascade
from lmgateway.routing.classify import classifier_input
from lmgateway.routing.policy import Directory, Policy
from lmgateway.service.graph import assemble
from lmgateway.service.resources import Resources
from lmgateway.stores.courier import surroundings

SHIPPED = "prompts.jsonl"


class TuneError(click.ClickException):
    """There is nothing to tell; the text says why."""


@frozen(kw_only=True)
class Tuning:
    """
    What is to be measured.

    Attributes:
        profile: The name of the profile whose classifier is asked.
        prompts: The labelled prompts; those that come with the package if ``None``.
        limit: How many of them, from the first; all if ``None``.
        concurrency: How many are asked at once.
        report: Where the report goes; ``None`` is standard output.
    """

    profile: str
    prompts: Path | None = None
    limit: int | None = None
    concurrency: int = 4
    report: Path | None = None


@frozen(kw_only=True)
class Trial:
    """
    Prompts, and the classifier that is to sort them.

    Attributes:
        name: Of the prompt file.
    """

    cascade: Cascade
    policy: Policy
    cases: Sequence[Case]
    name: str
    concurrency: int

    async def run(self, wall: float, tick: Callable[[], object]) -> Run:
        """
        Classify all prompts, some at a time.

        Args:
            wall: Seconds since the epoch.
            tick: Told of each one that is done.
        """
        outcomes: dict[int, Outcome] = {}
        waiting = enumerate(self.cases)

        async def work() -> None:
            for number, case in waiting:
                outcomes[number] = await self._classify(number, case, wall)
                tick()

        workers = range(min(self.concurrency, len(self.cases)))
        running = [Deferred.fromCoroutine(work()) for _ in workers]
        try:
            await gatherResults(running, consumeErrors=True)
        finally:
            for worker in running:
                worker.cancel()
        return Run(
            policy=self.policy,
            labels=self.cascade.labels,
            name=self.name,
            concurrency=self.concurrency,
            outcomes=[outcomes[number] for number in sorted(outcomes)],
        )

    async def _classify(self, number: int, case: Case, wall: float) -> Outcome:
        cascade, policy = self.cascade, self.policy
        request = OPENAI.parse(
            encode({"messages": [{"role": "user", "content": case.prompt}]}), "chat"
        )
        now = cascade.classifier.climber.wheel.now
        exchange = Exchange(
            id=f"tune-{number}",
            surface=OPENAI.name,
            path="/v1/chat/completions",
            peer="",
            started=now(),
            wall=wall,
            principal=Principal(name="", profile=policy.name, anonymous=True),
            request=request,
        )
        shown = classifier_input(request, policy.classifier_latest)
        assert shown is not None, "a prompt is text, and the profile shows some of it"
        reading = await cascade.classifier.classify(policy, exchange, shown)
        return Outcome(
            case=case,
            reading=reading,
            tier=cascade.labels.tier_for(reading, policy.ceiling, request),
            attempts=exchange.attempts,
            seconds=now() - exchange.started,
        )


def trial_of(tuning: Tuning, config: Config, resources: Resources) -> Trial:
    """
    Build what is to be run.

    Raises:
        ConfigError: If the config cannot be used.
        PromptFileError: If the prompts cannot.
        TuneError: If the profile does not classify.
    """
    graph = assemble(config, resources)
    graph.settle()
    resources.probes.stop()  # what is measured is asked, and nothing else
    cascade = graph.router.cascade
    policy = _policy(graph.router.directory, tuning.profile)
    name, data = _prompts(tuning.prompts)
    expectations = Expectations(cascade.labels, policy.ceiling)
    return Trial(
        cascade=cascade,
        policy=policy,
        cases=read_cases(data, name, expectations, tuning.limit),
        name=name,
        concurrency=tuning.concurrency,
    )


def _policy(directory: Directory, name: str) -> Policy:
    policy = directory.policies.get(name)
    if policy is None:
        names = ", ".join(sorted(directory.policies)) or "none"
        raise TuneError(f"There is no profile {name!r}; there are: {names}.")
    if policy.mode != "classify":
        raise TuneError(f"The profile {name!r} has mode {policy.mode!r}: it does not classify.")
    if policy.classifier_latest == 0:
        raise TuneError(f"The profile {name!r} has classifier_context = 0: nobody is asked.")
    return policy


def _prompts(path: Path | None) -> tuple[str, bytes]:
    if path is None:
        return SHIPPED, files("lmgateway.commands").joinpath(SHIPPED).read_bytes()
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise PromptFileError(f"{path}: {error.strerror}") from None
    if len(data) > MAX_BYTES:
        raise PromptFileError(f"{path}: it is larger than {MAX_BYTES} bytes")
    return str(path), data


# The command -----------------------------------------------------------------
def measured(source: Path, environ: Mapping[str, str], tuning: Tuning) -> None:
    """
    Run prompts through a profile's classifier, and print or write the report.

    Raises:
        ConfigError: If the config cannot be used.
        TuneError: If there is nothing to report, or no place for it.
        Abort: If it is interrupted.
    """
    check_place(tuning.report)
    try:
        run = _ran(source, environ, tuning)
    except PromptFileError as error:
        raise TuneError(str(error)) from None
    text = report_of(run)
    if tuning.report is None:
        click.echo(text, nl=False)
    else:
        try:
            write_report(text, tuning.report)
        except TuneError:
            click.echo(text, nl=False)  # it was paid for
            raise
        click.echo(f"{verdict_of(run)} The report is in {tuning.report}.")
    if not Score.of(run.outcomes).total:
        raise TuneError("No classification succeeded; the report says how the calls failed.")


def _ran(source: Path, environ: Mapping[str, str], tuning: Tuning) -> Run:
    """Run prompts through a classifier, and show on a terminal how far it is."""
    from twisted.internet import reactor

    environ = surroundings(environ)
    config = load(source, environ)
    resources = Resources.of(reactor, environ, write=lambda block: None)  # type: ignore[arg-type]
    trial = trial_of(tuning, config, resources)
    bar = click.progressbar(
        length=len(trial.cases),
        label="Classifying",
        show_pos=True,
        file=sys.stderr,
        hidden=not sys.stderr.isatty(),
    )
    with bar:
        return _waited(
            reactor, resources, lambda: trial.run(resources.wall(), lambda: bar.update(1))
        )


def _waited(
    reactor: Any, resources: Resources, work: Callable[[], Coroutine[Deferred[Any], Any, Run]]
) -> Run:
    """Run the reactor until the work is done, or an interrupt stops it."""
    ended: list[Run | Failure] = []
    interrupted: list[bool] = []

    def begin() -> None:
        running = Deferred.fromCoroutine(work())

        def leave() -> None:
            interrupted.append(not ended)
            running.cancel()

        reactor.addSystemEventTrigger("before", "shutdown", leave)
        running.addBoth(ended.append)
        running.addBoth(lambda _: stop())

    def stop() -> None:
        resources.keep_only(set())
        resources.wheel.stop()
        with suppress(ReactorNotRunning):  # it is being stopped already
            reactor.stop()

    reactor.callWhenRunning(begin)
    reactor.run()
    if any(interrupted):
        raise click.Abort
    (result,) = ended
    if isinstance(result, Failure):
        result.raiseException()
    return result


def check_place(path: Path | None) -> None:
    """
    See that a report may be written to *path*, before anything is paid for.

    Raises:
        TuneError: If there is no folder, or a file that is not a report.
    """
    if path is None:
        return
    try:
        with path.open("rb") as file:
            start = file.read(len(TITLE) + 1)
    except FileNotFoundError:
        if not path.parent.is_dir():
            raise TuneError(f"{path}: there is no folder {path.parent}.") from None
        return
    except OSError as error:
        raise TuneError(f"{path}: {error.strerror}.") from None
    if start not in (b"", f"{TITLE}\n".encode()):
        raise TuneError(f"{path} is there already and is not a report; it was not touched.")


def write_report(text: str, path: Path) -> None:
    """
    Write a report.

    Raises:
        TuneError: If it cannot be written.
    """
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise TuneError(f"{path}: {error.strerror}.") from None
