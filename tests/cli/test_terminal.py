"""No command gives a terminal what strangers wrote for it."""

from __future__ import annotations

import ast
import io
import json
import logging
import re
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
import typer
from botocore.exceptions import ClientError

from cdk_runner_fleet._terminal import coloured, shown, shown_lines
from cdk_runner_fleet.cli import app, main, runners
from cdk_runner_fleet.cli.errors import FleetError
from cdk_runner_fleet.cli.output import new_console
from cdk_runner_fleet.cli.run_view import RunView, print_report
from cdk_runner_fleet.local.emulator.server import _Formatter
from cdk_runner_fleet.local.report import run_report
from cdk_runner_fleet.local.watch import Change, JobState

from .conftest import Lambda, put_runner
from .test_drain import FAMILY, Lifecycles, lifecycles, put_live  # noqa: F401 - a fixture
from .test_events import failed_by_eventbridge, failed_by_lambda, queue  # noqa: F401 - a fixture

CLI = Path(app.__file__).parent
# clears the screen, sets the title, writes to the clipboard, links elsewhere, C1's CSI and DCS,
# moves the cursor, reverses the letters, hides and forges a line, rich's markup
EVIL = (
    "a\x1b[2J\x1b]0;owned\x07\x1b]52;c;ZXZpbA==\x07\x1b]8;;https://evil.example\x1b\\b\x9b2J\x90q\x9c"
    "\x1b[1A\x1b[8m\u202egnp.exe\u2066\u200f\u061c\r\x08\x7f\n\u2028c [link=https://evil.example]d"
    "[/link] [bold red]e[/] :bomb: \ud800"
)
COLOURS = re.compile(r"\x1b\[[0-9;]*m")


