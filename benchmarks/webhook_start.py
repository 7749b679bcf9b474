"""Cold start of receive_webhook against CloudSnorkel's webhook handler, in one run.

Ours: a fresh process, its imports, the first signed event, GetSecretValue and PutEvents against a
stub on loopback. Theirs: a fresh Node process that only loads the handler of
``cdk-github-runners`` 0.17.1 with its AWS SDK modules. The two alternate, so that a noisy machine
disturbs both alike.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
RIVAL = "cloudsnorkel.cdk-github-runners==0.17.1"
# the modules that its handler requires; Lambda's Node runtime brings them along
RIVAL_MODULES = [
    f"@aws-sdk/client-{n}@3" for n in ("dynamodb", "lambda", "secrets-manager", "sfn", "sqs")
]
SECRET = "benchmark"
ROUNDS = 15

RUN_OURS = """
import json, sys
import receive_webhook
answer = receive_webhook.handler(json.load(open(sys.argv[1])), None)
assert answer["statusCode"] == 202, answer
"""


class _AwsStub(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    put_events = 0

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        target = self.headers["X-Amz-Target"]
        if target.endswith("PutEvents"):
            type(self).put_events += 1
            body: dict[str, Any] = {"FailedEntryCount": 0, "Entries": [{"EventId": "1"}]}
        else:
            body = {"SecretString": SECRET}
        payload = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/x-amz-json-1.1")
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


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
        "runner_name": None, "created_at": "2026-11-01T00:00:00Z", "started_at": None,
        "completed_at": None, "html_url": "https://github.com/o/r/actions/runs/2/job/1",
    }  # fmt: skip
    body = json.dumps({"action": "queued", "workflow_job": job, "repository": {"full_name": "o/r"}})
    signature = hmac.new(SECRET.encode(), body.encode(), hashlib.sha256).hexdigest()
    return {
        "version": "2.0",
        "headers": {
            "x-github-event": "workflow_job",
            "x-github-delivery": "1",
            "x-hub-signature-256": f"sha256={signature}",
        },
        "body": body,
        "isBase64Encoded": False,
    }


def _rival(folder: Path) -> Path:
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", RIVAL]
    subprocess.run([*pip, "--dest", folder], check=True, capture_output=True)
    [wheel] = folder.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(folder)
    [package] = folder.rglob("*.jsii.tgz")
    with tarfile.open(package) as archive:
        archive.extractall(folder, filter="data")
    handler = folder / "package" / "assets" / "webhook-handler.lambda"
    npm = shutil.which("npm")
    assert npm, "npm is not on PATH: use make benchmark"
    subprocess.run(
        [npm, "install", "--silent", "--prefix", handler, *RIVAL_MODULES],
        check=True,
        capture_output=True,
    )
    return handler


def _seconds(command: list[str], **options: Any) -> float:
    begin = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, **options)
    return time.perf_counter() - begin


def main() -> None:
    """Print both times and their ratio."""
    node = shutil.which("node")
    assert node, "node is not on PATH: use make benchmark"
    with tempfile.TemporaryDirectory() as name, _aws() as endpoint:
        folder = Path(name)
        handler = _rival(folder)
        event = folder / "event.json"
        event.write_text(json.dumps(_event()))
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT / "functions"),
            "AWS_ENDPOINT_URL": endpoint,
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "benchmark",
            "AWS_SECRET_ACCESS_KEY": "benchmark",
            "EVENT_BUS_NAME": "bus",
            "WEBHOOK_SECRET_ARN": "secret",
            "GITHUB_SCOPE": "repos/o/r",
            "ALLOWED_IMAGES": "[]",
            "IMAGE_BUILDING": "on",
        }
        # Lambda's Python finds its modules compiled; a first run here compiles them
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        environment["PYTHONPYCACHEPREFIX"] = str(folder / "pycache")
        ours_command = [sys.executable, "-c", RUN_OURS, str(event)]
        theirs_command = [node, "-e", "require(process.argv[1])", str(handler / "index.js")]
        quiet = {**os.environ, "NODE_NO_WARNINGS": "1"}
        _seconds(ours_command, env=environment)
        _seconds(theirs_command, env=quiet)
        ours, theirs = [], []
        for _ in range(ROUNDS):
            ours.append(_seconds(ours_command, env=environment))
            theirs.append(_seconds(theirs_command, env=quiet))
        assert _AwsStub.put_events == ROUNDS + 1
    table = Table(title=f"receive_webhook, fresh process, {ROUNDS} rounds")
    for column in ("", "median s", "best s"):
        table.add_column(column)
    table.add_row("ours, to the end of PutEvents", *_figures(ours))
    table.add_row("CloudSnorkel 0.17.1, load only", *_figures(theirs))
    table.add_row(
        "ratio",
        f"{statistics.median(ours) / statistics.median(theirs):.2f}",
        f"{min(ours) / min(theirs):.2f}",
    )
    Console().print(table)


def _figures(values: list[float]) -> tuple[str, str]:
    return f"{statistics.median(values):.3f}", f"{min(values):.3f}"


if __name__ == "__main__":
    main()
