"""The runners' own API: a task claims its registration, and its hooks report the job's events."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cache
from typing import Any

from fleet_runtime import settings
from fleet_runtime.access import GitHubAccess
from fleet_runtime.aws import client
from fleet_runtime.claims import Claims, Denied, is_token
from fleet_runtime.gateway import UnreadableBodyError, answer, header, raw_body
from fleet_runtime.observability import logger, observed
from fleet_runtime.records import RunnerRecords
from fleet_runtime.runners import GitHubRunners
from fleet_runtime.signals import Signals

_PATH = re.compile(r"/runners/(?P<runner_id>[A-Za-z0-9_-]{1,64})/(?P<verb>claim|events)\Z")
_EVENTS = ("job_started", "job_completed")


@cache
def _claims() -> Claims:
    config = settings.runner_api()
    records = RunnerRecords(dynamodb=client("dynamodb"), table=config.runner_table)
    return Claims(
        records=records,
        signals=Signals(records=records, stepfunctions=client("stepfunctions")),
        github=GitHubRunners(GitHubAccess.of(config.github)),
    )


@observed
def handler(event: Mapping[str, Any], context: object) -> dict[str, Any]:  # noqa: ARG001
    """Lambda's entry point for ``POST /runners/{id}/claim`` and ``/runners/{id}/events``."""
    # a stage other than $default prefixes the path
    match = _PATH.search(event.get("rawPath", ""))
    if match is None:
        return answer(404, {"message": "no such path"})
    scheme, _, token = header(event, "authorization").partition(" ")
    if scheme.lower() != "bearer" or not token:
        return answer(403, {"message": "the Authorization header has no bearer token"})
    if match["verb"] == "claim":
        return _claim(match["runner_id"], token.strip())
    return _report(match["runner_id"], token.strip(), event)


def _claim(runner_id: str, ticket: str) -> dict[str, Any]:
    outcome = _claims().claim(runner_id, ticket=ticket)
    if isinstance(outcome, Denied):
        logger.info(
            "claim denied", runner_id=runner_id, status=outcome.status, reason=outcome.reason
        )
        headers = {"retry-after": str(outcome.retry_after)} if outcome.retry_after else None
        return answer(outcome.status, {"message": outcome.reason}, headers=headers)
    return answer(
        200,
        {"encoded_jit_config": outcome.encoded_jit_config, "events_token": outcome.events_token},
    )


def _report(runner_id: str, token: str, event: Mapping[str, Any]) -> dict[str, Any]:
    claims = _claims()
    runner = claims.records.find(runner_id)
    if runner is None:
        return answer(404, {"message": "no such runner"})
    if not is_token(token, hashed=runner.events_token_hash):
        return answer(403, {"message": "wrong token"})
    kind = _kind(event)
    if kind is None:
        return answer(400, {"message": f"the event must be one of {', '.join(_EVENTS)}"})
    if kind == "job_started":
        # which job it is, GitHub's own webhook says: the hook knows it only by its key
        claims.signals.started(runner_id, started_at=None, job={})
    else:
        claims.signals.reported_completion(runner_id)
    logger.info("runner event", runner_id=runner_id, runner_event=kind)
    return answer(202, {"message": "accepted"})


def _kind(event: Mapping[str, Any]) -> str | None:
    try:
        document = json.loads(raw_body(event))
    except (ValueError, RecursionError, UnreadableBodyError):
        return None
    kind = document.get("event") if isinstance(document, dict) else None
    return kind if kind in _EVENTS else None
