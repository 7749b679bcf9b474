"""Who may ask what: GitHub Apps, their tokens, scopes, quotas and conditional requests."""

from __future__ import annotations

import base64
import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from cdk_runner_fleet.local.twin import GitHubTwin, TwinApp
from cdk_runner_fleet.local.twin.workflows import read_workflow
from tests.waiting import PATIENCE_SECONDS

REPOSITORY = "octo/fleet"
JIT = "/actions/runners/generate-jitconfig"
RUNNER = {"name": "r-1", "runner_group_id": 1, "labels": ["self-hosted"]}
GRANTED = {"administration": "write", "actions": "read"}

Call = Callable[..., tuple[int, Any, dict[str, str]]]


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def web_token(key: rsa.RSAPrivateKey, *, head: dict[str, Any] | None = None, **claims: Any) -> str:
    now = int(time.time())
    parts = [
        head or {"alg": "RS256", "typ": "JWT"},
        {"iat": now - 60, "exp": now + 540, "iss": "11", **claims},
    ]
    message = ".".join(_encoded(json.dumps(part).encode()) for part in parts)
    signature = key.sign(message.encode(), padding.PKCS1v15(), hashes.SHA256())
    return f"{message}.{_encoded(signature)}"


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@pytest.fixture
def twin(key: rsa.RSAPrivateKey) -> Iterator[GitHubTwin]:
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    apps = [
        TwinApp(app_id="11", public_key=public, permissions=GRANTED),
        TwinApp(app_id="22"),
    ]
    with GitHubTwin(
        repository=REPOSITORY,
        token="pat",
        webhook_secret="s",
        apps=apps,
        enterprise="acme",
        runner_groups=("Default", "builders"),
        requests_an_hour=50,
    ) as twin:
        yield twin


@pytest.fixture
def call(twin: GitHubTwin) -> Call:
    def send(
        method: str, path: str, body: object = None, *, token: str = "pat", **headers: str
    ) -> tuple[int, Any, dict[str, str]]:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(
            twin.url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {token}", **named},
        )
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as answer:
                text, status, told = answer.read(), answer.status, answer.headers
        except urllib.error.HTTPError as error:
            text, status, told = error.read(), error.code, error.headers
        lower = {name.lower(): value for name, value in told.items()}
        return status, json.loads(text) if text else None, lower

    return send


def installation_token(call: Call, key: rsa.RSAPrivateKey, **body: Any) -> str:
    status, made, _ = call(
        "POST", "/app/installations/61000001/access_tokens", body, token=web_token(key)
    )
    assert status == 201, made
    assert made["expires_at"].endswith("Z")
    token: str = made["token"]
    return token


def test_an_app_proves_itself_with_a_web_token(call: Call, key: rsa.RSAPrivateKey) -> None:
    token = web_token(key)
    assert call("GET", "/app", token=token)[1]["id"] == 11
    (listed,) = call("GET", "/app/installations", token=token)[1]
    for scope in ("/repos/octo/fleet", "/orgs/octo"):
        status, found, _ = call("GET", f"{scope}/installation", token=token)
        assert (status, found) == (200, listed)
    assert (listed["id"], listed["app_id"]) == (61_000_001, 11)
    assert call("GET", "/repos/octo/other/installation", token=token)[0] == 404


@pytest.mark.parametrize(
    "change",
    [
        {"exp": -1},
        {"exp": 700},
        {"iat": 60},
        {"iss": "33"},
        {"iat": "now"},
        {"head": {"alg": "none", "typ": "JWT"}},
        {"head": {"alg": "HS256", "typ": "JWT"}},
    ],
)
def test_a_web_token_that_is_not_right_is_refused(
    call: Call, key: rsa.RSAPrivateKey, change: dict[str, Any]
) -> None:
    now = int(time.time())  # these seconds are counted from the test itself, not its collection
    claims = {name: now + at if isinstance(at, int) else at for name, at in change.items()}
    assert call("GET", "/app", token=web_token(key, **claims))[0] == 401


