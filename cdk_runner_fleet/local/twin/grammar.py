"""What may stand where in a workflow file, and which contexts and functions may be used there.

Sources: docs.github.com, "Workflow syntax for GitHub Actions" for the keys and "Contexts
reference: context availability" for what an expression may use.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from cdk_runner_fleet.local.twin.expressions import STATUS_FUNCTIONS

__all__ = ["CONTAINER_KEYS", "EVENTS", "PERMISSIONS", "READ_ONLY", "WORKFLOW", "Rule", "Shape"]


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A mapping.

    Args:
        keys: what stands under which key.
        required: the keys that it has to have.
        others: what stands under every other key; None if there may be none.
    """

    keys: Mapping[str, Rule] = field(default_factory=dict)
    required: tuple[str, ...] = ()
    others: Rule | None = None


@dataclass(frozen=True, kw_only=True)
class Rule:
    """What a value may be: any of what is named here.

    Args:
        anything: Whatever it is.
        null: Nothing.
        boolean: A boolean.
        number: A number.
        text: Text; a number or a boolean is taken for text where nothing else fits.
        filled: Text that is not empty.
        words: One of these texts.
        items: A sequence of these.
        shapes: A mapping of one of these.
        contexts: What an expression in it may use, besides what those around it allow; none
            means that there may be no expression.
        functions: The functions besides those that may be used everywhere.
        is_condition: Whether it is an `if`.
    """

    anything: bool = False
    null: bool = False
    boolean: bool = False
    number: bool = False
    text: bool = False
    filled: bool = False
    words: tuple[str, ...] = ()
    items: Rule | None = None
    shapes: tuple[Shape, ...] = ()
    contexts: tuple[str, ...] = ()
    functions: tuple[str, ...] = ()
    is_condition: bool = False

    def __or__(self, other: Rule) -> Rule:
        return Rule(
            anything=self.anything or other.anything,
            null=self.null or other.null,
            boolean=self.boolean or other.boolean,
            number=self.number or other.number,
            text=self.text or other.text,
            filled=self.filled or other.filled,
            words=self.words + other.words,
            items=self.items or other.items,
            shapes=self.shapes + other.shapes,
        )

    def using(self, *contexts: str, functions: tuple[str, ...] = ()) -> Rule:
        """The same, with expressions that may use these."""
        return replace(self, contexts=contexts, functions=functions)


def _list(items: Rule) -> Rule:
    return Rule(items=items)


def _words(*words: str) -> Rule:
    return Rule(words=words)


def _map(others: Rule) -> Rule:
    return Rule(shapes=(Shape(others=others),))


def _keys(keys: Mapping[str, Rule], *required: str) -> Rule:
    return Rule(shapes=(Shape(keys=keys, required=required),))


ANYTHING = Rule(anything=True)
NULL = Rule(null=True)
BOOLEAN = Rule(boolean=True)
NUMBER = Rule(number=True)
TEXT = Rule(text=True)
FILLED = Rule(filled=True)
SCALAR = TEXT | BOOLEAN | NUMBER
FILLED_OR_LIST = FILLED | _list(FILLED)

EARLY = ("github", "inputs", "vars")
NEEDS = (*EARLY, "needs")
MATRIX = (*NEEDS, "strategy", "matrix")
RUNNER = (*MATRIX, "steps", "job", "runner", "env")
STEP = (*RUNNER, "secrets")
HASH = ("hashFiles",)
STATUS = tuple(STATUS_FUNCTIONS)
STATUS_OF_JOB = tuple(f"{name}()" for name in STATUS)

# `on`

