"""GitHub Apps where they are installed: tokens for what a function needs, and no more."""

from __future__ import annotations

import io
import json
import logging
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

import deregister_runner
from cdk_runner_fleet.local.twin import ApiFault, GitHubTwin
from fleet_runtime import environment as fleet_environment
from fleet_runtime.aws.client import client
from fleet_runtime.github.client import GitHub
from fleet_runtime.github.connection import Connection
from fleet_runtime.github.credentials import CredentialsError
from fleet_runtime.github.jobs import get_job
from fleet_runtime.github.message import GitHubRefused, GitHubUnavailable
from fleet_runtime.github.registrations import Registrations
from fleet_runtime.job.scope import Scope
from fleet_runtime.observability import logger

from ..aws_stand_in import RUNNER, Aws
from ..conftest import forget
from .conftest import (
    INSTALLED,
    JIT,
    NEEDED,
    NEW_TOKEN,
    REPOSITORY,
    Clock,
    Line,
    be_apps,
    claim,
    installation,
    pem,
    queued_job,
    runners,
)


@pytest.mark.usefixtures("one_app")
def test_a_job_costs_two_requests_once_the_process_has_its_token(
    aws: Aws, twin: GitHubTwin, line: Line, context: Any
) -> None:
    job = f"GET /repos/{REPOSITORY}/actions/jobs/{{}}"
    first, second = queued_job(twin), queued_job(twin)
    aws.park("runner", job_id=first)
    assert claim(context)[0] == 200
    assert line.paths == [INSTALLED, NEW_TOKEN, job.format(first), JIT]
    line.clear()
    twin.board.remove(1)
    aws.park("runner", job_id=second)
    assert claim(context)[0] == 200
    assert line.paths == [job.format(second), JIT]


def test_with_the_installations_id_even_a_first_job_costs_three(
    *,
    aws: Aws,
    twin: GitHubTwin,
    key_secret: str,
    environment: pytest.MonkeyPatch,
    line: Line,
    context: Any,
) -> None:
    app = {"app_id": "11", "private_key_secret_arn": key_secret, "installation_id": 61000001}
    be_apps(environment, twin, app)
    aws.park("runner", job_id=queued_job(twin))
    assert claim(context)[0] == 200
    assert len(line.paths) == 3
    assert line.paths[0] == NEW_TOKEN


@pytest.mark.usefixtures("one_app", "aws")
def test_tokens_are_good_for_the_repository_and_the_functions_needs_alone(line: Line) -> None:
    GitHub.of(fleet_environment.read(Connection)).ask(runners())
    body = json.loads(line.requests[1].body or b"")
    assert body == {"permissions": NEEDED, "repositories": ["example"]}