def test_a_web_token_of_another_key_is_refused_if_the_apps_key_is_known(call: Call) -> None:
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    assert call("GET", "/app", token=web_token(other))[0] == 401
    assert call("GET", "/app", token=web_token(other, iss="22"))[0] == 200
    assert call("GET", "/app", token="a.b.c")[0] == 401


def test_an_app_may_not_ask_what_its_installation_may_and_the_other_way_round(
    call: Call, key: rsa.RSAPrivateKey
) -> None:
    token = installation_token(call, key)
    runners = f"/repos/{REPOSITORY}/actions/runners"
    assert call("GET", runners, token=token)[0] == 200
    assert call("GET", runners, token=web_token(key))[0] == 403
    for asker in (token, "pat"):
        assert call("GET", "/app", token=asker)[0] == 401
        assert call("GET", "/orgs/octo/installation", token=asker)[0] == 401


def test_a_token_may_do_what_was_asked_for_and_no_more(call: Call, key: rsa.RSAPrivateKey) -> None:
    repository = f"/repos/{REPOSITORY}"
    few = installation_token(call, key, permissions={"actions": "read"}, repositories=["fleet"])
    assert call("GET", f"{repository}/actions/runs", token=few)[0] == 200
    assert call("POST", f"{repository}/actions/runs/1/cancel", token=few)[0] == 403
    assert call("GET", f"{repository}/actions/runners", token=few)[0] == 403
    assert call("POST", f"{repository}{JIT}", RUNNER, token=few)[0] == 403
    usual = installation_token(call, key)
    assert call("POST", f"{repository}{JIT}", RUNNER, token=usual)[0] == 201
    assert call("POST", f"/orgs/octo{JIT}", RUNNER, token=usual)[0] == 403
    assert call("GET", "/enterprises/acme/actions/runners", token=usual)[0] == 403


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ({"permissions": {"actions": "write"}}, "not granted"),
        ({"permissions": {"checks": "write"}}, "not granted"),
        ({"repositories": ["other"]}, "does not exist or is not accessible"),
    ],
)
def test_a_token_for_more_than_the_app_has_is_refused(
    call: Call, key: rsa.RSAPrivateKey, body: dict[str, Any], why: str
) -> None:
    path = "/app/installations/61000001/access_tokens"
    status, answer, _ = call("POST", path, body, token=web_token(key))
    assert status == 422
    assert why in answer["message"]


def test_another_apps_installation_is_not_found(call: Call, key: rsa.RSAPrivateKey) -> None:
    path = "/app/installations/61000002/access_tokens"
    assert call("POST", path, {}, token=web_token(key))[0] == 404
    assert call("POST", path, {}, token=web_token(key, iss="22"))[0] == 201


def test_a_token_ends(key: rsa.RSAPrivateKey, monkeypatch: pytest.MonkeyPatch) -> None:
    with GitHubTwin(
        repository=REPOSITORY,
        token="pat",
        webhook_secret="s",
        apps=[TwinApp(app_id="11")],
        token_seconds=600,
    ) as twin:
        token = twin.askers.new_token(twin.askers.installations[61_000_001], {})["token"]
        assert twin.askers.find(f"token {token}") is not None
        assert twin.askers.find(f"Basic {token}") is None
        later = time.time() + 601
        monkeypatch.setattr(time, "time", lambda: later)
        assert twin.askers.find(f"Bearer {token}") is None


def test_runners_of_each_scope_are_apart(twin: GitHubTwin, call: Call) -> None:
    scopes = ["/repos/octo/fleet", "/orgs/octo", "/enterprises/acme"]
    for number, scope in enumerate(scopes):
        body = {**RUNNER, "name": f"r-{number}"}
        assert call("POST", f"{scope}{JIT}", body)[0] == 201
    for number, scope in enumerate(scopes):
        (listed,) = call("GET", f"{scope}/actions/runners")[1]["runners"]
        assert (listed["id"], listed["name"]) == (number + 1, f"r-{number}")
        elsewhere = scopes[number - 1]
        assert call("GET", f"{elsewhere}/actions/runners/{number + 1}")[0] == 404
        assert call("DELETE", f"{elsewhere}/actions/runners/{number + 1}")[0] == 404
        assert call("DELETE", f"{scope}/actions/runners/{number + 1}")[0] == 204


