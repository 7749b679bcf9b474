"""Draw docs/compliance.md's tables: what cdk-nag finds, what is acknowledged, what is on ``*``.

All three are read from the fleets of tests/constructs/fleets.py; what ends a finding, and why
something is allowed on everything, stands here. A finding or a statement without its words is an
error, and so are words without one.
tests/constructs/test_compliance.py fails when the page and the fleets differ;
``python tools/draw_compliance.py`` draws it again.
"""

from __future__ import annotations

import json
import re
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import aws_cdk as cdk
import cdk_nag
from constructs import IConstruct

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "compliance.md"

PACKS: Mapping[str, tuple[str, type[Any]]] = {
    "AwsSolutions": ("AwsSolutions", cdk_nag.AwsSolutionsChecks),
    "NIST.800.53.R5": ("NIST", cdk_nag.NIST80053R5Checks),
    "Serverless": ("Serverless", cdk_nag.ServerlessChecks),
    "HIPAA.Security": ("HIPAA", cdk_nag.HIPAASecurityChecks),
    "PCI.DSS.321": ("PCI", cdk_nag.PCIDSS321Checks),
}
"""The packs by the name that their rules begin with, and what the page calls them."""

_KEY = "`encryption_key=`; in `cdk.json` `encryption_key_arn`"
_VPC = (
    "`vpc=`, one of yours: with flow logs, `restrict_default_security_group`, and private subnets "
    "for runners without a public address (`assign_public_ip=False`); in `cdk.json` `subnet_ids`, "
    "`security_groups` and `assign_public_ip`"
)
_TRACING = "`functions=FunctionOptions(tracing=lambda_.Tracing.ACTIVE)`; in `cdk.json` `tracing`"
ENDED_BY: Mapping[str, str] = {
    "CloudWatchLogGroupEncrypted": _KEY,
    "SecretsManagerUsingKMSKey": _KEY,
    "VPCDefaultSecurityGroupClosed": _VPC,
    "VPCFlowLogsEnabled": _VPC,
    "VPCNoUnrestrictedRouteToIGW": _VPC,
    "LambdaInsideVPC": "`functions=FunctionOptions(vpc=…)`, for the functions that ask GitHub; in "
    "`cdk.json` nothing",
    "LambdaConcurrency": "`webhook=Webhook(reserved_concurrency=…)`, for what others can call; in "
    "`cdk.json` `reserved_concurrency`",
    "LambdaTracing": _TRACING,
    "StepFunctionStateMachineXray": _TRACING,
}
"""The setting of a fleet that ends each finding."""

