"""What AWS takes from a fleet's own account or region alone is refused from elsewhere."""

from __future__ import annotations

from collections.abc import Callable

import aws_cdk as cdk
import pytest
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_secretsmanager as secretsmanager

from cdk_runner_fleet import GitHub, GitHubApp, RunnerFleet, Webhook

from .templates import of_type, template_of

HERE = cdk.Environment(account="123456789012", region="eu-west-3")


@pytest.fixture
def placed() -> cdk.Stack:
    return cdk.Stack(cdk.App(analytics_reporting=False), "Test", env=HERE)


def secret(stack: cdk.Stack, place: str) -> secretsmanager.ISecret:
    return secretsmanager.Secret.from_secret_complete_arn(
        stack, "Theirs", f"arn:aws:secretsmanager:{place}:secret:theirs-AbCdEf"
    )


def with_token(stack: cdk.Stack, place: str) -> RunnerFleet:
    github = GitHub.repository("o/r", token=secret(stack, place))
    return RunnerFleet(stack, "Fleet", github=github)


def with_app_key(stack: cdk.Stack, place: str) -> RunnerFleet:
    app = GitHubApp(app_id=1, private_key=secret(stack, place))
    return RunnerFleet(stack, "Fleet", github=GitHub.repository("o/r", apps=[app]))


def with_app_kms_key(stack: cdk.Stack, place: str) -> RunnerFleet:
    key = kms.Key.from_key_arn(stack, "Theirs", f"arn:aws:kms:{place}:key/1234")
    app = GitHubApp(app_id=1, kms_key=key)
    return RunnerFleet(stack, "Fleet", github=GitHub.repository("o/r", apps=[app]))


def with_webhook_secret(stack: cdk.Stack, place: str) -> RunnerFleet:
    webhook = Webhook(secret=secret(stack, place))
    return RunnerFleet(stack, "Fleet", github=GitHub.repository("o/r"), webhook=webhook)


def with_cluster(stack: cdk.Stack, place: str) -> RunnerFleet:
    cluster = ecs.Cluster.from_cluster_attributes(
        stack,
        "Theirs",
        cluster_name="theirs",
        cluster_arn=f"arn:aws:ecs:{place}:cluster/theirs",
        vpc=ec2.Vpc(stack, "Vpc"),
    )
    return RunnerFleet(stack, "Fleet", github=GitHub.repository("o/r"), cluster=cluster)


Given = Callable[[cdk.Stack, str], RunnerFleet]
CREDENTIALS = (with_token, with_app_key, with_app_kms_key, with_webhook_secret)


@pytest.mark.parametrize("given", [*CREDENTIALS, with_cluster])
def test_what_is_of_another_region_is_refused(given: Given, placed: cdk.Stack) -> None:
    with pytest.raises(ValueError, match="is in region us-east-1 and the fleet in eu-west-3, and"):
        given(placed, "us-east-1:123456789012")


@pytest.mark.parametrize("given", CREDENTIALS)
def test_credentials_may_be_anothers_account_that_lets_them(
    given: Given, placed: cdk.Stack
) -> None:
    assert "999999999999" in str(template_of(given(placed, "eu-west-3:999999999999").node.scope))


@pytest.mark.parametrize("given", CREDENTIALS)
def test_where_the_fleet_will_be_is_not_guessed(given: Given, stack: cdk.Stack) -> None:
    assert given(stack, "us-east-1:123456789012")


def test_two_fleets_that_serve_the_same_have_names_of_their_own(stack: cdk.Stack) -> None:
    organization = GitHub.organization("acme")
    RunnerFleet(stack, "One", github=organization)
    RunnerFleet(stack, "Other", github=organization, runner_name_prefix="other")
    RunnerFleet(stack, "Elsewhere", github=GitHub.organization("octo-org"))
    elsewhere = cdk.Stack(stack.node.scope, "Elsewhere")
    with pytest.raises(ValueError, match=r"^runner_name_prefix 'other' is Test/Other's already"):
        RunnerFleet(
            elsewhere, "Third", github=GitHub.organization("ACME"), runner_name_prefix="other"
        )


@pytest.mark.parametrize("whose", ["fleet", "class"])
def test_a_resource_of_another_account_can_be_granted(whose: str) -> None:
    app = cdk.App(analytics_reporting=False)
    there = cdk.Environment(account="999999999999", region="eu-west-3")
    bucket = s3.Bucket(cdk.Stack(app, "Theirs", env=there), "Bucket", bucket_name="results")
    stack = cdk.Stack(app, "Ours", env=HERE)
    fleet = RunnerFleet(stack, "Fleet", github=GitHub.repository("o/r"))
    bucket.grant_read(fleet if whose == "fleet" else fleet.runner_class("small"))
    template = template_of(bucket.stack)
    [policy] = of_type(template, "AWS::S3::BucketPolicy")
    [statement] = policy["PolicyDocument"]["Statement"]
    [ours] = [one for one in of_type(template_of(stack), "AWS::IAM::Role") if "RoleName" in one]
    assert f":iam::{HERE.account}:role/{ours['RoleName']}" in str(statement["Principal"])


@pytest.mark.parametrize("whose", ["fleet", "class"])
def test_a_database_whose_stack_is_deployed_first_is_reached_from_the_fleets_side(
    whose: str,
) -> None:
    app = cdk.App(analytics_reporting=False)
    data = cdk.Stack(app, "Data")
    vpc = ec2.Vpc(data, "Vpc", max_azs=2)
    group = ec2.SecurityGroup(data, "Group", vpc=vpc)
    database = ec2.Connections(security_groups=[group], default_port=ec2.Port.tcp(5432))
    stack = cdk.Stack(app, "Ours")
    fleet = RunnerFleet(stack, "Fleet", github=GitHub.repository("o/r"), vpc=vpc)
    runners = fleet if whose == "fleet" else fleet.runner_class("small")
    runners.connections.allow_to_default_port(database)
    [rule] = of_type(template_of(stack), "AWS::EC2::SecurityGroupIngress")
    assert rule["FromPort"] == 5432
