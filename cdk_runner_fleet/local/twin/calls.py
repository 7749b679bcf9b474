"""What a job gives to the workflow that it calls, and whether GitHub lets it.

Sources: docs.github.com, "Reuse workflows"; actions/runner, src/Sdk/WorkflowParser, and
actions/languageservices' test data for the messages.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from cdk_runner_fleet.local.twin.coercions import Value, as_text
from cdk_runner_fleet.local.twin.documents import Token
from cdk_runner_fleet.local.twin.grammar import PERMISSIONS, READ_ONLY

__all__ = ["call_definition", "call_errors", "call_inputs"]

_LEVELS = {"none": 0, "read": 1, "write": 2}
_ALL = {"read-all": "read", "write-all": "write"}
_KINDS: Mapping[str, type | tuple[type, ...]] = {"boolean": bool, "number": (int, float)}
_EMPTY: Mapping[str, Value] = {"boolean": False, "number": 0}


def call_definition(definition: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """A file's `on.workflow_call`; None if it is not to be called."""
    events = definition["on"]
    if isinstance(events, Mapping):
        return (events["workflow_call"] or {}) if "workflow_call" in events else None
    return {} if "workflow_call" in (events if isinstance(events, list) else [events]) else None


def call_inputs(wanted: Mapping[str, Any] | None, given: Mapping[str, Value]) -> dict[str, Value]:
    """The `inputs` context of a workflow.

    Args:
        wanted: its inputs as it defines them.
        given: what its caller gives, evaluated.

    Raises:
        ValueError: a value is not of the input's type.
    """
    lower = {name.lower(): value for name, value in given.items()}
    found: dict[str, Value] = {}
    for name, definition in (wanted or {}).items():
        kind = (definition or {}).get("type", "string")
        value = lower.get(name.lower(), (definition or {}).get("default"))
        if value is None:
            value = _EMPTY.get(kind, "")
        if kind not in _KINDS:
            value = as_text(value)
        elif not _is_of(kind, value):
            raise ValueError(f"Unexpected value '{as_text(value)}' for the input '{name}'")
        found[name] = value
    return found


def call_errors(
    key: Token,
    job: Token,
    reference: Token,
    called: Mapping[str, Any],
    *,
    allowed: Value,
) -> Iterator[tuple[Token, str]]:
    """Why GitHub refuses a call, each with what it is about.

    Args:
        key: the calling job's key.
        job: the calling job.
        reference: its `uses`.
        called: the called file, as written.
        allowed: the permissions that the job may hand on; None if none are written.
    """
    definition = call_definition(called)
    if definition is None:
        yield reference, "workflow_call key is not defined in the referenced workflow."
        return
    inputs = _lowered(definition.get("inputs"))
    for name, value in _pairs(job.get("with")):
        kind = inputs.get(name.text.lower(), {}).get("type", "string")
        is_open = isinstance(value.value, str) and "${{" in value.value
        if kind in _KINDS and not is_open and not _is_of(kind, value.plain()):
            yield value, f"Unexpected value '{value.text}'"
    yield from _given(reference, job.get("with"), definition.get("inputs"), "input", "Input")
    secrets = job.get("secrets")
    if secrets is None or not secrets.is_scalar:
        yield from _given(reference, secrets, definition.get("secrets"), "secret", "Secret")
    if allowed is not None:
        for error in _excess(called, reference.text, allowed):
            yield key, error


def _is_of(kind: str, value: Value) -> bool:
    return isinstance(value, _KINDS[kind]) and (kind == "boolean" or not isinstance(value, bool))


def _lowered(definitions: Mapping[str, Any] | None) -> dict[str, Mapping[str, Any]]:
    return {name.lower(): definition or {} for name, definition in (definitions or {}).items()}


def _given(
    reference: Token,
    given: Token | None,
    wanted: Mapping[str, Any] | None,
    what: str,
    title: str,
) -> Iterator[tuple[Token, str]]:
    names = {name.text.lower() for name, _ in _pairs(given)}
    for name, definition in (wanted or {}).items():
        if (definition or {}).get("required") and name.lower() not in names:
            yield reference, f"{title} {name} is required, but not provided while calling."
    for key, value in _pairs(given):
        if key.text.lower() not in _lowered(wanted):
            message = f"Invalid {what}, {key.text} is not defined in the referenced workflow."
            yield value, message


def _pairs(token: Token | None) -> list[tuple[Token, Token]]:
    return token.value if token and isinstance(token.value, list) else []


def _excess(called: Mapping[str, Any], reference: str, allowed: Value) -> Iterator[str]:
    asked = [(f"The workflow '{reference}'", called.get("permissions"))]
    asked += [
        (f"The nested job '{key}'", job.get("permissions")) for key, job in called["jobs"].items()
    ]
    for who, permissions in asked:
        levels = [
            (scope, _level(permissions, scope), _level(allowed, scope))
            for scope in (PERMISSIONS if permissions is not None else ())
        ]
        beyond = [each for each in levels if _LEVELS[each[1]] > _LEVELS[each[2]]]
        if beyond:
            wanted = ", ".join(f"{scope}: {level}" for scope, level, _ in beyond)
            given = ", ".join(f"{scope}: {level}" for scope, _, level in beyond)
            yield (
                f"Error calling workflow '{reference}'. {who} is requesting '{wanted}', but is "
                f"only allowed '{given}'."
            )


def _level(permissions: Value, scope: str) -> str:
    if isinstance(permissions, Mapping):
        return str(permissions.get(scope, "none"))
    level = _ALL.get(permissions, "none")
    return "read" if level == "write" and scope in READ_ONLY else level
