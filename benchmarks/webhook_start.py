"""Cold start of receive_webhook against CloudSnorkel's webhook handler, the same work in one run.

    python -m benchmarks.webhook_start
    python -m benchmarks.webhook_start --alone       # ours only: nothing is fetched

Both start a fresh process, load, read their secret, check the signature of one ``queued`` delivery
and hand the job on: ours puts an event onto its bus, theirs writes its record and starts an
execution. AWS is one stub on loopback. The two alternate, so that a noisy machine disturbs both
alike.

Theirs is the published handler of ``cdk-github-runners`` 0.17.1, unchanged, with its AWS SDK
modules beside it as in Lambda's Node runtime; both are fetched into a temporary folder. The list of
its providers, which is a layer's file, is made up where it reads it.
"""

from __future__ import annotations

import argparse
import hashlib
import hmac
import json
import os
import shutil
import statistics
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import threading
import time
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from rich.console import Console
from rich.table import Table

from benchmarks.processes import middle, run
from cdk_runner_fleet._assets import FUNCTIONS

RIVAL = "cloudsnorkel.cdk-github-runners==0.17.1"
# the modules that its handler requires; Lambda's Node runtime brings them along
RIVAL_MODULES = [
    f"@aws-sdk/client-{name}@3" for name in ("dynamodb", "lambda", "secrets-manager", "sfn", "sqs")
]
SECRET = "benchmark"
SECRETS = {"ours": SECRET, "theirs": json.dumps({"webhookSecret": SECRET})}
ROUNDS = 30

OURS_RUN = """
import json, sys
import receive_webhook
answer = receive_webhook.handler(json.load(open(sys.argv[1])), None)
assert answer["statusCode"] == 202, answer
"""
THEIRS_RUN = """
const fs = require("fs"), read = fs.readFileSync;
const providers = JSON.stringify({fargate: ["self-hosted", "class:medium"]});
fs.readFileSync = (path, ...more) =>
  path === "/opt/providers.json" ? providers : read(path, ...more);
const [, handler, event] = process.argv;
require(handler).handler(JSON.parse(read(event)))
  .then((answer) => process.exit(answer.statusCode === 202 ? 0 : 1));
"""
OURS_CALLS = ("GetSecretValue", "PutEvents")
THEIRS_CALLS = ("GetSecretValue", "PutItem", "StartExecution")


class _AwsStub(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    calls: ClassVar[Counter[str]] = Counter()
    answered_at = 0.0

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        operation = self.headers["X-Amz-Target"].rpartition(".")[2]
        self.calls[operation] += 1
        answers: dict[str, dict[str, Any]] = {
            "GetSecretValue": {"SecretString": SECRETS.get(request.get("SecretId", ""))},
            "PutEvents": {"FailedEntryCount": 0, "Entries": [{"EventId": "1"}]},
            "PutItem": {},
            "StartExecution": {"executionArn": "execution", "startDate": 1},
        }
        payload = json.dumps(answers[operation]).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/x-amz-json-1.1")
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)
        type(self).answered_at = time.perf_counter()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


class Answered(NamedTuple):
    """What an answer took: until AWS's last word to the handler, and of a processor in all."""

    seconds: float
    cpu: float


@dataclass(frozen=True, kw_only=True)
class Contestant:
    """A handler that is started anew each time.

    Attributes:
        command: Answers one delivery.
        environment: All of its environment.
        calls: What it asks of AWS.
    """

    command: list[str]
    environment: Mapping[str, str]
    calls: tuple[str, ...]

    def answer(self) -> Answered:
        """Answer a delivery; it has failed if it did not ask all that it should have asked."""
        before = _AwsStub.calls.copy()
        spent = run(self.command, environment=self.environment)
        assert _AwsStub.calls - before == Counter(self.calls)
        return Answered(seconds=_AwsStub.answered_at - spent.began, cpu=spent.cpu)


@contextmanager
def _aws() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _AwsStub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def _event() -> dict[str, Any]:
    job = {
        "id": 1, "run_id": 2, "run_attempt": 1, "name": "build", "workflow_name": "ci",
        "labels": ["self-hosted", "class:medium"], "status": "queued", "conclusion": None,
        "runner_name": None, "created_at": datetime.now(UTC).isoformat(), "started_at": None,
        "completed_at": None, "html_url": "https://github.com/o/r/actions/runs/2/job/1",
    }  # fmt: skip
    repository = {"full_name": "o/r", "name": "r", "owner": {"login": "o"}}
    body = json.dumps({"action": "queued", "workflow_job": job, "repository": repository})
    signature = hmac.new(SECRET.encode(), body.encode(), hashlib.sha256).hexdigest()
    return {
        "version": "2.0",
        "headers": {
            "content-type": "application/json",
            "x-github-event": "workflow_job",
            "x-github-delivery": "1",
            "x-hub-signature-256": f"sha256={signature}",
        },
        "body": body,
        "isBase64Encoded": False,
    }