EVENTS = (
    *("branch_protection_rule", "check_run", "check_suite", "create", "delete", "deployment"),
    *("deployment_status", "discussion", "discussion_comment", "fork", "gollum", "image_version"),
    *("issue_comment", "issues", "label", "merge_group", "milestone", "page_build", "project"),
    *("project_card", "project_column", "public", "pull_request", "pull_request_comment"),
    *("pull_request_review", "pull_request_review_comment", "pull_request_target", "push"),
    *("registry_package", "release", "repository_dispatch", "schedule", "status", "watch"),
    *("workflow_call", "workflow_dispatch", "workflow_run"),
)
_INPUT = {
    "description": TEXT,
    "required": BOOLEAN,
    "default": SCALAR,
    "deprecationMessage": TEXT,
}
_CALL_INPUT = _keys(
    {
        "description": TEXT,
        "required": BOOLEAN,
        "default": SCALAR.using(*EARLY),
        "type": _words("string", "boolean", "number"),
    },
    "type",
)
_DISPATCH_INPUT = _keys(
    {
        **_INPUT,
        "type": _words("string", "boolean", "number", "environment", "choice"),
        "options": _list(TEXT),
    }
)
_CALL = _keys(
    {
        "inputs": _map(_CALL_INPUT),
        "secrets": _map(NULL | _keys({"description": TEXT, "required": BOOLEAN})),
        "outputs": _map(_keys({"description": TEXT, "value": TEXT.using(*EARLY, "jobs")}, "value")),
    }
)
_CRON = _list(_keys({"cron": FILLED, "timezone": FILLED}, "cron"))
# GitHub looks at the filters of the other events only when one of them comes
_FILTERS = NULL | _map(ANYTHING)
_ON_KEYS: dict[str, Rule] = dict.fromkeys(EVENTS, _FILTERS)
_ON_KEYS |= {
    "schedule": _CRON,
    "workflow_call": NULL | _CALL,
    "workflow_dispatch": NULL
    | Rule(shapes=(Shape(keys={"inputs": NULL | _map(NULL | _DISPATCH_INPUT)}, others=ANYTHING),)),
}
_EVENT = _words(*EVENTS)
_ON = _EVENT | _list(_EVENT) | _keys(_ON_KEYS)

# What stands in the file and in its jobs

