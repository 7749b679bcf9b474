"""Workflow files: which jobs they hold, and the file that makes act run one of them.

What GitHub does and the twin does not: docs/local-run.md.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from cdk_runner_fleet.local.twin.calls import call_definition, call_errors, call_inputs
from cdk_runner_fleet.local.twin.coercions import Value, as_text, is_simple
from cdk_runner_fleet.local.twin.documents import DocumentError, Memory, Token, read_document
from cdk_runner_fleet.local.twin.expressions import ExpressionError, Scope
from cdk_runner_fleet.local.twin.matrices import Combination, Matrix, combinations, leg_name
from cdk_runner_fleet.local.twin.templates import interpolate
from cdk_runner_fleet.local.twin.validation import validate

__all__ = ["JobLeg", "JobSpec", "Workflow", "WorkflowError", "job_file", "legs", "read_workflow"]

MAX_NESTED = 10  # docs.github.com, "Reuse workflows": levels of workflows that call each other
MAX_CALLED = 50  # the same: workflows called from one file, with those that they call
OUTPUTS_STEP = "_twin_outputs"
_NEEDS_MORE = {
    "container": "needs Docker",
    "services": "needs Docker",
    "uses": "calls a workflow of another repository",
}
_SIDE_BY_SIDE = ("background", "wait", "wait-all", "cancel", "parallel")


Find = Callable[[str], str | None]


class WorkflowError(ValueError):
    """A workflow file GitHub would refuse or the twin cannot run; says where and why."""


@dataclass(frozen=True, kw_only=True)
class JobSpec:
    """One job of a file, before its matrix is known.

    Args:
        key: its key under `jobs`.
        needs: keys of the jobs it waits for.
        definition: the job as written.
        called: the workflow that it calls in place of running steps.
    """

    key: str
    needs: tuple[str, ...]
    definition: Mapping[str, Any]
    called: Workflow | None = None

    @property
    def environment(self) -> str | None:
        """The deployment environment's name, if the job names one."""
        environment = self.definition.get("environment")
        if isinstance(environment, Mapping):
            environment = environment.get("name")
        return None if environment is None else str(environment)


@dataclass(frozen=True, kw_only=True)
class JobLeg:
    """One job GitHub queues: a job, or one combination of its matrix.

    Args:
        name: as shown by GitHub, e.g. `test (3.12, linux)`.
        labels: what `runs-on` comes to, e.g. `("self-hosted", "class:medium")`.
        matrix: its combination; empty without a matrix.
        is_forgiven: whether its `continue-on-error` makes a failure of it none of the run's.
        timeout_minutes: what its `timeout-minutes` comes to.
        inputs: what it gives to the workflow that it calls.
    """

    name: str
    labels: tuple[str, ...]
    matrix: Matrix
    is_forgiven: bool = False
    timeout_minutes: float | None = None
    inputs: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Workflow:
    """A workflow file.

    Args:
        name: the file's `name`, or the file's name.
        jobs: its jobs by key, in the file's order.
        definition: the file as written.
        inputs: the defaults of its inputs.
        warnings: what is right and does not do what it looks like.
    """

    name: str
    jobs: Mapping[str, JobSpec]
    definition: Mapping[str, Any]
    inputs: Mapping[str, Value] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


def read_workflow(
    text: str, *, file_name: str, find: Find | None = None, permissions: Value = None
) -> Workflow:
    """Reads a workflow file and those that its jobs call.

    Args:
        text: the file.
        file_name: what it is called in errors.
        find: the text of a called workflow by its reference, None if there is none. A job whose
            workflow is not found fails when it is due, unless it ought to be in this repository.
        permissions: what the repository gives a token where no file says it, which a called
            workflow must not exceed. Default: it is not known, and not looked at.

    Raises:
        WorkflowError: GitHub would refuse it; a line for each reason, with its place.
    """
    files = _Files(find=find or (lambda _: None))
    return _read(text, file_name, files, chain=(), allowed=permissions)


