"""Every prop and every setting, given what it cannot be: each error names it and says what can."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import aws_cdk as cdk
import pytest
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_ecr as ecr
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_secretsmanager as secretsmanager

from cdk_runner_fleet import (
    FleetAlarms,
    FleetDashboard,
    FleetLogQueries,
    FunctionOptions,
    GitHub,
    GitHubApp,
    ImageBuilds,
    LifecycleTimeouts,
    Reconciliation,
    RunnerClass,
    RunnerFleet,
    RunnerFleetStack,
    RunnerImage,
    RunnerLimits,
    Webhook,
)
from cdk_runner_fleet._at_rest import DataAtRest
from cdk_runner_fleet._function import FleetFunction
from cdk_runner_fleet.context import FleetSettings
from cdk_runner_fleet.metrics import IRunnerFleet

from .fleets import KEY_ARN, READY

Make = Callable[..., object]


def _fleet(stack: cdk.Stack, **props: Any) -> RunnerFleet:
    return RunnerFleet(stack, "Fleet", **{"github": GitHub.repository("o/r")} | props)


def _repository(stack: cdk.Stack, **props: Any) -> GitHub:
    return GitHub.repository(**{"repository": "o/r"} | props)


def _organization(stack: cdk.Stack, **props: Any) -> GitHub:
    return GitHub.organization(**{"organization": "o"} | props)


def _enterprise(stack: cdk.Stack, **props: Any) -> GitHub:
    return GitHub.enterprise(**{"enterprise": "e"} | props)


def _limits(stack: cdk.Stack, **props: Any) -> RunnerLimits:
    return RunnerLimits(**props)


def _webhook(stack: cdk.Stack, **props: Any) -> Webhook:
    return Webhook(**props)


def _reconciliation(stack: cdk.Stack, **props: Any) -> Reconciliation:
    return Reconciliation(**props)


def _functions(stack: cdk.Stack, **props: Any) -> FunctionOptions:
    return FunctionOptions(**props)


def _image(stack: cdk.Stack, **props: Any) -> RunnerImage:
    return RunnerImage.built(**props)


def _ready(stack: cdk.Stack, **props: Any) -> RunnerImage:
    return RunnerImage.ready(**{"uri": READY} | props)


def _of_repository(stack: cdk.Stack, **props: Any) -> RunnerImage:
    ours = ecr.Repository.from_repository_name(stack, "Ours", "ours")
    return RunnerImage.from_ecr_repository(**{"repository": ours} | props)


def _builds(stack: cdk.Stack, **props: Any) -> ImageBuilds:
    return ImageBuilds(**props)


def _class(stack: cdk.Stack, **props: Any) -> RunnerClass:
    return RunnerClass(**{"cpu": 512, "memory": 1024} | props)


def _timeouts(stack: cdk.Stack, **props: Any) -> LifecycleTimeouts:
    return LifecycleTimeouts(**props)


def _app(stack: cdk.Stack, **props: Any) -> GitHubApp:
    key = kms.Key.from_key_arn(stack, "Key", KEY_ARN)
    return GitHubApp(**{"app_id": 1, "kms_key": key} | props)


def _made(stack: cdk.Stack, **props: Any) -> GitHub:
    return GitHub(**{"scope": "repos/o/r"} | props)


def _alarms(stack: cdk.Stack, **props: Any) -> FleetAlarms:
    return FleetAlarms(stack, "Alarms", **{"fleet": IRunnerFleet(stack, "Any")} | props)


def _dashboard(stack: cdk.Stack, **props: Any) -> FleetDashboard:
    return FleetDashboard(stack, "Dashboard", **{"fleet": IRunnerFleet(stack, "Any")} | props)


def _queries(stack: cdk.Stack, **props: Any) -> FleetLogQueries:
    return FleetLogQueries(stack, "Queries", **props)


def _quota(stack: cdk.Stack, **props: Any) -> cloudwatch.Metric:
    return IRunnerFleet(stack, "Any").metric_github_quota_left(**props)


def _stack(stack: cdk.Stack, **props: Any) -> RunnerFleetStack:
    return RunnerFleetStack(stack, "Inner", **props)


def _alias(stack: cdk.Stack) -> kms.IKey:
    return kms.Alias.from_alias_name(stack, "Alias", "alias/app")


def _props(kind: Callable[..., object], make: Make, *, but: tuple[str, ...] = ()) -> list[Any]:
    # of a construct jsii's metaclass would be asked
    maker = kind.__init__ if isinstance(kind, type) else kind
    names = list(inspect.signature(maker).parameters)
    own = [name for name in names if name not in ("self", "scope", "construct_id", *but)]
    return [pytest.param(make, name, id=f"{kind.__name__}-{name}") for name in own]


@pytest.mark.parametrize("given", [object(), {"a": [5]}], ids=["object", "mapping"])
@pytest.mark.parametrize(
    ("make", "name"),
    [
        *_props(RunnerFleet, _fleet),
        *_props(GitHub.repository, _repository),
        *_props(GitHub.organization, _organization),
        *_props(GitHub.enterprise, _enterprise),
        *_props(RunnerLimits, _limits),
        *_props(Webhook, _webhook),
        *_props(Reconciliation, _reconciliation),
        *_props(FunctionOptions, _functions),
        *_props(RunnerImage.built, _image),
        *_props(RunnerImage.ready, _ready),
        *_props(RunnerImage.from_ecr_repository, _of_repository),
        *_props(ImageBuilds, _builds),
        *_props(RunnerClass, _class),
        *_props(LifecycleTimeouts, _timeouts),
        *_props(GitHubApp, _app, but=("installation_id",)),
    ],
)
def test_a_prop_of_another_kind_is_refused_by_name(
    make: Make, name: str, given: object, stack: cdk.Stack
) -> None:
    with pytest.raises(TypeError, match=rf"^{name}(\['a'\])? is a \w+, give "):
        make(stack, **{name: given})


@pytest.mark.parametrize(
    ("make", "given", "message"),
    [
        (_app, {"installation_id": True}, "installation_id True of GitHub App 1 is none, take"),
        (_app, {"installation_id": object()}, "of GitHub App 1 is none, take the number"),
        (_class, {"architecture": 5}, "architecture is a int, give 'X86_64' or 'ARM64'"),
        (_class, {"architecture": "arm64"}, "architecture 'arm64' is not Fargate's, use one of"),
        (_class, {"capacity": [5]}, r"capacity\[0\] is a int, give 'FARGATE' or"),
        (_image, {"variant": 5}, "variant is a int, give 'base' or 'python' or"),
        (_organization, {"register_for": True}, "register_for is a bool, give 'repository'"),
        (_class, {"labels": ""}, "labels is a str, give a list, each a str"),
        (_class, {"labels": [7]}, r"labels\[0\] is a int, give a str"),
        (_class, {"cpu": 512.0}, "cpu is a float, give an int"),
        (_class, {"cpu": "x"}, "cpu is a str, give an int"),
        (_class, {"allow_images": "no"}, "allow_images is a str, give a bool"),
        (_class, {"max_runners": True}, "max_runners is a bool, give an int"),
        (_class, {"capabilities": [7]}, r"capabilities\[0\] is a int, give a str"),
        (_ready, {"uri": 5}, "uri is a int, give a str"),
        (_image, {"apt_packages": "jq"}, "apt_packages is a str, give a list, each a str"),
        (_builds, {"allowed_bases": "*"}, "allowed_bases is a str, give a list, each a str"),
        (_builds, {"allowed_bases": [1]}, r"allowed_bases\[0\] is a int, give a str"),
        (_image, {"build_args": {"A": 1}}, r"build_args\['A'\] is a int, give a str"),
        (_image, {"capabilities": "python"}, "capabilities is a str, give a list, each a str"),
        (_builds, {"max_concurrent_builds": True}, "max_concurrent_builds is a bool, give an int"),
        (
            _builds,
            {"repository": "runners"},
            "repository is a str, give an IRepository, such as ecr",
        ),
        (_image, {"dockerfile_directory": ""}, "dockerfile_directory '.' has no Dockerfile"),
        (_image, {"pip_packages": ["awscli boto3"]}, "'awscli boto3' of pip_packages cannot"),
    ],
)
def test_a_prop_that_cannot_be_is_refused_with_the_remedy(
    make: Make, given: dict[str, Any], message: str, stack: cdk.Stack
) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        make(stack, **given)


def _asymmetric(stack: cdk.Stack) -> kms.IKey:
    return kms.Key(stack, "Own", key_spec=kms.KeySpec.RSA_4096, key_usage=kms.KeyUsage.SIGN_VERIFY)


HALF = cdk.Duration.millis(1500)


@pytest.mark.parametrize(
    ("make", "given", "message"),
    [
        # classes
        (
            _class,
            {"labels": ["self-hosted linux"]},
            "is several in one text, and jobs ",
        ),
        (_class, {"labels": ["gpu "]}, "label 'gpu ' of labels of a class has blanks around it"),
        (_class, {"labels": ["run-id=5"]}, "'run-id=5' of labels of a class is never asked for"),
        (_class, {"capabilities": ["go", "Go"]}, r"\['go', 'Go'\] of a class names one twice"),
        (_class, {"capacity": ["FARGATE"] * 2}, r"capacity \['FARGATE', 'FARGATE'\] names one twi"),
        (_class, {"max_runners": 5000}, "max_runners 5000 of a class .* from 1 to 1000, the most"),
        (_class, {"boot_timeout": HALF}, "boot timeout of 1.5 seconds of a class cannot be kept"),
        (
            _fleet,
            {"classes": {5: RunnerClass(cpu=512, memory=1024)}},
            "has the name 5, a int, ",
        ),
        # labels
        (_repository, {"required_labels": ["Self-Hosted"]}, "self-hosted, which every job has: na"),
        (_repository, {"required_labels": [f"l{n}" for n in range(50)]}, "are 50, and no job has "),
        (_repository, {"single_labels": {"self-hosted linux": "a"}}, "is several in one text"),
        (_repository, {"single_labels": {5: "a"}}, "single_labels has the name 5, a int, give a s"),
        # GitHub
        (_organization, {"runner_group": " "}, "runner_group ' ' is no group's name, give it as"),
        (_organization, {"runner_group": "a\nb"}, r"runner_group 'a\\nb' is no group's name"),
        (_organization, {"image_runner_group": ""}, "image_runner_group '' is no group's name"),
        (
            _organization,
            {"runner_group": "fast", "image_runner_group": "Fast"},
            "'Fast' is the group of all other runners too",
        ),
        (_organization, {"image_runner_group": "default"}, "is the group of all other runners t"),
        (_repository, {"api_url": "http://ghes.example.com/api/v3"}, "in clear text: use https"),
        (_repository, {"api_url": "https://ghes.example.com:70000/api/v3"}, "is not a URL, use "),
        (_made, {"scope": "octo-org"}, "scope 'octo-org' is none that a fleet can serve: make it"),
        (
            _made,
            {"runner_group": "g"},
            "runner_group 'g' cannot be had for repos/o/r, a repository",
        ),
        (_made, {"image_runner_group": "g"}, "image_runner_group 'g' cannot be had for repos/o/r"),
        (_made, {"token": "t"}, "token is a str, give an ISecret"),
        # limits and times
        (
            _limits,
            {"max_runners": 10, "max_runners_per_repository": 50},
            "max_runners_per_repository 50 is more than max_runners 10, which is reached before",
        ),
        (_timeouts, {"idle": HALF}, "idle timeout of 1.5 seconds cannot be kept, .* whole ones"),
        (_reconciliation, {"grace": HALF}, "grace is 1.5 seconds, use at least 1, and whole ones"),
        (_reconciliation, {"grace": cdk.Duration.days(1)}, "grace is 86400 seconds, .* most 1440"),
        (_reconciliation, {"every": cdk.Duration.days(2)}, "every is 172800 seconds, and GitHub "),
        # constructs
        (_alarms, {"fleet": "prod"}, "fleet is a str, give an IRunnerFleet, such as Runn"),
        (_alarms, {"topic": "arn"}, "topic is a str, give an ITopic, such as sns.Topic.from_top"),
        (_dashboard, {"fleet": "prod"}, "fleet is a str, give an IRunnerFleet, such as Runn"),
        (_dashboard, {"alarms": []}, "alarms is a list, give a FleetAlarms, such as fleet.add_al"),
        (_queries, {"fleet": "prod"}, "fleet is a str, give an IRunnerFleet, such as Runn"),
        (_quota, {"who": 5}, "who is a int, give a str"),
        (_alarms, {"failed_runners": "5"}, "failed_runners is a str, give an int"),
        (_stack, {"settings": {}}, "settings is a dict, give a FleetSettings"),
    ],
)
def test_what_could_only_fail_later_is_refused_with_the_remedy(
    make: Make, given: dict[str, Any], message: str, stack: cdk.Stack
) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        make(stack, **given)


def test_deliveries_are_not_signed_with_the_token(stack: cdk.Stack) -> None:
    secret = secretsmanager.Secret.from_secret_name_v2(stack, "One", "one")
    with pytest.raises(ValueError, match=r"^secret of webhook is the secret with the token too"):
        _fleet(
            stack,
            github=GitHub.repository("o/r", token=secret),
            webhook=Webhook(secret=secret),
        )


@pytest.mark.parametrize(
    ("key", "message"),
    [
        (kms.Key, "is a key of SYMMETRIC_DEFAULT for ENCRYPT_DECRYPT, and an App signs with RSA_2"),
        (_asymmetric, "is a key of RSA_4096 for SIGN_VERIFY, and an App signs with RSA_2048"),
        (_alias, "is an alias, and IAM does not go by one: give the key that it stands for"),
    ],
)
def test_a_key_that_no_app_signs_with_is_refused(
    key: Callable[..., kms.IKey], message: str, stack: cdk.Stack
) -> None:
    made = kms.Key(stack, "Own") if key is kms.Key else key(stack)
    with pytest.raises(ValueError, match=f"^kms_key of GitHub App 1 {message}"):
        _app(stack, kms_key=made)


def _layer(stack: cdk.Stack, arn: str) -> lambda_.ILayerVersion:
    return lambda_.LayerVersion.from_layer_version_arn(stack, "Layer", arn)


def test_what_is_only_known_at_deployment_passes_every_check(stack: cdk.Stack) -> None:
    text = {
        name: cdk.CfnParameter(stack, f"{name}Text").value_as_string
        for name in (
            "Org",
            "Group",
            "Images",
            "Url",
            "Prefix",
            "Layer",
            "Image",
            "Label",
            "Class",
        )
    }
    number: Any = cdk.CfnParameter(stack, "Number", type="Number").value_as_number
    seconds = cdk.Duration.seconds(number)
    _fleet(
        stack,
        github=GitHub.organization(
            text["Org"],
            apps=[_app(stack, installation_id=number)],
            runner_group=text["Group"],
            image_runner_group=text["Images"],
            api_url=text["Url"],
            required_labels=[text["Label"]],
            single_labels={"dependabot": text["Class"]},
        ),
        classes={"a": _class(stack, cpu=number, memory=number, max_runners=number)},
        image=_ready(stack, uri=text["Image"]),
        images=_builds(stack, max_concurrent_builds=number),
        runner_name_prefix=text["Prefix"],
        timeouts=_timeouts(stack, boot=seconds, idle=seconds, image_build=seconds, job=seconds),
        reconciliation=Reconciliation(grace=seconds),
        functions=FunctionOptions(powertools_layer=_layer(stack, text["Layer"])),
    )


ARN = "arn:aws:lambda:eu-west-3:123456789012:layer:Powertools:7"
IN_PARIS = cdk.Environment(account="123456789012", region="eu-west-3")


@pytest.mark.parametrize(
    ("arn", "message"),
    [
        (ARN.removesuffix(":7"), "is no version of a layer, give arn:aws:lambda:<region>:<account"),
        (READY, "is no version of a layer"),
        (ARN.replace("eu-west-3", "us-east-1"), "is in us-east-1 and the stack in eu-west-3, and"),
    ],
)
def test_a_layer_that_no_function_could_have_is_refused(arn: str, message: str) -> None:
    stack = cdk.Stack(cdk.App(analytics_reporting=False), "Test", env=IN_PARIS)
    with pytest.raises(ValueError, match=f"^powertools_layer '{arn}' {message}"):
        _fleet(stack, functions=FunctionOptions(powertools_layer=_layer(stack, arn)))


@pytest.mark.parametrize("env", [None, IN_PARIS], ids=["anywhere", "here"])
def test_a_layer_that_may_be_of_the_stacks_region_is_taken(env: cdk.Environment | None) -> None:
    stack = cdk.Stack(cdk.App(analytics_reporting=False), "Test", env=env)
    for number, arn in enumerate((ARN, ARN.replace("eu-west-3", cdk.Aws.REGION))):
        inner = cdk.Stack(stack, f"Inner{number}", env=env)
        options = FunctionOptions(powertools_layer=_layer(inner, arn))
        FleetFunction(
            inner,
            "Function",
            handler="dispatch_event",
            environment={},
            options=options,
            at_rest=DataAtRest(inner),
        )


def deploy(**context: Any) -> RunnerFleetStack:
    app = cdk.App(context={"github_repo": "o/r"} | context, analytics_reporting=False)
    return RunnerFleetStack(app, "Stack", env=IN_PARIS)


@pytest.mark.parametrize("name", [field.name for field in fields(FleetSettings)])
@pytest.mark.parametrize("given", [-1, {"a": [5]}], ids=["number", "mapping"])
def test_a_setting_of_another_kind_is_refused_by_its_key(name: str, given: object) -> None:
    with pytest.raises(ValueError, match=rf"^(setting )?{name}\b.* is .*, give "):
        deploy(**{name: given})


APP = {"app_id": 1, "private_key_secret": "pem"}
SIZE = {"cpu": 512, "memory": 1024}
NETWORK = {"subnet_ids": ["subnet-1"], "security_groups": ["sg-1"]}


@pytest.mark.parametrize(
    ("context", "message"),
    [
        (
            {"allowed_images": ["python:3"]},
            "allowed_images has 'python:3', and that is what no image",
        ),
        (
            {"allowed_images": ["*"], "image_build_project": False, "runner_image": READY},
            r"allowed_images \['\*'\] given and image_build_project is off: leave one of them out",
        ),
        ({"allowed_images": [f"a.b/{n:060}:1" for n in range(90)]}, "name fewer allowed_images"),
        ({"assign_public_ip": False}, "give subnet_ids with a NAT gateway and their security_gro"),
        (NETWORK | {"availability_zones": ["eu-west-3a"]}, "availability_zones .* and subnet_ids"),
        (
            {"encryption_key_arn": "alias/ours"},
            "encryption_key_arn is .alias/ours., give one such as arn",
        ),
        ({"boot_timeout_seconds": 0}, "boot_timeout_seconds of 0 seconds cannot be kept"),
        ({"github_api_url": "https://ghes.example.com"}, "https://ghes.example.com/api/v3$"),
        ({"github_apps": [APP | {"app_id": "x"}]}, r"github_apps\[0\]: app_id 'x' is not the id"),
        (
            {"github_apps": [APP | {"private_key_secret": 5}]},
            r"private_key_secret of github_apps\[0\] is 5, give one such as its name, or its ARN",
        ),
        ({"github_apps": [APP | {"private_key_secret": "arn:aws:s3:::x"}]}, "the six characters"),
        (
            {"github_apps": [{"app_id": 1, "kms_key_arn": "notarn"}]},
            r"kms_key_arn of github_apps\[0\] is 'notarn', give one such as arn:aws:kms:<region>",
        ),
        (
            {"github_apps": [APP | {"kms_key_arn": KEY_ARN}]},
            r"github_apps\[0\]: GitHub App 1 needs one key: give private_key_secret, .* kms_key_a",
        ),
        ({"github_apps": [APP | {"app_id": {}}]}, r"^github_apps\[0\]: app_id is a dict, give a"),
        ({"github_ca": "a b"}, "github_ca is 'a b', give one such as /github/ca"),
        (
            {"github_repo": "", "github_org": "o", "allowed_images": ["ghcr.io/acme/*"]},
            r"^allowed_images \['ghcr.io/acme/\*'\] cannot be had in orgs/o: .* register_for=",
        ),
        (
            {"github_repo": "", "github_org": "o", "runner_group": "a", "image_runner_group": "a"},
            "^image_runner_group 'a' is the group of all other runners too",
        ),
        (
            {"image_runner_group": "a"},
            "^image_runner_group 'a' and github_repo 'o/r' do not go together, a repository's run",
        ),
        (
            {"register_for": "repository"},
            "^register_for 'repository' and github_repo 'o/r' do not go together, .* github_org$",
        ),
        (
            {"github_repo": "", "github_org": "o", "register_for": "org"},
            "^register_for 'org' is unknown, use 'repository'",
        ),
        ({"github_org": "o"}, "^github_repo and github_org given, give exactly one of github_rep"),
        (
            {"github_repo": "", "github_enterprise": "e", "github_apps": [APP]},
            "^github_apps cannot serve github_enterprise, GitHub lets no App manage an enterprise",
        ),
        ({"github_repo": "octo"}, "^github_repo 'octo' is none, give it as owner/name"),
        ({"github_repo": "", "github_org": "o/r"}, "^github_org 'o/r' is none, give its login"),
        ({"github_apps": [APP, APP]}, r"^github_apps \['1', '1'\] names an App twice"),
        (
            {"runner_class_sizes": {"a": SIZE | {"allow_images": "no"}}},
            r"^runner_class_sizes\['a'\]: allow_images is a str, give a bool",
        ),
        ({"idle_timeout_seconds": 90000}, "idle_timeout_seconds of 90000 seconds cannot"),
        ({"image_build_timeout_seconds": 90000}, "image_build_timeout_seconds of 90000 seconds"),
        (
            {"runner_image": READY, "image_soci": True},
            "^runner_image .* and image_soci True would build one: leave either out",
        ),
        ({"max_image_builds": 0}, "max_image_builds 0 would build nothing"),
        ({"max_runners": 0}, "max_runners 0 cannot"),
        ({"powertools_layer_arn": "x"}, "powertools_layer_arn 'x' is no version of a layer"),
        ({"reconcile_grace_seconds": 0}, "reconcile_grace_seconds is 0 seconds, use at least 1"),
        ({"reconcile_minutes": 0}, "reconcile_minutes is 0 seconds, EventBridge's"),
        ({"reserved_concurrency": 0}, "reserved_concurrency is 0, and Lambda would run nothing"),
        ({"runner_class_sizes": {}}, "runner_class_sizes is empty"),
        ({"runner_class_sizes": {"XL": SIZE}}, "runner_class_sizes has the name 'XL', which can"),
        (
            {"runner_class_sizes": {"a": SIZE | {"cpu": "x"}}},
            r"cpu of runner_class_sizes\['a'\] is 'x', give a whole number",
        ),
        ({"runner_class_sizes": {"a": SIZE | {"cpu": 512.5}}}, "is 512.5, give a whole number"),
        ({"runner_class_sizes": {"a": SIZE | {"cpu": True}}}, "is True, give a whole number"),
        (
            {"runner_class_sizes": {"a": SIZE | {"ephemeral_storage": 20}}},
            r"^runner_class_sizes\['a'\]: ephemeral_storage 20 of a class is not Fargate's",
        ),
        (
            {"runner_class_sizes": {"a": SIZE | {"job_timeout": 60}}},
            "give cpu and memory, and of .*'job_timeout_seconds'",
        ),
        (
            {"runner_class_sizes": {"a": SIZE | {"idle_timeout_seconds": "x"}}},
            r"idle_timeout_seconds of runner_class_sizes\['a'\] is 'x', give a whole number",
        ),
        (
            {"runner_class_sizes": {"a": SIZE | {"memory": 1}}},
            r"^runner_class_sizes\['a'\]: memory 1 does not go with cpu 512, use one of",
        ),
        (
            {"runner_class_sizes": {"a": SIZE | {"labels": "gpu"}}},
            r"^runner_class_sizes\['a'\]: labels is a str, give a list",
        ),
        ({"runner_image": "ghcr.io"}, "^runner_image .ghcr.io. is no image of a runner, give"),
        (
            {"runner_image": READY, "apt_packages": ["jq"]},
            r"^runner_image .* apt_packages \['jq'\]",
        ),
        (
            {"runner_image": READY, "runner_image_variant": "full"},
            "^runner_image .* and runner_image_variant 'full' would build one",
        ),
        ({"runner_image_capabilities": ["a,b"]}, "^runner_image_capabilities .* has 'a,b', which"),
        ({"runner_image_tag": "a b"}, "^runner_image_tag 'a b' of an image cannot begin a tag"),
        ({"runner_image_variant": "go"}, "^runner_image_variant 'go' is unknown, use one of"),
        ({"runner_ttl_seconds": 0}, "^runner_ttl_seconds of 0 seconds cannot be kept"),
        ({"security_groups": ["sg-1"]}, r"^subnet_ids \[\] and security_groups .* go together"),
        (NETWORK | {"security_groups": ["x"]}, "security_groups is 'x', give one such as sg-0"),
        (NETWORK | {"subnet_ids": ["vpc-1"]}, "subnet_ids is 'vpc-1', give one such as subnet-0"),
        (
            NETWORK | {"subnet_ids": ["subnet-1"] * 17},
            "^subnet_ids has 17, and a task .* leave out 1",
        ),
        ({"single_labels": {"self-hosted": "small"}}, "leave it out, the first class serves"),
        (
            {
                "webhook_only_from_github": True,
                "github_api_url": "https://ghes.example.com/api/v3",
            },
            "^webhook_only_from_github is on and the github_api_url .* in webhook_allowed_cidrs$",
        ),
        ({"log_retention_days": 31}, "^log_retention_days 31 is none of CloudWatch's, use one of"),
        ({"webhook_allowed_cidrs": ["a"]}, "webhook_allowed_cidrs has 'a', which is no network"),
    ],
)
def test_a_setting_that_cannot_work_is_refused_by_its_key(
    context: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        deploy(**context)
