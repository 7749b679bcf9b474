"""Each example that can be is deployed, its fleets run a job each, and it is deleted."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from cdk_runner_fleet.local.assembly import GITHUB_URL_PARAMETER
from cdk_runner_fleet.local.deploy import deploy
from cdk_runner_fleet.local.fleet import LocalFleet
from cdk_runner_fleet.local.node import find_node
from tests import settings
from tests.waiting import until

from . import example_apps
from .conftest import Fleet

ROOT = Path(__file__).parents[2]
LABELS: Mapping[str, Mapping[str, Iterable[str]]] = {
    "classes_with_roles_and_images": {"Fleet": ["class:deploy"]},
    "two_fleets_in_an_organization": {"Web": ["web"], "Data": ["data"]},
}
"""What a job asks for besides, by the example and the fleet in it."""
NOT_HERE = {
    "hardened": "it has NAT gateways, GitHub's addresses alone may call it, and KMS signs for it",
}
"""Those that no account of this machine takes, and why; test_wheel.py synthesizes them."""
WITHOUT_A_JOB = {"imported_fleet": "the fleet that it watches is another stack's"}
"""Those that are deployed only, and why."""
EXAMPLES = sorted(
    path.parent for path in (ROOT / "examples").glob("*/app.py") if path.parent.name not in NOT_HERE
)
_URL = "WebhookUrl"


@pytest.fixture(scope="module")
def account() -> Iterator[Fleet]:
    """A fleet with what the examples find in an account and at GitHub."""
    with LocalFleet(context=settings.EXAMPLES) as local:
        assert local.twin
        local.twin.runner_groups = ("Default", "fargate", "web", "data")
        providers = ["FARGATE", "FARGATE_SPOT"]
        local.client("ecs").create_cluster(clusterName="shared", capacityProviders=providers)
        local.client("events").create_event_bus(Name="shared")
        yield Fleet(local)


@pytest.fixture(scope="module")
def assemblies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("assemblies")
    subprocess.run(
        [sys.executable, "-m", example_apps.__name__, folder, *EXAMPLES],
        cwd=ROOT,
        env={**os.environ, "CDK_VALIDATION": "false", "JSII_NODE": find_node()},
        check=True,
    )
    return folder


@contextmanager
def deployed(account: Fleet, assembly: Path) -> Iterator[dict[str, str]]:
    """An example's outputs, as long as it is there."""
    [stack] = [path.name.partition(".")[0] for path in assembly.glob("*.template.json")]
    parameters = {GITHUB_URL_PARAMETER: account.local.github_url}
    try:
        yield deploy(account.local, assembly, stack=stack, parameters=parameters)
    finally:
        delete(account, stack)


def fill_secrets(account: Fleet) -> None:
    manager, outputs = account.local.client("secretsmanager"), account.local.outputs
    for secret, value in {
        "WebhookSecretArn": account.local.webhook_secret,
        "GithubTokenSecretArn": account.twin.token,
    }.items():
        if secret in outputs:  # one with an App has no token
            manager.put_secret_value(SecretId=outputs[secret], SecretString=value)


def runs_a_job(account: Fleet, labels: Iterable[str]) -> None:
    job = account.queue_real("build", *labels)
    runner = f"{account.local.outputs['RunnerNamePrefix']}-{job.id}-{job.attempt}"
    until(lambda: job.status == "completed", lambda: f"it runs: {account.row(runner)}")
    assert job.conclusion == "success", [*job.log]
    account.status(runner, "OFFLINE")
    account.until(runner, lambda _: account.executions(runner) == ["SUCCEEDED"])


def delete(account: Fleet, stack: str) -> None:
    cloudformation = account.local.client("cloudformation")
    stack_id = cloudformation.describe_stacks(StackName=stack)["Stacks"][0]["StackId"]
    cloudformation.delete_stack(StackName=stack)

    def status() -> str | None:
        found = cloudformation.describe_stacks(StackName=stack_id)["Stacks"][0]["StackStatus"]
        return None if found.endswith("_IN_PROGRESS") else found

    assert until(status, f"{stack} is deleted or not") == "DELETE_COMPLETE"


@pytest.mark.parametrize("example", [folder.name for folder in EXAMPLES])
def test_an_example_runs_a_job(account: Fleet, assemblies: Path, example: str) -> None:
    with deployed(account, assemblies / example) as outputs:
        fleets = [name.removesuffix(_URL) for name in outputs if name.endswith(_URL)]
        assert fleets or example in WITHOUT_A_JOB
        for name in fleets if example not in WITHOUT_A_JOB else ():
            account.local.outputs = {
                key.removeprefix(name): value
                for key, value in outputs.items()
                if key.startswith(name)
            }
            fill_secrets(account)
            account.twin.webhook_url = account.local.webhook_url
            runs_a_job(account, LABELS.get(example, {}).get(name, []))
