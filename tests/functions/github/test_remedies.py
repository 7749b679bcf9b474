"""What to do when GitHub refuses. The messages are GitHub's own."""

from __future__ import annotations

import pytest

from fleet_runtime.github import remedies
from fleet_runtime.github.message import GitHubRefused, failure

from .conftest import answer


def refused(status: int, message: str | bytes) -> GitHubRefused:
    body = message if isinstance(message, bytes) else {"message": message}
    error = failure(answer(body, status=status))
    assert isinstance(error, GitHubRefused)
    return error


@pytest.mark.parametrize(
    ("status", "message", "remedy"),
    [
        (401, "Bad credentials", "put a valid one into its secret"),
        (403, "Resource not accessible by integration", "need write access to the fleet's self-"),
        (403, "", "a policy of the organization or enterprise switches those of repositories off"),
        (404, "Not Found", "Actions is switched off there: Settings, Actions, General"),
        (301, "Moved Permanently", "has another name now"),
        (422, "Invalid request", "see GitHub's message"),
    ],
)
def test_a_registration_is_mended_by_its_status(status: int, message: str, remedy: str) -> None:
    assert remedy in remedies.of_registration(refused(status, message))


POLICIES = [
    (
        403,
        "Although you appear to have the correct authorization credentials, the `octo-org` "
        "organization has an IP allow list enabled, and your IP address is not permitted to "
        "access this resource.",
        "an IP allow list keeps AWS Lambda out",
    ),
    (
        403,
        "Resource protected by organization SAML enforcement. You must grant your Personal Access "
        "token access to this organization.",
        "authorize the token for it",
    ),
    (
        403,
        "`octo-org` forbids access via a personal access token (classic). Please use a GitHub App, "
        "OAuth App, or a personal access token with fine-grained permissions.",
        "forbids this kind of token",
    ),
    (
        422,
        "Repository level self-hosted runners are disabled on this repository.",
        "or serve the whole organization with github_org",
    ),
    (403, b"<html>Blocked by the proxy</html>", "the answer is not GitHub's"),
]


@pytest.mark.parametrize(("status", "message", "remedy"), POLICIES)
def test_a_policy_is_told_from_a_missing_permission(
    status: int, message: str | bytes, remedy: str
) -> None:
    error = refused(status, message)
    assert remedy in remedies.of_registration(error)
    assert "write access" not in remedies.of_registration(error)
    assert remedy in remedies.of_telling(error)


def test_words_of_the_fleets_own_have_their_remedy() -> None:
    error = GitHubRefused("the organization has no runner group 'x': make it there", status=0)
    assert remedies.of_registration(error) == ""


@pytest.mark.parametrize(
    ("status", "remedy"),
    [(403, "Commit statuses: write"), (404, "Checks: write"), (422, "1000 statuses of a name")],
)
def test_what_may_not_be_said_is_mended_by_its_status(status: int, remedy: str) -> None:
    said = remedies.of_telling(refused(status, "no"))
    assert remedy in said
    assert ("write" in said) == (status != 422)
    assert said.endswith("or set explain_at_github to false")
