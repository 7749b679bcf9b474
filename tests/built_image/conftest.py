"""The shipped Dockerfile's images, really built and run: buildah, Debian's packages, no registry.

`make test-image` runs these; it makes the base image and names its folder in
RUNNER_FLEET_TEST_IMAGE. Without that nothing in here is collected.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from cdk_runner_fleet.local.emulator.stand_in import archive

FOLDER = os.environ.get("RUNNER_FLEET_TEST_IMAGE", "")
if FOLDER:
    os.environ["CONTAINERS_STORAGE_CONF"] = f"{FOLDER}/storage.conf"
else:
    collect_ignore_glob = ["test_*.py"]

IMAGE = Path(__file__).parents[2] / "runner_image"
BASE = "localhost/fleet-test/debian:bookworm"
VERSION = "2.338.0"
VARIANTS = {
    "base": "shell",
    "python": "shell,python",
    "node": "shell,node",
    "full": "shell,python,node,native",
}
# Makes Debian like the image that the node variant is for: its own Node and npm, a user 1000.
LIKE_NODE = """
useradd --uid 1000 --create-home node
echo kept > /home/node/.kept && chown node: /home/node/.kept
for name in node npm; do
  printf '#!/bin/sh\\necho its own %s\\n' $name > /usr/local/bin/$name
  chmod +x /usr/local/bin/$name
done
"""
SECRET_KEY, SESSION_TOKEN = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "IQoJb3JpZ2luX2VjEJr//+8=="
_figures: list[str] = []


def figure(line: str) -> None:
    """Has a line printed at the end, for docs/benchmarks.md."""
    _figures.append(line)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _figures:
        terminalreporter.section("figures")
        for line in _figures:
            terminalreporter.write_line(line)


def buildah(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        ["buildah", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert not check or done.returncode == 0, f"buildah {arguments}: {done.stdout}{done.stderr}"
    return done


@dataclass
class Workshop:
    """Builds images and runs commands in them."""

    folder: Path
    sha256: str
    containers: list[str] = field(default_factory=list)

    def try_build(
        self, target: str, *, name: str, base: str = BASE, **arguments: str
    ) -> subprocess.CompletedProcess[str]:
        given = {
            "BASE_IMAGE": base,
            "RUNNER_RELEASE": VERSION,
            "RUNNER_SHA256": self.sha256,
            "RUNNER_ARCHIVE_URL": "file:///mnt/build/runner.tar.gz",
            **arguments,
        }
        return buildah(
            *("bud", "--isolation", "chroot", "--layers", "--pull=false", "--network", "host"),
            *("--target", target, "--tag", name),
            *(word for item in given.items() for word in ("--build-arg", "=".join(item))),
            str(self.folder / "recipe"),
            check=False,
        )

    def build(self, target: str, *, base: str = BASE, **arguments: str) -> str:
        name = f"localhost/fleet-test/built-{target}-{len(self.containers)}-{time.monotonic_ns()}"
        done = self.try_build(target, name=name, base=base, **arguments)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return name

    def base(self, name: str, script: str, *, of: str = BASE) -> str:
        """A base image of its own: the test base, changed by a script, and with a stop signal."""
        container = self.container(of)
        as_root = ("--isolation", "chroot", "--user", "0")
        buildah("run", *as_root, container, "--", "bash", "-euc", script)
        buildah("config", "--stop-signal", "SIGQUIT", container)
        buildah("commit", "--quiet", container, f"localhost/fleet-test/{name}:1")
        return f"localhost/fleet-test/{name}:1"

    def container(self, image: str) -> str:
        name = buildah("from", "--quiet", "--pull=false", image).stdout.strip()
        self.containers.append(name)
        return name

    def start(
        self,
        container: str,
        *command: str,
        environment: dict[str, str] | None = None,
        volumes: Sequence[str] = (),
        options: Sequence[str] = (),
    ) -> subprocess.Popen[str]:
        given = (environment or {}).items()
        return subprocess.Popen(
            [
                *("buildah", "run", "--isolation", "chroot", "--hostname", "localhost"),
                *(word for item in given for word in ("--env", "=".join(item))),
                *(word for volume in volumes for word in ("--volume", volume)),
                *(*options, container, "--", *command),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, image: str, *command: str) -> str:
        """What a command prints in a container of the image; it must succeed."""
        process = self.start(self.container(image), *command)
        said, _ = process.communicate(timeout=120)
        assert process.returncode == 0, said
        return said

    def config(self, image: str) -> dict[str, Any]:
        found = json.loads(buildah("inspect", "--type", "image", image).stdout)
        return dict(found["OCIv1"])


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    # what an earlier run has built proves nothing about today's packages
    for known in json.loads(buildah("images", "--json").stdout or "null") or []:
        if BASE not in (known.get("names") or []):
            buildah("rmi", "--force", known["id"], check=False)
    buildah("rm", "--all")
    folder = tmp_path_factory.mktemp("workshop")
    recipe = shutil.copytree(IMAGE, folder / "recipe")
    workshop = Workshop(folder, archive(recipe / "build" / "runner.tar.gz", version=VERSION))
    yield workshop
    buildah("rm", "--all")


@pytest.fixture(scope="session")
def images(workshop: Workshop) -> dict[str, str]:
    """Every variant by its name; all but node on Debian alone, full with Debian's Node."""
    bases = {"node": workshop.base("node", LIKE_NODE)}
    built = {}
    for variant in VARIANTS:
        began = time.monotonic()
        built[variant] = workshop.build(variant, base=bases.get(variant, BASE))
        figure(f"built {variant} in {time.monotonic() - began:.0f} s, on the layers before it")
    return built


class Api:
    """The runner API on loopback: answers claims from a list, the last one again and again."""

    def __init__(self) -> None:
        self.answers = [200]
        self.requests: list[tuple[str, dict[str, Any]]] = []
        self.claimed_at = 0.0
        api = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                lent = {
                    "AccessKeyId": "ASIAEXAMPLE",
                    "SecretAccessKey": SECRET_KEY,
                    "Token": SESSION_TOKEN,
                }
                self.answer(200, lent)

            def do_POST(self) -> None:
                now = time.time()
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                api.requests.append((self.path, json.loads(body)))
                if not self.path.endswith("/claim"):
                    self.answer(202, {})
                    return
                api.claimed_at = now
                status = api.answers[0]
                if len(api.answers) > 1:
                    api.answers.pop(0)
                if status == 0:  # never a word
                    threading.Event().wait(60)
                    return
                claim = {"encoded_jit_config": "eyJqaXQiOjF9", "events_token": "ev-tok_1.x"}
                self.answer(status, claim if status == 200 else {"message": "no"})

            def answer(self, status: int, body: dict[str, str]) -> None:
                text = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def paths(self, ending: str) -> list[dict[str, Any]]:
        return [body for path, body in self.requests if path.endswith(ending)]


@pytest.fixture
def api() -> Iterator[Api]:
    api = Api()
    yield api
    api.server.shutdown()
