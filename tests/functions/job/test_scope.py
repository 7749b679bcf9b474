"""Whose jobs the fleet serves."""

from __future__ import annotations

import pytest

from fleet_runtime import environment as fleet_environment
from fleet_runtime.github.connection import Connection
from fleet_runtime.job.scope import Scope


@pytest.mark.parametrize(
    ("scope", "repository", "covered"),
    [
        ("repos/octo-org/example", "Octo-Org/Example", True),
        ("repos/octo-org/example", "octo-org/example2", False),
        ("orgs/octo-org", "OCTO-org/anything", True),
        ("orgs/octo-org", "octo-org2/anything", False),
        ("orgs/octo-org", "octo-org", True),
        ("enterprises/acme", "octo-org/anything", True),
    ],
)
def test_a_scope_knows_its_repositories(scope: str, repository: str, covered: bool) -> None:
    assert Scope.parse(scope).covers(repository) is covered


@pytest.mark.parametrize(
    "text", ["", "repos", "repos/", "repos/o", "repos/o/r/x", "orgs/a/b", "users/x", "orgs/"]
)
def test_a_scope_is_one_of_three(text: str) -> None:
    with pytest.raises(ValueError, match="use repos/owner/name"):
        Scope.parse(text)


def test_a_setting_that_is_no_scope_is_named(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("GITHUB_API_URL", "https://api.github.com")
    environment.setenv("GITHUB_SCOPE", "octo-org/example")
    with pytest.raises(
        fleet_environment.SettingError, match="GITHUB_SCOPE is 'octo-org/example': 'octo"
    ):
        fleet_environment.read(Connection)