_INTERFACES = (
    "Lambda attaches the interfaces as the function's role, and looks for the permission on "
    "everything; the function's own code is denied it. Where `FunctionOptions` has a `vpc`"
)
_DEFINING = "ECS has no resource level for it; `build_image` alone may invoke this function"
_LOG_DELIVERY = "no resource level: by it Step Functions has its logs delivered, as the role"
_XRAY = "no resource level; where `tracing` is on"
ON_EVERYTHING: Mapping[str, str] = {
    "ecr:GetAuthorizationToken": "no resource level; what may be pulled with it is said beside",
    "ecr-public:GetAuthorizationToken": "no resource level; it reads what everybody may",
    "sts:GetServiceBearerToken": "no resource level; the public registry asks for it",
    "ecs:ListTasks": "no resource level on Fargate, which has no container instances",
    "ecs:RegisterTaskDefinition": "by the reference it has one, and what ECS refuses, it refuses "
    "on `*`; `build_image` alone may invoke this function, which passes the fleet's roles alone",
    "ecs:TagResource": "asked for beside `RegisterTaskDefinition`, on what nobody knows",
    **dict.fromkeys(
        (
            "ecs:DescribeTaskDefinition",
            "ecs:DeregisterTaskDefinition",
            "ecs:ListTaskDefinitions",
        ),
        _DEFINING,
    ),
    **dict.fromkeys(
        (
            "logs:CreateLogDelivery",
            "logs:DeleteLogDelivery",
            "logs:DescribeLogGroups",
            "logs:DescribeResourcePolicies",
            "logs:GetLogDelivery",
            "logs:ListLogDeliveries",
            "logs:PutResourcePolicy",
            "logs:UpdateLogDelivery",
        ),
        _LOG_DELIVERY,
    ),
    **dict.fromkeys(
        (
            "xray:GetSamplingRules",
            "xray:GetSamplingTargets",
            "xray:PutTelemetryRecords",
            "xray:PutTraceSegments",
        ),
        _XRAY,
    ),
    **dict.fromkeys(
        (
            "ec2:AssignPrivateIpAddresses",
            "ec2:CreateNetworkInterface",
            "ec2:DeleteNetworkInterface",
            "ec2:DescribeNetworkInterfaces",
            "ec2:DescribeSubnets",
            "ec2:UnassignPrivateIpAddresses",
        ),
        _INTERFACES,
    ),
}
"""Why an action is allowed on everything (Service Authorization Reference, where it says so)."""
_ROLES = (
    ("Builder", "the builder"),
    ("ExecutionRole", "the tasks' execution role"),
    ("StateMachine", "the state machine"),
)
_FEW = 3
_OF_ANY_RESOURCE = ("IAM5[Resource::*]", "LambdaStarPermissions")
"""Acknowledged with what the last table has."""


def findings(scope: IConstruct) -> dict[str, dict[str, list[str]]]:
    """What the packs find below ``scope``: by rule and pack, the constructs."""
    found: defaultdict[str, dict[str, list[str]]] = defaultdict(dict)
    for name, (_, checks) in PACKS.items():
        for violation in checks().validate_scope(scope).violations:
            rule = violation.rule_name.removeprefix(f"{name}-")
            found[rule][name] = [one.construct_path for one in violation.violating_resources]
    return dict(found)


def drawn_page(fleets: Mapping[str, IConstruct]) -> str:
    """The page with its tables drawn anew, of fleets by their names in ``fleets.py``."""
    page = PAGE.read_text(encoding="utf-8")
    tables = {
        "findings": _findings(findings(cdk.Stack.of(fleets["minimal"]))),
        "acknowledged": _acknowledged(fleets.values()),
        "everything": _on_everything(template_of(fleet) for fleet in fleets.values()),
    }
    for block, lines in tables.items():
        begin, end = f"<!-- {block}: begin -->", f"<!-- {block}: end -->"
        before, rest = page.split(begin)
        table = "\n".join([*lines, ""])
        page = f"{before}{begin}\n{table}{end}{rest.split(end)[1]}"
    return page


def _findings(found: Mapping[str, Mapping[str, Sequence[str]]]) -> Iterator[str]:
    if found.keys() != ENDED_BY.keys():
        raise ValueError(f"findings and words differ: {sorted(found.keys() ^ ENDED_BY.keys())}")
    yield "| rule | packs | constructs | what ends it |\n|---|---|---|---|"
    for rule, how in ENDED_BY.items():
        packs = ", ".join(PACKS[name][0] for name in found[rule])
        constructs = {path for paths in found[rule].values() for path in paths}
        yield f"| `{rule}` | {packs} | {len(constructs)} | {how} |"


def _acknowledged(fleets: Any) -> Iterator[str]:
    where: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    for fleet in fleets:
        for path, rule, reason in acknowledgements(fleet):
            if rule in _OF_ANY_RESOURCE:
                continue
            where[rule.partition("[")[0], reason].add(path)
    rows: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for (rule, reason), paths in where.items():
        few = len(paths) <= _FEW
        rows[", ".join(sorted(paths)) if few else f"{len(paths)} constructs", reason].append(rule)
    yield "| rules | where | why |\n|---|---|---|"
    for (place, reason), rules in sorted(rows.items(), key=lambda row: sorted(row[1])):
        yield f"| {', '.join(f'`{rule}`' for rule in sorted(rules))} | {place} | {reason} |"


