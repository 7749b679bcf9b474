"""What a user does wrong is answered with a remedy and an exit status, never with a traceback."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import Result, deploy

Run = Callable[..., Result]
COMMANDS = (
    ("runners", "list"),
    ("runners", "details", "fleet-1-1"),
    ("runners", "terminate", "fleet-1-1"),
    ("list-class-sizes",),
    ("cluster", "status"),
)


@pytest.mark.parametrize("command", COMMANDS)
def test_no_stack(run: Run, aws: None, command: tuple[str, ...]) -> None:
    result = run(*command, "--stack", "Nowhere")
    assert result.exit_code == 1
    assert "no stack 'Nowhere' in eu-west-1" in result.stderr
    assert "--stack" in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize("command", COMMANDS)
def test_a_stack_that_is_no_fleet(run: Run, aws: None, command: tuple[str, ...]) -> None:
    deploy("Other", outputs=False)
    result = run(*command, "--stack", "Other")
    assert result.exit_code == 1
    assert "has no output" in result.stderr


@pytest.mark.parametrize("command", COMMANDS[:3])
def test_no_table(
    run: Run, aws: None, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    monkeypatch.setenv("RUNNER_TABLE", "gone")
    result = run(*command)
    assert result.exit_code == 1
    assert "no table 'gone'" in result.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_no_credentials(
    run: Run, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    result = run(*command, "--region", "eu-west-1")
    assert result.exit_code == 1
    assert "no AWS credentials" in result.stderr
    assert "--profile" in result.stderr


def test_no_region(run: Run, aws: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    monkeypatch.delenv("AWS_REGION", raising=False)
    result = run("runners", "list")
    assert result.exit_code == 1
    assert "--region" in result.stderr


def test_no_such_profile(run: Run, aws: None) -> None:
    result = run("runners", "list", "--profile", "nobody")
    assert result.exit_code == 1
    assert "nobody" in result.stderr


def test_nobody_answers(run: Run, aws: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL_CLOUDFORMATION")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    result = run("runners", "list")
    assert result.exit_code == 1
    assert "AWS_ENDPOINT_URL" in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("runners", "detail"),
        ("runners", "details"),
        ("runners", "list", "--output", "xml"),
        ("runners", "list", "--no-such-option"),
        ("local", "run", "workflow.yml", "--report", "no/such/folder/report.json"),
        ("local", "up", "--port", "many"),
        ("local", "up", "-c", "github_repo"),
        ("local", "up", "-c", "=value"),
        ("local", "up", "--port", "65536"),
        ("local", "up", "-c", "github_api_url=http://127.0.0.1:1"),
    ],
)
def test_wrong_usage(run: Run, arguments: tuple[str, ...]) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "rror" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read"),
        ("jobs: [", "(Line: 1, Col: 8): expected the node content"),
        ("on: push", "(Line: 1, Col: 1): Required property is missing: jobs"),
        ("on: push\njobs: {}", "must contain at least one job"),
        ("just text", "Unexpected value 'just text'"),
    ],
)
def test_a_workflow_file_that_is_none(
    run: Run, tmp_path: Path, content: str | None, said: str
) -> None:
    file = tmp_path / "workflow.yml"
    if content is not None:
        file.write_text(content)
    result = run("local", "run", str(file))
    assert result.exit_code == 2
    assert said in result.stderr
    assert "workflow.yml" in result.stderr


def test_starts_without_loading_the_construct_library() -> None:
    code = (
        "import sys, cdk_runner_fleet.cli;"
        "print([m for m in ('aws_cdk', 'jsii', 'ministack', 'moto') if m in sys.modules])"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "[]"


@pytest.mark.parametrize("reference", ["fleet[bold]-1", "[/x]", "my[local]"])
def test_what_is_quoted_keeps_its_brackets(run: Run, aws: None, reference: str) -> None:
    result = run("explain", reference)
    assert result.exit_code
    assert reference in result.stderr
