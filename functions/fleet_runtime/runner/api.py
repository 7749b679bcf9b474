"""The runners' own API: a task claims its registration, then reports that it lives and its job."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fleet_runtime.aws.client import client
from fleet_runtime.aws.http_api import (
    BodyTooLargeError,
    UnreadableBodyError,
    answer,
    caller_arn,
    check_size,
    header,
    raw_body,
)
from fleet_runtime.github.client import GitHub
from fleet_runtime.github.connection import Connection
from fleet_runtime.github.registrations import Registrations
from fleet_runtime.observability import logger
from fleet_runtime.runner.claims import Claims, Denied
from fleet_runtime.runner.reporting import Reporting
from fleet_runtime.runner.reports import read_declaration, read_report
from fleet_runtime.runner.rows import RunnerRecords
from fleet_runtime.runner.signals import Signals
from fleet_runtime.runner.task_session import TaskRoles, TaskSession

_LARGEST_BODY = 64 * 1024
"""Bytes; claims, events and heartbeats have less than 2 KiB."""
NOT_THE_TASK = "not_the_task"
"""The code of a claim's refusal that the task need not ask again after. It is how the entrypoint
knows it from API Gateway's own 403, whose words are nowhere documented."""
_PATH = re.compile(r"/runners/(?P<runner_id>[A-Za-z0-9_-]{1,64})/(?P<verb>claim|events)\Z")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Where runners' rows are, who their tasks are, which groups they join, how GitHub is asked."""

    runner_table: str
    task_roles: TaskRoles
    class_runner_groups: Mapping[str, str]
    connection: Connection


@dataclass(frozen=True, kw_only=True)
class RunnerApi:
    """Answers ``POST /runners/{id}/claim`` and ``/runners/{id}/events``.

    Attributes:
        claims: Registers tasks.
        reporting: Takes what registered ones report.
        task_roles: The roles whose sessions may be runners' tasks.
    """

    claims: Claims
    reporting: Reporting
    task_roles: TaskRoles

    @classmethod
    def of(cls, settings: Settings) -> RunnerApi:
        """Make it from the function's settings."""
        records = RunnerRecords(dynamodb=client("dynamodb"), table=settings.runner_table)
        signals = Signals(records=records, stepfunctions=client("stepfunctions"))
        github = GitHub.of(settings.connection)
        return cls(
            claims=Claims(
                records=records,
                signals=signals,
                github=github,
                registrations=Registrations(
                    github,
                    runner_group=settings.connection.runner_group,
                    image_runner_group=settings.connection.image_runner_group,
                    class_runner_groups=settings.class_runner_groups,
                ),
                task_roles=settings.task_roles,
            ),
            reporting=Reporting(records=records, signals=signals),
            task_roles=settings.task_roles,
        )

    def answer(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Answer a request that came through the HTTP API."""
        try:
            check_size(event, largest=_LARGEST_BODY)
        except BodyTooLargeError as error:
            return answer(413, {"message": str(error)})
        # a stage other than $default prefixes the path
        match = _PATH.search(event.get("rawPath", ""))
        if match is None:
            return answer(404, {"message": "no such path"})
        if match["verb"] == "claim":
            return self._claim(match["runner_id"], event)
        scheme, _, token = header(event, "authorization").partition(" ")
        if scheme.lower() != "bearer" or not token:
            return answer(403, {"message": "the Authorization header has no bearer token"})
        return self._report(match["runner_id"], token.strip(), event)

    def _claim(self, runner_id: str, event: Mapping[str, Any]) -> dict[str, Any]:
        caller = caller_arn(event)
        session = TaskSession.of(caller)
        if session is None or session.role not in self.task_roles:
            # without a caller the route lacks its authorizer: nobody is let in then
            logger.warning("claim of no task", runner_id=runner_id, caller=caller)
            return _not_the_task("the claim is not signed by a runner's task")
        declaration = read_declaration(_body(event))
        outcome = self.claims.claim(runner_id, session=session, declaration=declaration)
        if isinstance(outcome, Denied):
            logger.info(
                "claim denied", runner_id=runner_id, status=outcome.status, reason=outcome.reason
            )
            return _not_the_task(outcome.reason) if outcome.status == 403 else _denial(outcome)
        return answer(
            200,
            {
                "encoded_jit_config": outcome.encoded_jit_config,
                "events_token": outcome.events_token,
            },
        )

    def _report(self, runner_id: str, token: str, event: Mapping[str, Any]) -> dict[str, Any]:
        # the token first: what a stranger sends is not even read
        runner = self.reporting.reporter(runner_id, token=token)
        if isinstance(runner, Denied):
            return _denial(runner)
        denied = self.reporting.report(runner, read_report(_body(event)))
        return _denial(denied) if denied else answer(202, {"message": "accepted"})


def _not_the_task(reason: str) -> dict[str, Any]:
    return answer(403, {"message": reason, "code": NOT_THE_TASK})


def _denial(denied: Denied) -> dict[str, Any]:
    headers = {"retry-after": str(denied.retry_after)} if denied.retry_after else None
    return answer(denied.status, {"message": denied.reason}, headers=headers)


def _body(event: Mapping[str, Any]) -> bytes:
    """The body, empty if it cannot be read."""
    try:
        return raw_body(event)
    except UnreadableBodyError:
        return b""
