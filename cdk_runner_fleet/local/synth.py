"""`python -m cdk_runner_fleet.local.synth OUTDIR`: the stack that `app.py` deploys, synthesized.

A process of its own, so that whoever starts a fleet need not load aws-cdk-lib, and so that jsii's
Node process is gone with it. Stdin has the context as a JSON object. Exit status 2 and a line on
stderr: a setting cannot work.
"""

from __future__ import annotations

import json
import sys

import aws_cdk as cdk

from cdk_runner_fleet.local.assembly import GITHUB_URL_PARAMETER, STACK
from cdk_runner_fleet.local.emulator.options import ACCOUNT, REGION
from cdk_runner_fleet.stack import RunnerFleetStack


def synthesize(outdir: str, context: dict[str, object]) -> None:
    """Write the cloud assembly of the stack with these settings into `outdir`.

    Raises:
        ValueError: a key is meant for a setting and is none, or a setting cannot work.
    """
    context = {**context, "github_api_url": cdk.Fn.ref(GITHUB_URL_PARAMETER)}
    app = cdk.App(
        outdir=outdir,
        context=context,
        analytics_reporting=False,
        # for AWS, and most of what a synthesis costs: `cdk synth` and the tests have it
        builtin_cloud_formation_validation=False,
    )
    stack = RunnerFleetStack(app, STACK, env=cdk.Environment(account=ACCOUNT, region=REGION))
    cdk.CfnParameter(stack, GITHUB_URL_PARAMETER)
    app.synth()


if __name__ == "__main__":
    try:
        synthesize(sys.argv[1], json.load(sys.stdin))
    except ValueError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(2)
