"""Draw docs/security.md's tables of what each function could do, and of who reads which secret.

The grants are read from the template of a fleet with nothing but a repository. What they amount to
stands here: a function without its words, or words without their function, is an error, and so is
a secret that something else than a function reads.
tests/constructs/test_powers.py fails when the page and the template differ;
``python tools/draw_powers.py`` draws it again.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

PAGE = Path(__file__).resolve().parent.parent / "docs" / "security.md"


class Power(NamedTuple):
    """What somebody who runs as a function could do.

    Attributes:
        reads: What it reads that others write.
        worst: The worst that its grants allow.
        bound: What bounds that.
    """

    reads: str
    worst: str
    bound: str


_CREDENTIALS = (
    "all that the token or the App may: whoever registers a runner gets the next jobs with "
    "its labels, secrets included"
)
_NO_KEY = (
    "one repository, or the scope that the credentials were given; an App with its key in KMS "
    "gives signatures, and its key to nobody"
)
POWERS: Mapping[str, Power] = {
    "receive_webhook": Power(
        "requests of anybody",
        "says of any job in scope that it is queued, runs or has ended: runners start in "
        "vain, and those that wait are released; signs deliveries of its own",
        "`max_runners` and the budget; a job's end is looked up before a runner is "
        "registered; no event but `workflow_job`: no image is retired",
    ),
    "runner_api": Power(
        "claims and reports of tasks, 64 KiB at most, the token first",
        _CREDENTIALS + "; ends any runner's wait, writes any runner's row",
        _NO_KEY + "; it starts no task and no execution",
    ),
    "check_runner": Power("a runner's row", _CREDENTIALS, _NO_KEY + "; it writes nothing in AWS"),
    "deregister_runner": Power(
        "a runner's row", _CREDENTIALS, _NO_KEY + "; it writes nothing in AWS"
    ),
    "dispatch_event": Power(
        "labels and names of jobs, what became of tasks",
        "starts runners with any labels in any of the fleet's images, ends or changes those "
        "that are there, forgets limits; has `explain_job` write at any commit in scope, and "
        "the default image retired",
        "no credentials of GitHub; images that the fleet has built, by its own families and "
        "roles; what Fargate's quota lets run",
    ),
    "reconcile_demand": Power(
        "jobs and runners at GitHub, rows, tasks",
        "what `dispatch_event` and `runner_api` could, and stops every task of the cluster",
        _NO_KEY + "; tasks of this cluster alone",
    ),
    "explain_job": Power(
        "causes that dispatch wrote, jobs at GitHub",
        _CREDENTIALS + "; writes at commits, marks rows",
        _NO_KEY + "; it starts and ends nothing in AWS",
    ),
    "watch_release": Power(
        "releases at GitHub, versions that runners name",
        _CREDENTIALS + "; has all images retired, or built with an older release of the runner",
        _NO_KEY + "; builds take an archive of GitHub's by its version, and none of another sum",
    ),
    "build_image": Power(
        "bases that jobs name, CodeBuild's and the registry's answers",
        "has any base built, takes it for any image, deletes images: every later runner is in "
        "an image of its choice, with what the jobs hold",
        "no credentials of GitHub, nothing at ECS or IAM; a build is told base, tag and "
        "release, and has no other buildspec, source, image or role; families launch images "
        "of the fleet's repository alone. CodeBuild's history has the base of each build",
    ),
    "define_task": Power(
        "family, image, revision and architecture from `build_image`",
        "registers or takes away any task definition of the account: ECS has no permission "
        "for some of them",
        "`build_image` alone may invoke it, and it refuses families and images that are not "
        "the fleet's; it passes the runners' roles and no others, so that a foreign family "
        "would run without its own",
    ),
}
_NAMES = (
    ("RegistryRunners", "runners' rows"),
    ("RegistryImages", "images' rows"),
    ("RegistryLedger", "the ledger"),
    ("EventBus", "the fleet's bus"),
    ("GitHubToken", "GitHub's credentials"),
    ("IntakeSecret", "the webhook's secret"),
    ("ClassSizes", "the class sizes"),
    ("ImageBuilder", "the builder"),
    ("ImageRepository", "the images"),
    ("ExecutionRole", "the tasks' execution role"),
    ("TaskRole", "the tasks' role"),
    ("DefineTask", "`define_task`"),
    (":task/", "tasks of the cluster"),
    ("StateMachine", "the lifecycle"),
)
_OF_SECRETS = ("secretsmanager:", "kms:Sign", "kms:Decrypt")
_OF_EACH = ("logs:", "sqs:", "xray:")
"""Every function writes its own log, most may give up an event to the dead-letter queue."""


def drawn_page(template: Mapping[str, Any]) -> str:
    """The page with its tables drawn anew."""
    page = PAGE.read_text(encoding="utf-8")
    for block, table in (("secrets", _secrets(template)), ("powers", _table(template))):
        begin, end = f"<!-- {block}: begin -->", f"<!-- {block}: end -->"
        before, rest = page.split(begin)
        page = f"{before}{begin}\n{table}{end}{rest.split(end)[1]}"
    return page


def _secrets(template: Mapping[str, Any]) -> str:
    readers: dict[str, set[str]] = defaultdict(set)
    handlers = _handlers(template["Resources"])
    for role, statements in _of_roles(template["Resources"]).items():
        for statement in statements:
            if any(action.startswith(_OF_SECRETS) for action in _list(statement["Action"])):
                if role not in handlers:
                    raise ValueError(f"{role} is no function's role, and reads a secret")
                for place in _places(statement):
                    readers[place].add(handlers[role])
    rows = [
        f"| {secret} | {', '.join(f'`{name}`' for name in POWERS if name in who)} |"
        for secret, who in sorted(readers.items())
    ]
    return "\n".join(["| secret | who reads it |\n|---|---|", *rows, ""])


def _table(template: Mapping[str, Any]) -> str:
    may = {handler: _may(statements) for handler, statements in _grants(template).items()}
    if may.keys() != POWERS.keys():
        raise ValueError(f"functions and words differ: {sorted(may.keys() ^ POWERS.keys())}")
    rows = [
        f"| `{handler}` | {power.reads} | {may[handler]} | {power.worst} | {power.bound} |"
        for handler, power in POWERS.items()
    ]
    head = "| function | reads of others | may | at worst | what bounds it |\n|---|---|---|---|---|"
    return "\n".join([head, *rows, ""])


def _grants(template: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """The statements of each function's role, by the function's handler."""
    of_role = _of_roles(template["Resources"])
    return {handler: of_role[role] for role, handler in _handlers(template["Resources"]).items()}


def _of_roles(resources: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """The statements of all policies, by the roles that have them."""
    of_role: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for logical_id, resource in resources.items():
        if resource["Type"] == "AWS::IAM::Role":
            for policy in resource["Properties"].get("Policies", []):
                of_role[logical_id] += policy["PolicyDocument"]["Statement"]
        if resource["Type"] == "AWS::IAM::Policy":
            for role in resource["Properties"]["Roles"]:
                of_role[role["Ref"]] += resource["Properties"]["PolicyDocument"]["Statement"]
    return of_role


def _handlers(resources: Mapping[str, Any]) -> dict[str, str]:
    """The functions' handlers by their roles."""
    return {
        properties["Role"]["Fn::GetAtt"][0]: properties["Handler"].removesuffix(".handler")
        for properties in (resource.get("Properties", {}) for resource in resources.values())
        if "Handler" in properties and "Role" in properties
    }


