"""What a job gives to the workflow that it calls, and whether GitHub lets it.

Source: docs.github.com, "Reuse workflows"; actions/languageservices' test data for the messages.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from cdk_runner_fleet.local.twin.coercions import Value, as_text
from cdk_runner_fleet.local.twin.grammar import PERMISSIONS

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
    job: Mapping[str, Any],
    called: Mapping[str, Any],
    *,
    reference: str,
    allowed: Value,
) -> Iterator[str]:
    """Why GitHub refuses a call.

    Args:
        job: the calling job, as written.
        called: the called file, as written.
        reference: what the job calls it.
        allowed: the permissions that the job may hand on; None if none are written.
    """
    definition = call_definition(called)
    if definition is None:
        yield "workflow_call key is not defined in the referenced workflow."
        return
    yield from _given(job.get("with"), definition.get("inputs"), "input", "Input")
    for name, value in (job.get("with") or {}).items():
        kind = _lowered(definition.get("inputs")).get(name.lower(), {}).get("type", "string")
        is_open = isinstance(value, str) and "${{" in value
        if kind in _KINDS and not is_open and not _is_of(kind, value):
            yield f"Unexpected value '{as_text(value)}'"
    if job.get("secrets") != "inherit":
        yield from _given(job.get("secrets"), definition.get("secrets"), "secret", "Secret")
    if allowed is not None:
        yield from _excess(called, reference, allowed)


def _is_of(kind: str, value: Value) -> bool:
    return isinstance(value, _KINDS[kind]) and (kind == "boolean" or not isinstance(value, bool))


def _lowered(definitions: Mapping[str, Any] | None) -> dict[str, Mapping[str, Any]]:
    return {name.lower(): definition or {} for name, definition in (definitions or {}).items()}


def _given(
    given: Mapping[str, Value] | None, wanted: Mapping[str, Any] | None, what: str, title: str
) -> Iterator[str]:
    names = {name.lower() for name in given or {}}
    for name, definition in (wanted or {}).items():
        if (definition or {}).get("required") and name.lower() not in names:
            yield f"{title} {name} is required, but not provided while calling."
    for name in given or {}:
        if name.lower() not in _lowered(wanted):
            yield f"Invalid {what}, {name} is not defined in the referenced workflow."


def _excess(called: Mapping[str, Any], reference: str, allowed: Value) -> Iterator[str]:
    asked = [(f"The workflow '{reference}'", called.get("permissions"))]
    asked += [
        (f"The nested job '{key}'", job.get("permissions")) for key, job in called["jobs"].items()
    ]
    for who, permissions in asked:
        for scope in PERMISSIONS if permissions is not None else ():
            wanted, given = _level(permissions, scope), _level(allowed, scope)
            if _LEVELS[wanted] > _LEVELS[given]:
                yield (
                    f"Error calling workflow '{reference}'. {who} is requesting "
                    f"'{scope}: {wanted}', but is only allowed '{scope}: {given}'."
                )


def _level(permissions: Value, scope: str) -> str:
    if isinstance(permissions, Mapping):
        return str(permissions.get(scope, "none"))
    return _ALL.get(permissions, "none")