_READ_OR_WRITTEN = (
    *("actions", "artifact-metadata", "attestations", "checks", "code-quality", "contents"),
    *("deployments", "discussions", "drives", "issues", "packages", "pages", "pull-requests"),
    *("repository-projects", "statuses", "security-events"),
)
_LEVEL = _words("read", "write", "none")
_PERMISSION_RULES = {
    **dict.fromkeys(_READ_OR_WRITTEN, _LEVEL),
    "id-token": _words("write", "none"),
    "copilot-requests": _words("write", "none"),
    "models": _words("read", "none"),
    "vulnerability-alerts": _words("read", "none"),
}
PERMISSIONS = tuple(_PERMISSION_RULES)
"""The scopes that a token's permissions name, in GitHub's order."""
READ_ONLY = frozenset(("models", "vulnerability-alerts"))
"""Those of which even `write-all` gives no more than `read`."""
_PERMISSIONS = _words("read-all", "write-all") | _keys(_PERMISSION_RULES)
_SHELL = {"shell": FILLED, "working-directory": FILLED}
_CONCURRENCY = _keys(
    {"group": FILLED, "cancel-in-progress": BOOLEAN, "queue": _words("single", "max")}, "group"
)
_ENVIRONMENT = TEXT | _keys(
    {"name": TEXT.using(*MATRIX), "url": TEXT.using(*RUNNER), "deployment": BOOLEAN}, "name"
)
_FILTER = _list(_map(ANYTHING))
_STRATEGY = _keys(
    {
        "fail-fast": BOOLEAN,
        "max-parallel": NUMBER,
        "matrix": Rule(
            shapes=(Shape(keys={"include": _FILTER, "exclude": _FILTER}, others=_list(ANYTHING)),)
        ),
    }
).using(*NEEDS)
_CONTAINER = {
    "image": FILLED,
    "options": TEXT,
    "env": _map(TEXT.using(*RUNNER, "secrets")),
    "ports": _list(FILLED),
    "volumes": _list(FILLED),
    "credentials": _keys({"username": FILLED, "password": FILLED}).using(*EARLY, "secrets", "env"),
}
_SERVICE_KEYS = {**_CONTAINER, "entrypoint": TEXT, "command": TEXT}
CONTAINER_KEYS = frozenset(_SERVICE_KEYS)
"""What the mapping of a container or of a service may have."""
_SERVICE = FILLED | _keys(_SERVICE_KEYS)
_JOB_IF = replace(TEXT.using(*NEEDS, functions=STATUS), is_condition=True)
_ANY_JOB = {
    "name": TEXT.using(*MATRIX),
    "needs": FILLED_OR_LIST,
    "if": _JOB_IF,
    "permissions": _PERMISSIONS,
    "concurrency": (FILLED | _CONCURRENCY).using(*MATRIX),
    "strategy": _STRATEGY,
}
_ANY_STEP = {
    "id": FILLED,
    "name": TEXT.using(*STEP, functions=HASH),
    "if": replace(TEXT.using(*RUNNER, functions=(*STATUS_OF_JOB, *HASH)), is_condition=True),
    "continue-on-error": BOOLEAN.using(*STEP, functions=HASH),
    "timeout-minutes": NUMBER.using(*STEP, functions=HASH),
    "env": _map(TEXT).using(*STEP, functions=HASH),
}
_RUN_STEP = {
    **_ANY_STEP,
    "run": TEXT.using(*STEP, functions=HASH),
    "working-directory": TEXT.using(*STEP, functions=HASH),
    "shell": FILLED,
}
_USES_STEP = {
    **_ANY_STEP,
    "uses": FILLED,
    "with": _map(TEXT).using(*STEP, functions=HASH),
}
_BACKGROUND = {"background": BOOLEAN}
_WAITING_STEP = {key: _ANY_STEP[key] for key in ("id", "name", "continue-on-error")}
_PLAIN_STEP = Rule(
    shapes=(
        Shape(keys=_RUN_STEP, required=("run",)),
        Shape(keys=_USES_STEP, required=("uses",)),
    )
)
_STEP = Rule(
    shapes=(
        Shape(keys={**_RUN_STEP, **_BACKGROUND}, required=("run",)),
        Shape(keys={**_USES_STEP, **_BACKGROUND}, required=("uses",)),
        Shape(keys={**_WAITING_STEP, "wait": FILLED_OR_LIST}, required=("wait",)),
        Shape(keys={**_WAITING_STEP, "wait-all": NULL | BOOLEAN}, required=("wait-all",)),
        Shape(keys={**_WAITING_STEP, "cancel": FILLED}, required=("cancel",)),
        Shape(keys={"parallel": _list(_PLAIN_STEP)}, required=("parallel",)),
    )
)
_RUN_JOB = Shape(
    keys={
        **_ANY_JOB,
        "runs-on": (FILLED_OR_LIST | _keys({"group": FILLED, "labels": FILLED_OR_LIST})).using(
            *MATRIX
        ),
        "timeout-minutes": NUMBER.using(*MATRIX),
        "cancel-timeout-minutes": NUMBER.using(*MATRIX),
        "continue-on-error": BOOLEAN.using(*MATRIX),
        "container": (TEXT | _keys(_CONTAINER)).using(*MATRIX),
        "services": _map(_SERVICE).using(*MATRIX),
        "env": _map(TEXT).using(*MATRIX, "secrets"),
        "environment": _ENVIRONMENT.using(*MATRIX),
        "outputs": _map(TEXT.using(*RUNNER, "secrets")),
        "defaults": _keys({"run": _keys(_SHELL).using(*MATRIX, "env")}),
        "steps": _list(_STEP),
        "snapshot": FILLED
        | _keys(
            {
                "image-name": FILLED,
                "if": replace(TEXT.using(*MATRIX), is_condition=True),
                "version": FILLED,
            },
            "image-name",
        ),
    },
    required=("runs-on", "steps"),
)
_CALLING_JOB = Shape(
    keys={
        **_ANY_JOB,
        "uses": FILLED,
        "with": _map(SCALAR.using(*MATRIX)),
        "secrets": _words("inherit") | _map(SCALAR.using(*MATRIX, "secrets")),
    },
    required=("uses",),
)

WORKFLOW = _keys(
    {
        "on": _ON,
        "name": TEXT,
        "description": TEXT,
        "run-name": TEXT.using(*EARLY),
        "defaults": _keys({"run": _keys(_SHELL)}),
        "env": _map(TEXT).using(*EARLY, "secrets"),
        "permissions": _PERMISSIONS,
        "concurrency": (TEXT | _CONCURRENCY).using(*EARLY),
        "jobs": _map(Rule(shapes=(_RUN_JOB, _CALLING_JOB))),
    },
    "on",
    "jobs",
)
"""A workflow file."""
