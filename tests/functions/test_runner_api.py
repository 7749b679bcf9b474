"""The function that runners call: what it is told, and what it tells nobody."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from fleet_runtime.observability import logger

from . import entry_points
from .aws_stand_in import Aws
from .conftest import forget
from .entry_points import CLAIM, EVENTS
from .github_stand_in import TOKEN, GitHub

post = entry_points.post


def test_no_credential_is_logged(
    aws: Aws, github: GitHub, post: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = io.StringIO()
    monkeypatch.setattr(logger.registered_handler, "stream", log)
    aws.park("runner")
    _, document, _ = post(CLAIM)
    aws.park("runner")
    github.fail("register", 500, "trouble")
    github.fail("job", 500, "trouble")
    post(CLAIM)
    post(CLAIM, caller="arn:aws:iam::123456789012:user/reader", token="a-guess")
    github.tokens = set()
    post(CLAIM)
    post(EVENTS, token="a-guess", body={"event": "job_started"})
    printed = log.getvalue()
    assert "github unavailable" in printed
    assert "registration refused" in printed
    for secret in ("a-guess", TOKEN, *document.values()):
        assert secret not in printed
    row = json.dumps(aws.row(), default=list)
    assert not any(secret in row for secret in (TOKEN, *document.values()))


def test_the_settings_name_a_url(post: Any, environment: pytest.MonkeyPatch) -> None:
    environment.setenv("GITHUB_API_URL", "api.github.com")
    forget()
    with pytest.raises(ValueError, match="use an http or https URL"):
        post(CLAIM)
