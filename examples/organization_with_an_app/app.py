"""A fleet for all repositories of an organization, which asks GitHub as a GitHub App."""

import aws_cdk as cdk
from aws_cdk import aws_secretsmanager as secretsmanager

from cdk_runner_fleet import GitHub, GitHubApp, RunnerFleet, RunnerLimits

app = cdk.App()
stack = cdk.Stack(app, "Runners")
key = secretsmanager.Secret.from_secret_name_v2(stack, "Key", "github-app-private-key")
RunnerFleet(
    stack,
    "Fleet",
    github=GitHub.organization(
        "octo-org", apps=[GitHubApp(app_id=123456, private_key=key)], runner_group="fargate"
    ),
    limits=RunnerLimits(max_runners=200, max_runners_per_repository=50, daily_budget_usd=50),
)
app.synth()
