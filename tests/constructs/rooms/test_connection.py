"""How the functions get at GitHub: credentials, who may read them, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import aws_cdk as cdk
import pytest
from aws_cdk import aws_secretsmanager as secretsmanager

from cdk_runner_fleet import GitHubApp, ImageBuilds, RunnerFleet
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
PUBLIC = "https://api.github.com"


def secret(stack: cdk.Stack) -> secretsmanager.ISecret:
    return secretsmanager.Secret.from_secret_complete_arn(stack, "Pem", PEM_ARN)


def apps(stack: cdk.Stack, *ids: str) -> list[GitHubApp]:
    private_key = secret(stack)
    return [GitHubApp(app_id=one, private_key=private_key) for one in ids]


@pytest.mark.parametrize("handler", [*ASKING, "receive_webhook"])
def test_each_scope_is_served(
    handler: str, minimal: Template, organization: Template, enterprise: Template
) -> None:
    assert environment(minimal, handler)["GITHUB_SCOPE"] == "repos/octo-org/octo-repo"
    assert environment(organization, handler)["GITHUB_SCOPE"] == "orgs/o"
    assert environment(enterprise, handler)["GITHUB_SCOPE"] == "enterprises/e"


@pytest.mark.parametrize(
    ("serving", "permissions"),
    [
        ("repos/o/r", {"administration": "write"}),
        ("orgs/o", {"organization_self_hosted_runners": "write"}),
        ("enterprises/e", {}),
    ],
)
def test_whoever_manages_runners_needs_what_github_calls_it(
    serving: str, permissions: dict[str, str], stack: cdk.Stack
) -> None:
    made = GitHubConnection(stack, "GitHub", serving=serving, api_url=PUBLIC)
    given = made.environment(runners="write", also={"actions": "read"})
    assert json.loads(given["GITHUB_PERMISSIONS"]) == {"actions": "read", **permissions}
    nothing = made.environment(also={"checks": "write"})
    assert json.loads(nothing["GITHUB_PERMISSIONS"]) == {"checks": "write"}


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("api.github.com", f"is not a URL, use {PUBLIC}"),
        ("https://github.com", "the REST API is at https://api.github.com$"),
        ("https://acme.ghe.com/", "https://api.acme.ghe.com$"),
        ("https://api.github.com/api/v3", "has a path, and there is no .* https://api.github.com$"),
        ("https://api.acme.ghe.com/v3/", "use https://api.acme.ghe.com$"),
        ("https://ghes.example.com", "has it at /api/v3: use https://ghes.example.com/api/v3$"),
        ("https://ghes.example.com:8443/api/", "use https://ghes.example.com:8443/api/v3$"),
        ("https://ghes.example.com/api/v4", "use https://ghes.example.com/api/v3$"),
    ],
)
def test_what_is_no_rest_api_is_refused_with_the_remedy(
    url: str, message: str, stack: cdk.Stack
) -> None:
    with pytest.raises(ValueError, match=message):
        GitHubConnection(stack, "GitHub", serving="orgs/o", api_url=url)


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
    made = GitHubConnection(stack, "GitHub", serving="orgs/o", api_url=url)
    assert made.environment()["GITHUB_API_URL"] == url.rstrip("/")


@pytest.mark.parametrize("serving", ["orgs/o", "enterprises/e", "repos/o/r"])
def test_runners_of_a_repository_are_managed_with_its_administration(
    serving: str, stack: cdk.Stack
) -> None:
    made = GitHubConnection(
        stack, "GitHub", serving=serving, api_url=PUBLIC, register_for="repository"
    )
    assert made.runner_scopes["REGISTER_FOR"] == "repository"
    manage = json.loads(made.environment(runners="write")["GITHUB_PERMISSIONS"])
    assert manage == {"administration": "write"}
    look = json.loads(made.environment(runners="read", of_served=True)["GITHUB_PERMISSIONS"])
    of_organization = {"organization_self_hosted_runners": "read"} if serving == "orgs/o" else {}
    assert look == {"administration": "read", **of_organization}


def test_where_runners_are_registered_reaches_those_who_start_find_and_explain(
    stack: cdk.Stack,
) -> None:
    RunnerFleet(stack, "Fleet", github_org="o", register_for="repository")
    template = template_of(stack)
    for handler in ("dispatch_event", "reconcile_demand", "explain_job"):
        given = environment(template, handler)
        assert (given["GITHUB_SCOPE"], given["REGISTER_FOR"]) == ("orgs/o", "repository")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"register_for": "org"}, "register_for 'org' is unknown, use 'repository', or leave it"),
        (
            {"register_for": "repository", "runner_group": "g"},
            "runner_group 'g' and register_for 'repository' do not go together, .* no groups",
        ),
        (
            {"register_for": "repository", "image_runner_group": "g"},
            "image_runner_group 'g' and register_for 'repository' do not go together",
        ),
        (
            {"runner_group": "g", "image_runner_group": "g"},
            "image_runner_group 'g' is the group of all other runners too: name one of its own",
        ),
        ({"image_runner_group": "Default"}, "image_runner_group 'Default' is the group of all"),
        (
            {"serving": "repos/o/r", "image_runner_group": "g"},
            "image_runner_group 'g' cannot be kept, a repository's runners have no groups",
        ),
    ],
)
def test_runners_that_cannot_be_registered_so_are_refused_with_the_remedy(
    given: dict[str, str], message: str, stack: cdk.Stack
) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        GitHubConnection(stack, "GitHub", **{"serving": "orgs/o", "api_url": PUBLIC, **given})


@pytest.mark.parametrize("scope", ["github_org", "github_enterprise"])
def test_images_may_be_allowed_where_nobody_elses_jobs_run_in_them(
    scope: str, stack: cdk.Stack
) -> None:
    def fleet(name: str, **props: Any) -> RunnerFleet:
        inner = cdk.Stack(stack, name)
        images = ImageBuilds(allowed_bases=["ghcr.io/acme/*"])
        return RunnerFleet(inner, "Fleet", images=images, **{scope: "o"}, **props)

    with pytest.raises(ValueError, match=r"^allowed_bases \['ghcr.io/acme/\*'\] cannot be had in"):
        fleet("Shared")
    fleet("Apart", register_for="repository")
    made = fleet("Grouped", image_runner_group="images")
    given = made.github.environment()
    assert (given["RUNNER_GROUP"], given["IMAGE_RUNNER_GROUP"]) == ("", "images")


def test_a_group_for_images_that_nobody_may_choose_is_refused(stack: cdk.Stack) -> None:
    images = ImageBuilds(allowed_bases=())
    with pytest.raises(
        ValueError, match=r"^image_runner_group 'g' is given and jobs may choose no"
    ):
        RunnerFleet(stack, "Fleet", github_org="o", images=images, image_runner_group="g")


def test_a_repositorys_runners_have_no_groups(stack: cdk.Stack) -> None:
    with pytest.raises(ValueError, match="'g' cannot be kept, a repository's runners have no"):
        GitHubConnection(stack, "GitHub", serving="repos/o/r", api_url=PUBLIC, runner_group="g")


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
    assert [n for n in organization["Resources"] if n.startswith("FleetGitHubToken")] == []
    signing = [s for s in statements(organization) if "kms:Sign" in as_list(s["Action"])]
    assert [as_list(s["Action"]) for s in signing] == [["kms:Sign"]] * len(ASKING)
    assert [s["Resource"] for s in signing] == [KEY_ARN] * len(ASKING)
    reading = [s for s in statements(organization) if s["Resource"] == PEM_ARN]
    assert len(reading) == len(ASKING)


def test_the_token_is_read_by_those_who_ask_github_alone(minimal: Template) -> None:
    [token] = [n for n in minimal["Resources"] if n.startswith("FleetGitHubToken")]
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


def test_credentials_that_do_not_go_together_are_refused(stack: cdk.Stack) -> None:
    with pytest.raises(ValueError, match="github_token and github_apps given, give one of them"):
        RunnerFleet(
            stack,
            "Fleet",
            github_org="o",
            github_token=secretsmanager.Secret.from_secret_name_v2(stack, "Token", "token"),
            github_apps=apps(stack, "1"),
        )


def test_an_enterprise_cannot_be_managed_by_an_app(stack: cdk.Stack) -> None:
    with pytest.raises(ValueError, match="GitHub lets no App manage an enterprise's runners"):
        RunnerFleet(stack, "Fleet", github_enterprise="e", github_apps=apps(stack, "1"))


def test_an_app_is_named_once(stack: cdk.Stack) -> None:
    with pytest.raises(ValueError, match="names an App twice"):
        RunnerFleet(stack, "Fleet", github_org="o", github_apps=apps(stack, "1", "1"))


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
        return RunnerFleet(stack, "Fleet", github_org="octo-org", github_apps=[app])

    settings = environment(synthesize(fleet), "runner_api")
    assert '"Ref": "AppId"' in parts(settings["GITHUB_APPS"])
    assert "-1.8" not in parts(settings["GITHUB_APPS"])