@dataclass(kw_only=True)
class _Files:
    """Of one run.

    Attributes:
        find: the text of a called file by its reference.
        called: those that were called so far.
        memory: what all take.
    """

    find: Find
    called: set[str] = field(default_factory=set)
    memory: Memory = field(default_factory=Memory)


def _read(
    text: str, file_name: str, files: _Files, *, chain: tuple[str, ...], allowed: Value
) -> Workflow:
    try:
        files.memory.take_text(file_name)
        document = read_document(text, files.memory)
    except DocumentError as error:
        raise WorkflowError(f"{file_name}{_separated(str(error))}") from error
    findings = validate(document)
    if findings.errors:
        raise WorkflowError("\n".join(f"{file_name}{error}" for error in findings.errors))
    plain = document.plain()
    jobs: dict[str, JobSpec] = {}
    warnings = [
        f"{file_name} (Line: {line}): this `if` is text with an expression in it, "
        "which is always true"
        for line in findings.traps
    ]
    errors: list[str] = []
    written: list[tuple[Token, Token]] = document.get("jobs").value  # type: ignore[union-attr]  # it was validated
    keys = {key.text.lower(): key.text for key, _ in written}
    for key, token in written:
        job = plain["jobs"][key.text]
        reference = token.get("uses")
        called = None
        if reference is not None:
            permissions = job.get("permissions", plain.get("permissions", allowed))
            try:
                called = _called(reference.text, files, chain=chain, allowed=permissions)
                if called:
                    errors += [
                        _at(about, file_name, error)
                        for about, error in call_errors(
                            key, token, reference, called.definition, allowed=permissions
                        )
                    ]
                    warnings += called.warnings
            except WorkflowError as error:
                errors += [_at(reference, file_name, each) for each in str(error).splitlines()]
        needs = job.get("needs") or []
        needs = tuple(
            keys[as_text(each).lower()] for each in ([needs] if is_simple(needs) else needs)
        )
        jobs[key.text] = JobSpec(key=key.text, needs=needs, definition=job, called=called)
    if errors:
        raise WorkflowError("\n".join(errors))
    return Workflow(
        name=as_text(plain.get("name")) or file_name,
        jobs=jobs,
        definition=plain,
        inputs=_defaults(plain["on"]),
        warnings=tuple(dict.fromkeys(warnings)),
    )


def _called(
    reference: str, files: _Files, *, chain: tuple[str, ...], allowed: Value
) -> Workflow | None:
    text = files.find(reference)
    if text is None:
        if reference.startswith("./"):
            raise WorkflowError(f"Unable to find reusable workflow '{reference}'")
        return None
    if len(chain) >= MAX_NESTED:
        raise WorkflowError(f"Nested reusable workflow depth exceeded {MAX_NESTED}.")
    files.called.add(reference.lower())
    if len(files.called) > MAX_CALLED:
        raise WorkflowError(f"The maximum file count of {MAX_CALLED + 1} has been exceeded")
    return _read(text, reference, files, chain=(*chain, reference), allowed=allowed)


def _at(token: Token, file_name: str, error: str) -> str:
    return f"{file_name} (Line: {token.line}, Col: {token.column}): {error}"


def legs(spec: JobSpec, scope: Scope) -> list[JobLeg]:
    """The legs of a job, once the jobs it needs are done.

    Raises:
        WorkflowError: the twin cannot run it, or GitHub takes no such labels.
        ExpressionError: an expression in its keys cannot be evaluated, or its matrix is none.
    """
    for key, why in _NEEDS_MORE.items():
        if spec.definition.get(key) and not spec.called:
            raise WorkflowError(f"the job has `{key}`, which {why}: it does not run here")
    for step in spec.definition.get("steps") or ():
        for key in _SIDE_BY_SIDE:
            if key in step:
                raise WorkflowError(
                    f"a step of the job has `{key}`: act runs no steps side by side, so it does "
                    "not run here"
                )
    strategy = interpolate(spec.definition.get("strategy"), scope)
    if not isinstance(strategy, Mapping | None):
        raise ExpressionError("A mapping was expected for the strategy")
    matrix = (strategy or {}).get("matrix")
    found = [Combination(values={}, named={})] if matrix is None else combinations(matrix)
    return [_leg(spec, combination, scope) for combination in found]


