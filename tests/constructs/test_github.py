"""How the functions get at GitHub: scopes, credentials, who may read them, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import aws_cdk as cdk
import pytest
from aws_cdk import aws_kms as kms
from aws_cdk import aws_secretsmanager as secretsmanager
from aws_cdk import aws_ssm as ssm

from cdk_runner_fleet import GitHubApp, RunnerFleet
from cdk_runner_fleet.context import FleetSettings
from cdk_runner_fleet.stack import RunnerFleetStack

from .conftest import synthesize
from .test_fleet import environment, of_type
from .test_permissions import as_list, statements

Template = dict[str, Any]
KEY_ARN = "arn:aws:kms:eu-west-3:123456789012:key/12345678-1234-1234-1234-123456789012"
ASKING = (
    "runner_api",
    "deregister_runner",
    "check_runner",
    "reconcile_demand",
    "explain_job",
    "watch_release",
)


def fleet(make: Callable[[cdk.Stack], dict[str, Any]]) -> Template:
    return synthesize(lambda stack: RunnerFleet(stack, "Fleet", **make(stack)))


def secret(stack: cdk.Stack, name: str = "pem") -> secretsmanager.ISecret:
    return secretsmanager.Secret.from_secret_complete_arn(
        stack, f"S{name}", f"arn:aws:secretsmanager:eu-west-3:123456789012:secret:{name}-AbCdEf"
    )


def key(stack: cdk.Stack) -> kms.IKey:
    return kms.Key.from_key_arn(stack, "AppKey", KEY_ARN)


def context(**given: Any) -> Template:
    app = cdk.App(context={"github_repo": "", **given}, analytics_reporting=False)
    stack = RunnerFleetStack(app, "RunnerFleet")
    template: Template = cdk.assertions.Template.from_stack(stack).to_json()
    return template


@pytest.mark.parametrize(
    ("props", "scope", "runners"),
    [
        ({"github_repo": "o/r"}, "repos/o/r", {"administration": "write"}),
        ({"github_org": "o"}, "orgs/o", {"organization_self_hosted_runners": "write"}),
        ({"github_enterprise": "e"}, "enterprises/e", {}),
    ],
)
def test_each_scope_is_served(props: dict[str, str], scope: str, runners: dict[str, str]) -> None:
    template = fleet(lambda _: props)
    for handler in (*ASKING, "receive_webhook"):
        assert environment(template, handler)["GITHUB_SCOPE"] == scope
    permissions = json.loads(environment(template, "runner_api")["GITHUB_PERMISSIONS"])
    assert permissions == {"actions": "read", **runners}
    assert json.loads(environment(template, "deregister_runner")["GITHUB_PERMISSIONS"]) == runners
    reading = dict.fromkeys(runners, "read")
    checking = json.loads(environment(template, "check_runner")["GITHUB_PERMISSIONS"])
    assert checking == {"actions": "read", **reading}
    assert json.loads(environment(template, "watch_release")["GITHUB_PERMISSIONS"]) == reading
    assert json.loads(environment(template, "explain_job")["GITHUB_PERMISSIONS"]) == {
        "checks": "write"
    }


@pytest.mark.parametrize(
    ("props", "message"),
    [
        ({}, "^no scope given, give exactly one of github_repo, github_org and github_enterprise"),
        ({"github_repo": "o/r", "github_org": "o"}, "^github_repo and github_org given, give exac"),
        ({"github_org": "o", "github_enterprise": "e"}, "^github_org and github_enterprise given"),
        ({"github_org": "o/r"}, "'o/r' is not an organization, give its login"),
        ({"github_org": ""}, "'' is not an organization"),
        ({"github_enterprise": "an enterprise"}, "is not an enterprise, give its slug"),
        ({"github_repo": "o/r", "runner_group": "g"}, "'g' cannot be kept, a repository's runners"),
        ({"github_repo": "o/r", "github_api_url": "https://github.com"}, "https://api.github.com$"),
        (
            {"github_repo": "o/r", "github_api_url": "https://acme.ghe.com/"},
            "https://api.acme.ghe.com$",
        ),
    ],
)
def test_a_scope_that_cannot_be_is_refused_with_the_remedy(
    props: dict[str, str], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        fleet(lambda _: props)


@pytest.mark.parametrize(
    "url",
    ["https://api.acme.ghe.com", "https://ghes.example.com:8443/api/v3/", "http://127.0.0.1:80"],
)
def test_every_form_of_the_apis_url_is_taken(url: str) -> None:
    template = fleet(lambda _: {"github_org": "o", "github_api_url": url})
    assert environment(template, "runner_api")["GITHUB_API_URL"] == url.rstrip("/")


def test_apps_need_no_token_and_nobody_reads_their_keys_but_those_who_ask() -> None:
    template = fleet(
        lambda stack: {
            "github_org": "o",
            "runner_group": "builders",
            "github_apps": [
                GitHubApp(app_id=11, private_key=secret(stack), installation_id=7),
                GitHubApp(app_id="22", kms_key=key(stack)),
            ],
        }
    )
    arn = "arn:aws:secretsmanager:eu-west-3:123456789012:secret:pem-AbCdEf"
    for handler in ASKING:
        variables = environment(template, handler)
        assert json.loads(variables["GITHUB_APPS"]) == [
            {"app_id": "11", "private_key_secret_arn": arn, "installation_id": 7},
            {"app_id": "22", "kms_key_id": KEY_ARN},
        ]
        assert variables["GITHUB_TOKEN_SECRET_ARN"] == ""
        assert variables["RUNNER_GROUP"] == "builders"
    secrets = [name for name in template["Resources"] if name.startswith("FleetGithubToken")]
    assert secrets == []
    signing = [s for s in statements(template) if "kms:Sign" in as_list(s["Action"])]
    assert [as_list(s["Action"]) for s in signing] == [["kms:Sign"]] * len(ASKING)
    assert [s["Resource"] for s in signing] == [KEY_ARN] * len(ASKING)
    reading = [s for s in statements(template) if s["Resource"] == arn]
    assert len(reading) == len(ASKING)


def test_a_key_of_the_same_stack_is_a_reference() -> None:
    def make(stack: cdk.Stack) -> dict[str, Any]:
        own = kms.Key(stack, "K", key_spec=kms.KeySpec.RSA_2048, key_usage=kms.KeyUsage.SIGN_VERIFY)
        number = cdk.CfnParameter(stack, "AppId")
        app = GitHubApp(app_id=number.value_as_string, kms_key=own)
        return {"github_org": "o", "github_apps": [app]}

    template = fleet(make)
    parts = environment(template, "runner_api")["GITHUB_APPS"]["Fn::Join"][1]
    assert {"Ref": "AppId"} in parts
    assert any("Fn::GetAtt" in part for part in parts if isinstance(part, dict))


@pytest.mark.parametrize(
    ("app", "message"),
    [
        (lambda stack: GitHubApp(app_id=11), "needs one key: give private_key, a secret with its"),
        (
            lambda stack: GitHubApp(app_id=11, private_key=secret(stack), kms_key=key(stack)),
            "needs one key",
        ),
        (
            lambda stack: GitHubApp(app_id="my-app", kms_key=key(stack)),
            "'my-app' is not the id of a GitHub App, take the App ID",
        ),
        (
            lambda stack: GitHubApp(app_id=11, kms_key=key(stack), installation_id=0),
            "installation_id 0 of GitHub App 11 is none",
        ),
    ],
)
def test_an_app_that_cannot_be_is_refused(
    app: Callable[[cdk.Stack], GitHubApp], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        app(cdk.Stack())


def test_credentials_that_do_not_go_together_are_refused() -> None:
    def apps(stack: cdk.Stack, *ids: str) -> list[GitHubApp]:
        private_key = secret(stack)
        return [GitHubApp(app_id=one, private_key=private_key) for one in ids]

    with pytest.raises(ValueError, match="github_token and github_apps given, give one of them"):
        fleet(
            lambda stack: {
                "github_org": "o",
                "github_token": secret(stack, "token"),
                "github_apps": apps(stack, "1"),
            }
        )
    with pytest.raises(ValueError, match="GitHub lets no App manage an enterprise's runners"):
        fleet(lambda stack: {"github_enterprise": "e", "github_apps": apps(stack, "1")})
    with pytest.raises(ValueError, match="names an App twice"):
        fleet(lambda stack: {"github_org": "o", "github_apps": apps(stack, "1", "1")})


def test_a_private_authority_is_read_by_those_who_ask() -> None:
    template = fleet(
        lambda stack: {
            "github_org": "o",
            "github_api_url": "https://ghes.example.com/api/v3",
            "github_ca": ssm.StringParameter.from_string_parameter_name(stack, "Ca", "/github/ca"),
        }
    )
    for handler in ASKING:
        assert environment(template, handler)["GITHUB_CA_PARAM"] == "/github/ca"
    reading = [s for s in statements(template) if "parameter/github/ca" in json.dumps(s)]
    assert len(reading) == len(ASKING)
    assert all("ssm:GetParameter" in as_list(s["Action"]) for s in reading)


def test_context_has_all_of_it() -> None:
    apps = [
        {"app_id": 11, "private_key_secret": "pem", "installation_id": 7},
        {
            "app_id": "22",
            "private_key_secret": "arn:aws:secretsmanager:eu-west-3:1:secret:x-AbCdEf",
        },
        {"app_id": 33, "kms_key_arn": KEY_ARN},
    ]
    template = context(
        github_org="octo-org",
        github_apps=json.dumps(apps),
        runner_group="builders",
        github_api_url="https://ghes.example.com/api/v3",
        github_ca="/github/ca",
    )
    variables = environment(template, "runner_api")
    assert variables["GITHUB_SCOPE"] == "orgs/octo-org"
    assert variables["RUNNER_GROUP"] == "builders"
    assert variables["GITHUB_CA_PARAM"] == "/github/ca"
    text = json.dumps(variables["GITHUB_APPS"])
    assert all(part in text for part in (":secret:pem", ":secret:x-AbCdEf", KEY_ARN))
    assert "GithubTokenSecretArn" not in template["Outputs"]


def test_context_has_the_enterprise() -> None:
    template = context(github_enterprise="acme")
    assert environment(template, "receive_webhook")["GITHUB_SCOPE"] == "enterprises/acme"
    assert "GithubTokenSecretArn" in template["Outputs"]
    assert len(of_type(template, "AWS::SecretsManager::Secret")) == 2


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "github_repo is not set, name the repository in cdk.json or with -c"),
        ({"github_org": "o", "github_apps": "11"}, r'a list such as \[\{"app_id": 1'),
        ({"github_org": "o", "github_apps": ["11"]}, "a list such as"),
        ({"github_org": "o", "github_apps": [{"app_id": 1}]}, "private_key_secret .a secret's"),
        ({"github_org": "o", "github_apps": [{"kms_key_arn": "a"}]}, "give app_id and"),
        (
            {"github_org": "o", "github_apps": [{"app_id": 1, "kms_key_arn": KEY_ARN, "key": 1}]},
            "cannot be read, give app_id",
        ),
        (
            {
                "github_org": "o",
                "github_apps": [{"app_id": 1, "kms_key_arn": KEY_ARN, "installation_id": "x"}],
            },
            "installation_id 'x' of GitHub App 1 is none",
        ),
        (
            {
                "github_org": "o",
                "github_apps": [{"app_id": 1, "kms_key_arn": KEY_ARN, "private_key_secret": "pem"}],
            },
            "GitHub App 1 needs one key",
        ),
    ],
)
def test_context_that_cannot_be_read_is_refused_with_the_remedy(
    given: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        context(**given)


def test_an_organizations_settings_need_no_repository() -> None:
    node = cdk.App(context={"github_org": "o"}, analytics_reporting=False).node
    settings = FleetSettings.from_context(node)
    assert (settings.github_repo, settings.github_org) == (None, "o")


def test_the_quota_left_is_a_metric_of_whoever_asks() -> None:
    made = RunnerFleet(cdk.Stack(), "Fleet", github_org="o")
    metric = made.metric_github_quota_left(who="app-11")
    assert (metric.namespace, metric.metric_name) == ("RunnerFleet", "GitHubQuotaLeft")
    assert (metric.dimensions, metric.statistic) == ({"who": "app-11"}, "Minimum")
