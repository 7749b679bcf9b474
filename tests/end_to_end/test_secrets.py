"""A run is over: no credential is kept anywhere but where it belongs."""

from __future__ import annotations

import base64
import json
import re
import stat
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from cdk_runner_fleet.local.fleet import LocalFleet
from cdk_runner_fleet.local.twin.askers import Askers
from cdk_runner_fleet.local.twin.workflows import read_workflow
from tests.settings import APPS
from tests.waiting import until

from . import kept

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="processes are looked at in /proc"
)

MARK = "seen-in-this-run"
WORKFLOW = f"""
name: {MARK}
on: push
jobs:
  shows-all-it-has:
    runs-on: [self-hosted]
    steps:
      - run: |
          env
          tr '\\0' '\\n' < /proc/self/environ
          touch FOLDER/started
          until [ -e FOLDER/go ]; do sleep 0.05; done
  is-refused:
    runs-on: [self-hosted, "class:no-such"]
    steps: [{{run: 'true'}}]
"""
# Its own reports; the job may read it, and can tell of itself alone with it (entrypoint.sh).
OWN_REPORTS = ".fleet-events"
# Which processes have a credential that is meant for them, by the variable that it is in.
BEFORE_THE_CLAIM = r"(setpriv .*)?bash \S+/entrypoint\.sh |curl |date |sha256sum "
MEANT_FOR_IT = {
    # run.sh and the runner's; a job finds it there, and is that runner already (entrypoint.sh)
    "ACTIONS_RUNNER_INPUT_JITCONFIG": (
        {"JIT configuration", "runner's token"},
        r"bash \S+/run\.sh|\S+ -m cdk_runner_fleet\.local\.emulator\.runner",
    ),
    # a task's own role, as ECS hands it over; the entry point unsets them before there is a job
    "AWS_CONTAINER_AUTHORIZATION_TOKEN": ({"a task's way to its credentials"}, BEFORE_THE_CLAIM),
    "AWS_CONTAINER_CREDENTIALS_FULL_URI": ({"a task's address of credentials"}, BEFORE_THE_CLAIM),
}


@dataclass
class Run:
    """A run that is over, what was planted in it and what has been kept of it.

    Attributes:
        planted: credentials, by what they are; each kind with numbers where there are more.
        processes: what processes showed of themselves meanwhile.
        while_it_ran: files of the run's folder, as they were while the job ran.
        kept: everything that is there afterwards.
    """

    fleet: LocalFleet
    planted: dict[str, str] = field(default_factory=dict)
    processes: kept.Processes = field(default_factory=kept.Processes)
    while_it_ran: dict[str, bytes] = field(default_factory=dict)
    kept: dict[str, bytes] = field(default_factory=dict)

    def plant(self, kind: str, secret: str) -> None:
        if secret not in self.planted.values():
            number = sum(name.startswith(kind) for name in self.planted)
            self.planted[f"{kind} {number}"] = secret


def kind_of(name: str) -> str:
    return name.rpartition(" ")[0]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    folder = tmp_path_factory.mktemp("run")
    patch = pytest.MonkeyPatch()
    presented: list[str] = []
    find = Askers.find

    def note(askers: Askers, authorization: str) -> object:
        presented.append(authorization.partition(" ")[2])
        return find(askers, authorization)

    patch.setattr(Askers, "find", note)
    with (
        patch.context(),
        (folder / "emulator.log").open("wb") as log,
        LocalFleet(context=APPS, errors=log) as fleet,
    ):
        run = Run(fleet)
        kept.Hearing(fleet)
        with run.processes:
            work(run, folder)
        assert fleet.twin
        for secret in presented:
            run.plant("credential at GitHub", secret)
        plant_the_fleets(run)
        run.kept = kept.everything(fleet) | kept.at_github(fleet)
        run.kept |= kept.files(run_folder(run), except_for=[OWN_REPORTS])
        run.kept |= kept.files(folder, except_for=[])
        yield run
    patch.undo()


