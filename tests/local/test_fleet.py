"""A fleet's start and end, and what is there in between."""

from __future__ import annotations

import json
import socket
import tempfile
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from cdk_runner_fleet.cli import main
from cdk_runner_fleet.local.errors import SettingsError
from cdk_runner_fleet.local.fleet import LocalFleet
from cdk_runner_fleet.local.twin.workflows import read_workflow
from cdk_runner_fleet.local.watch import RunWatch
from tests.waiting import until

from .session_helpers import left_behind

SLEEPER = """
on: push
jobs:
  sleep:
    runs-on: [self-hosted]
    steps:
      - run: sleep 60
"""


def _post(url: str) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data=b"{}")) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def test_every_url_is_reached_by_a_plain_client(fleet: LocalFleet) -> None:
    assert fleet.webhook_url == fleet.outputs["WebhookUrl"]
    assert fleet.webhook_url == f"{fleet.outputs['RunnerApiUrl']}/webhook"
    status, body = _post(fleet.webhook_url)
    assert status == 401  # the shipped function's answer to an unsigned body
    assert "signature" in json.loads(body)["message"].lower()
    assert _post(f"{fleet.outputs['RunnerApiUrl']}/runners/x/claim")[0] in (401, 403, 404)


def test_the_secrets_are_filled_in(fleet: LocalFleet) -> None:
    manager = fleet.client("secretsmanager")

    def secret(output: str) -> str:
        return str(manager.get_secret_value(SecretId=fleet.outputs[output])["SecretString"])

    assert secret("WebhookSecretArn") == "pssst"
    assert fleet.twin is not None
    assert secret("GithubTokenSecretArn") == fleet.twin.token


def test_settings_reach_the_functions(fleet: LocalFleet) -> None:
    functions = fleet.client("lambda").list_functions()["Functions"]
    by_handler = {each["Handler"]: each["Environment"]["Variables"] for each in functions}
    assert by_handler["receive_webhook.handler"]["GITHUB_SCOPE"] == "repos/acme/rockets"
    assert by_handler["runner_api.handler"]["GITHUB_API_URL"] == fleet.github_url


def test_a_run_passes_through_every_phase(fleet: LocalFleet) -> None:
    watch = _watch(fleet, SLEEPER.replace("sleep 60", "true"))
    changes = []
    until(lambda: changes.extend(watch.poll()) or watch.over)
    (job,) = watch.jobs.values()
    assert job.conclusion == "success"
    states = [step.state for step in job.steps]
    assert states[0] == "RecordRunner"
    assert states[-4:] == ["WaitForJob", "RunJob", "StopTask", "RecordOffline"]
    # what was told as it went on is all that took time, in order and once; a signal that was faster
    # than its state has the row read in between
    took_time = [step.state for step in job.steps if step.phase]
    assert [each.what for each in changes if each.what != "success"] == took_time
    assert job.row["status"] == "OFFLINE"


def test_terminate_stops_a_runner_at_work(
    fleet: LocalFleet, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    watch = _watch(fleet, SLEEPER)
    until(lambda: bool(watch.poll()) and _status(watch) == "RUNNING")
    (job,) = watch.jobs.values()
    runner_id = str(job.row["runner_id"])
    monkeypatch.setenv("AWS_ENDPOINT_URL", fleet.endpoint_url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", fleet.access_key_id)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", fleet.secret_access_key)
    arguments = ("runners", "terminate", runner_id, "--region", fleet.region)
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert not exit_.value.code
    assert "was RUNNING" in capsys.readouterr().out
    until(lambda: bool(watch.poll()) and watch.over)
    assert job.row["status"] == "FAILED"
    assert job.row["error"] == "Runner.Terminated"
    assert job.conclusion in ("failure", "cancelled")  # how far the runner's own end came
    assert "Runner.Terminated" in (job.error or "")
    assert "StopFailedTask" in [step.state for step in job.steps]
    tasks = fleet.client("ecs").list_tasks(cluster=fleet.outputs["ClusterName"])["taskArns"]
    assert tasks == []


def _watch(fleet: LocalFleet, text: str) -> RunWatch:
    workflow = read_workflow(text, file_name="test.yml")
    return RunWatch(fleet, fleet.queue_run(workflow, file_name="test.yml"))


def _status(watch: RunWatch) -> str:
    return next((str(job.row.get("status")) for job in watch.jobs.values()), "")


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_a_setting_that_cannot_work_leaves_nothing(temporary: Path) -> None:
    with pytest.raises(SettingsError, match="idle_timeout_seconds is 'soon'"):
        LocalFleet(context={"idle_timeout_seconds": "soon"}).__enter__()
    assert left_behind(temporary) == []


def test_leaves_nothing_after_an_error(temporary: Path) -> None:
    with pytest.raises(ZeroDivisionError), LocalFleet(github_url="http://127.0.0.1:1") as fleet:
        assert (fleet.twin, fleet.github_url) == (None, "http://127.0.0.1:1")
        address = urlsplit(fleet.endpoint_url)
        assert left_behind(temporary) != []
        raise ZeroDivisionError
    assert left_behind(temporary) == []
    with socket.socket() as probe:
        assert probe.connect_ex((str(address.hostname), int(address.port or 0))) != 0


def test_a_port_in_use_is_refused() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(SettingsError, match=str(port)):
            LocalFleet(port=port)


@pytest.mark.parametrize("url", ["nowhere", "127.0.0.1:3000", "ftp://127.0.0.1"])
def test_a_server_that_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match=url):
        LocalFleet(github_url=url)
