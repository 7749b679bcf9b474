"""Every default of the fleet's log groups, once."""

from __future__ import annotations

from typing import Literal

from aws_cdk import Aws, Fn, RemovalPolicy
from aws_cdk import aws_logs as logs
from constructs import Construct


def log_group(
    scope: Construct, construct_id: str, *, vended_by: Literal["apis", "states"] | None = None
) -> logs.LogGroup:
    """A log group that keeps a month, and goes with the stack.

    Args:
        scope: The construct's parent.
        construct_id: The construct's id in it.
        vended_by: The service that writes to it by itself. For each group that does not stand below
            ``/aws/vendedlogs/`` it adds a statement to one policy of the whole account, of 5,120
            characters at most, and an account with many groups can then make no more (Step
            Functions Developer Guide, "CloudWatch Logs resource policy size restrictions").
            Default: functions or tasks write to it, with a role.
    """
    return logs.LogGroup(
        scope,
        construct_id,
        log_group_name=_vended_name(scope, vended_by) if vended_by else None,
        retention=logs.RetentionDays.ONE_MONTH,
        removal_policy=RemovalPolicy.DESTROY,
    )


def _vended_name(scope: Construct, service: str) -> str:
    # unique in the account, also after a stack of the same name that left its group behind
    incarnation = Fn.select(0, Fn.split("-", Fn.select(2, Fn.split("/", Aws.STACK_ID))))
    place = scope.node.addr[-8:]
    return Fn.join("", [f"/aws/vendedlogs/{service}/", Aws.STACK_NAME, f"-{place}-", incarnation])
