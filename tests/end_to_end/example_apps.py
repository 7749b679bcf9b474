"""The apps of `examples/`, synthesized by one process for the GitHub of a fleet on this machine.

    python -m tests.end_to_end.example_apps OUTDIR FOLDER…

Each is deployed as it stands, but for what only an account knows: where GitHub answers is a
parameter, and its fleets' names are outputs.
"""

from __future__ import annotations

import json
import runpy
import sys
from collections.abc import Mapping
from pathlib import Path

import aws_cdk as cdk

import cdk_runner_fleet
from cdk_runner_fleet import GitHub, RunnerFleet
from cdk_runner_fleet.local.assembly import GITHUB_URL_PARAMETER


class Deployed(RunnerFleet):
    """Tells what it has made."""

    def __init__(self, scope: cdk.Stack, construct_id: str, **props: object) -> None:
        super().__init__(scope, construct_id, **props)  # type: ignore[arg-type]
        outputs: Mapping[str, str] = {
            "WebhookUrl": self.webhook_url,
            "WebhookSecretArn": self.webhook_secret.secret_arn,
            "RunnerTableName": self.platform.registry.runner_table.table_name,
            "StateMachineArn": self.platform.lifecycle.state_machine.state_machine_arn,
            "ClusterArn": self.platform.cluster.cluster_arn,
            "RunnerNamePrefix": self.runner_name_prefix,
        }
        if self.github_token:
            outputs = {**outputs, "GithubTokenSecretArn": self.github_token.secret_arn}
        for name, value in outputs.items():
            cdk.CfnOutput(scope, f"{construct_id}{name}", value=value)


def synthesize(outdir: Path, folders: list[Path]) -> None:
    make = cdk.App
    for factory in (GitHub.repository, GitHub.organization, GitHub.enterprise):
        factory.__kwdefaults__["api_url"] = cdk.Fn.ref(GITHUB_URL_PARAMETER)
    cdk_runner_fleet.RunnerFleet = Deployed  # type: ignore[misc]
    for folder in folders:
        context = json.loads((folder / "cdk.json").read_text())["context"]
        app = make(outdir=str(outdir / folder.name), context=context, analytics_reporting=False)
        ended = app.synth
        cdk.App = lambda app=app: app  # type: ignore[misc, assignment]
        app.synth = lambda: None  # type: ignore[method-assign, assignment, return-value]
        runpy.run_path(str(folder / "app.py"), run_name="__main__")
        for stack in app.node.children:
            cdk.CfnParameter(stack, GITHUB_URL_PARAMETER)
        ended()


if __name__ == "__main__":
    synthesize(Path(sys.argv[1]), [Path(one) for one in sys.argv[2:]])
