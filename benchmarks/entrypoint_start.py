"""The entrypoint's own time: from its start until the fleet has its claim.

    python -m benchmarks.entrypoint_start

The shipped script against a fleet on loopback, which lends it credentials and answers that the job
is gone. The time is that of bash, curl and the signature: with the capabilities declared, and with
a look for them in the image.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

from rich.console import Console
from rich.table import Table

from cdk_runner_fleet._assets import RUNNER_IMAGE

ENTRYPOINT = RUNNER_IMAGE / "entrypoint.sh"
ROUNDS = 20
TARGET_SECONDS = 0.3


class _Fleet(BaseHTTPRequestHandler):
    claimed_at = 0.0

    def do_GET(self) -> None:
        lent = {"AccessKeyId": "ASIAEXAMPLE", "SecretAccessKey": "x" * 40, "Token": "x" * 800}
        text = json.dumps(lent).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        type(self).claimed_at = time.perf_counter()
        self.send_response(410)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def _seconds(environment: dict[str, str]) -> float:
    begin = time.perf_counter()
    subprocess.run([ENTRYPOINT], env=environment, check=True, capture_output=True)
    return _Fleet.claimed_at - begin


def main(arguments: list[str] | None = None) -> None:
    """Print the times and the target."""
    parser = argparse.ArgumentParser(prog="benchmarks.entrypoint_start")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    given = parser.parse_args(arguments or [])
    server = HTTPServer(("127.0.0.1", 0), _Fleet)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    environment = {
        "PATH": os.environ["PATH"],
        "FLEET_URL": f"http://127.0.0.1:{server.server_port}",
        "RUNNER_ID": "benchmark",
        "FLEET_REGION": "us-east-1",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"http://127.0.0.1:{server.server_port}/",
        "RUNNER_VERSION": "2.338.0",
    }
    declared = {**environment, "RUNNER_CAPABILITIES": "shell,python"}
    _seconds(environment)
    rounds = [(_seconds(declared), _seconds(environment)) for _ in range(given.rounds)]
    server.shutdown()
    server.server_close()
    table = Table(title=f"entrypoint.sh, start to claim received, {given.rounds} rounds")
    for column in ("capabilities", "median s", "worst s"):
        table.add_column(column)
    for name, times in zip(("declared", "looked for"), zip(*rounds, strict=True), strict=True):
        table.add_row(name, f"{statistics.median(times):.3f}", f"{max(times):.3f}")
    table.add_row("target", f"{TARGET_SECONDS:.3f}", "")
    Console().print(table)


if __name__ == "__main__":
    main(sys.argv[1:])