def acknowledgements(fleet: IConstruct) -> Iterator[tuple[str, str, str]]:
    """What is acknowledged in a fleet: where, which rule, and why."""
    stack = cdk.Stack.of(fleet)
    folder = Path(cdk.Stage.of(fleet).synth().directory)
    text = (folder / f"{stack.artifact_id}.metadata.json").read_text(encoding="utf-8")
    own = f"/{fleet.node.path}/"
    for path, entries in json.loads(text).items():
        for entry in entries:
            if path.startswith(own) and entry["type"] == "aws:cdk:acknowledged-rules":
                for each, reason in entry["data"].items():
                    pack = next(name for name in PACKS if each.startswith(f"{name}-"))
                    yield path.removeprefix(own), each.removeprefix(f"{pack}-"), reason


def _on_everything(templates: Iterator[Mapping[str, Any]]) -> Iterator[str]:
    who: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for template in templates:
        for role, statement in any_resource(template):
            condition = ", ".join(_keys(statement.get("Condition", {})))
            for action in _list(statement["Action"]):
                if role not in who[action, condition]:
                    who[action, condition].append(role)
    named = {action for action, _ in who}
    if named != ON_EVERYTHING.keys():
        raise ValueError(f"actions and words differ: {sorted(named ^ ON_EVERYTHING.keys())}")
    rows: defaultdict[tuple[str, str, str], list[str]] = defaultdict(list)
    for (action, condition), roles in who.items():
        rows[_names(roles), condition, ON_EVERYTHING[action]].append(action)
    yield "| who | may | bound by | why on everything |\n|---|---|---|---|"
    for (names, condition, reason), actions in sorted(rows.items()):
        yield f"| {names} | {', '.join(actions)} | {condition or '-'} | {reason} |"


def _names(roles: Sequence[str]) -> str:
    functions = [name for name in roles if name.startswith("`")]
    others = [name for name in roles if name not in functions]
    if len(functions) > 2 * _FEW:
        functions = ["every function"]
    return ", ".join([*functions, *others])


def any_resource(template: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The statements of roles that allow something on everything, each with who has it."""
    resources = template["Resources"]
    handlers = {
        each["Properties"]["Role"]["Fn::GetAtt"][0]: each["Properties"]["Handler"]
        for each in resources.values()
        if "Handler" in each.get("Properties", {})
    }
    for logical_id, resource in resources.items():
        if not logical_id.startswith("Fleet") or not resource["Type"].startswith("AWS::IAM::"):
            continue
        properties = resource["Properties"]
        documents = [properties.get("PolicyDocument")]
        documents += [each["PolicyDocument"] for each in properties.get("Policies", [])]
        for document in filter(None, documents):
            for statement in document["Statement"]:
                if statement["Effect"] == "Allow" and "*" in _list(statement["Resource"]):
                    handler = handlers.get(logical_id)
                    name = (
                        f"`{handler.removesuffix('.handler')}`"
                        if handler
                        else next((name for part, name in _ROLES if part in logical_id), logical_id)
                    )
                    yield name, statement


def template_of(fleet: IConstruct) -> dict[str, Any]:
    """The template of the stack that a fleet is in."""
    folder = Path(cdk.Stage.of(fleet).synth().directory)
    text = (folder / cdk.Stack.of(fleet).template_file).read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text)
    return found


def _keys(condition: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    for values in condition.values():
        for key, value in values.items():
            text = json.dumps(value)
            plain = re.fullmatch(r'\[?"([\w.-]+)"\]?', text)
            yield f"`{key}`: {plain[1] if plain else 'the cluster'}"


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    from tests.constructs.fleets import FLEETS

    PAGE.write_text(
        drawn_page(
            {
                name: make(cdk.Stack(cdk.App(analytics_reporting=False), "Test"))
                for name, make in FLEETS.items()
            }
        ),
        encoding="utf-8",
    )
