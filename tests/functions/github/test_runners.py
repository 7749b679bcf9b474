"""Runners at GitHub: what is asked, and what is made of the answers."""

from __future__ import annotations

import json

import pytest

from fleet_runtime.github.message import GitHubRefused, GitHubUnavailable, Response
from fleet_runtime.github.runners import (
    Removal,
    delete_runner,
    find_runner,
    generate_jitconfig,
)

from .conftest import answer

REGISTER = generate_jitconfig(
    scope="/repos/o/r", name="n", labels=["self-hosted", "a b"], runner_group_id=1
)


@pytest.mark.parametrize(
    "response",
    [
        answer({"message": "Bad credentials"}, status=401),
        answer({"message": "Resource not accessible"}, status=403, x_ratelimit_remaining="4999"),
        answer({"message": "Not Found"}, status=404),
        answer({"message": "Already exists"}, status=409),
        answer({"message": "Validation Failed"}, status=422),
        answer(b"", status=301),
    ],
)
def test_what_will_not_pass_is_refused(response: Response) -> None:
    with pytest.raises(GitHubRefused, match=str(response.status)):
        REGISTER.read(response)


def test_a_registration_without_a_runner_is_no_registration() -> None:
    for document in ({}, {"runner": {"id": "7"}, "encoded_jit_config": "x"}, {"runner": {"id": 7}}):
        with pytest.raises(GitHubUnavailable):
            REGISTER.read(answer(document, status=201))


def test_a_registration_does_not_show_its_configuration() -> None:
    registration = REGISTER.read(
        answer({"runner": {"id": 7}, "encoded_jit_config": "secret"}, status=201)
    )
    assert (registration.github_runner_id, registration.encoded_jit_config) == (7, "secret")
    assert "secret" not in repr(registration)


def test_a_runner_is_found_by_its_exact_name() -> None:
    listed = {"runners": [{"id": 1, "name": "fleet-1-10"}, {"id": 2, "name": "fleet-1-1"}]}
    request = find_runner(scope="/orgs/o", name="fleet-1-1")
    assert request.path == "/orgs/o/actions/runners?name=fleet-1-1"
    found = request.read(answer(listed))
    assert found is not None
    assert found.github_runner_id == 2
    assert find_runner(scope="/orgs/o", name="fleet-1").read(answer(listed)) is None


@pytest.mark.parametrize(
    ("status", "removal"), [(204, Removal.REMOVED), (404, Removal.ABSENT), (422, Removal.BUSY)]
)
def test_deletion_tells_whether_a_job_holds_the_runner_and_whether_it_was_there(
    status: int, removal: Removal
) -> None:
    request = delete_runner(scope="/orgs/o", github_runner_id=7)
    assert request.read(answer(b"", status=status)) is removal


def test_registration_requests_have_the_documented_body() -> None:
    request = REGISTER
    assert (request.method, request.path) == (
        "POST",
        "/repos/o/r/actions/runners/generate-jitconfig",
    )
    assert json.loads(request.body or b"") == {
        "name": "n",
        "runner_group_id": 1,
        "labels": ["self-hosted", "a b"],
        "work_folder": "_work",
    }
