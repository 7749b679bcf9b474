"""What a function is observed by, and what that costs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

FUNCTIONS = Path(__file__).parents[2] / "functions"
# the handler of a function that is observed, called once
CALL = """
from types import SimpleNamespace
from fleet_runtime.observability import observed
context = SimpleNamespace(
    function_name="f", memory_limit_in_mb=1, invoked_function_arn="a", aws_request_id="r"
)
print(observed(lambda event, context: event["a"])({"a": "done"}, context))
"""


def call(folder: Path, **given: str) -> subprocess.CompletedProcess[str]:
    """Call it where X-Ray's SDK, which the layer has, is found but cannot be loaded."""
    sdk = folder / "aws_xray_sdk" / "__init__.py"
    sdk.parent.mkdir()
    sdk.write_text("raise ImportError('X-Ray was asked for')")
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": f"{folder}{os.pathsep}{FUNCTIONS}",
        "LAMBDA_TASK_ROOT": str(FUNCTIONS),
        # Lambda says this to every function, traced or not
        "AWS_XRAY_DAEMON_ADDRESS": "169.254.79.129:2000",
        **given,
    }
    command = [sys.executable, "-c", CALL]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("given", [{}, {"TRACING": "off"}])
def test_a_function_that_is_not_traced_does_without_the_sdk_of_x_ray(
    given: dict[str, str], tmp_path: Path
) -> None:
    result = call(tmp_path, **given)
    assert (result.returncode, result.stdout) == (0, "done\n"), result.stderr


def test_a_function_that_is_traced_asks_for_it(tmp_path: Path) -> None:
    result = call(tmp_path, TRACING="on")
    assert result.returncode == 1
    assert "X-Ray was asked for" in result.stderr


def test_where_there_is_no_x_ray_a_traced_function_does_its_work(tmp_path: Path) -> None:
    result = call(tmp_path, TRACING="on", AWS_XRAY_DAEMON_ADDRESS="")
    assert (result.returncode, result.stdout) == (0, "done\n"), result.stderr


def test_a_metric_is_the_fleets_whichever_function_counts() -> None:
    code = (
        "from fleet_runtime.observability import count, measure\n"
        "count('JobRefused')\n"
        "measure({'GitHubQuotaLeft': 7}, by={'who': 'token'})\n"
    )
    told = []
    for function in ("dispatch_event", "reconcile_demand"):
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(FUNCTIONS),
            "SERVICE_NAME": function,
            "FLEET_NAME": "Ci-Runners",
        }
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        told.append([json.loads(line) for line in done.stdout.splitlines()])
    for refused, left in told:
        assert refused["_aws"]["CloudWatchMetrics"][0]["Dimensions"] == [["fleet"]]
        assert (refused["fleet"], refused["JobRefused"]) == ("Ci-Runners", 1)
        assert sorted(left["_aws"]["CloudWatchMetrics"][0]["Dimensions"][0]) == ["fleet", "who"]
        assert (left["fleet"], left["who"]) == ("Ci-Runners", "token")


def test_every_line_says_who_says_what_at_which_level() -> None:
    code = (
        "from fleet_runtime.observability import logger, measure\n"
        "logger.error('job lost', runner_id='r', job_id=7)\n"
        "measure({'JobEnded': 1}, by={'conclusion': 'success'}, message='job ended', job_id=7)\n"
    )
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(FUNCTIONS),
        "SERVICE_NAME": "dispatch_event",
    }
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    lost, ended = [json.loads(line) for line in done.stdout.splitlines()]
    named = ("level", "service", "message", "job_id")
    assert [lost[name] for name in named] == ["ERROR", "dispatch_event", "job lost", 7]
    assert [ended[name] for name in named] == ["INFO", "dispatch_event", "job ended", 7]