@pytest.mark.usefixtures("one_app", "aws")
def test_a_token_may_do_no_more_than_it_was_asked_for(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("GITHUB_PERMISSIONS", json.dumps({"actions": "read"}))
    github = GitHub.of(fleet_environment.read(Connection))
    with pytest.raises(GitHubRefused, match="403: Resource not accessible by integration"):
        Registrations(github).register(name="n", labels=["self-hosted"], registered_for="")


@pytest.mark.usefixtures("one_app")
def test_a_deregistration_asks_as_the_app(aws: Aws, twin: GitHubTwin, context: Any) -> None:
    runner = twin.board.register(name=RUNNER, labels=["self-hosted"])
    runner.scope = f"/repos/{REPOSITORY}"
    aws.park("job")
    assert deregister_runner.handler({"runner_id": RUNNER}, context) == {
        "busy": False,
        "registered": True,
    }
    assert twin.board.runners == {}


@pytest.mark.usefixtures("aws")
def test_a_token_is_kept_for_fifty_minutes(twin: GitHubTwin, key_secret: str, line: Line) -> None:
    clock = Clock()
    app, _ = installation(twin, key_secret, clock)
    first = app.token()
    clock.now += 2999
    assert app.token() == first
    assert line.paths == [INSTALLED, NEW_TOKEN]
    clock.now += 1
    assert app.token() != first
    assert line.paths == [INSTALLED, NEW_TOKEN, NEW_TOKEN]


@pytest.mark.usefixtures("aws")
def test_a_replaced_key_is_read_again(
    twin: GitHubTwin, key_secret: str, private_key: rsa.RSAPrivateKey
) -> None:
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    manager = client("secretsmanager")
    manager.put_secret_value(SecretId=key_secret, SecretString=pem(other))
    app, _ = installation(twin, key_secret, Clock())
    with pytest.raises(CredentialsError, match="app_id and private key have to belong together"):
        app.token()
    pkcs8 = pem(private_key, serialization.PrivateFormat.PKCS8)
    manager.put_secret_value(SecretId=key_secret, SecretString=pkcs8)
    assert app.token().startswith("ghs_")


@pytest.mark.parametrize(
    ("options", "remedy"),
    [
        ({"scope": Scope(kind="repos", name="octo-org/other")}, "install it for the repository"),
        ({"installation_id": 7}, "install it for the repository octo-org/example"),
        ({"permissions": {"checks": "write"}}, "let it have checks: write, and accept that"),
        ({"permissions": {"actions": "write"}}, "let it have actions: write, and accept that"),
    ],
)
@pytest.mark.usefixtures("aws")
def test_an_app_that_gets_no_token_says_what_to_do(
    twin: GitHubTwin, key_secret: str, options: dict[str, Any], remedy: str
) -> None:
    app, _ = installation(twin, key_secret, Clock(), **options)
    with pytest.raises(CredentialsError, match="the App 11 gets no token: GitHub answered") as told:
        app.token()
    assert remedy in str(told.value)


@pytest.mark.usefixtures("aws")
def test_an_app_that_is_installed_anew_is_found_again(
    twin: GitHubTwin, key_secret: str, line: Line
) -> None:
    clock = Clock()
    app, _ = installation(twin, key_secret, clock)
    app.token()
    (old,) = (number for number, each in twin.askers.installations.items() if each.app_id == "11")
    twin.askers.installations[999] = twin.askers.installations.pop(old)
    app.renew()
    with pytest.raises(CredentialsError):
        app.token()
    assert app.token().startswith("ghs_")
    assert line.paths[-1] == "POST /app/installations/999/access_tokens"


@pytest.mark.usefixtures("aws")
@pytest.mark.parametrize("path", ["*/installation", "*/access_tokens"])
def test_an_outage_while_a_token_is_asked_for_is_an_outage(
    twin: GitHubTwin, key_secret: str, path: str
) -> None:
    twin.api_faults.add(ApiFault(status=502, path=path))
    app, _ = installation(twin, key_secret, Clock())
    with pytest.raises(GitHubUnavailable):
        app.token()
    assert app.token()


@pytest.mark.usefixtures("one_app")
def test_a_claim_whose_app_gets_no_token_fails_with_the_remedy(
    aws: Aws, twin: GitHubTwin, environment: pytest.MonkeyPatch, context: Any
) -> None:
    environment.setenv("GITHUB_PERMISSIONS", json.dumps({"administration": "admin"}))
    aws.park("runner", job_id=queued_job(twin))
    assert claim(context)[0] == 410
    ((_, error, cause),) = aws.resumed
    assert error == "Runner.RegistrationRefused"
    assert cause.endswith(
        "(let it have administration: admin, and accept that in its installation)"
    )


@pytest.mark.usefixtures("one_app")
def test_nothing_of_an_app_is_logged(
    *,
    aws: Aws,
    twin: GitHubTwin,
    key_secret: str,
    line: Line,
    context: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    log = io.StringIO()
    monkeypatch.setattr(logger.registered_handler, "stream", log)
    caplog.set_level(logging.DEBUG)
    aws.park("runner", job_id=queued_job(twin))
    assert claim(context)[0] == 200
    aws.park("runner")
    client("secretsmanager").put_secret_value(SecretId=key_secret, SecretString="not-a-key")
    twin.askers.revoke_tokens()
    forget()
    assert claim(context)[0] == 410
    printed = log.getvalue()
    assert "no credential" in printed
    text = client("secretsmanager").get_secret_value(SecretId=key_secret)["SecretString"]
    row = json.dumps(aws.row(), default=list)
    for secret in (*line.tokens, text):
        assert secret not in printed + row


def test_an_organizations_token_is_for_no_repository_alone(
    *, aws: Aws, twin: GitHubTwin, key_secret: str, environment: pytest.MonkeyPatch, line: Line
) -> None:
    be_apps(environment, twin, {"app_id": "11", "private_key_secret_arn": key_secret})
    environment.setenv("GITHUB_SCOPE", "orgs/octo-org")
    environment.setenv("GITHUB_PERMISSIONS", json.dumps({"actions": "read"}))
    job_id = queued_job(twin)
    job = GitHub.of(fleet_environment.read(Connection)).ask(
        get_job(repository=REPOSITORY, job_id=job_id)
    )
    assert (job.job_id, job.status) == (job_id, "queued")
    assert line.paths[0] == "GET /orgs/octo-org/installation"
    assert json.loads(line.requests[1].body or b"") == {"permissions": {"actions": "read"}}
