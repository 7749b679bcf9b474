"""A deployed fleet in moto, and the command line over it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import parse_qs, unquote

import boto3
import pytest
from moto import mock_aws

from cdk_runner_fleet.cli import main
from tests.fleet_tables import make_tables

REGION = "eu-west-1"
CLASSES = {
    "small": {"cpu": 512, "memory": 1024},
    "gpu-less": {
        "cpu": 1024,
        "memory": 2048,
        "labels": ["arm"],
        "capacity": ["FARGATE_SPOT"],
        "max_runners": 4,
    },
}


@dataclass(frozen=True)
class Result:
    exit_code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        return json.loads(self.stdout)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    def call(*arguments: str) -> Result:
        capsys.readouterr()
        with pytest.raises(SystemExit) as exit_:
            main(arguments)
        captured = capsys.readouterr()
        return Result(int(exit_.value.code or 0), captured.out, captured.err)

    return call


class CloudFormation(BaseHTTPRequestHandler):
    """DescribeStacks over the stacks that a test has deployed; moto's needs packages of its own."""

    stacks: ClassVar[dict[str, dict[str, str]]] = {}
    statuses: ClassVar[dict[str, str]] = {}
    asked: ClassVar[list[str]] = []

    def do_POST(self) -> None:
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        assert form["Action"] == ["DescribeStacks"]
        name = form["StackName"][0]
        self.asked.append(name)
        if name in self.stacks:
            outputs = "".join(
                f"<member><OutputKey>{key}</OutputKey><OutputValue>{value}</OutputValue></member>"
                for key, value in self.stacks[name].items()
            )
            status = 200
            body = (
                "<DescribeStacksResponse><DescribeStacksResult><Stacks><member>"
                f"<StackName>{name}</StackName><Outputs>{outputs}</Outputs>"
                f"<StackStatus>{self.statuses.get(name, 'CREATE_COMPLETE')}</StackStatus>"
                "</member></Stacks></DescribeStacksResult></DescribeStacksResponse>"
            )
        else:
            status = 400
            body = (
                "<ErrorResponse><Error><Type>Sender</Type><Code>ValidationError</Code>"
                f"<Message>Stack with id {name} does not exist</Message></Error></ErrorResponse>"
            )
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, format: str, *args: object) -> None:
        pass


@dataclass
class Lambda:
    """Invoke, answered by `answer` from the function's name and payload; what was asked is kept."""

    answer: Callable[[str, Any], tuple[int, dict[str, str], Any]]
    calls: list[tuple[str, str, Any]] = field(default_factory=list)


@pytest.fixture
def functions(monkeypatch: pytest.MonkeyPatch) -> Iterator[Lambda]:
    lambdas = Lambda(answer=lambda name, payload: (200, {}, {"error": "GitHub answered 404"}))

    class Invoke(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            payload = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            name = unquote(self.path).split("/")[3]
            kind = self.headers.get("X-Amz-Invocation-Type", "RequestResponse")
            lambdas.calls.append((name, kind, payload))
            status, headers, document = lambdas.answer(name, payload)
            body = json.dumps(document).encode()
            self.send_response(status)
            for key, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(key, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Invoke) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        monkeypatch.setenv("AWS_ENDPOINT_URL_LAMBDA", f"http://127.0.0.1:{server.server_port}")
        yield lambdas
        server.shutdown()


@pytest.fixture(scope="session")
def cloudformation_url() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), CloudFormation) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch, cloudformation_url: str) -> Iterator[None]:
    for name in ("RUNNER_TABLE", "RUNNER_STATE_TABLE", "CLASS_SIZES_PARAMS", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL_CLOUDFORMATION", cloudformation_url)
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    CloudFormation.stacks.clear()
    CloudFormation.asked.clear()
    with mock_aws():
        yield


def deploy(stack: str, *, outputs: bool = True) -> None:
    """A stack with the parts that the commands look at, and their names as outputs."""
    make_tables(boto3.client("dynamodb"), prefix=f"{stack}-")
    boto3.client("ssm").put_parameter(
        Name=f"{stack}-classes", Type="String", Value=json.dumps(CLASSES)
    )
    boto3.client("ecs").create_cluster(clusterName=f"{stack}-cluster")
    names = {
        "RunnerTableName": f"{stack}-runners",
        "ClassSizesParameterNames": f"{stack}-classes",
        "ClusterName": f"{stack}-cluster",
        "RunnerNamePrefix": "fleet",
        "LedgerTableName": f"{stack}-ledger",
        "MaxRunners": "100",
        "ImageTableName": f"{stack}-images",
        "ExplainJobFunctionName": f"{stack}-explain-job",
    }
    CloudFormation.stacks[stack] = names if outputs else {}


@pytest.fixture
def fleet(aws: None) -> str:
    deploy("RunnerFleet")
    return "RunnerFleet"


@cache
def _dynamodb() -> Any:
    """One for all tests: making it takes longer than asking it."""
    return boto3.resource("dynamodb")


def put_runner(runner_id: str, *, stack: str = "RunnerFleet", **attributes: object) -> None:
    """Put a runner's row, and what is known of its heartbeats beside it."""
    table = _dynamodb().Table(f"{stack}-runners")
    heard = {
        name: attributes.pop(name) for name in ("last_heartbeat", "load") if name in attributes
    }
    if heard:
        table.put_item(Item={"runner_id": f"heartbeat/{runner_id}"} | heard)
    item = {"runner_id": runner_id, "status": "RUNNING", "timestamp": 1_700_000_000} | attributes
    table.put_item(Item=item)


def get_runner(runner_id: str, *, stack: str = "RunnerFleet") -> dict[str, Any]:
    answer = _dynamodb().Table(f"{stack}-runners").get_item(Key={"runner_id": runner_id})
    return dict(answer["Item"])
