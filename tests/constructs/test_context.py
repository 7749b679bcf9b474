"""The settings of ``cdk.json``: how they are read, and what they make."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import aws_cdk as cdk
import pytest
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_logs as logs

from cdk_runner_fleet.context import _RETENTIONS, FleetSettings
from cdk_runner_fleet.stack import RunnerFleetStack

from .fleets import KEY_ARN, READY
from .templates import of_type, template_of


def settings(**context: Any) -> FleetSettings:
    return FleetSettings.from_context(cdk.App(context=context, analytics_reporting=False).node)


def deployed(**context: Any) -> RunnerFleetStack:
    return RunnerFleetStack(cdk.App(context=context, analytics_reporting=False), "RunnerFleet")


def test_context_takes_json_and_command_line_strings() -> None:
    read = settings(
        github_repo="o/r",
        subnet_ids="subnet-1, subnet-2",
        security_groups=["sg-1"],
        image_build_project="false",
        apt_packages="jq, libpq-dev",
        pip_packages=["awscli>=1,<2"],
        runner_image_variant="full",
        runner_image_capabilities='["python"]',
        image_soci="on",
        max_image_builds="2",
        boot_timeout_seconds="2",
        max_runners="5",
        daily_budget_usd="2.5",
        tracing="on",
        required_labels="fleet-prod, eu",
        single_labels='{"dependabot": "small"}',
        runner_class_sizes='{"small": {"cpu": 256, "memory": 512}}',
    )
    assert read.subnet_ids == ["subnet-1", "subnet-2"]
    assert read.security_groups == ["sg-1"]
    assert read.image_build_project is False
    assert (read.runner_image_variant, read.runner_image_capabilities) == ("full", ["python"])
    assert read.apt_packages == ["jq", "libpq-dev"]
    assert read.pip_packages == ["awscli>=1,<2"]
    assert (read.image_soci, read.max_image_builds) == (True, 2)
    assert read.boot_timeout_seconds == 2
    assert (read.max_runners, read.daily_budget_usd) == (5, 2.5)
    assert read.max_runners_per_repository is None
    assert read.tracing is True
    assert read.required_labels == ["fleet-prod", "eu"]
    assert read.single_labels == {"dependabot": "small"}
    assert read.runner_class_sizes == {"small": {"cpu": 256, "memory": 512}}


def test_an_organizations_settings_need_no_repository() -> None:
    read = settings(github_org="o")
    assert (read.github_repo, read.github_org) == (None, "o")


@pytest.mark.parametrize(
    ("context", "message"),
    [
        ({}, "github_repo is not set, name the repository in cdk.json or with -c"),
        ({"github_repo": "o/r", "boot_timeout_seconds": "soon"}, "whole number of seconds"),
        (
            {"github_repo": "o/r", "max_runners": "2.5"},
            "max_runners is '2.5', give a whole number$",
        ),
        ({"github_repo": "o/r", "daily_budget_usd": "much"}, "an amount such as 25"),
        ({"github_repo": "o/r", "image_build_project": "perhaps"}, "true or false"),
        ({"github_repo": "o/r", "subnet_ids": [1]}, "list of strings"),
        ({"github_repo": "o/r", "runner_class_sizes": "[]"}, "an object"),
        ({"github_repo": "o/r", "single_labels": {"a": {}}}, "an object of texts such as"),
        ({"github_repo": 7}, "a string"),
        ({"github_org": "o", "github_apps": "11"}, r'a list such as \[\{"app_id": 1'),
        ({"github_org": "o", "github_apps": ["11"]}, "a list such as"),
    ],
)
def test_bad_context_is_refused_with_the_remedy(context: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        settings(**context)


@pytest.mark.parametrize(
    ("app", "message"),
    [
        ({"app_id": 1}, "private_key_secret .a secret's"),
        ({"kms_key_arn": "a"}, "give app_id and"),
        ({"app_id": 1, "kms_key_arn": KEY_ARN, "key": 1}, "cannot be read, give app_id"),
        (
            {"app_id": 1, "kms_key_arn": KEY_ARN, "installation_id": "x"},
            "installation_id 'x' of GitHub App 1 is none",
        ),
        (
            {"app_id": 1, "kms_key_arn": KEY_ARN, "private_key_secret": "pem"},
            "GitHub App 1 needs one key",
        ),
    ],
)
def test_an_app_that_cannot_be_read_is_refused_with_the_remedy(
    app: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        deployed(github_org="o", github_apps=[app])


def test_context_without_any_image_is_refused_by_its_own_keys() -> None:
    with pytest.raises(ValueError, match="image_build_project is off and no runner_image"):
        deployed(github_repo="o/r", image_build_project=False)


def test_context_has_all_of_github() -> None:
    apps = [
        {"app_id": 11, "private_key_secret": "pem", "installation_id": 7},
        {
            "app_id": "22",
            "private_key_secret": "arn:aws:secretsmanager:eu-west-3:1:secret:x-AbCdEf",
        },
        {"app_id": 33, "kms_key_arn": KEY_ARN},
    ]
    stack = deployed(
        github_org="octo-org",
        github_apps=json.dumps(apps),
        runner_group="builders",
        github_api_url="https://ghes.example.com/api/v3",
        github_ca="/github/ca",
        runner_image=READY,
        image_build_project=False,
    )
    given = stack.resolve(stack.fleet.github.environment())
    assert given["GITHUB_SCOPE"] == "orgs/octo-org"
    assert given["RUNNER_GROUP"] == "builders"
    assert given["GITHUB_CA_PARAM"] == "/github/ca"
    assert given["GITHUB_API_URL"] == "https://ghes.example.com/api/v3"
    text = json.dumps(given["GITHUB_APPS"])
    assert all(part in text for part in (":secret:pem", ":secret:x-AbCdEf", KEY_ARN))


def test_who_is_told_and_what_is_looked_at_are_settings() -> None:
    topic = "arn:aws:sns:eu-west-3:123456789012:ops"
    template = template_of(deployed(github_repo="o/r", alarm_topic_arn=topic, dashboard="on"))
    alarms = of_type(template, "AWS::CloudWatch::Alarm")
    assert {str(each["AlarmActions"]) for each in alarms} == {f"['{topic}']"}
    [dashboard] = of_type(template, "AWS::CloudWatch::Dashboard")
    assert "alarm" in str(dashboard["DashboardBody"])
    assert of_type(template, "AWS::Logs::QueryDefinition")


def test_a_topic_is_named_by_its_arn() -> None:
    with pytest.raises(ValueError, match=r"alarm_topic_arn.*'ops'.*arn:aws:sns:<region>"):
        deployed(github_repo="o/r", alarm_topic_arn="ops")


def test_logs_are_kept_for_the_days_that_are_named() -> None:
    stack = cdk.Stack(cdk.App(analytics_reporting=False), "Test")
    for days, retention in _RETENTIONS.items():
        group = logs.LogGroup(stack, f"Logs{days}", retention=retention)
        resource = group.node.default_child
        assert isinstance(resource, logs.CfnLogGroup)
        assert resource.retention_in_days == days
    fleet = deployed(github_repo="o/r", log_retention_days="400").fleet
    kept = fleet.function_logs.node.default_child
    assert isinstance(kept, logs.CfnLogGroup)
    assert kept.retention_in_days == 400


def test_the_zones_are_those_of_a_network_that_is_made() -> None:
    stack = deployed(github_repo="o/r", availability_zones=["us-west-1a", "us-west-1c"])
    vpc = stack.fleet.vpc
    assert vpc is stack.node.find_child("Vpc")
    assert isinstance(vpc, ec2.Vpc)
    assert [each.availability_zone for each in vpc.public_subnets] == ["us-west-1a", "us-west-1c"]


def test_the_keys_of_a_ready_image_reach_the_fleet() -> None:
    stack = deployed(
        github_repo="o/r",
        runner_image=READY,
        runner_image_tag="house",
        image_build_project="false",
    )
    offer = stack.fleet.dispatch.environment
    assert stack.fleet.platform.image_pipeline.images.default_name == "house"
    assert offer["ALLOWED_IMAGES"] == "[]"
    assert offer["IMAGE_BUILDING"] == "off"
    assert stack.fleet.platform.image_pipeline.task_image == READY
    assert stack.fleet.platform.images.build_image is None


def test_the_keys_of_built_images_reach_the_image() -> None:
    fleet = deployed(
        github_repo="o/r",
        runner_image_variant="full",
        runner_image_capabilities="python, node",
        allowed_images=["ghcr.io/o/*"],
        apt_packages=["jq"],
        pip_packages=["requests"],
        image_soci=True,
        max_image_builds=2,
        max_images_per_repository=9,
        runner_class_sizes={
            "small": {"cpu": 256, "memory": 512},
            "arm": {
                "cpu": 256,
                "memory": 512,
                "architecture": "ARM64",
                "ephemeral_storage": 60,
                "job_timeout_seconds": 900,
            },
        },
    ).fleet
    written = fleet.platform.catalog.classes["arm"].to_catalog()
    assert (written["ephemeral_storage"], written["job_timeout_seconds"]) == (60, 900)
    pipeline = fleet.platform.image_pipeline
    assert pipeline.images.default.capabilities == ("python", "node")
    builds = pipeline.builds
    assert (builds.max_concurrent_builds, builds.max_images_per_repository) == (2, 9)
    assert set(pipeline.projects) == {"X86_64", "ARM64"}
    assert fleet.dispatch.environment["ALLOWED_IMAGES"] == '["ghcr.io/o/*"]'
    app = cdk.Stage.of(pipeline)
    assert app is not None
    source = Path(app.asset_outdir, f"runner-image-{pipeline.node.addr}")
    [path] = source.glob("recipes/*/recipe.json")
    recipe = json.loads(path.read_text())
    assert recipe["variant"] == "full"
    assert (recipe["apt_packages"], recipe["pip_packages"]) == (["jq"], ["requests"])
    assert recipe["soci"] is True


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("max_runner", "max_runners"),
        ("maxRunners", "max_runners"),
        ("runner-image", "runner_image"),
        ("allowed_image", "allowed_images"),
        ("githubRepo", "github_repo"),
        ("idle_timeout_second", "idle_timeout_seconds"),
        ("idle_timeout", "idle_timeout_seconds"),
        ("runner_ttl", "runner_ttl_seconds"),
        ("github_repository", "github_repo"),
        ("allowed_bases", "allowed_images"),
        ("runnerClasses", "runner_class_sizes"),
        ("runner_variant", "runner_image_variant"),
    ],
)
def test_a_key_with_a_slip_in_it_is_refused_with_the_one_that_is_meant(
    key: str, meant: str
) -> None:
    with pytest.raises(ValueError, match=f"{key!r} is not known, .* is {meant} meant"):
        settings(github_repo="o/r", **{key: 1})


def test_the_keys_of_others_are_left_alone() -> None:
    flags = {f"@aws-cdk/aws-ecs:{name}": True for name in ("arnFormat", "maxRunners")}
    others = {
        "availability-zones:account=1:region=r": ["a"],
        "hosted-zone:account=1:domainName=runners.example.com": {},
        "acknowledged-issue-numbers": [1],
        "environment": "prod",
        "vpc_id": "v",
        "api_url": "https://example.com",
        "github_token": "for-a-pipeline",
        "name": "web",
        "budget": 5,
    }
    assert settings(github_repo="o/r", **flags, **others).github_repo == "o/r"


@pytest.mark.parametrize(
    ("key", "remedy"),
    [
        ("budget", "is daily_budget_usd meant"),
        ("image_variant", "is runner_image_variant meant"),
        ("name_prefix", "is runner_name_prefix meant"),
        ("name", "is runner_image_tag meant"),
        ("timeout", "is boot_timeout_seconds or idle_timeout_seconds or image_build_timeout_sec"),
        ("github_token", "is the secret GithubTokenSecretArn meant"),
        ("vpc_id", "use some of alarm_topic_arn, allowed_images, "),
    ],
)
def test_any_other_key_is_refused_where_the_app_is_the_fleet_alone(key: str, remedy: str) -> None:
    lookups = {"availability-zones:account=1:region=r": ["a"], "acknowledged-issue-numbers": [1]}
    for given, refused in ((lookups, False), (lookups | {key: "ghp_x"}, True)):
        app = cdk.App(context={"github_repo": "o/r"} | given, analytics_reporting=False)
        if not refused:
            assert FleetSettings.from_context(app.node, exclusive=True).github_repo == "o/r"
            continue
        with pytest.raises(ValueError, match=f"{key!r} is not known, and .*: {remedy}") as error:
            FleetSettings.from_context(app.node, exclusive=True)
        assert "ghp_x" not in str(error.value)


def test_every_key_of_the_shipped_cdk_json_is_a_setting_or_the_cdks_own() -> None:
    context = json.loads(Path("cdk.json").read_text(encoding="utf-8"))["context"]
    app = cdk.App(context=context, analytics_reporting=False)
    assert (
        FleetSettings.from_context(app.node, exclusive=True).github_repo == context["github_repo"]
    )