def _may(statements: list[dict[str, Any]]) -> str:
    found: dict[tuple[str, str], set[str]] = defaultdict(set)
    for statement in statements:
        for action in _list(statement["Action"]):
            if action.startswith(_OF_EACH):
                continue
            service, _, name = action.partition(":")
            for where in _places(statement):
                found[service, where].add(name)
    return "; ".join(
        f"{service} {', '.join(sorted(names))}: {where}"
        for (service, where), names in sorted(found.items())
    )


def _places(statement: Mapping[str, Any]) -> Iterator[str]:
    for resource in _list(statement["Resource"]):
        text = json.dumps(resource)
        if text == '"*"':
            cluster = "ecs:cluster" in json.dumps(statement.get("Condition", {}))
            yield "the cluster" if cluster else "**everything**"
        else:
            yield next(name for part, name in _NAMES if part in text) + _conditions(statement)


def _conditions(statement: Mapping[str, Any]) -> str:
    kinds = (
        statement.get("Condition", {})
        .get("ForAllValues:StringEquals", {})
        .get("events:detail-type", [])
    )
    return f" ({', '.join(f'`{kind}`' for kind in _list(kinds))})" if kinds else ""


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _template() -> dict[str, Any]:
    import aws_cdk as cdk  # noqa: PLC0415 - a test brings the template along
    from aws_cdk import assertions  # noqa: PLC0415

    from cdk_runner_fleet import GitHub, RunnerFleet  # noqa: PLC0415

    stack = cdk.Stack(cdk.App(analytics_reporting=False), "Test")
    RunnerFleet(stack, "Fleet", github=GitHub.repository("octo-org/octo-repo"))
    found: dict[str, Any] = assertions.Template.from_stack(stack).to_json()
    return found


if __name__ == "__main__":
    PAGE.write_text(drawn_page(_template()), encoding="utf-8")
