"""The library beside CloudSnorkel's: what an app pays for it, and what is deployed of it.

    python -m benchmarks.library
    python -m benchmarks.library --alone             # ours only: nothing is fetched

Each app has one stack with the same VPC of two public subnets and runners on Fargate alone, all
else by default, and is a fresh process: one that imports what it is made of, and one that
synthesizes it.
The two alternate, so that a noisy machine disturbs both alike. The CPU is Python's and Node's.

Theirs is the published package, ``cdk-github-runners`` 0.17.1, installed into a temporary folder
beside the aws-cdk-lib that is here.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.processes import Spent, middle, run
from benchmarks.webhook_start import RIVAL

ROUNDS = 5
OURS, THEIRS = "cdk_runner_fleet", "CloudSnorkel 0.17.1"
IMPORTS = {
    OURS: "from cdk_runner_fleet import GitHub, RunnerClass, RunnerFleet, RunnerImage",
    THEIRS: "from cloudsnorkel.cdk_github_runners import FargateRunnerProvider, GitHubRunners",
}
MAKES = {
    OURS: 'RunnerFleet(stack, "Fleet", github=GitHub.repository("octo-org/octo-repo"), vpc=vpc)',
    THEIRS: """
provider = FargateRunnerProvider(
    stack, "Fargate", vpc=vpc, assign_public_ip=True, labels=["fargate"],
    subnet_selection=ec2.SubnetSelection(subnet_type=ec2.SubnetType.PUBLIC),
)
GitHubRunners(stack, "GitHubRunners", providers=[provider])
""",
}
APP = """
import aws_cdk as cdk
from aws_cdk import aws_ec2 as ec2
{imports}
app = cdk.App(analytics_reporting=False)
stack = cdk.Stack(app, "Runners")
public = ec2.SubnetConfiguration(name="Public", subnet_type=ec2.SubnetType.PUBLIC)
vpc = ec2.Vpc(stack, "Vpc", max_azs=2, nat_gateways=0, subnet_configuration=[public])
{make}
"""
SYNTH = "app.synth()\n"
# cdk-nag raises for what it finds, which stands in a report
NAG = """
import cdk_nag
cdk.Validations.of(app).add_plugins(cdk_nag.AwsSolutionsChecks())
try:
    app.synth()
except RuntimeError as error:
    assert "validation-report.json" in str(error), error
"""

# Service Authorization Reference; ecs:RegisterTaskDefinition, and ecs:TagResource with it, are
# refused on nothing narrower (cdk_runner_fleet/rooms/cluster.py)
WITHOUT_RESOURCE_LEVEL = frozenset(
    {
        "ec2:DescribeInstances",
        "ecr-public:GetAuthorizationToken",
        "ecr:GetAuthorizationToken",
        "ecs:DeregisterTaskDefinition",
        "ecs:DescribeTaskDefinition",
        "ecs:ListTaskDefinitions",
        "ecs:ListTasks",
        "ecs:RegisterTaskDefinition",
        "ecs:TagResource",
        "logs:CreateLogDelivery",
        "logs:DeleteLogDelivery",
        "logs:DescribeLogGroups",
        "logs:DescribeResourcePolicies",
        "logs:GetLogDelivery",
        "logs:ListLogDeliveries",
        "logs:PutResourcePolicy",
        "logs:UpdateLogDelivery",
        "ssmmessages:CreateControlChannel",
        "ssmmessages:CreateDataChannel",
        "ssmmessages:OpenControlChannel",
        "ssmmessages:OpenDataChannel",
        "states:ListActivities",
        "sts:GetServiceBearerToken",
    }
)


@dataclass(kw_only=True)
class Contestant:
    """An app of one of the two, started anew each time.

    Attributes:
        name: Whose it is.
        environment: All of its processes' environment.
        imports: What each import took.
        synths: What each synthesis took.
    """

    name: str
    environment: Mapping[str, str]
    imports: list[Spent] = field(default_factory=list)
    synths: list[Spent] = field(default_factory=list)

    def take(self) -> None:
        """Import it, and synthesize its app, once."""
        self.imports.append(self._run(IMPORTS[self.name]))
        with tempfile.TemporaryDirectory() as out:
            self.synths.append(self._run(self._app + SYNTH, out=out))

    def deployed(self) -> Mapping[str, int]:
        """What its template has, and what cdk-nag's AwsSolutions finds in it."""
        with tempfile.TemporaryDirectory() as out:
            self._run(self._app + NAG, out=out)
            template = json.loads(Path(out, "Runners.template.json").read_text(encoding="utf-8"))
            report = Path(out, "validation-report.json")
            reports = json.loads(report.read_text())["pluginReports"] if report.is_file() else []
        kinds = Counter(one["Type"] for one in template["Resources"].values())
        return {
            "resources": kinds.total(),
            "roles": kinds["AWS::IAM::Role"],
            "functions": kinds["AWS::Lambda::Function"],
            "too wide on *": sum(map(_is_wide, _statements(template))),
            "template, bytes": len(json.dumps(template, separators=(",", ":"))),
            "nag findings": sum(map(_findings, reports)),
        }

    @property
    def _app(self) -> str:
        return APP.format(imports=IMPORTS[self.name], make=MAKES[self.name])

    def _run(self, program: str, *, out: str = "") -> Spent:
        command = [sys.executable, "-c", program]
        return run(command, environment={**self.environment, "CDK_OUTDIR": out})


