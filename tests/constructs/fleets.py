"""The fleets whose templates are looked at: each is synthesized once for the whole run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import aws_cdk as cdk
from aws_cdk import aws_apigatewayv2 as apigateway
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_ecr as ecr
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_events as events
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_secretsmanager as secretsmanager
from aws_cdk import aws_sns as sns
from aws_cdk import aws_ssm as ssm

from cdk_runner_fleet import (
    FunctionOptions,
    GitHub,
    GitHubApp,
    ImageBuilds,
    LifecycleTimeouts,
    Reconciliation,
    RunnerClass,
    RunnerFleet,
    RunnerImage,
    RunnerLimits,
    Webhook,
)

OWN_IMAGE = Path(__file__).parent / "own_image"
READY = "123456789012.dkr.ecr.eu-west-3.amazonaws.com/runner:1"
KEY_ARN = "arn:aws:kms:eu-west-3:123456789012:key/12345678-1234-1234-1234-123456789012"
PEM_ARN = "arn:aws:secretsmanager:eu-west-3:123456789012:secret:pem-AbCdEf"
BOTH = {
    "small": RunnerClass(cpu=256, memory=512),
    "arm": RunnerClass(cpu=256, memory=512, architecture="ARM64"),
}


def minimal(stack: cdk.Stack) -> RunnerFleet:
    """Nothing but a repository."""
    return RunnerFleet(stack, "Fleet", github=GitHub.repository("octo-org/octo-repo"))


def everything(stack: cdk.Stack) -> RunnerFleet:
    """Every prop of a repository's fleet that builds its images."""
    vpc = ec2.Vpc(stack, "Vpc", nat_gateways=1, max_azs=2)
    fleet = RunnerFleet(
        stack,
        "Fleet",
        github=GitHub.repository(
            "octo-org/octo-repo",
            api_url="https://github.example.com/api/v3/",
            token=secretsmanager.Secret.from_secret_name_v2(stack, "Token", "token"),
            token_field="token",
            required_labels=["octo-prod"],
            single_labels={"dependabot": "spot", "code-scanning": "arm"},
            explain_jobs=False,
        ),
        classes={
            "spot": RunnerClass(
                cpu=256,
                memory=512,
                labels=["linux"],
                capacity=["FARGATE_SPOT", "FARGATE"],
                max_runners=5,
            ),
            "arm": RunnerClass(
                cpu=256,
                memory=512,
                architecture="ARM64",
                allow_images=False,
                ephemeral_storage=100,
                boot_timeout=cdk.Duration.minutes(10),
                idle_timeout=cdk.Duration.minutes(1),
                job_timeout=cdk.Duration.hours(5),
                environment={"PIP_INDEX_URL": "https://pypi.example.com/simple"},
                tags={"team": "a"},
                vpc_subnets=ec2.SubnetSelection(one_per_az=True),
            ),
        },
        image=RunnerImage.built(
            variant="full",
            base="public.ecr.aws/docker/library/debian:13",
            dockerfile_directory=OWN_IMAGE,
            build_args={"RUNNER_ARCHIVE_URL": "https://mirror.example.com/runner.tar.gz"},
            apt_packages=["libpq-dev"],
            pip_packages=["awscli>=1,<2"],
            name="house",
            capabilities=["shell", "python", "postgres"],
            soci=True,
        ),
        images=ImageBuilds(
            allowed_bases=["ghcr.io/octo-org/*"],
            repository=ecr.Repository.from_repository_name(stack, "Ours", "ours/runners"),
            max_concurrent_builds=3,
            max_images_per_repository=8,
        ),
        webhook=Webhook(
            secret=secretsmanager.Secret.from_secret_name_v2(stack, "Hook", "hook"),
            secret_field="hook",
            domain_name=apigateway.DomainName.from_domain_name_attributes(
                stack,
                "Domain",
                name="runners.example.com",
                regional_domain_name="d-1.execute-api.eu-west-3.amazonaws.com",
                regional_hosted_zone_id="Z1",
            ),
            allowed_cidrs=["192.30.252.0/22", "2a0a:a440::/29"],
            reserved_concurrency=50,
        ),
        runner_name_prefix="octo",
        cluster=ecs.Cluster(stack, "Shared", vpc=vpc),
        execution_role=iam.Role(
            stack,
            "OurExecutionRole",
            assumed_by=iam.ServicePrincipal("ecs-tasks.amazonaws.com"),
        ),
        event_bus=events.EventBus(stack, "OurEventBus", event_bus_name="runner-control-plane"),
        assign_public_ip=False,
        limits=RunnerLimits(max_runners=50, max_runners_per_repository=10, daily_budget_usd=25.5),
        timeouts=LifecycleTimeouts(
            boot=cdk.Duration.minutes(2),
            idle=cdk.Duration.minutes(3),
            image_build=cdk.Duration.minutes(20),
            job=cdk.Duration.hours(1),
        ),
        reconciliation=Reconciliation(
            every=cdk.Duration.minutes(5),
            grace=cdk.Duration.seconds(30),
            rerun_lost_jobs=True,
        ),
        functions=FunctionOptions(tracing=lambda_.Tracing.ACTIVE),
    )
    fleet.connections.allow_to(ec2.Peer.any_ipv4(), ec2.Port.tcp(443))
    s3.Bucket(stack, "Cache").grant_read(fleet)
    s3.Bucket(stack, "Results").grant_put(fleet.runner_class("arm"))
    alarms = fleet.add_alarms(sns.Topic(stack, "Topic"))
    fleet.add_dashboard(alarms=alarms)
    fleet.add_log_queries()
    return fleet