def work(run: Run, folder: Path) -> None:
    """One job to its end, and one that gets no runner."""
    twin = run.fleet.twin
    assert twin
    text = WORKFLOW.replace("FOLDER", str(folder))
    run_id = run.fleet.queue_run(read_workflow(text, file_name="ci.yml"), file_name="ci.yml")
    queued = twin.board.runs[run_id]
    until((folder / "started").exists, "the job runs")
    until(lambda: twin.checks.runs, "the other's author is told")
    runner, refused = queued.jobs[0].runner_name, queued.jobs[1]
    tasks = run_folder(run) / "tasks"
    [reports] = tasks.glob(f"*/{OWN_REPORTS}")
    assert stat.S_IMODE(reports.stat().st_mode) == 0o600
    run.plant("events token", reports.read_text().rpartition("Bearer ")[2].partition('"')[0])
    for (_, command), environment in list(run.processes.environments.items()):
        if config := environment.get("ACTIONS_RUNNER_INPUT_JITCONFIG"):
            run.plant("JIT configuration", config)
            run.plant("runner's token", json.loads(base64.b64decode(config))["token"])
        if "RUNNER_ID" in environment and "entrypoint.sh" in command:
            for kind, secret in kept.lent_to_a_task(environment).items():
                run.plant(kind, secret)
    run.while_it_ran = kept.files(run_folder(run), except_for=[OWN_REPORTS])
    (folder / "go").touch()
    twin.board.cancel(refused)
    until(lambda: queued.status == "completed", "the run is over")
    states, machine = run.fleet.client("stepfunctions"), run.fleet.outputs["StateMachineArn"]
    arn = f"{machine.replace(':stateMachine:', ':execution:')}:{runner}"
    until(lambda: states.describe_execution(executionArn=arn)["status"] == "SUCCEEDED")


def plant_the_fleets(run: Run) -> None:
    """What the fleet has for itself, and its owner to steer it."""
    fleet = run.fleet
    assert fleet.twin
    run.plant("webhook secret", fleet.webhook_secret)
    run.plant("GitHub token", fleet.twin.token)
    for key in fleet._private_keys.values():
        run.plant("App's private key", key.splitlines()[5])
    run.plant("owner's secret key", fleet.secret_access_key)
    run.plant("control token", fleet.control_token)


def run_folder(run: Run) -> Path:
    """The folder that the fleet has for itself."""
    [folder] = {
        Path(line.split(b"\0")[line.split(b"\0").index(b"--tasks-dir") + 1].decode()).parent
        for line in run.processes.command_lines.values()
        if run.fleet.endpoint_url.rpartition(":")[2].encode() in line.split(b"\0")
        and b"--tasks-dir" in line
    }
    return folder


KINDS = {
    "webhook secret", "GitHub token", "App's private key", "credential at GitHub",
    "JIT configuration", "runner's token", "events token", "owner's secret key", "control token",
    "a task's secret key", "a task's session token", "a task's way to its credentials",
    "a task's address of credentials",
}  # fmt: skip


def test_the_search_knows_every_credential_and_finds_what_is_there(run: Run) -> None:
    """Else it could find nothing and say so."""
    assert {kind_of(name) for name in run.planted} == KINDS
    assert len([name for name in run.planted if name.startswith("credential at GitHub")]) >= 2
    found = {leak.partition(": ")[2] for leak in kept.leaks(run.kept, {"": MARK})}
    kinds = {place.split()[0] for place in found}
    assert kinds >= {"execution", "history", "table", "messages", "run", "delivery", "file"}
    assert {place.split()[0] for place in run.kept} >= {
        *("task", "cluster", "function", "object", "template", "role", "parameter", "log", "image"),
    } - {"image"}
    encoded = base64.b64encode(b"x" + MARK.encode() + b"yz")
    assert kept.leaks({"somewhere": encoded}, {"mark": MARK}) == ["mark: somewhere"]


def test_nothing_that_is_kept_of_a_run_has_a_credential_in_it(run: Run) -> None:
    assert kept.leaks(run.kept, run.planted) == []


def test_no_file_of_a_run_but_its_own_has_a_credential_in_it(run: Run) -> None:
    assert kept.leaks(run.while_it_ran, run.planted) == []


def test_no_command_line_has_a_credential_in_it(run: Run) -> None:
    assert kept.leaks(run.processes.command_lines, run.planted) == []


def test_environments_have_the_credentials_that_are_meant_for_them_alone(run: Run) -> None:
    looked_at = 0
    strays = []
    for (number, command), variables in run.processes.environments.items():
        for variable, value in variables.items():
            looked_at += 1
            kinds, meant_for = MEANT_FOR_IT.get(variable, (set(), ""))
            found = kept.leaks({variable: value.encode()}, run.planted)
            strays += [
                f"{leak} of {number} {command}"
                for leak in found
                if kind_of(leak.partition(": ")[0]) not in kinds or not re.match(meant_for, command)
            ]
    assert strays == []
    assert looked_at > 100