def _ours(event: Path, lambdas_own: Mapping[str, str]) -> Contestant:
    functions = event.parent / "functions"
    shutil.copytree(FUNCTIONS, functions, ignore=shutil.ignore_patterns("__pycache__"))
    return Contestant(
        # packages are on a path of Lambda's Python, which has no virtual environment to look at
        command=[os.path.realpath(sys.executable), "-c", OURS_RUN, str(event)],
        environment={
            **lambdas_own,
            "PYTHONPATH": os.pathsep.join([str(functions), sysconfig.get_path("purelib")]),
            # Lambda's Python finds its own modules compiled, and has nowhere to keep a function's
            "PYTHONDONTWRITEBYTECODE": "1",
            "EVENT_BUS_NAME": "bus",
            "EVENT_SOURCE": "cdk-runner-fleet/fleet",
            "WEBHOOK_SECRET_ARN": "ours",
            "GITHUB_SCOPE": "repos/o/r",
            "RUNNER_NAME_PREFIX": "fleet",
            "REQUIRED_LABELS": "[]",
            "SINGLE_LABELS": "{}",
        },
        calls=OURS_CALLS,
    )


def _theirs(event: Path, lambdas_own: Mapping[str, str]) -> Contestant:
    node, npm = shutil.which("node"), shutil.which("npm")
    assert node, "node is not on PATH: use make benchmark, or --alone"
    assert npm, "npm is not on PATH: use make benchmark, or --alone"
    folder = event.parent
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", RIVAL]
    subprocess.run([*pip, "--dest", folder], check=True, capture_output=True)
    [wheel] = folder.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(folder)
    [package] = folder.rglob("*.jsii.tgz")
    with tarfile.open(package) as archive:
        archive.extractall(folder, filter="data")
    handler = folder / "package" / "assets" / "webhook-handler.lambda"
    subprocess.run(
        [npm, "install", "--silent", "--prefix", handler, *RIVAL_MODULES],
        check=True,
        capture_output=True,
    )
    return Contestant(
        command=[node, "-e", THEIRS_RUN, str(handler / "index.js"), str(event)],
        environment={
            **lambdas_own,
            "AWS_NODEJS_CONNECTION_REUSE_ENABLED": "1",  # its construct sets it
            "NODE_NO_WARNINGS": "1",
            "WEBHOOK_SECRET_ARN": "theirs",
            "STEP_FUNCTION_ARN": "machine",
            "RUNNER_TRACKER_TABLE": "table",
            "JOB_ASSIGNMENT_QUEUE_URL": "queue",
            "REQUIRE_SELF_HOSTED_LABEL": "1",
        },
        calls=THEIRS_CALLS,
    )


def main(arguments: list[str] | None = None) -> None:
    """Print the times, and their ratio."""
    parser = argparse.ArgumentParser(prog="benchmarks.webhook_start")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--alone", action="store_true", help="leave CloudSnorkel's handler out")
    given = parser.parse_args(arguments or [])
    with tempfile.TemporaryDirectory() as name, _aws() as endpoint:
        event = Path(name) / "event.json"
        event.write_text(json.dumps(_event()))
        lambdas_own = {
            "PATH": os.environ["PATH"],
            "AWS_ENDPOINT_URL": endpoint,
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "benchmark",
            "AWS_SECRET_ACCESS_KEY": "benchmark",
            "AWS_SESSION_TOKEN": "benchmark",
        }
        contestants = {"receive_webhook": _ours(event, lambdas_own)}
        if not given.alone:
            contestants["CloudSnorkel 0.17.1"] = _theirs(event, lambdas_own)
        for contestant in contestants.values():
            contestant.answer()
        spent: dict[str, list[Answered]] = {who: [] for who in contestants}
        for _ in range(given.rounds):
            for who, contestant in contestants.items():
                spent[who].append(contestant.answer())
    table = Table(title=f"a webhook's cold start, fresh process, {given.rounds} rounds")
    for column in ("", "median s", "best s", "median CPU s"):
        table.add_column(column)
    for who, rounds in spent.items():
        seconds = [one.seconds for one in rounds]
        cpu = middle([one.cpu for one in rounds])
        table.add_row(who, middle(seconds), f"{min(seconds):.3f}", cpu)
    if len(spent) == 2:
        table.add_row("ratio", *_ratios(*spent.values()))
    Console().print(table)


def _ratios(ours: list[Answered], theirs: list[Answered]) -> Iterator[str]:
    for value, figure in (
        ("seconds", statistics.median),
        ("seconds", min),
        ("cpu", statistics.median),
    ):
        mine, other = ([getattr(one, value) for one in side] for side in (ours, theirs))
        yield f"{figure(mine) / figure(other):.2f}"


if __name__ == "__main__":
    main(sys.argv[1:])
