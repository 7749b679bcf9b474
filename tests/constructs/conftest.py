"""Synthesized templates of the fleet, made once for the whole run."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aws_cdk as cdk
import pytest
from aws_cdk import assertions
from syrupy.assertion import SnapshotAssertion
from syrupy.extensions.json import JSONSnapshotExtension

from cdk_runner_fleet import LifecycleTimeouts, RunnerClass, RunnerFleet, RunnerImage

OWN_IMAGE = Path(__file__).parent / "own_image"
Template = dict[str, Any]


def synthesize(make: Callable[[cdk.Stack], object], **context: object) -> Template:
    app = cdk.App(context={**context}, analytics_reporting=False)
    stack = cdk.Stack(app, "Test")
    make(stack)
    template: Template = assertions.Template.from_stack(stack).to_json()
    return template


def _everything(stack: cdk.Stack) -> None:
    fleet = RunnerFleet(
        stack,
        "Fleet",
        github_repo="octo-org/octo-repo",
        github_api_url="https://github.example.com/api/v3/",
        github_token=cdk.aws_secretsmanager.Secret.from_secret_name_v2(stack, "Token", "token"),
        webhook_secret=cdk.aws_secretsmanager.Secret.from_secret_name_v2(stack, "Hook", "hook"),
        runner_classes={
            "spot": RunnerClass(
                cpu=256,
                memory=512,
                labels=["linux"],
                capacity=["FARGATE_SPOT", "FARGATE"],
                max_runners=5,
            ),
            "arm": RunnerClass(cpu=256, memory=512, architecture="ARM64"),
        },
        runner_image=RunnerImage(
            stack,
            "Image",
            variant="full",
            base_image="public.ecr.aws/docker/library/debian:13",
            dockerfile_directory=OWN_IMAGE,
            build_args={"RUNNER_ARCHIVE_URL": "https://mirror.example.com/runner.tar.gz"},
            apt_packages=["libpq-dev"],
            pip_packages=["awscli>=1,<2"],
            allowed_bases=["ghcr.io/octo-org/*"],
            jobs_may_choose=True,
            repository=cdk.aws_ecr.Repository.from_repository_name(stack, "Ours", "ours/runners"),
            name="house",
            capabilities=["shell", "python", "postgres"],
            soci=True,
            max_concurrent_builds=3,
        ),
        runner_name_prefix="octo",
        event_bus_name="runner-control-plane",
        vpc=cdk.aws_ec2.Vpc(stack, "Vpc", nat_gateways=1, max_azs=2),
        assign_public_ip=False,
        max_runners=50,
        max_runners_per_repository=10,
        daily_budget_usd=25.5,
        timeouts=LifecycleTimeouts(
            boot=cdk.Duration.minutes(2),
            idle=cdk.Duration.minutes(3),
            image_build=cdk.Duration.minutes(20),
            job=cdk.Duration.hours(1),
        ),
    )
    fleet.connections.allow_to(cdk.aws_ec2.Peer.any_ipv4(), cdk.aws_ec2.Port.tcp(443))
    cdk.aws_s3.Bucket(stack, "Cache").grant_read(fleet)


@pytest.fixture(scope="session")
def minimal() -> Template:
    """The fleet with nothing but its repository."""
    return synthesize(lambda stack: RunnerFleet(stack, "Fleet", github_repo="octo-org/octo-repo"))


@pytest.fixture(scope="session")
def everything() -> Template:
    """The fleet with every prop set."""
    return synthesize(_everything)


def normalise(value: Any) -> Any:
    """``value`` without what changes with every edit of an asset, and with the machine readable."""
    if isinstance(value, dict):
        return {
            key: json.loads(part) if key == "DefinitionString" else normalise(part)
            for key, part in value.items()
        }
    if isinstance(value, list):
        return [normalise(part) for part in value]
    return re.sub(r"[0-9a-f]{64}", "<digest>", value) if isinstance(value, str) else value


@pytest.fixture
def template_snapshot(snapshot: SnapshotAssertion) -> SnapshotAssertion:
    return snapshot.use_extension(JSONSnapshotExtension)
