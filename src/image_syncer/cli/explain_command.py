"""The command `config explain`: what a rule does with an image, and why."""

import json
import os
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from typing import Any

from image_syncer.cli.configuration import load
from image_syncer.cli.console import write_result
from image_syncer.cli.formatting import printable
from image_syncer.cli.log import command_log
from image_syncer.cli.options import FileOptions, OutputOptions
from image_syncer.cli.output import Line, show
from image_syncer.cli.references import parse_source
from image_syncer.cli.signals import run_unless_interrupted
from image_syncer.cli.state_option import state_location
from image_syncer.config.duration import format_duration
from image_syncer.config.load import load_rules
from image_syncer.config.model import Configuration
from image_syncer.errors import UsageError
from image_syncer.oci import PlatformFilter
from image_syncer.sync.image_lists import ImageList
from image_syncer.sync.rule import Cron, Every, Rule, Triggers
from image_syncer.sync.rule_explanation import RuleExplanation, decide, decide_by_list, explain_rule


def explain(rule: str, reference: str, files: FileOptions, output: OutputOptions, *, asks_registry: bool) -> int:
    """Print what the rule called *rule* does with *reference*; with *asks_registry* by what it reads there."""
    if files.config is not None and files.from_kind is None and not asks_registry:
        configuration = Configuration((), tuple(load_rules(files.config, environment=os.environ)))  # Without secrets.
    else:
        configuration = load(files, PlatformFilter())
    image = parse_source(reference)
    date = datetime.now(UTC).date().isoformat()
    explanation = explain_rule(_find(configuration.rules, rule), image, date=date)
    if asks_registry and explanation.is_selected is None:
        with command_log(output, {}):
            explanation = run_unless_interrupted(_ask(configuration, explanation, date))
    if output.output == "json":
        write_result([json.dumps(_as_json(explanation)), "\n"])
    else:
        has_tag = image.tag is None or reference.rstrip().endswith(f":{image.tag}")
        show(_as_text(explanation, "" if has_tag else ", since no tag is given"))
    return 0


async def _ask(configuration: Configuration, explanation: RuleExplanation, date: str) -> RuleExplanation:
    from image_syncer.app import Options, open_app  # noqa: PLC0415 - only this reads a registry

    rule, image = explanation.rule, explanation.image
    options = Options(
        access=configuration.accounts,
        state=state_location(None, configuration.state),
        host_limits=configuration.host_limits,
        same_as=configuration.same_as,
        timeouts=configuration.timeouts,
        transports=configuration.transports,
        bandwidth=configuration.bandwidth,
        mirrors=configuration.mirrors,
    )
    async with open_app(options) as syncer:
        if isinstance(rule.source, ImageList):
            return decide_by_list(rule, rule.source, image, await syncer.find_images(rule.source), date=date)
        found = await syncer.planner().explain(rule, image)
    return decide(rule, image, found, date=date, is_final=True)


def _find(rules: Sequence[Rule], name: str) -> Rule:
    names = [rule.name for rule in rules]
    if name in names:
        return rules[names.index(name)]
    near = get_close_matches(name, names, n=1)
    remedy = f"did you mean {near[0]}?" if near else "image-syncer config show lists the rules"
    raise UsageError(f"{name}: no rule has this name", remedy=remedy)


def _as_text(explanation: RuleExplanation, why_tag: str) -> Iterator[Line]:
    rule = explanation.rule
    origin = f" ({rule.origin})" if rule.origin else ""
    verdicts = {True: ("selected", "green"), False: ("not selected", "yellow"), None: ("perhaps selected", "yellow")}
    verdict, style = verdicts[explanation.is_selected]
    yield Line()
    yield Line((("rule   ", "dim"), (printable(rule.name), ""), (printable(origin), "dim")))
    yield Line((("image  ", "dim"), (printable(str(explanation.image)), ""), (why_tag, "dim")))
    yield Line(((verdict, style), (f": {printable(explanation.reason)}", "")))
    for target in explanation.targets:
        name, problem = target.reference or target.written, target.problem
        yield Line((("→ ", "dim"), (printable(name), ""), (f": {printable(problem)}" if problem else "", "yellow")), 4)
    yield Line(((f"runs {_when(rule.triggers)}", "dim"),))
    if explanation.is_selected is None:
        yield Line((("--ask reads what decides", "dim"),))
    yield Line()


def _when(triggers: Triggers) -> str:
    match triggers.schedule:
        case Every(seconds):
            times = [f"every {format_duration(timedelta(seconds=seconds))}"]
        case Cron(expression, timezone):
            times = [f"at {expression} {timezone}"]
        case None:
            times = []
    return " and ".join([*times, *(["for each event"] if triggers.events else [])]) or "on request"


def _as_json(explanation: RuleExplanation) -> dict[str, Any]:
    return {
        "rule": explanation.rule.name,
        "origin": explanation.rule.origin or None,
        "image": str(explanation.image),
        "selected": explanation.is_selected,
        "reason": explanation.reason,
        "targets": [
            {"written": target.written, "target": target.reference, "problem": target.problem}
            for target in explanation.targets
        ],
        "runs": _when(explanation.rule.triggers),
    }
