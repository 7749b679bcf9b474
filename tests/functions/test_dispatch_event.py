"""The function that starts runners: what it is told, and what it makes nothing of."""

from __future__ import annotations

from typing import Any

import pytest

from fleet_runtime.aws.client import client
from fleet_runtime.environment import SettingError
from fleet_runtime.job.catalog import CatalogError

from . import entry_points
from .aws_stand_in import Aws
from .conftest import forget
from .entry_points import stopped
from .events import sample

dispatch = entry_points.dispatch


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("ARCHITECTURES", ""),
        ("ARCHITECTURES", '"X86_64"'),
        ("IMAGES", "{"),
        ("IMAGES", "[]"),
        ("IMAGES", "[7]"),
        ("IMAGES", '[{"name": "default"}]'),
        ("IMAGES", '[{"name": "", "base": "a.b/c:1"}]'),
        ("IMAGES", '[{"name": "default", "base": "a.b/c:1", "odd": 1}]'),
        ("ALLOWED_IMAGES", '{"a": 1}'),
        ("IMAGE_TABLE", ""),
    ],
)
def test_settings_that_cannot_be_read_lose_no_job(
    aws: Aws, dispatch: Any, environment: pytest.MonkeyPatch, key: str, value: str
) -> None:
    environment.setenv(key, value)
    with pytest.raises(SettingError, match=key):
        dispatch(sample("queued"))


def test_a_catalog_that_cannot_be_read_loses_no_job(aws: Aws, dispatch: Any) -> None:
    client("ssm").delete_parameter(Name="/fleet/class-sizes")
    client("ssm").put_parameter(Name="/fleet/class-sizes", Value="{", Type="String")
    with pytest.raises(CatalogError):
        dispatch(sample("queued"))
    assert aws.row() is None


def test_an_edit_that_cannot_be_read_holds_no_job_up(aws: Aws, dispatch: Any) -> None:
    client("ssm").put_parameter(Name="/fleet/class-sizes", Value="{", Overwrite=True)
    dispatch(sample("queued"))
    assert len(aws.sfn.named("StartExecution")) == 1


def test_tasks_that_are_no_runners_or_not_stopped_are_nothing(aws: Aws, dispatch: Any) -> None:
    aws.park("runner")
    dispatch(stopped(runner="ecs-svc/123"))
    dispatch(stopped(lastStatus="DEPROVISIONING"))
    event = stopped()
    del event["detail"]["startedBy"]
    dispatch(event)
    assert aws.resumed == []
    assert aws.row("ecs-svc/123") is None


def test_an_unknown_event_is_nothing_and_a_malformed_one_an_error(aws: Aws, dispatch: Any) -> None:
    dispatch({"detail-type": "Something Else", "detail": {}})
    with pytest.raises(KeyError):
        dispatch({"detail-type": "workflow_job", "detail": {"action": "queued"}})


def test_a_missing_setting_is_named(
    aws: Aws, dispatch: Any, environment: pytest.MonkeyPatch
) -> None:
    environment.delenv("RUNNER_TABLE")
    forget()
    with pytest.raises(Exception, match="environment variable RUNNER_TABLE is not set"):
        dispatch(sample("queued"))
