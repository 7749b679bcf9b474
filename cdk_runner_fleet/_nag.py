"""Why the fleet departs from cdk-nag's AwsSolutions rules where it does: each case with its reason.

Apps that check themselves with cdk-nag 3 find these acknowledged; cdk-nag itself is not needed.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from aws_cdk import Acknowledgment, ArnFormat, Fn, Stack, Validations
from constructs import IConstruct

if TYPE_CHECKING:
    from cdk_runner_fleet._function import FleetFunction
    from cdk_runner_fleet.fleet import RunnerFleet

_RULES = "AwsSolutions::AwsSolutions-"
_NO_RESOURCE_LEVEL = (
    "These actions have no resource level (Service Authorization Reference): {}. "
    "tests/constructs/test_permissions.py holds the list."
)


def acknowledge_nag_rules(fleet: RunnerFleet) -> None:
    """Acknowledge, on the constructs concerned, each rule that the fleet breaks on purpose."""
    tracing = "xray:PutTraceSegments and xray:PutTelemetryRecords, for X-Ray tracing"
    for function in (
        fleet.receive_webhook,
        fleet.dispatch_event,
        fleet.runner_api,
        fleet.deregister_runner,
        fleet.check_runner,
        fleet.explain_job,
        fleet.watch_release,
    ):
        _acknowledge(function, "IAM5[Resource::*]", _NO_RESOURCE_LEVEL.format(tracing))
    _acknowledge(
        fleet.lifecycle,
        "IAM5[Resource::*]",
        _NO_RESOURCE_LEVEL.format(f"log delivery for Step Functions; {tracing}"),
    )
    _acknowledge(
        fleet.api,
        "APIG4",
        "GitHub signs the raw body, which an authorizer never sees; runners show a claim ticket. "
        "Evidence: tests/functions/test_receive_webhook.py, tests/functions/test_runner_api.py.",
    )
    _acknowledge(
        fleet.bus.dead_letter_queue,
        "SQS3",
        "This is the dead-letter queue of the rules and of the functions.",
    )
    for secret in (fleet.webhook_secret, *([fleet.github_token] if fleet.github_token else [])):
        _acknowledge(
            secret,
            "SMG4",
            "GitHub issues the token and knows the webhook secret, so Secrets Manager cannot "
            "rotate them alone; the previous secret is accepted too while one is rotated by hand. "
            "Evidence: tests/functions/test_receive_webhook.py.",
        )
    _acknowledge(
        fleet.cluster,
        "ECS4",
        "Container Insights is billed by task and would cost more than short jobs do; each "
        "runner's times and cost stand on its row.",
    )
    _acknowledge(
        fleet.cluster,
        "VPC7",
        "The VPC made by default holds nothing but runners without an inbound rule; flow logs "
        "are billed by volume. Pass a vpc that has them where they are wanted.",
    )
    _acknowledge(
        fleet.cluster,
        "ECS2",
        "The only variable says what the image declares to have, such as python: it is in the "
        "runner's labels as well.",
    )
    _acknowledge_families(fleet)
    if fleet.runner_image.repository:
        _acknowledge(
            fleet.cluster,
            "IAM5[Resource::*]",
            _NO_RESOURCE_LEVEL.format("ecr:GetAuthorizationToken"),
        )
    if fleet.build_image:
        _acknowledge_builds(fleet, fleet.build_image)


def _acknowledge_families(fleet: RunnerFleet) -> None:
    reason = (
        "Each image has a task definition family of its own under the fleet's prefix, and each "
        "runner a task of its own in the fleet's cluster; neither is known at deployment."
    )
    made, launched = fleet.cluster.image_families_arn, fleet.cluster.launchable_arns
    for arn in (*launched, fleet.cluster.tasks_arn):
        _acknowledge(fleet.lifecycle, f"IAM5[Resource::{_flat(fleet, arn)}]", reason)
    if fleet.build_image:
        _acknowledge(fleet.build_image, f"IAM5[Resource::{_flat(fleet, made)}]", reason)
    # the name as aws-cdk's grant_execution takes it from the ARN
    machine = Fn.select(6, Fn.split(":", fleet.lifecycle.state_machine.state_machine_arn))
    executions = Stack.of(fleet).format_arn(
        service="states",
        resource="execution",
        resource_name=f"{machine}:*",
        arn_format=ArnFormat.COLON_RESOURCE_NAME,
    )
    for function in (fleet.dispatch_event, fleet.reconcile_demand):
        _acknowledge(
            function,
            f"IAM5[Resource::{_flat(fleet, executions)}]",
            "It reads the input of this one machine's executions, whose names are not known yet.",
        )
    _acknowledge(
        fleet.reconcile_demand,
        f"IAM5[Resource::{_flat(fleet, fleet.cluster.tasks_arn)}]",
        reason,
    )
    _acknowledge(
        fleet.reconcile_demand,
        "IAM5[Resource::*]",
        _NO_RESOURCE_LEVEL.format(
            "ecs:ListTasks without a container instance, which the cluster is a condition of; "
            "X-Ray tracing"
        ),
    )


def _acknowledge_builds(fleet: RunnerFleet, builder: FleetFunction) -> None:
    image = fleet.runner_image
    _acknowledge(image, "IAM5[Resource::*]", _NO_RESOURCE_LEVEL.format("ecr:GetAuthorizationToken"))
    _acknowledge(
        builder,
        "IAM5[Resource::*]",
        _NO_RESOURCE_LEVEL.format(
            "ecs:DescribeTaskDefinition, ecs:DeregisterTaskDefinition, "
            "ecs:ListTaskDefinitions, X-Ray tracing"
        ),
    )
    for action in ("s3:GetObject*", "s3:GetBucket*", "s3:List*"):
        _acknowledge(image, f"IAM5[Action::{action}]", "aws-cdk's read grant on the one asset.")
    _acknowledge(
        image,
        f"IAM5[Resource::{_flat(fleet, image.own_repositories_arn)}]",
        "Jobs may name bases from the account's own repositories; builds only pull from them.",
    )
    for project in image.projects.values():
        logs = Stack.of(fleet).format_arn(
            service="logs",
            resource="log-group",
            resource_name=f"/aws/codebuild/{project.project_name}:*",
            arn_format=ArnFormat.COLON_RESOURCE_NAME,
        )
        _acknowledge(
            image,
            f"IAM5[Resource::{_flat(fleet, logs)}]",
            "aws-cdk's grant on the streams of the project's own log group.",
        )
    _acknowledge(
        image, "CB4", "Builds write no artifacts; the image goes to ECR, which encrypts it."
    )


def _flat(fleet: RunnerFleet, arn: str) -> str:
    """``arn`` as cdk-nag writes it in a finding: ``<LogicalId>`` for a reference."""
    return _flatten(Stack.of(fleet).resolve(arn))


def _flatten(value: Any) -> str:
    if isinstance(value, str):
        return value
    if "Fn::Join" in value:
        delimiter, parts = value["Fn::Join"]
        return str(delimiter).join(_flatten(part) for part in parts)
    if "Ref" in value:
        return f"<{value['Ref']}>"
    if "Fn::GetAtt" in value:
        return f"<{'.'.join(value['Fn::GetAtt'])}>"
    return json.dumps(value, separators=(",", ":"))


def _acknowledge(scope: IConstruct, rule: str, reason: str) -> None:
    Validations.of(scope).acknowledge(Acknowledgment(id=_RULES + rule, reason=reason))
