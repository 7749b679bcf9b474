"""What GitHub would refuse in a workflow file, in GitHub's words, before anything of it runs.

Sources: docs.github.com, "Workflow syntax for GitHub Actions"; where that is silent, npm
@actions/workflow-parser 0.3.61, which tests/local/twin compares with, and actions/runner,
src/Sdk/WorkflowParser.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from types import UnionType

from cdk_runner_fleet.local.twin.documents import Token
from cdk_runner_fleet.local.twin.expressions import ExpressionError, Scope
from cdk_runner_fleet.local.twin.grammar import CONTAINER_KEYS, WORKFLOW, Rule, Shape
from cdk_runner_fleet.local.twin.matrices import check_matrix
from cdk_runner_fleet.local.twin.templates import Template, read_condition, read_template

__all__ = ["Findings", "validate"]

_ID = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,98}")
_ACTION = re.compile(r"(?:\./|\.\\|docker://).*|[/\\]*[^@/\\]+[/\\]+[^@/\\][^@]*@[^@]+", re.DOTALL)
_CALLED = re.compile(
    r"\./\.github/workflows/[^/@]+\.ya?ml|[\w.-]+/[\w.-]+/\.github/workflows/[^/@]+\.ya?ml@.+"
)
_CRON_VALUE = r"(?:\*|[0-9a-z]+(?:-[0-9a-z]+)?)(?:/[0-9]+)?"
_CRON = re.compile(rf"{_CRON_VALUE}(?:,{_CRON_VALUE})*(?:\s+{_CRON_VALUE}(?:,{_CRON_VALUE})*){{4}}")
_CRON_NAME = re.compile(
    r"jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec|sun|mon|tue|wed|thu|fri|sat|[0-9]+"
)
MAX_GROUP = 400
"""Characters of a concurrency group's name."""
_GROUP_PREFIXES = ("org", "organization", "ent", "enterprise")
_SCALAR_KINDS: dict[str, type | UnionType] = {"boolean": bool, "number": int | float}


@dataclass(kw_only=True)
class Findings:
    """What was found in a file.

    Attributes:
        errors: what GitHub refuses it for, each with its place.
        traps: the lines of every `if` that is text around an expression, and so always true.
    """

    errors: list[str] = field(default_factory=list)
    traps: list[int] = field(default_factory=list)

    def add(self, token: Token, message: str) -> None:
        """One more error."""
        self.errors.append(f" (Line: {token.line}, Col: {token.column}): {message}")


def validate(document: Token) -> Findings:
    """Reads a whole file."""
    findings = Findings()
    _Grammar(findings).check(document, WORKFLOW, contexts=(), functions=())
    jobs = document.get("jobs")
    if jobs is not None and isinstance(jobs.value, list):
        _check_jobs(jobs, findings)
    _check_concurrency(document.get("concurrency"), findings)
    events = document.get("on")
    for schedule in _items(events.get("schedule") if events else None):
        _check_cron(schedule.get("cron"), findings)
    for event in ("workflow_call", "workflow_dispatch"):
        definitions = events.get(event) if events else None
        for _, definition in _pairs(definitions.get("inputs") if definitions else None):
            _check_input(definition, findings)
    return findings