class Screen(io.StringIO):
    """What a terminal is sent, from `on` to the end of the test."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        self._monkeypatch = monkeypatch

    def on(self) -> None:
        """Not before the test itself begins: pytest has stdout until then."""
        self._monkeypatch.setattr(sys, "stdout", self)
        self._monkeypatch.setattr(sys, "stderr", self)

    def isatty(self) -> bool:
        return True

    def check(self, *marks: str, allowed: str = "") -> str:
        """It has been sent text, its colours and the ends of lines, and the marks in it."""
        text = COLOURS.sub("", self.getvalue())
        text = re.sub(allowed, "", text) if allowed else text
        bad = {char for char in text if char != "\n" and not char.isprintable()}
        assert not bad, f"{bad} in {text!r}"
        assert "\x1b[8m" not in self.getvalue()
        for mark in marks:
            assert mark in text
        return text


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Screen:
    for name, value in {"TERM": "xterm-256color", "COLUMNS": "4000"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("NO_COLOR", raising=False)
    return Screen(monkeypatch)


@pytest.fixture
def hostile(
    fleet: str,
    functions: Lambda,
    queue: str,  # noqa: F811
    lifecycles: Lifecycles,  # noqa: F811
) -> None:
    """Whatever a stranger, an author or a job can have written somewhere, is hostile."""
    evil = EVIL.replace("\ud800", "")  # AWS takes no half of a pair
    names = (
        "job_name", "workflow_name", "job_status", "runner_labels", "head_branch", "repository",
        "cause", "end_reason", "waiting_reason", "image_tag", "image_error", "runner_version",
        "capabilities", "class_name", "architecture", "stopped_reason", "html_url", "left_to",
        "build_log_url", "ran_on", "explained_as", "load", "odd",
    )  # fmt: skip
    told = dict.fromkeys(names, evil) | {"job_id": 456, "queued_at": 1, "image_ended_at": 2}
    for number, (status, phase) in enumerate(
        (("FAILED", ""), ("RUNNING", "completion"), ("IMAGE_CREATING", "image"), ("x", "turn")), 1
    ):
        row = told | {"status": status, "waiting_for": phase, "error": evil, "status_of": evil}
        put_runner(f"fleet-456-{number}", **row)
    put_runner("fleet-7-1", **told, status="OFFLINE", queued_delivery=evil, started_at=5)
    put_runner("fleet-8-1", **told, status="x", live="in_line", waiting_for="turn")
    put_runner("fleet-9-1", **told, status=evil, live="in_line", waiting_for="turn")
    boto3.client("ssm").put_parameter(
        Name="RunnerFleet-classes",
        Value=json.dumps({evil: {"cpu": 512, "memory": 1024, "labels": [evil]}}),
        Overwrite=True,
    )
    event = {"detail-type": evil, "detail": {"action": evil, "name": evil}}
    failed_by_lambda(queue, event)
    failed_by_eventbridge(queue, event)
    functions.answer = lambda name, payload: (
        (200, {}, {"status": evil, "conclusion": evil, "runner_name": evil, "labels": [evil]})
        if "explain" in name
        else (400, {"x-amzn-errortype": "InvalidRequestContentException"}, {"Message": evil})
    )


def hour_ago() -> str:
    return (datetime.now() - timedelta(hours=1)).isoformat()


# what each command is called with, and what it says of the rows above
WALK: dict[str, list[tuple[tuple[str, ...], str]]] = {
    "runners list": [((), r"a\x1b[2J\x1b]0;owned\x07")],
    "runners details": [(("fleet-456-1",), r"\u202egnp.exe\u2066"), (("fleet-7-1",), r"\x9b2J")],
    "runners terminate": [(("fleet-9-1",), "was in line"), (("fleet-7-1",), "OFFLINE")],
    "list-class-sizes": [((), r"\x1b]8;;https://evil.example\x1b")],
    "cluster status": [((), "turns: ")],
    "cluster drain": [((), "drained: ")],
    "cluster resume": [((), "start")],
    "explain": [
        (("456",), r"says a\x1b[2J"),
        (("fleet-456-1",), r"verdict: "),
        (("fleet-7-1",), r"[bold red]e[/] :bomb:"),
        (("fleet-8-1",), r"\x1b]52;c;"),
    ],
    "events list": [((), r"a\x1b[2J")],
    "events redrive": [((), r"kept: ")],
    "events replay": [(("--from", hour_ago()), "replay ")],
    # without a fleet: what is wrong with a file of a stranger's
    "local run": [(("hostile.yml",), r"hostile.yml")],
    "local up": [(("--github-url", EVIL.replace("\ud800", "")), r"\x1b[2J")],
}


def commands(found: typer.Typer, prefix: str = "") -> Iterator[str]:
    for command in found.registered_commands:
        yield f"{prefix}{command.name}"
    for group in found.registered_groups:
        assert group.typer_instance is not None
        yield from commands(group.typer_instance, f"{prefix}{group.name} ")


def test_each_command_is_walked_through() -> None:
    assert set(commands(app._app)) == set(WALK)


@pytest.mark.parametrize("command", WALK)
def test_no_command_sends_a_terminal_what_strangers_wrote(
    hostile: None,
    screen: Screen,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: str,
) -> None:
    screen.on()
    monkeypatch.chdir(tmp_path)
    Path("hostile.yml").write_text(f"on: push\njobs: {{a: {{{json.dumps(EVIL[:-1])}: 1}}}}")
    for arguments, said in WALK[command]:
        screen.truncate(0)
        screen.seek(0)
        with pytest.raises(SystemExit):
            main([*command.split(), *arguments])
        screen.check(said)


def test_json_is_ascii(hostile: None, screen: Screen) -> None:
    screen.on()
    for command in (
        "runners list", "runners details fleet-456-1", "list-class-sizes", "explain 456",
        "explain fleet-7-1", "events list", "events redrive", "cluster status",
    ):  # fmt: skip
        screen.truncate(0)
        screen.seek(0)
        with pytest.raises(SystemExit):
            main([*command.split(), "--output", "json"])
        screen.check()
        # what is wrong with the classes is said beside it
        document, _, _ = screen.getvalue().partition("\x1b[1;31merror: ")
        assert document.isascii(), command
        json.loads(document)


def github_refuses(message: str) -> Exception:
    return FleetError(f"explain_job failed: {message}\nand a second line")


def aws_refuses(message: str) -> Exception:
    answer: Any = {"Error": {"Code": "ValidationException", "Message": message}}
    return ClientError(answer, "Scan")


@pytest.mark.parametrize("refuses", [github_refuses, aws_refuses])
def test_errors_quote_strangers_harmlessly(
    fleet: str,
    screen: Screen,
    monkeypatch: pytest.MonkeyPatch,
    refuses: Callable[[str], Exception],
) -> None:
    screen.on()

    def fail(*_: object) -> None:
        raise refuses(EVIL)

    monkeypatch.setattr(runners, "_scan", fail)
    with pytest.raises(SystemExit):
        main(["runners", "list"])
    screen.check("error: ", r"\x1b[2J", "[bold red]e[/] :bomb:")


def test_a_fault_of_the_command_line_quotes_strangers_harmlessly(
    fleet: str, screen: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen.on()
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)  # put back afterwards

    def fail(*_: object) -> None:
        raise ValueError(EVIL)

    monkeypatch.setattr(runners, "_scan", fail)
    with pytest.raises(ValueError, match="owned") as fault:
        main(["runners", "list"])
    sys.excepthook(fault.type, fault.value, fault.tb)  # as Python does at its end
    screen.check("Traceback", r"ValueError: a\x1b[2J")


def hostile_job() -> JobState:
    row = {
        "runner_id": EVIL, "class_name": EVIL, "image_tag": EVIL, "status": EVIL, "cost_usd": "1",
    }  # fmt: skip
    return JobState(
        id=1,
        name=EVIL,
        labels=[EVIL],
        status="completed",
        conclusion=EVIL,
        error=EVIL,
        row=row,
        log_tail=[EVIL, "\x1b[32mgreen\x1b[0m and \x1b[2Jcleared"],
    )


LIVE = r"\x1b\[\?25[lh]|\x1b\[1A|\x1b\[2K|\r"  # rich's own, of a table that is drawn again


def test_a_run_that_goes_on_is_shown_harmlessly(screen: Screen) -> None:
    screen.on()
    watch: Any = SimpleNamespace(jobs={1: hostile_job()})
    change = Change(at=time.time(), job_name=EVIL, runner_id=EVIL, what=EVIL)
    with RunView(new_console(), watch) as view:
        view.show([change])
    drawn = screen.check(r"a\x1b[2J", r"\u202egnp", ":bomb:", allowed=LIVE)
    assert "JOB" in drawn


def test_a_run_told_line_by_line_is_harmless(
    screen: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen.on()
    monkeypatch.setattr(Screen, "isatty", lambda _: False)
    change = Change(at=time.time(), job_name=EVIL, runner_id=EVIL, what=EVIL)
    RunView(new_console(), SimpleNamespace(jobs={})).show([change])  # type: ignore[arg-type]
    screen.check(r"a\x1b[2J", "[link=https://evil.example]d")


def test_a_report_is_harmless_and_a_jobs_log_keeps_its_colours(screen: Screen) -> None:
    screen.on()
    job = hostile_job()
    report = run_report(workflow=EVIL, seconds=1.0, jobs=[job], runners=[job.row])
    print_report(report, [job])
    screen.check(r"green and \x1b[2Jcleared", "[bold red]e[/]")
    assert "32mgreen" in screen.getvalue()


def test_what_is_printed_goes_by_one_place() -> None:
    """Else a new command could print past the filter."""
    for path in CLI.glob("*.py"):
        if path.name == "output.py":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                text = ast.unparse(node)
                called = ast.unparse(node.func)
                assert called not in {
                    "print", "typer.echo", "typer.secho", "click.echo", "sys.stdout.write",
                    "Console", "Text", "Table",
                }, f"{path.name}: {text}"  # fmt: skip
                if called == "sys.stderr.write":
                    assert text.startswith("sys.stderr.write(shown_lines("), f"{path.name}: {text}"


def test_the_emulators_log_quotes_strangers_harmlessly() -> None:
    record = logging.LogRecord("x", logging.WARNING, "x.py", 1, "failed: %s", (EVIL,), None)
    told = _Formatter("%(message)s").format(record)
    assert told == f"failed: {shown_lines(EVIL)}"
    assert all(char == "\n" or char.isprintable() for char in told)


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("plain, with ümläuts, 日本語 and 🚀", "plain, with ümläuts, 日本語 and 🚀"),
        ("a\tb\r\nc\u3000d\xa0e\u2028f\x85g", "a b  c d e f g"),
        ("\x1b[31m", r"\x1b[31m"),
        ("\x9b\x07\x7f\x00", r"\x9b\x07\x7f\x00"),
        ("\u202e\u2066\u200f\u200b\ufeff\xad", r"\u202e\u2066\u200f\u200b\ufeff\xad"),
        ("\ud800\U000e0041", r"\ud800\U000e0041"),
        (None, "None"),
    ],
)
def test_what_cannot_be_seen_is_shown(text: object, seen: str) -> None:
    assert shown(text) == seen
    assert shown(seen) == seen


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("\x1b[1;32mok\x1b[m", "\x1b[1;32mok\x1b[m"),
        ("\x1b[38;5;200mx\x1b[2J", "\x1b[38;5;200mx" + r"\x1b[2J"),
        ("\x1b]8;;u\x1b\\x", r"\x1b]8;;u\x1b\x"),
        ("a\tb", "a       b"),
    ],
)
def test_a_log_keeps_colours_and_nothing_else(text: str, seen: str) -> None:
    assert coloured(text) == seen
