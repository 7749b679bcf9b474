"""How the functions get at GitHub: credentials, who may read them, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import aws_cdk as cdk
import pytest
from aws_cdk import aws_secretsmanager as secretsmanager

from cdk_runner_fleet import GitHub, GitHubApp, ImageBuilds, RunnerFleet, Webhook
from cdk_runner_fleet._at_rest import DataAtRest
from cdk_runner_fleet.rooms.connection import GitHubConnection

from ..fleets import KEY_ARN, PEM_ARN
from ..templates import Template, as_list, environment, parts, statements, synthesize, template_of

ASKING = (
    "runner_api",
    "deregister_runner",
    "check_runner",
    "reconcile_demand",
    "explain_job",
    "watch_release",
)


@pytest.mark.parametrize("handler", [*ASKING, "receive_webhook"])
def test_each_scope_is_served(
    handler: str, minimal: Template, organization: Template, enterprise: Template
) -> None:
    assert environment(minimal, handler)["GITHUB_SCOPE"] == "repos/octo-org/octo-repo"
    assert environment(organization, handler)["GITHUB_SCOPE"] == "orgs/o"
    assert environment(enterprise, handler)["GITHUB_SCOPE"] == "enterprises/e"


@pytest.mark.parametrize(
    ("served", "permissions"),
    [
        (GitHub.repository("o/r"), {"administration": "write"}),
        (GitHub.organization("o"), {"organization_self_hosted_runners": "write"}),
        (GitHub.enterprise("e"), {}),
    ],
    ids=["repository", "organization", "enterprise"],
)
def test_whoever_manages_runners_needs_what_github_calls_it(
    served: GitHub, permissions: dict[str, str], stack: cdk.Stack
) -> None:
    made = GitHubConnection(stack, "GitHub", github=served, at_rest=DataAtRest(stack))
    given = made.environment(runners="write", also={"actions": "read"})
    assert json.loads(given["GITHUB_PERMISSIONS"]) == {"actions": "read", **permissions}
    nothing = made.environment(also={"checks": "write"})
    assert json.loads(nothing["GITHUB_PERMISSIONS"]) == {"checks": "write"}


@pytest.mark.parametrize(
    "url",
    [
        "https://api.github.com/",
        "https://api.acme.ghe.com",
        "https://ghes.example.com:8443/api/v3/",
        "https://proxy.example.com/ghes/api/v3",
        "https://api.proxy.example.com",
        "http://127.0.0.1:80",
    ],
)
def test_every_form_of_the_apis_url_is_taken(url: str, stack: cdk.Stack) -> None:
    made = GitHubConnection(
        stack, "GitHub", github=GitHub.organization("o", api_url=url), at_rest=DataAtRest(stack)
    )
    assert made.environment()["GITHUB_API_URL"] == url.rstrip("/")


@pytest.mark.parametrize(
    "served",
    [
        GitHub.organization("o", register_for="repository"),
        GitHub.enterprise("e", register_for="repository"),
    ],
    ids=["organization", "enterprise"],
)
def test_runners_of_a_repository_are_managed_with_its_administration(
    served: GitHub, stack: cdk.Stack
) -> None:
    made = GitHubConnection(stack, "GitHub", github=served, at_rest=DataAtRest(stack))
    assert made.runner_scopes["REGISTER_FOR"] == "repository"
    manage = json.loads(made.environment(runners="write")["GITHUB_PERMISSIONS"])
    assert manage == {"administration": "write"}
    look = json.loads(made.environment(runners="read", of_served=True)["GITHUB_PERMISSIONS"])
    of_organization = (
        {"organization_self_hosted_runners": "read"} if served.scope == "orgs/o" else {}
    )
    assert look == {"administration": "read", **of_organization}


def test_where_runners_are_registered_reaches_those_who_start_find_and_explain(
    stack: cdk.Stack,
) -> None:
    served = GitHub.organization("o", register_for="repository")
    RunnerFleet(stack, "Fleet", github=served)
    template = template_of(stack)
    for handler in ("dispatch_event", "reconcile_demand", "explain_job"):
        given = environment(template, handler)
        assert (given["GITHUB_SCOPE"], given["REGISTER_FOR"]) == ("orgs/o", "repository")


def test_what_nobody_elses_jobs_may_run_in_is_checked_of_the_fleets_image(
    stack: cdk.Stack,
) -> None:
    def fleet(name: str, github: GitHub) -> RunnerFleet:
        inner = cdk.Stack(stack, name)
        images = ImageBuilds(allowed_bases=["ghcr.io/acme/*"])
        return RunnerFleet(inner, "Fleet", github=github, images=images)

    with pytest.raises(ValueError, match=r"^allowed_bases \['ghcr.io/acme/\*'\] cannot be had in"):
        fleet("Shared", GitHub.organization("o"))
    made = fleet("Grouped", GitHub.organization("o", image_runner_group="images"))
    given = made.github.environment()
    assert (given["RUNNER_GROUP"], given["IMAGE_RUNNER_GROUP"]) == ("", "images")


def test_apps_need_no_token_and_nobody_reads_their_keys_but_those_who_ask(
    organization: Template,
) -> None:
    for handler in ASKING:
        variables = environment(organization, handler)
        assert json.loads(variables["GITHUB_APPS"]) == [
            {"app_id": "11", "private_key_secret_arn": PEM_ARN, "installation_id": 7},
            {"app_id": "22", "kms_key_id": KEY_ARN},
        ]
        assert variables["GITHUB_TOKEN_SECRET_ARN"] == ""
        assert variables["RUNNER_GROUP"] == "builders"
    assert [n for n in organization["Resources"] if n.startswith("FleetPlatformGitHubToken")] == []
    signing = [s for s in statements(organization) if "kms:Sign" in as_list(s["Action"])]
    assert [as_list(s["Action"]) for s in signing] == [["kms:Sign"]] * len(ASKING)
    assert [s["Resource"] for s in signing] == [KEY_ARN] * len(ASKING)
    reading = [s for s in statements(organization) if s["Resource"] == PEM_ARN]
    assert len(reading) == len(ASKING)


def test_the_token_is_read_by_those_who_ask_github_alone(minimal: Template) -> None:
    [token] = [n for n in minimal["Resources"] if n.startswith("FleetPlatformGitHubToken")]
    readers = [s for s in statements(minimal) if {"Ref": token} in as_list(s["Resource"])]
    assert len(readers) == len(ASKING)
    for handler in ASKING:
        assert environment(minimal, handler)["GITHUB_TOKEN_SECRET_ARN"] == {"Ref": token}


def test_a_key_of_the_same_stack_is_a_reference(parameters: Template) -> None:
    given = environment(parameters, "runner_api")["GITHUB_APPS"]["Fn::Join"][1]
    assert {"Ref": "AppId"} in given
    assert any("Fn::GetAtt" in part for part in given if isinstance(part, dict))


def test_a_repository_may_be_a_parameter_of_the_stack(parameters: Template) -> None:
    assert environment(parameters, "receive_webhook")["GITHUB_SCOPE"] == {
        "Fn::Join": ["", ["repos/", {"Ref": "Repo"}]]
    }


def test_a_private_authority_is_read_by_those_who_ask(organization: Template) -> None:
    for handler in ASKING:
        assert environment(organization, handler)["GITHUB_CA_PARAM"] == "/github/ca"
    reading = [s for s in statements(organization) if "parameter/github/ca" in parts(s)]
    assert len(reading) == len(ASKING)
    assert all("ssm:GetParameter" in as_list(s["Action"]) for s in reading)


def test_an_apps_numbers_may_be_known_at_deployment() -> None:
    def fleet(stack: cdk.Stack) -> RunnerFleet:
        app_id: Any = cdk.CfnParameter(stack, "AppId", type="Number").value_as_number
        key = secretsmanager.Secret.from_secret_name_v2(stack, "Key", "k")
        app = GitHubApp(app_id=app_id, private_key=key)
        return RunnerFleet(stack, "Fleet", github=GitHub.organization("octo-org", apps=[app]))

    settings = environment(synthesize(fleet), "runner_api")
    assert '"Ref": "AppId"' in parts(settings["GITHUB_APPS"])
    assert "-1.8" not in parts(settings["GITHUB_APPS"])


def test_fields_of_secrets_reach_those_who_read_them(everything: Template) -> None:
    for handler in ASKING:
        assert environment(everything, handler)["GITHUB_TOKEN_FIELD"] == "token"
    assert environment(everything, "receive_webhook")["WEBHOOK_SECRET_FIELD"] == "hook"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: GitHub.repository("o/r", token_field="t"),
            "token_field is 't' and there is no tok",
        ),
        (
            lambda: Webhook(secret_field="s"),
            "secret_field is 's' and there is no secret: give secr",
        ),
    ],
)
def test_a_field_of_a_secret_that_is_not_given_is_refused(
    make: Callable[[], object], message: str
) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        make()