class _Grammar:
    """Holds a document against the rules of the grammar."""

    def __init__(self, findings: Findings) -> None:
        self._findings = findings

    def check(
        self, token: Token, rule: Rule, *, contexts: tuple[str, ...], functions: tuple[str, ...]
    ) -> None:
        contexts, functions = contexts + rule.contexts, functions + rule.functions
        if isinstance(token.value, tuple):
            self._check_sequence(token, rule, contexts, functions)
        elif isinstance(token.value, list):
            self._check_mapping(token, rule, contexts, functions)
        else:
            self._check_scalar(token, rule, contexts, functions)

    def _check_sequence(
        self, token: Token, rule: Rule, contexts: tuple[str, ...], functions: tuple[str, ...]
    ) -> None:
        items = rule if rule.anything else rule.items
        if items is None:
            self._findings.add(token, "A sequence was not expected")
            return
        for item in token.value:
            self.check(item, items, contexts=contexts, functions=functions)

    def _check_mapping(
        self, token: Token, rule: Rule, contexts: tuple[str, ...], functions: tuple[str, ...]
    ) -> None:
        shapes = (Shape(others=rule),) if rule.anything else rule.shapes
        if not shapes:
            self._findings.add(token, "A mapping was not expected")
            return
        names: set[str] = set()
        has_expression = False
        for key, item in token.value:
            template = self._template(key, contexts, functions)
            if template is not None and template.has_expressions:
                has_expression = True
                self._check_allowed(key, contexts)
                anything = Rule(anything=True)
                self.check(item, anything, contexts=contexts, functions=functions)
                continue
            if key.text.upper() in names:
                self._findings.add(key, f"'{key.text}' is already defined")
                continue
            names.add(key.text.upper())
            fitting = tuple(shape for shape in shapes if key.text in shape.keys)
            if fitting:
                shapes = fitting
                inner: Rule | None = fitting[0].keys[key.text]
            else:
                inner = shapes[0].others
            if inner is None:
                self._findings.add(key, f"Unexpected value '{key.text}'")
                continue
            if not fitting and not key.text:
                self._findings.add(key, "Unexpected value ''")
            self.check(item, inner, contexts=contexts, functions=functions)
        if len(shapes) > 1:
            self._add_undecided(token, shapes)
        elif not has_expression:
            for name in shapes[0].required:
                if name.upper() not in names:
                    self._findings.add(token, f"Required property is missing: {name}")

    def _add_undecided(self, token: Token, shapes: Iterable[Shape]) -> None:
        keys = [set(shape.keys) for shape in shapes]
        every, common = set.union(*keys), set.intersection(*keys)
        self._findings.add(
            token,
            "There's not enough info to determine what you meant. Add one of these properties: "
            + ", ".join(sorted(every - common)),
        )

    def _check_scalar(
        self, token: Token, rule: Rule, contexts: tuple[str, ...], functions: tuple[str, ...]
    ) -> None:
        template = self._template(token, contexts, functions)
        value = token.value
        if template is None:  # GitHub goes on with the text as it is
            if not _takes(rule, value, token):
                self._findings.add(token, f"Unexpected value '{token.text}'")
            return
        if template.has_expressions:
            whole = template.whole
            if whole is None or not whole.is_text:
                self._check_allowed(token, contexts)
                if rule.is_condition:
                    self._check_condition(token, contexts, functions)
                return
            value = whole.value(Scope())
        if not _takes(rule, value, token):
            self._findings.add(token, f"Unexpected value '{token.text}'")
        elif rule.is_condition:
            self._check_condition(token, contexts, functions)

    def _check_allowed(self, token: Token, contexts: tuple[str, ...]) -> None:
        if not contexts:
            self._findings.add(token, "A template expression is not allowed in this context")

    def _check_condition(
        self, token: Token, contexts: tuple[str, ...], functions: tuple[str, ...]
    ) -> None:
        try:
            condition = read_condition(token.text, contexts=contexts, functions=functions)
        except ExpressionError as error:
            self._findings.add(token, str(error))
        else:
            if condition.is_trap:
                self._findings.traps.append(token.line)

    def _template(
        self, token: Token, contexts: tuple[str, ...], functions: tuple[str, ...]
    ) -> Template | None:
        """A scalar's text; None if it cannot be read, which is told."""
        try:
            return read_template(token.text, contexts=contexts, functions=functions)
        except ExpressionError as error:
            self._findings.add(token, str(error))
            return None


def _takes(rule: Rule, value: object, token: Token) -> bool:
    if rule.anything:
        return True
    if value is None and rule.null:
        return True
    if isinstance(value, bool):
        if rule.boolean:
            return True
    elif isinstance(value, int | float) and rule.number:
        return True
    text = value if isinstance(value, str) else token.text
    return rule.text or (rule.filled and text != "") or text in rule.words


# What no rule of the grammar says


def _check_jobs(jobs: Token, findings: Findings) -> None:
    if not jobs.value:
        findings.add(jobs, "The workflow must contain at least one job with no dependencies.")
    for key, job in jobs.value:
        if key.text:
            _check_id(key, set(), findings)
        steps = job.get("steps")
        _check_steps(steps, findings)
        if steps is not None and not steps.value:
            findings.add(
                job,
                "No steps defined in `steps` and no workflow called in `uses` for the following "
                f"jobs: {key.text}",
            )
        _check_matrix(job, findings)
        _check_group(job.get("runs-on"), findings)
        _check_concurrency(job.get("concurrency"), findings)
        _check_images(job, findings)
        called = job.get("uses")
        if called is not None and called.is_scalar and not _CALLED.fullmatch(called.text):
            findings.add(
                called,
                f"Invalid workflow reference '{called.text}'. Expected format "
                "./.github/workflows/{file} or {owner}/{repo}/.github/workflows/{file}@{ref}",
            )
    _check_needs(jobs, findings)


def _check_id(token: Token, taken: set[str], findings: Findings) -> None:
    name = token.text
    if not _ID.fullmatch(name):
        findings.add(
            token,
            f"The identifier '{name}' is invalid. IDs may only contain alphanumeric characters, "
            "'_', and '-'. IDs must start with a letter or '_' and and must be less than 100 "
            "characters.",
        )
    elif name.startswith("__"):
        findings.add(
            token, f"The identifier '{name}' is invalid. IDs starting with '__' are reserved."
        )
    elif name.lower() in taken:
        findings.add(
            token, f"The identifier '{name}' may not be used more than once within the same scope."
        )
    taken.add(name.lower())


def _check_steps(steps: Token | None, findings: Findings) -> None:
    taken: set[str] = set()
    for step in _each_step(steps):
        name = step.get("id")
        if name is not None and name.is_scalar and name.text:
            _check_id(name, taken, findings)
        action = step.get("uses")
        if action is not None and action.is_scalar and not _ACTION.fullmatch(action.text):
            findings.add(
                action, f"Expected format {{org}}/{{repo}}[/path]@ref. Actual '{action.text}'"
            )
        for target in (*_one_or_more(step.get("wait")), *_one_or_more(step.get("cancel"))):
            if target.text.lower() not in taken:
                findings.add(target, f"Step references unknown step ID '{target.text}'")
        every = step.get("wait-all")
        if every is not None and every.value is False:
            findings.add(every, "The value of 'wait-all' must be true or omitted")