def job_file(
    workflow: Workflow,
    spec: JobSpec,
    leg: JobLeg,
    *,
    needs: Mapping[str, Mapping[str, Any]],
    event: str = "push",
    inputs: Mapping[str, Value] | None = None,
) -> str:
    """The file act runs for one leg: the job, alone but for stand-ins of what it needs.

    A stand-in has the needed job's result and outputs, so that `needs.*` means the same inside
    the job as on GitHub without the twin ever rewriting text. A last step hands the job's outputs
    back: act evaluates them but does not report them.

    Args:
        workflow: the file the job is from; its `env` and `defaults` are kept.
        spec: the job.
        leg: the combination to run.
        needs: job key to `{"result": str, "outputs": {name: str}}`.
        event: what act is started with.
        inputs: the `inputs` context.

    Returns:
        JSON, which is YAML, for `act -W FILE -j KEY`.
    """
    job = dict(spec.definition)
    job.update({"runs-on": "self-hosted", "if": "always()", "needs": list(spec.needs)})
    for decided in ("environment", "strategy", "continue-on-error", "timeout-minutes"):
        job.pop(decided, None)
    if leg.timeout_minutes is not None:
        job["timeout-minutes"] = leg.timeout_minutes
    if leg.matrix:
        job["strategy"] = {"matrix": {"include": [_literal(leg.matrix)]}}
    outputs = spec.definition.get("outputs") or {}
    if outputs:
        job["steps"] = [*job["steps"], _outputs_step(outputs)]
    document = {
        key: value for key, value in workflow.definition.items() if key not in ("jobs", "on")
    }
    document["on"] = {event: _inputs_of_act(inputs)} if inputs else event
    document["jobs"] = {spec.key: job}
    for needed in spec.needs:
        document["jobs"][needed] = _stand_in(needs[needed])
    return json.dumps(_finite(document))


def _separated(message: str) -> str:
    return message if message.startswith(" (") else f": {message}"


def _defaults(events: Value) -> dict[str, Value]:
    """The inputs of a file that is started by hand or called, with their defaults."""
    found: dict[str, Value] = {}
    for event in ("workflow_call", "workflow_dispatch"):
        definition = events.get(event) if isinstance(events, Mapping) else None
        wanted = (definition or {}).get("inputs") or {}
        # what only the event can tell is not known here
        known = {
            name: {**(of_input or {}), "default": None}
            if "${{" in as_text((of_input or {}).get("default"))
            else of_input
            for name, of_input in wanted.items()
        }
        found |= call_inputs(known, {})
    return found


def _inputs_of_act(inputs: Mapping[str, Value]) -> Value:
    """What act takes for the inputs of a start by hand: their defaults."""
    return {
        "inputs": {
            name: {
                "type": "boolean" if isinstance(value, bool) else "string",
                "default": _literal(as_text(value)),
            }
            for name, value in inputs.items()
        }
    }