def _statements(template: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for resource in template["Resources"].values():
        properties = resource.get("Properties", {})
        if resource["Type"] in {"AWS::IAM::Policy", "AWS::IAM::ManagedPolicy"}:
            yield from properties["PolicyDocument"]["Statement"]
        if resource["Type"] == "AWS::IAM::Role":
            for policy in properties.get("Policies", []):
                yield from policy["PolicyDocument"]["Statement"]


def _findings(report: Mapping[str, Any]) -> int:
    """Rules that constructs break, but for the VPC's, which is the benchmark's own."""
    return sum(
        not construct["constructPath"].startswith("Runners/Vpc/")
        for violation in report["violations"]
        for construct in violation["violatingConstructs"]
        if report["pluginName"] == "AwsSolutions"
    )


def _is_wide(statement: Mapping[str, Any]) -> bool:
    """Whether it allows on ``*`` what could be allowed on something."""
    actions, resources = (
        value if isinstance(value, list) else [value]
        for value in (statement["Action"], statement["Resource"])
    )
    is_allowed = statement["Effect"] == "Allow"
    return is_allowed and "*" in resources and not WITHOUT_RESOURCE_LEVEL.issuperset(actions)


def _install(folder: Path) -> None:
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder)]
    subprocess.run([*pip, RIVAL], check=True, capture_output=True)


def _times(contestants: list[Contestant]) -> Table:
    table = Table(title=f"what an app pays, fresh processes, {len(contestants[0].synths)} rounds")
    for column in ("", "import CPU s", "synth CPU s", "synth peak MiB"):
        table.add_column(column)
    for one in contestants:
        table.add_row(
            one.name,
            middle([spent.cpu for spent in one.imports]),
            middle([spent.cpu for spent in one.synths]),
            f"{max(spent.peak for spent in one.synths):.0f}",
        )
    if len(contestants) == 2:
        table.add_row(
            "ratio, median of pairs",
            _ratio(contestants, lambda one: [spent.cpu for spent in one.imports]),
            _ratio(contestants, lambda one: [spent.cpu for spent in one.synths]),
            _ratio(contestants, lambda one: [spent.peak for spent in one.synths]),
        )
    return table


def _ratio(contestants: list[Contestant], figures: Callable[[Contestant], list[float]]) -> str:
    ours, theirs = map(figures, contestants)
    return f"{statistics.median(a / b for a, b in zip(ours, theirs, strict=True)):.2f}"


def _template(contestants: list[Contestant]) -> Table:
    table = Table(title="what is deployed, the VPC's 11 resources among it")
    figures = {one.name: one.deployed() for one in contestants}
    for column in ("", *figures):
        table.add_column(column)
    for name in next(iter(figures.values())):
        table.add_row(name, *(str(each[name]) for each in figures.values()))
    return table


def main(arguments: list[str] | None = None) -> None:
    """Print the times with their ratios, and what stands in the templates."""
    parser = argparse.ArgumentParser(prog="benchmarks.library")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--alone", action="store_true", help="leave CloudSnorkel's library out")
    given = parser.parse_args(arguments or [])
    with tempfile.TemporaryDirectory() as name:
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": os.environ["HOME"],  # where jsii keeps what it has unpacked
            "PYTHONPATH": os.pathsep.join([name, str(Path.cwd())]),
        }
        contestants = [Contestant(name=OURS, environment=environment)]
        if not given.alone:
            _install(Path(name))
            contestants.append(Contestant(name=THEIRS, environment=environment))
        deployed = _template(contestants)  # and all is compiled and unpacked
        for _ in range(given.rounds):
            for one in contestants:
                one.take()
    Console().print(_times(contestants))
    Console().print(deployed)


if __name__ == "__main__":
    main(sys.argv[1:])
