"""What is read of what runners say of themselves, and what is left out, over the real handler."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from fleet_runtime.observability import logger

from ..aws_stand_in import Aws
from ..entry_points import CLAIM, outputs, report


@pytest.mark.parametrize(
    "body",
    [
        None,
        "",
        "{}",
        "not json",
        "[]",
        '"text"',
        "[" * 50_000,
        {"capabilities": "python", "runner_version": 2, "heartbeat_seconds": "30"},
        {"capabilities": {"a": 1}, "runner_version": "v2", "heartbeat_seconds": -1},
        {"capabilities": [1, None, "", "a,b", "-x", "a b"], "heartbeat_seconds": True},
        {"runner_version": "2.338.0\n", "heartbeat_seconds": 3601},
        {"runner_version": "2" * 33, "heartbeat_seconds": 30.5},
        {"runner_version": "", "heartbeat_seconds": 0},
        '{"heartbeat_seconds": NaN}',
        '{"heartbeat_seconds": 1e400}',
    ],
)
def test_a_claim_that_declares_nothing_usable_is_good_all_the_same(
    aws: Aws, post: Any, body: object
) -> None:
    aws.park("runner")
    assert post(CLAIM, body=body)[0] == 200
    row = aws.row()
    assert row is not None
    assert not {"capabilities", "runner_version"} & set(row)
    assert outputs(aws) == [{"signal": "claimed", "heartbeat_seconds": 0}]


@pytest.mark.parametrize(("said", "kept"), [(1, 60), (59, 60), (61, 61), (3600, 3600)])
def test_nobody_is_missed_for_silence_more_often_than_a_minute_allows(
    aws: Aws, post: Any, said: int, kept: int
) -> None:
    """Each time GitHub is asked, with what it lets the whole fleet ask."""
    aws.park("runner")
    assert post(CLAIM, body={"heartbeat_seconds": said})[0] == 200
    assert outputs(aws) == [{"signal": "claimed", "heartbeat_seconds": kept}]


def test_only_so_many_capabilities_are_kept(aws: Aws, post: Any) -> None:
    aws.park("runner")
    words = [f"c{number}" for number in range(60)]
    assert post(CLAIM, body={"capabilities": [*words[:1], *words]})[0] == 200
    row = aws.row()
    assert row is not None
    assert row["capabilities"] == ",".join(words[:50])


@pytest.mark.usefixtures("running")
@pytest.mark.parametrize(
    "load", ["0.4", -0.1, True, None, [], "NaN", 1e9, 10**400, float("nan"), float("inf")]
)
def test_a_load_that_is_none_is_left_out(aws: Aws, post: Any, load: object) -> None:
    assert report(post, {"event": "heartbeat", "load": load}) == 202
    heard = aws.heartbeat()
    assert heard is not None
    assert heard["last_heartbeat"] > 0
    assert "load" not in heard


@pytest.mark.usefixtures("running")
@pytest.mark.parametrize(("load", "kept"), [(0, 0), (0.0, 0), (3, 3), (1e-9, 0), (1.23456, 1.23)])
def test_a_load_is_kept_to_two_places(aws: Aws, post: Any, load: float, kept: float) -> None:
    assert report(post, {"event": "heartbeat", "load": load}) == 202
    heard = aws.heartbeat()
    assert heard is not None
    assert heard["load"] == kept


@pytest.mark.usefixtures("running")
@pytest.mark.parametrize("version", ["", "latest", 2.338, None, "2.338.0; rm", "2" * 33])
def test_a_version_that_is_none_is_left_out(aws: Aws, post: Any, version: object) -> None:
    for event in ("job_started", "job_completed"):
        assert report(post, {"event": event, "runner_version": version}) == 202
    row = aws.row()
    assert row is not None
    assert "runner_version" not in row


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize("event", ["job_started", "job_completed"])
def test_what_the_runner_really_got_is_logged(
    post: Any, event: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = io.StringIO()
    monkeypatch.setattr(logger.registered_handler, "stream", log)
    job = {"job_name": 'bu"ild', "run_id": 7, "run_attempt": 2, "repository": "o/r"}
    more = {"workflow": "w" * 500, "job_id": None, "other": "x", "runner_version": "2.338.0"}
    assert report(post, {"event": event, **job, **more}) == 202
    (line,) = [json.loads(each) for each in log.getvalue().splitlines() if "runner event" in each]
    assert line["job"] == {**job, "workflow": "w" * 200}
    assert (line["runner_event"], line["runner_version"]) == (event, "2.338.0")


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize(
    "body", [None, "", "not json", "[]", "{}", '{"event":"x"}', '{"event":[]}', "[" * 50_000]
)
def test_400_for_an_event_that_is_none(aws: Aws, post: Any, body: object) -> None:
    assert report(post, body) == 400
    assert aws.resumed == []
