"""Failed deliveries of the fleet's webhooks are asked for once more."""

from __future__ import annotations

import json
import time

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from cdk_runner_fleet.local.twin.faults import ApiFault
from fleet_runtime.aws import client as fleet_aws
from fleet_runtime.aws.ledger import Ledger

from ..conftest import forget
from ..http_stub import Received
from .conftest import (
    REPOSITORY,
    World,
    deliver,
)


def guids(received: list[Received]) -> list[str]:
    return [one.headers["x-github-delivery"] for one in received]


def test_a_failed_delivery_is_asked_for_once(world: World) -> None:
    deliver(world, 202)
    deliver(world, 503, count=2)
    world.until(lambda: len(world.receiver.received) == 3)
    failed = guids(world.receiver.received)[1:]
    assert sorted(world.reconcile()["redelivered"]) == sorted(failed)
    world.until(lambda: len(world.receiver.received) == 5)
    again = world.receiver.received[3:]
    assert sorted(guids(again)) == sorted(failed)
    assert {one.body for one in again} == {one.body for one in world.receiver.received[1:3]}
    forget()  # another process asks for nothing again
    assert world.reconcile()["redelivered"] == []
    assert len(world.receiver.received) == 5


def test_a_redelivery_that_fails_too_is_left_to_the_demand(world: World) -> None:
    deliver(world, 503)
    world.receiver.answers["status"] = 500  # type: ignore[attr-defined]
    assert len(world.reconcile()["redelivered"]) == 1
    world.until(lambda: len(world.twin.deliveries) == 2)
    assert world.reconcile()["redelivered"] == []


def test_what_somebody_else_redelivered_is_left_alone(world: World) -> None:
    deliver(world, 503)
    failed = world.twin.hook_deliveries.sent[0]
    world.receiver.answers["status"] = 503  # type: ignore[attr-defined]
    world.twin.hook_deliveries.deliver_again(failed)
    world.until(lambda: len(world.twin.deliveries) == 2)
    assert world.reconcile()["redelivered"] == []


def test_the_cursor_follows_what_is_settled(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    hook = f"deliveries/repos/{REPOSITORY}/hooks/1"
    deliver(world, 503)
    (failed,) = world.twin.hook_deliveries.sent
    world.reconcile()
    entry = world.entry(hook)
    assert entry["cursor"] == {"N": "0"}, "an older one may still join the log"
    assert entry["asked"] == {"SS": [failed.guid]}
    world.until(lambda: len(world.twin.deliveries) == 2)
    clock = time.time() + 120
    monkeypatch.setattr(Ledger, "now", property(lambda _: int(clock)))
    world.waiting("fleet-1-1")
    world.reconcile()
    newest = world.twin.hook_deliveries.sent[0].id
    assert world.entry(hook) == {"entry": {"S": hook}, "cursor": {"N": str(newest)}}


def test_deliveries_are_read_page_by_page_to_the_cursor(world: World) -> None:
    deliver(world, 503)
    deliver(world, 202, count=120)
    assert len(world.reconcile()["redelivered"]) == 1


def test_deliveries_that_are_too_old_are_left_alone(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    deliver(world, 503)
    later = time.time() + 3 * 86400 + 60
    monkeypatch.setattr(Ledger, "now", property(lambda _: int(later)))
    assert world.reconcile()["redelivered"] == []


@pytest.mark.parametrize("path", ["*/hooks", "*/deliveries", "*/attempts"])
@pytest.mark.parametrize("status", [403, 404])
def test_without_permission_for_hooks_the_rest_goes_on(
    world: World, path: str, status: int
) -> None:
    deliver(world, 503)
    job = world.job()
    world.twin.api_faults.add(ApiFault(status=status, path=path, times=9))
    report = world.reconcile()
    assert report["redelivered"] == []
    assert report["started"] == [f"fleet-{job.id}-1"]
    assert report["failed"] == {}


def test_an_app_needs_no_permission_to_have_its_own_deliveries_again(world: World) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
    fleet_aws.client("secretsmanager").create_secret(Name="app", SecretString=pem.decode())
    apps = [{"app_id": "7", "private_key_secret_arn": "app"}]
    world.environment.setenv("GITHUB_APPS", json.dumps(apps))
    world.environment.setenv("GITHUB_TOKEN_SECRET_ARN", "")
    permissions = {"administration": "write", "actions": "read"}
    world.environment.setenv("GITHUB_PERMISSIONS", json.dumps(permissions))
    deliver(world, 503)
    job = world.job()
    report = world.reconcile()
    assert report["failed"] == {}
    assert (len(report["redelivered"]), report["started"]) == (1, [f"fleet-{job.id}-1"])
    world.until(lambda: any(one.redelivery for one in world.twin.deliveries))
    assert world.reconcile()["redelivered"] == []


def test_where_deliveries_cannot_be_listed_now_the_rest_goes_on(world: World) -> None:
    job = world.job()
    world.twin.api_faults.add(ApiFault(status=502, path="*/hooks", times=9))
    report = world.reconcile()
    assert report["started"] == [f"fleet-{job.id}-1"]
    assert set(report["failed"]) == {"deliveries"}


def test_a_hook_that_goes_elsewhere_is_not_the_fleets(world: World) -> None:
    world.environment.setenv("WEBHOOK_URL", "https://elsewhere.example.com/webhook")
    deliver(world, 503)
    assert world.reconcile()["redelivered"] == []
