"""Workflow files: which jobs they hold, and the file that makes act run one of them.

What GitHub does and the twin does not: `fail-fast` and `max-parallel` of a matrix (every leg runs),
`concurrency`, and triggers (a file is started by name). Reusable workflows, job containers and
services are refused: they cannot run without GitHub or Docker.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from cdk_runner_fleet.local.twin.coercions import as_text
from cdk_runner_fleet.local.twin.expressions import Scope
from cdk_runner_fleet.local.twin.templates import interpolate

__all__ = ["JobLeg", "JobSpec", "Workflow", "WorkflowError", "job_file", "legs", "read_workflow"]

MAX_MATRIX = 256  # docs.github.com, Actions limits: jobs a matrix generates per run
OUTPUTS_STEP = "_twin_outputs"
_OUTPUT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")

Matrix = Mapping[str, Any]


class WorkflowError(ValueError):
    """A workflow file GitHub would refuse or the twin cannot run; says where and why."""


class _Loader(yaml.SafeLoader):
    """YAML 1.2 booleans, as GitHub reads them: `on` is a key, not true."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:bool"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(  # type: ignore[no-untyped-call]  # types-PyYAML has none
    "tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)


@dataclass(frozen=True, kw_only=True)
class JobSpec:
    """One job of a file, before its matrix is known.

    Args:
        key: its key under `jobs`.
        needs: keys of the jobs it waits for.
        definition: the job as written.
    """

    key: str
    needs: tuple[str, ...]
    definition: Mapping[str, Any]

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
    """

    name: str
    labels: tuple[str, ...]
    matrix: Matrix


@dataclass(frozen=True, kw_only=True)
class Workflow:
    """A workflow file.

    Args:
        name: the file's `name`, or the file's name.
        jobs: its jobs by key, in the file's order.
        definition: the file as written.
    """

    name: str
    jobs: Mapping[str, JobSpec]
    definition: Mapping[str, Any]


def read_workflow(text: str, *, file_name: str) -> Workflow:
    """Reads a workflow file.

    Raises:
        WorkflowError: not YAML, no jobs, an unknown or circular `needs`, or something the twin
            cannot run.
    """
    try:
        document = yaml.load(text, Loader=_Loader)  # noqa: S506  (a SafeLoader)
    except yaml.YAMLError as error:
        raise WorkflowError(f"{file_name} is not YAML: {error}") from error
    if not isinstance(document, Mapping) or not isinstance(document.get("jobs"), Mapping):
        raise WorkflowError(f"{file_name} has no `jobs` mapping; is it a workflow file?")
    jobs = {str(key): _job(file_name, str(key), job) for key, job in document["jobs"].items()}
    if not jobs:
        raise WorkflowError(f"{file_name} has no job under `jobs`")
    _check_needs(file_name, jobs)
    name = str(document.get("name") or file_name)
    return Workflow(name=name, jobs=jobs, definition=document)


def legs(spec: JobSpec, scope: Scope) -> list[JobLeg]:
    """The legs of a job, once the jobs it needs are done.

    Raises:
        WorkflowError: the matrix or the labels are not what GitHub takes.
        ExpressionError: an expression in them cannot be evaluated.
    """
    strategy = spec.definition.get("strategy") or {}
    matrix = interpolate(strategy.get("matrix"), scope) if isinstance(strategy, Mapping) else None
    combinations = _combinations(spec.key, matrix)
    return [_leg(spec, combination, scope) for combination in combinations]


def job_file(
    workflow: Workflow,
    spec: JobSpec,
    leg: JobLeg,
    *,
    needs: Mapping[str, Mapping[str, Any]],
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

    Returns:
        JSON, which is YAML, for `act -W FILE -j KEY`.
    """
    job = dict(spec.definition)
    job.update({"runs-on": "self-hosted", "if": "always()", "needs": list(spec.needs)})
    job.pop("environment", None)
    job.pop("strategy", None)
    if leg.matrix:
        job["strategy"] = {"matrix": {"include": [_literal(leg.matrix)]}}
    outputs = spec.definition.get("outputs") or {}
    if outputs:
        job["steps"] = [*job["steps"], _outputs_step(outputs)]
    document = {
        key: value for key, value in workflow.definition.items() if key not in ("jobs", "on")
    }
    document["on"] = "push"
    document["jobs"] = {spec.key: job}
    for needed in spec.needs:
        document["jobs"][needed] = _stand_in(needs[needed])
    return json.dumps(document)


def _job(file_name: str, key: str, job: object) -> JobSpec:
    where = f"{file_name}: job {key!r}"
    if not isinstance(job, Mapping):
        raise WorkflowError(f"{where} is not a mapping")
    for unsupported in ("uses", "container", "services"):
        if unsupported in job:
            raise WorkflowError(f"{where} has `{unsupported}`, which needs GitHub or Docker")
    if "runs-on" not in job:
        raise WorkflowError(f"{where} has no `runs-on`")
    if not isinstance(job.get("steps"), Sequence) or not job["steps"]:
        raise WorkflowError(f"{where} has no steps")
    for name in job.get("outputs") or {}:
        if not _OUTPUT_NAME.fullmatch(str(name)):
            raise WorkflowError(
                f"{where} has an output {name!r}; allowed: letters, digits, - and _"
            )
    needs = job.get("needs") or []
    if isinstance(needs, str):
        needs = [needs]
    return JobSpec(key=key, needs=tuple(map(str, needs)), definition=job)


def _check_needs(file_name: str, jobs: Mapping[str, JobSpec]) -> None:
    done: set[str] = set()
    for job in jobs.values():
        unknown = [needed for needed in job.needs if needed not in jobs]
        if unknown:
            raise WorkflowError(
                f"{file_name}: job {job.key!r} needs {unknown[0]!r}; there is {', '.join(jobs)}"
            )
    while len(done) < len(jobs):
        ready = {key for key, job in jobs.items() if key not in done and done.issuperset(job.needs)}
        if not ready:
            circle = ", ".join(sorted(set(jobs) - done))
            raise WorkflowError(f"{file_name}: the jobs {circle} need each other")
        done |= ready


def _combinations(key: str, matrix: object) -> list[dict[str, Any]]:
    """GitHub's rules: the product less `exclude`, then `include` extends or adds."""
    if matrix is None:
        return [{}]
    if not isinstance(matrix, Mapping):
        raise WorkflowError(f"job {key!r}: the matrix is {matrix!r}, not a mapping")
    axes = {name: value for name, value in matrix.items() if name not in ("include", "exclude")}
    for name, value in axes.items():
        if not isinstance(value, list):
            raise WorkflowError(f"job {key!r}: matrix.{name} is {value!r}, not a list")
    product = [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]
    originals = [
        combination
        for combination in (product if axes else [])
        if not any(_matches(combination, excluded) for excluded in matrix.get("exclude") or [])
    ]
    combinations = [dict(combination) for combination in originals]
    for extra in matrix.get("include") or []:
        # It may add to a combination but not change a value that the axes gave it.
        fits = [
            index
            for index, original in enumerate(originals)
            if all(original.get(name, value) == value for name, value in extra.items())
        ]
        for index in fits:
            combinations[index].update(extra)
        if not fits:
            combinations.append(dict(extra))
    if not 1 <= len(combinations) <= MAX_MATRIX:
        raise WorkflowError(
            f"job {key!r}: the matrix has {len(combinations)} combinations; allowed: 1-{MAX_MATRIX}"
        )
    return combinations


def _matches(combination: Matrix, pattern: Matrix) -> bool:
    return all(name in combination and combination[name] == pattern[name] for name in pattern)


def _leg(spec: JobSpec, matrix: Matrix, scope: Scope) -> JobLeg:
    scope = Scope(contexts={**scope.contexts, "matrix": matrix}, status=scope.status)
    written = spec.definition.get("name")
    name = as_text(interpolate(written, scope)) if written is not None else spec.key
    if matrix and not (isinstance(written, str) and "${{" in written):
        name = f"{name} ({', '.join(_flat(matrix.values()))})"
    runs_on = interpolate(spec.definition["runs-on"], scope)
    if isinstance(runs_on, Mapping):  # {group:, labels:}: a repository has no group but the first
        runs_on = runs_on.get("labels")
    labels = [runs_on] if isinstance(runs_on, str) else runs_on
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        raise WorkflowError(f"job {spec.key!r}: `runs-on` is {runs_on!r}, not a label or a list")
    return JobLeg(name=name, labels=tuple(labels), matrix=matrix)


def _flat(values: Any) -> list[str]:
    """The values in a leg's name; GitHub writes an object as its own values."""
    texts: list[str] = []
    for value in values:
        if isinstance(value, Mapping):
            texts += _flat(value.values())
        elif isinstance(value, list):
            texts += _flat(value)
        else:
            texts.append(as_text(value))
    return texts


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
        f"mark=twin-$RANDOM$RANDOM$RANDOM; printf '%s<<%s\\n%s\\n%s\\n' '{name}' \"$mark\" "
        f'"$TWIN_OUTPUT_{index}" "$mark" >>"$GITHUB_OUTPUT"'
        for index, name in enumerate(outputs)
    ]
    return {
        "id": OUTPUTS_STEP,
        "name": OUTPUTS_STEP,
        "if": "always()",
        "shell": "bash",
        "working-directory": "/",
        "env": {f"TWIN_OUTPUT_{index}": value for index, value in enumerate(outputs.values())},
        "run": "\n".join(lines),
    }