def _leg(spec: JobSpec, combination: Combination, scope: Scope) -> JobLeg:
    matrix = combination.values
    scope = Scope(
        contexts={**scope.contexts, "matrix": matrix or None},
        status=scope.status,
        cancelled=scope.cancelled,
    )
    definition = spec.definition
    written = as_text(definition.get("name"))
    name = as_text(interpolate(written, scope)) or spec.key
    if "${{" not in written:
        name = leg_name(name, combination.named)
    if spec.called:
        wanted = (call_definition(spec.called.definition) or {}).get("inputs")
        try:
            inputs = call_inputs(wanted, interpolate(definition.get("with") or {}, scope))
        except ValueError as error:
            raise WorkflowError(str(error)) from error
        return JobLeg(name=name, labels=(), matrix=matrix, inputs=inputs)
    minutes = interpolate(definition.get("timeout-minutes"), scope)
    if isinstance(minutes, bool) or not isinstance(minutes, int | float | None):
        raise ExpressionError(f"Unexpected value '{as_text(minutes)}' for `timeout-minutes`")
    forgives = interpolate(definition.get("continue-on-error", False), scope)
    if not isinstance(forgives, bool):
        raise ExpressionError(f"Unexpected value '{as_text(forgives)}' for `continue-on-error`")
    return JobLeg(
        name=name,
        labels=_labels(interpolate(definition["runs-on"], scope)),
        matrix=matrix,
        is_forgiven=forgives,
        timeout_minutes=minutes,
    )


def _labels(runs_on: Value) -> tuple[str, ...]:
    if isinstance(runs_on, Mapping):
        if not runs_on.get("labels"):
            raise WorkflowError(
                f"`runs-on` names the group {as_text(runs_on.get('group'))!r} and no labels: the "
                "fleet starts runners for labels alone"
            )
        runs_on = runs_on["labels"]  # whatever the group: all runners here are the fleet's
    labels = [runs_on] if is_simple(runs_on) else runs_on
    if not isinstance(labels, list) or not all(map(is_simple, labels)):
        raise ExpressionError("A label or a sequence of labels was expected for `runs-on`")
    texts = tuple(map(as_text, labels))
    if not all(texts) or not texts:
        raise ExpressionError("Unexpected value '' for `runs-on`")
    return texts


def _finite(value: Value) -> Value:
    """The same value with numbers that JSON has not as text."""
    if isinstance(value, Mapping):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return as_text(value) if isinstance(value, float) and not math.isfinite(value) else value


def _literal(value: Any) -> Any:
    """The same value with every `${{` spelled so that act reads it as text."""
    if isinstance(value, str):
        return value.replace("${{", "${{ '${{' }}")
    if isinstance(value, Mapping):
        return {name: _literal(item) for name, item in value.items()}
    return [_literal(item) for item in value] if isinstance(value, list) else value


def _stand_in(need: Mapping[str, Any]) -> dict[str, Any]:
    stand_in: dict[str, Any] = {
        "runs-on": "self-hosted",
        "outputs": _literal(dict(need["outputs"])),
        # Shell and folder are given so that the file's `defaults` have no say.
        "steps": [
            {
                "run": "exit 0" if need["result"] == "success" else "exit 1",
                "shell": "sh",
                "working-directory": "/",
            }
        ],
    }
    if need["result"] == "skipped":
        stand_in["if"] = "false"
    return stand_in


def _outputs_step(outputs: Mapping[str, Any]) -> dict[str, Any]:
    """Hands the outputs back as this step's own, each between random marks: values are anything."""
    lines = [
        "mark=twin-$RANDOM$RANDOM$RANDOM; "
        f'printf \'%s<<%s\\n%s\\n%s\\n\' "$TWIN_NAME_{index}" "$mark" '
        f'"$TWIN_OUTPUT_{index}" "$mark" >>"$GITHUB_OUTPUT"'
        for index in range(len(outputs))
    ]
    environment: dict[str, Any] = {}
    for index, (name, value) in enumerate(outputs.items()):
        environment |= {f"TWIN_NAME_{index}": _literal(name), f"TWIN_OUTPUT_{index}": value}
    return {
        "id": OUTPUTS_STEP,
        "name": OUTPUTS_STEP,
        "if": "always()",
        "shell": "bash",
        "working-directory": "/",
        "env": environment,
        "run": "\n".join(lines),
    }
