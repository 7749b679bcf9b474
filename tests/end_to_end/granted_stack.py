"""A stack in which jobs of a class have more, in the place of `cdk_runner_fleet.local.synth`.

They may read a bucket, and have a file system. The fleet's cluster, bus, key and execution role
were there before.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from typing import Any
from unittest import mock

import aws_cdk as cdk
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_efs as efs
from aws_cdk import aws_events as events
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3

from cdk_runner_fleet import EfsMount, RunnerFleet, RunnerFleetStack, context
from cdk_runner_fleet.local.assembly import GITHUB_URL_PARAMETER, STACK
from cdk_runner_fleet.local.emulator.options import ACCOUNT, REGION


def with_more(scope: cdk.Stack, construct_id: str, **props: Any) -> RunnerFleet:
    """The fleet of the settings, with what no setting can name."""
    vpc = ec2.Vpc(scope, "Vpc", nat_gateways=0, max_azs=2)
    cache = efs.FileSystem(scope, "Cache", vpc=vpc, allow_anonymous_access=False)
    mount = EfsMount(
        file_system=cache,
        path="/mnt/cache",
        access_point=cache.add_access_point("Point", path="/jobs"),
    )
    huge = replace(props["classes"]["huge"], mounts=[mount])
    more = {
        "classes": {**props["classes"], "huge": huge},
        "cluster": ecs.Cluster(scope, "Shared", vpc=vpc),
        "event_bus": events.EventBus(scope, "OurBus"),
        "encryption_key": kms.Key(scope, "Key"),
        "execution_role": iam.Role(
            scope, "Execution", assumed_by=iam.ServicePrincipal("ecs-tasks.amazonaws.com")
        ),
    }
    return RunnerFleet(scope, construct_id, **{**props, **more})


def synthesize(outdir: str, settings: dict[str, object]) -> None:
    app = cdk.App(
        outdir=outdir,
        context={**settings, "github_api_url": cdk.Fn.ref(GITHUB_URL_PARAMETER)},
        analytics_reporting=False,
    )
    with mock.patch.object(context, "RunnerFleet", with_more):
        stack = RunnerFleetStack(app, STACK, env=cdk.Environment(account=ACCOUNT, region=REGION))
    cdk.CfnParameter(stack, GITHUB_URL_PARAMETER)
    of_all, of_huge = s3.Bucket(stack, "OfAll"), s3.Bucket(stack, "OfHuge")
    of_all.grant_read(stack.fleet)
    of_huge.grant_read(stack.fleet.runner_class("huge"))
    cdk.CfnOutput(stack, "BucketOfAll", value=of_all.bucket_name)
    cdk.CfnOutput(stack, "BucketOfHuge", value=of_huge.bucket_name)
    app.synth()


if __name__ == "__main__":
    synthesize(sys.argv[1], json.load(sys.stdin))