def _each_step(steps: Token | None) -> Iterator[Token]:
    for step in _items(steps):
        yield step
        yield from _items(step.get("parallel"))


def _check_needs(jobs: Token, findings: Findings) -> None:
    needs = {key.text.lower(): _one_or_more(job.get("needs")) for key, job in jobs.value}
    written = {key.text.lower(): key.text for key, _ in jobs.value}
    if jobs.value and all(needs.values()):
        findings.add(jobs, "The workflow must contain at least one job with no dependencies.")
        return
    done: set[str] = set()
    while ready := {key for key in needs if key not in done and done >= _texts(needs[key])}:
        done |= ready
    for key in (key for key in needs if key not in done):
        for needed in needs[key]:
            if needed.text.lower() not in needs:
                findings.add(
                    needed, f"Job '{written[key]}' depends on unknown job '{needed.text}'."
                )
            elif needed.text.lower() not in done:
                findings.add(
                    needed,
                    f"Job '{written[key]}' depends on job '{needed.text}' which creates a cycle "
                    "in the dependency graph.",
                )


def _one_or_more(token: Token | None) -> tuple[Token, ...]:
    return (token,) if token is not None and token.is_scalar else _items(token)


def _texts(tokens: Iterable[Token]) -> set[str]:
    return {token.text.lower() for token in tokens if token.is_scalar}


def _check_matrix(job: Token, findings: Findings) -> None:
    strategy = job.get("strategy")
    matrix = strategy and strategy.get("matrix")
    empty = [
        (key, vector)
        for key, vector in _pairs(matrix)
        if vector.value == () and key.text not in ("include", "exclude")
    ]
    for key, vector in empty:
        findings.add(vector, f"Matrix vector '{key.text}' does not contain any values")
    if matrix is None or matrix.is_scalar or empty or _has_expressions(matrix):
        return
    try:
        check_matrix(matrix.plain())
    except ExpressionError as error:
        findings.add(matrix, str(error))


def _has_expressions(token: Token) -> bool:
    if token.is_scalar:
        return "${{" in token.text
    inside = chain.from_iterable(_pairs(token)) if _pairs(token) else _items(token)
    return any(map(_has_expressions, inside))


def _check_concurrency(token: Token | None, findings: Findings) -> None:
    group = token and (token if token.is_scalar else token.get("group"))
    if group and group.is_scalar and "${{" not in group.text and len(group.text) > MAX_GROUP:
        findings.add(group, f"Concurrency group name must be less than {MAX_GROUP} characters")


def _check_group(runs_on: Token | None, findings: Findings) -> None:
    group = runs_on and runs_on.get("group")
    if not group or not group.is_scalar or "${{" in group.text:
        return
    prefix, *names = group.text.split("/")
    if names == [""]:
        findings.add(group, f"Invalid runs-on group name '{group.text}'.")
    elif names and (len(names) > 1 or prefix not in _GROUP_PREFIXES):
        findings.add(
            group,
            f"Invalid runs-on group name '{group.text}'. Please use 'organization/' or "
            "'enterprise/' prefix to target a single runner group.",
        )


def _check_images(job: Token, findings: Findings) -> None:
    services = [service for _, service in _pairs(job.get("services"))]
    for container in (job.get("container"), *services):
        keys = {key.text for key, _ in _pairs(container)}
        if container and keys and keys <= CONTAINER_KEYS - {"image"}:
            findings.add(container, "Container image cannot be empty")


def _check_cron(cron: Token | None, findings: Findings) -> None:
    if cron is None or not cron.text:
        return
    text = cron.text.strip().lower()
    if not _CRON.fullmatch(text) or _CRON_NAME.sub("", text).strip(" \t*/,-"):
        findings.add(
            cron,
            "Invalid cron expression. Expected format: '* * * * *' (minute hour day month weekday)",
        )


def _check_input(definition: Token, findings: Findings) -> None:
    kind = definition.get("type")
    name = kind.text if kind and kind.is_scalar else "string"
    default = definition.get("default")
    expected = _SCALAR_KINDS.get(name, str)
    if default is not None and default.is_scalar and "${{" not in default.text:
        value = default.value
        fits = isinstance(value, expected) and (name != "number" or not isinstance(value, bool))
        # text is what a number or a boolean becomes where text is asked for
        if not fits and (expected is not str or value is None):
            findings.add(default, f"Unexpected value '{default.text}'")
    options = definition.get("options")
    if name == "choice" and not _items(options):
        findings.add(definition, "Missing 'options' for choice input")
    if name != "choice" and options is not None:
        findings.add(definition, "Input type is not 'choice', but 'options' is defined")


def _pairs(token: Token | None) -> list[tuple[Token, Token]]:
    return token.value if token and isinstance(token.value, list) else []


def _items(token: Token | None) -> tuple[Token, ...]:
    return token.value if token and isinstance(token.value, tuple) else ()