def encrypted(stack: cdk.Stack) -> RunnerFleet:
    """All that takes a key has one, and logs are kept for a year."""
    return RunnerFleet(
        stack,
        "Fleet",
        github=GitHub.repository("octo-org/octo-repo"),
        encryption_key=kms.Key(stack, "Key", enable_key_rotation=True),
        log_retention=logs.RetentionDays.ONE_YEAR,
        webhook=Webhook(only_from_github=True),
    )


def organization(stack: cdk.Stack) -> RunnerFleet:
    """An organization on a private server, asked as Apps from its network; a ready image alone, a
    given network."""
    private_key = secretsmanager.Secret.from_secret_complete_arn(stack, "Pem", PEM_ARN)
    private = ec2.Vpc.from_vpc_attributes(
        stack,
        "Private",
        vpc_id="vpc-0a1b2c3d",
        availability_zones=["a", "b"],
        private_subnet_ids=["subnet-8", "subnet-9"],
    )
    return RunnerFleet(
        stack,
        "Fleet",
        github=GitHub.organization(
            "o",
            api_url="https://ghes.example.com/api/v3",
            ca=ssm.StringParameter.from_string_parameter_name(stack, "Ca", "/github/ca"),
            apps=[
                GitHubApp(app_id=11, private_key=private_key, installation_id=7),
                GitHubApp(app_id="22", kms_key=kms.Key.from_key_arn(stack, "AppKey", KEY_ARN)),
            ],
            runner_group="builders",
        ),
        classes=BOTH,
        image=RunnerImage.ready(READY),
        images=ImageBuilds(allowed_bases=()),
        vpc_subnets=ec2.SubnetSelection(
            subnets=[ec2.Subnet.from_subnet_id(stack, "S", "subnet-1")]
        ),
        security_groups=[ec2.SecurityGroup.from_security_group_id(stack, "G", "sg-1")],
        functions=FunctionOptions(vpc=private),
    )


def enterprise(stack: cdk.Stack) -> RunnerFleet:
    """An enterprise; all runners are ARM64, classes have images, and jobs choose none."""
    return RunnerFleet(
        stack,
        "Fleet",
        github=GitHub.enterprise("e"),
        classes={
            "arm": BOTH["arm"],
            "node": RunnerClass(
                cpu=256, memory=512, architecture="ARM64", image=RunnerImage.built(variant="node")
            ),
            "house": RunnerClass(
                cpu=256, memory=512, architecture="ARM64", image=RunnerImage.ready(READY)
            ),
        },
        images=ImageBuilds(allowed_bases=()),
    )


def beside_ready(stack: cdk.Stack) -> RunnerFleet:
    """A ready image, named at deployment, that jobs may choose others beside; all is traced."""
    uri = cdk.CfnParameter(stack, "Uri").value_as_string
    return RunnerFleet(
        stack,
        "Fleet",
        github=GitHub.repository("o/r"),
        classes=BOTH,
        image=RunnerImage.ready(uri, capabilities=["python"]),
        functions=FunctionOptions(tracing=lambda_.Tracing.ACTIVE),
    )


def parameters(stack: cdk.Stack) -> RunnerFleet:
    """What can be a parameter of the stack is one."""
    text = {
        name: cdk.CfnParameter(stack, name).value_as_string
        for name in ("Repo", "AppId", "Base", "Name", "Glob")
    }
    number = {
        name: cdk.CfnParameter(stack, name, type="Number").value_as_number
        for name in ("Most", "Each", "Usd", "Builds", "Images")
    }
    own_key = kms.Key(stack, "K", key_spec=kms.KeySpec.RSA_2048, key_usage=kms.KeyUsage.SIGN_VERIFY)
    return RunnerFleet(
        stack,
        "Fleet",
        github=GitHub.repository(
            text["Repo"], apps=[GitHubApp(app_id=text["AppId"], kms_key=own_key)]
        ),
        image=RunnerImage.built(base=text["Base"], name=text["Name"]),
        images=ImageBuilds(
            allowed_bases=[text["Glob"]],
            max_concurrent_builds=number["Builds"],  # type: ignore[arg-type]
            max_images_per_repository=number["Images"],  # type: ignore[arg-type]
        ),
        limits=RunnerLimits(
            max_runners=number["Most"],  # type: ignore[arg-type]
            max_runners_per_repository=number["Each"],  # type: ignore[arg-type]
            daily_budget_usd=number["Usd"],
        ),
    )


FLEETS: Mapping[str, Callable[[cdk.Stack], RunnerFleet]] = {
    each.__name__: each
    for each in (
        minimal,
        everything,
        encrypted,
        organization,
        enterprise,
        beside_ready,
        parameters,
    )
}
