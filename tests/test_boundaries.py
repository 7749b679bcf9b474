"""Dependencies point one way; constructs and functions meet in lists of names alone."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

import aws_cdk as cdk
import pytest
from aws_cdk import assertions

from cdk_runner_fleet import RunnerFleet
from cdk_runner_fleet._function import METRICS_NAMESPACE
from cdk_runner_fleet.values import CAPACITY_PROVIDERS, FARGATE_MEMORY_MIB
from fleet_runtime import environment as settings
from fleet_runtime.job.catalog import CAPACITIES, FARGATE_SIZES, Catalog
from fleet_runtime.job.job import Job, JobEvent
from fleet_runtime.job.offer import execution_input

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "cdk_runner_fleet"
FUNCTIONS = ROOT / "functions"
ROOMS = [
    "api",
    "bus",
    "catalog",
    "cluster",
    "github",
    "image",
    "lifecycle",
    "reconciliation",
    "registry",
    "release",
]


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def sources(folder: Path) -> list[Path]:
    found = sorted(folder.rglob("*.py"))
    assert found, folder
    return found


# a room may use another's names of things, which are values, but it never makes another room
@pytest.mark.parametrize("room", ROOMS)
def test_rooms_know_nothing_above_them(room: str) -> None:
    above = {"fleet", "stack", "context", "cli", "local", "_nag"}
    used = {name.split(".")[1] for name in imports(PACKAGE / f"{room}.py") if _own(name)}
    assert used & above == set()


def test_only_the_lifecycle_is_built_on_other_rooms() -> None:
    for room in ROOMS:
        used = {n.split(".")[1] for n in imports(PACKAGE / f"{room}.py") if _own(n)}
        allowed = {"cluster", "registry"} if room == "lifecycle" else set()
        assert used & set(ROOMS) <= allowed, room


def _own(name: str) -> bool:
    return name.startswith("cdk_runner_fleet.")


def test_constructs_do_not_import_the_functions() -> None:
    functions = {path.stem for path in FUNCTIONS.glob("*.py")} | {"fleet_runtime"}
    for path in PACKAGE.glob("*.py"):
        assert not {name.split(".")[0] for name in imports(path)} & functions, path.name


def test_functions_do_not_import_the_constructs() -> None:
    for path in sources(FUNCTIONS):
        roots = {name.split(".")[0] for name in imports(path)}
        assert not roots & {"cdk_runner_fleet", "aws_cdk", "constructs"}, path.name


def test_the_runtime_does_not_import_the_entry_points() -> None:
    entry_points = {path.stem for path in FUNCTIONS.glob("*.py")}
    for path in sources(FUNCTIONS / "fleet_runtime"):
        assert not {name.split(".")[0] for name in imports(path)} & entry_points, path.name


def test_the_pure_modules_need_the_standard_library_alone() -> None:
    for name in (
        "job/labels",
        "job/image_reference",
        "github/message",
        "github/jobs",
        "explanation/causes",
        "explanation/explanation",
    ):
        path = FUNCTIONS / "fleet_runtime" / f"{name}.py"
        roots = {module.split(".")[0] for module in imports(path)}
        assert not roots & {"boto3", "botocore", "aws_lambda_powertools", "urllib3"}, name


def test_the_environment_is_read_in_one_place() -> None:
    for path in sources(FUNCTIONS):
        if path.name not in {"environment.py"}:
            assert "os.environ" not in path.read_text(encoding="utf-8"), path.name


def test_functions_get_the_environment_that_they_read(minimal_environment: dict[str, str]) -> None:
    text = (FUNCTIONS / "fleet_runtime" / "environment.py").read_text(encoding="utf-8")
    read = set(re.findall(r'"([A-Z][A-Z0-9_]{3,})"', text))
    lambdas_own = {name for name in read if name.startswith(("AWS_", "POWERTOOLS_", "LOG_LEVEL"))}
    assert read - lambdas_own
    assert read - lambdas_own <= set(minimal_environment)
    assert {k for k in minimal_environment if not k.startswith(("POWERTOOLS_", "LOG_"))} <= read


@pytest.fixture(scope="module")
def minimal_environment() -> dict[str, str]:
    """Every variable that the constructs give to any function."""
    stack = cdk.Stack(cdk.App(analytics_reporting=False), "Test")
    RunnerFleet(stack, "Fleet", github_repo="o/r")
    functions = assertions.Template.from_stack(stack).find_resources("AWS::Lambda::Function")
    return {
        key: function["Properties"]["Handler"]
        for function in functions.values()
        for key in function["Properties"]["Environment"]["Variables"]
    }


def test_the_execution_input_is_what_the_machine_reads() -> None:
    machine = json.loads(
        (ROOT / "statemachines" / "runner_lifecycle.asl.json").read_text(encoding="utf-8")
    )
    read = set(re.findall(r"\$states\.input\.(\w+)", json.dumps(machine["States"])))
    job = Job(
        repository="o/r",
        job_id=1,
        run_id=2,
        run_attempt=1,
        name="build",
        workflow_name="ci",
        labels=("self-hosted",),
        status="queued",
        conclusion=None,
        runner_name=None,
        created_at=1,
        started_at=None,
        completed_at=None,
        url="",
        head_sha="",
    )
    config = settings.DispatchEvent(
        runner_table="t",
        ledger_table="l",
        image_table="i",
        event_bus_name="b",
        state_machine_arn="a",
        class_sizes_param="p",
        runner_name_prefix="fleet",
        task_family="f",
        default_task_definitions={},
        default_image_base="public.ecr.aws/docker/library/ubuntu:24.04",
        runner_image_tag="default",
        image_recipe="r",
        image_capabilities=frozenset(),
        detected_capabilities=frozenset(),
        architectures=("X86_64",),
        images=settings.ImagePolicy(allowed=(), building=True),
        row_ttl_seconds=1,
        limits=settings.Limits(
            max_runners=1, max_runners_per_repository=None, daily_budget_usd=None
        ),
    )
    catalog = Catalog.parse('{"small": {"cpu": 512, "memory": 1024}}')
    written = execution_input(JobEvent.missed(job), catalog=catalog, config=config, now=1)
    assert isinstance(written, dict)
    # the line adds when a runner joined it, see starts.py
    assert set(written) == read - {"in_line_at"}


def test_metrics_of_the_fleet_are_emitted_by_its_functions() -> None:
    emitted = {
        node.args[0].value
        for path in sources(FUNCTIONS)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in ("count", "gauge")
        and isinstance(node.args[0], ast.Constant)
    }
    fleet = RunnerFleet(
        cdk.Stack(cdk.App(analytics_reporting=False), "Test"), "Fleet", github_repo="o/r"
    )
    made = [
        getattr(fleet, name)(**({"who": "token"} if name == "metric_github_quota_left" else {}))
        for name in dir(fleet)
        if name.startswith("metric_")
    ]
    named = {metric.metric_name for metric in made if metric.namespace == METRICS_NAMESPACE}
    assert len(named) > 10
    assert named <= emitted


def test_both_sides_know_the_same_fargate_sizes() -> None:
    assert {cpu: list(sizes) for cpu, sizes in FARGATE_MEMORY_MIB.items()} == {
        cpu: list(sizes) for cpu, sizes in FARGATE_SIZES.items()
    }
    assert CAPACITY_PROVIDERS == CAPACITIES


# what stands beside a fleet on this machine alone
LOCAL_COMMANDS = {"local", "run_view", "session"}


@pytest.mark.parametrize(
    "path",
    [each for each in sources(PACKAGE / "cli") if each.stem not in LOCAL_COMMANDS],
    ids=lambda path: path.stem,
)
def test_commands_on_aws_need_nothing_of_the_local_fleet(path: Path) -> None:
    used = {name for name in imports(path) if f"{name}.".startswith("cdk_runner_fleet.local.")}
    assert used == set()