def test_groups_are_an_organizations_and_an_enterprises(call: Call) -> None:
    for scope in ("/orgs/OCTO", "/enterprises/acme"):
        listed = call("GET", f"{scope}/actions/runner-groups")[1]["runner_groups"]
        assert [(group["id"], group["name"]) for group in listed] == [
            (1, "Default"),
            (2, "builders"),
        ]
        body = {**RUNNER, "name": scope.replace("/", "-"), "runner_group_id": 2}
        assert call("POST", f"{scope}{JIT}", body)[1]["runner"]["runner_group_id"] == 2
    assert call("GET", f"/repos/{REPOSITORY}/actions/runner-groups")[0] == 404
    body = {**RUNNER, "runner_group_id": 2}
    assert call("POST", f"/repos/{REPOSITORY}{JIT}", body)[0] == 404
    assert call("POST", f"/orgs/octo{JIT}", {**body, "runner_group_id": 3})[0] == 404


@pytest.mark.parametrize("path", ["/orgs/other", "/enterprises/other", "/repos/other/fleet"])
def test_other_scopes_are_not_found(call: Call, path: str) -> None:
    assert call("GET", f"{path}/actions/runners")[0] == 404


def test_events_name_the_enterprise(twin: GitHubTwin) -> None:
    yaml = "on: push\njobs: {a: {runs-on: [self-hosted], steps: [{run: 'true'}]}}"
    run = twin.board.queue_run(
        read_workflow(yaml, file_name="ci.yml"),
        file_name="ci.yml",
        workspace=None,
        protected_environments=frozenset(),
    )
    assert twin.payloads.event("queued", run.jobs[0])["enterprise"]["slug"] == "acme"


def test_each_asker_has_a_quota_of_its_own(call: Call, key: rsa.RSAPrivateKey) -> None:
    runners = f"/repos/{REPOSITORY}/actions/runners"
    token, other = installation_token(call, key), installation_token(call, key)
    for left in range(49, -1, -1):
        status, _, headers = call("GET", runners, token=token if left % 2 else other)
        assert (status, headers["x-ratelimit-remaining"]) == (200, str(left))
    status, answer, headers = call("GET", runners, token=token)
    assert (status, answer["message"]) == (403, "API rate limit exceeded for app-11.")
    assert headers["x-ratelimit-remaining"] == "0"
    assert 3590 < int(headers["x-ratelimit-reset"]) - time.time() <= 3601
    assert headers["x-ratelimit-limit"] == "50"
    assert call("GET", runners)[2]["x-ratelimit-remaining"] == "49"


def test_an_hour_later_the_quota_is_whole_again(
    twin: GitHubTwin, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    runners = f"/repos/{REPOSITORY}/actions/runners"
    call("GET", runners)
    assert call("GET", runners)[2]["x-ratelimit-used"] == "2"
    now = time.time()
    monkeypatch.setattr("cdk_runner_fleet.local.twin.askers.time.time", lambda: now + 3601)
    assert call("GET", runners)[2]["x-ratelimit-used"] == "1"


def test_what_has_not_changed_is_not_sent_again_and_not_counted(call: Call) -> None:
    for path in ("/actions/runners", "/actions/runs?status=queued"):
        first = call("GET", f"/repos/{REPOSITORY}{path}")
        tag = first[2]["etag"]
        status, body, headers = call("GET", f"/repos/{REPOSITORY}{path}", if_none_match=tag)
        assert (status, body, headers["etag"]) == (304, None, tag)
        assert headers["x-ratelimit-remaining"] == first[2]["x-ratelimit-remaining"]
        assert call("GET", f"/repos/{REPOSITORY}{path}", if_none_match='W/"x"')[0] == 200
    tag = call("GET", f"/repos/{REPOSITORY}/actions/runners")[2]["etag"]
    assert call("POST", f"/repos/{REPOSITORY}{JIT}", RUNNER)[0] == 201
    assert call("GET", f"/repos/{REPOSITORY}/actions/runners", if_none_match=tag)[0] == 200
    assert "etag" not in call("GET", f"/repos/{REPOSITORY}/actions/jobs/1")[2]
