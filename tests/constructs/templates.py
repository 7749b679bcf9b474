"""Templates: how they are made, and how one looks into them."""

from __future__ import annotations

import functools
import json
import re
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import aws_cdk as cdk
from aws_cdk import assertions

Template = dict[str, Any]


def synthesize(make: Callable[[cdk.Stack], object]) -> Template:
    stack = cdk.Stack(cdk.App(analytics_reporting=False), "Test")
    make(stack)
    return template_of(stack)


@functools.cache
def recommended_flags() -> dict[str, Any]:
    """The feature flags that ``cdk init`` writes into the ``cdk.json`` of a new app."""
    [package] = (Path(cdk.__file__).parent / "_jsii").glob("aws-cdk-lib@*.jsii.tgz")
    with tarfile.open(package) as files:
        found = next(one for one in files if one.name == "package/recommended-feature-flags.json")
        text = files.extractfile(found)
        assert text
        flags: dict[str, Any] = json.load(text)
    return flags


def template_of(stack: cdk.Stack) -> Template:
    template: Template = assertions.Template.from_stack(stack).to_json()
    return template


def normalise(value: Any) -> Any:
    """``value`` without what changes with every edit of an asset, and with the machine readable."""
    if isinstance(value, dict):
        return {
            key: json.loads(part) if key == "DefinitionString" else normalise(part)
            for key, part in value.items()
        }
    if isinstance(value, list):
        return [normalise(part) for part in value]
    return re.sub(r"[0-9a-f]{64}", "<digest>", value) if isinstance(value, str) else value


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def parts(value: Any) -> str:
    """A joined value with the resources it refers to by name."""
    return json.dumps(value)


def of_type(template: Template, kind: str) -> list[dict[str, Any]]:
    return [r.get("Properties", {}) for r in template["Resources"].values() if r["Type"] == kind]


def environment(template: Template, handler: str) -> dict[str, Any]:
    functions = of_type(template, "AWS::Lambda::Function")
    [found] = [f for f in functions if f["Handler"] == f"{handler}.handler"]
    variables: dict[str, Any] = found["Environment"]["Variables"]
    return variables


def statements(template: Template) -> list[dict[str, Any]]:
    """What roles may, whether it stands in them or in a policy beside them."""
    return [statement for _, each in policies(template) for statement in each["Statement"]]


def policies(template: Template) -> Iterator[tuple[str, dict[str, Any]]]:
    """The documents of all policies, each with the logical id of the role that has it."""
    for logical_id, resource in template["Resources"].items():
        if resource["Type"] == "AWS::IAM::Role":
            for policy in resource["Properties"].get("Policies", []):
                yield logical_id, policy["PolicyDocument"]
        if resource["Type"] == "AWS::IAM::Policy":
            for role in resource["Properties"]["Roles"]:
                yield role.get("Ref", ""), resource["Properties"]["PolicyDocument"]


def statements_by_role(template: Template) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each statement with the construct's id of the function whose role has it."""
    roles = {
        resource["Properties"]["Role"]["Fn::GetAtt"][0]: resource["Properties"]["Handler"]
        for resource in template["Resources"].values()
        if resource["Type"] == "AWS::Lambda::Function" and "Handler" in resource["Properties"]
    }
    for role, document in policies(template):
        if handler := roles.get(role):
            name = handler.removesuffix(".handler").title().replace("_", "")
            yield from ((name, each) for each in document["Statement"])


def policy_of(template: Template, role: str) -> dict[str, set[str]]:
    """What a role may: each action, and on what."""
    allowed: dict[str, set[str]] = {}
    for logical_id, document in policies(template):
        if role not in logical_id:
            continue
        for statement in document["Statement"]:
            for action in as_list(statement["Action"]):
                found = allowed.setdefault(action, set())
                found |= {parts(resource) for resource in as_list(statement["Resource"])}
    return allowed


def rules_of(template: Template, handler: str) -> list[dict[str, Any]]:
    """The rules that tell a function of something."""
    [function] = [
        name
        for name, resource in template["Resources"].items()
        if resource.get("Properties", {}).get("Handler") == f"{handler}.handler"
    ]
    return [
        rule
        for rule in of_type(template, "AWS::Events::Rule")
        if {"Fn::GetAtt": [function, "Arn"]} in [target["Arn"] for target in rule["Targets"]]
    ]


def heard_by(template: Template, handler: str) -> list[str]:
    """What a function is told of: events by their kind, and its schedules."""
    return sorted(
        each
        for rule in rules_of(template, handler)
        for each in (
            *filter(None, [rule.get("ScheduleExpression")]),
            *(kind for one in patterns_of(rule) for kind in one["detail-type"]),
        )
    )


def patterns_of(rule: dict[str, Any]) -> list[dict[str, Any]]:
    """The event patterns of a rule, each of which an event may meet."""
    pattern = rule["EventPattern"]
    found: list[dict[str, Any]] = pattern.get("$or", [pattern])
    return found


def alarm_of(template: Template, metric: str) -> dict[str, Any]:
    [alarm] = [
        each for each in of_type(template, "AWS::CloudWatch::Alarm") if each["MetricName"] == metric
    ]
    return alarm
