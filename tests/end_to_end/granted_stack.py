"""A stack whose jobs may read buckets by class, in the place of `cdk_runner_fleet.local.synth`."""

from __future__ import annotations

import json
import sys

import aws_cdk as cdk
from aws_cdk import aws_s3 as s3

from cdk_runner_fleet import RunnerFleetStack
from cdk_runner_fleet.local.assembly import GITHUB_URL_PARAMETER, STACK
from cdk_runner_fleet.local.emulator.options import ACCOUNT, REGION


def synthesize(outdir: str, context: dict[str, object]) -> None:
    app = cdk.App(
        outdir=outdir,
        context={**context, "github_api_url": cdk.Fn.ref(GITHUB_URL_PARAMETER)},
        analytics_reporting=False,
    )
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
