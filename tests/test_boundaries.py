"""Dependencies point one way; constructs and functions meet in lists of names alone."""

from __future__ import annotations

import ast
import dataclasses
import importlib.util
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any, get_args, get_type_hints

import aws_cdk as cdk
import pytest
from aws_cdk import assertions

from cdk_runner_fleet import GitHub, RunnerFleet
from cdk_runner_fleet.rooms import registry
from cdk_runner_fleet.values.runner_class import CAPACITY_PROVIDERS, FARGATE_MEMORY_MIB
from fleet_runtime import environment, observability
from fleet_runtime.admission.turns_entry import SETTLED_SECONDS
from fleet_runtime.job.catalog import CAPACITIES, FARGATE_SIZES, Catalog
from fleet_runtime.job.fleet_images import FleetImages
from fleet_runtime.job.image_policy import ImagePolicy
from fleet_runtime.job.job import Job, JobEvent
from fleet_runtime.job.label_rules import LabelRules
from fleet_runtime.job.offer import Offer, execution_input
from fleet_runtime.job.runner_scope import RunnerScopes
from fleet_runtime.job.scope import Scope
from fleet_runtime.runner.rows import Waiting

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "cdk_runner_fleet"
FUNCTIONS = ROOT / "functions"

CONSTRUCTS: Mapping[str, AbstractSet[str]] = {
    "_assets": set(),
    "_terminal": set(),
    "history": set(),
    "_runtime": {"_assets"},
    "runner_name": {"_runtime"},
    "_nag": set(),
    "_at_rest": set(),
    "_later": set(),
    "_name": set(),
    "_place": set(),
    "_role": {"_nag"},
    # what the constructs are told
    "values.ecr": set(),
    "values.image_reference": {"_runtime"},
    "values.types": set(),
    "values.functions": {"values.types"},
    "values.labels": {"values.types"},
    "values.github": {"values.labels", "values.types"},
    "values.limits": {"values.types"},
    "values.runner_image": {"values.ecr", "values.image_reference", "values.types"},
    "values.timeouts": {"values.types"},
    "values.mounts": {"values.types"},
    "values.runner_class": {
        "values.labels",
        "values.limits",
        "values.mounts",
        "values.runner_image",
        "values.timeouts",
        "values.types",
    },
    "values.fleet_images": {"values.runner_class", "values.runner_image"},
    "values.reconciliation": {"values.timeouts", "values.types"},
    "values.webhook": {"values.github", "values.types"},
    "_function": {"_assets", "_at_rest", "_nag", "_name", "_role", "values.functions"},
    # what is there
    "rooms.launch_failures": set(),
    "rooms.registry": {"_at_rest"},
    "rooms.catalog": {"_function", "values.labels", "values.runner_class"},
    "rooms.api": {"_function", "_at_rest", "_nag"},
    "rooms.bus": {"_at_rest", "_function", "_nag", "_name", "_place"},
    "rooms.connection": {"_at_rest", "_nag", "_place", "values.github"},
    "rooms.functions": {"values.functions"},
    "rooms.network": {"_nag"},
    "rooms.recipe": {"_assets", "values.runner_image"},
    "rooms.image_pipeline": {
        "_at_rest",
        "_nag",
        "rooms.recipe",
        "values.ecr",
        "values.fleet_images",
        "values.runner_image",
    },
    "rooms.task_definitions": {"_nag", "_name", "rooms.image_pipeline", "values.mounts"},
    "rooms.cluster": {
        "_at_rest",
        "_nag",
        "_name",
        "_place",
        "_role",
        "rooms.image_pipeline",
        "rooms.task_definitions",
        "values.mounts",
        "values.runner_class",
    },
    # who acts
    "rooms.registration": {
        "_at_rest",
        "_function",
        "_later",
        "rooms.api",
        "rooms.cluster",
        "rooms.connection",
        "rooms.registry",
        "values.functions",
    },
    "rooms.explanation": {
        "_at_rest",
        "_function",
        "rooms.bus",
        "rooms.catalog",
        "rooms.connection",
        "rooms.registry",
        "values.functions",
        "values.limits",
    },
    "rooms.images": {
        "_at_rest",
        "_function",
        "rooms.bus",
        "rooms.cluster",
        "rooms.connection",
        "rooms.image_pipeline",
        "rooms.recipe",
        "rooms.registry",
        "values.functions",
        "values.timeouts",
    },
    "rooms.lifecycle": {
        "_assets",
        "_function",
        "_at_rest",
        "_later",
        "_nag",
        "_role",
        "rooms.api",
        "rooms.bus",
        "rooms.cluster",
        "rooms.images",
        "rooms.launch_failures",
        "rooms.network",
        "rooms.registration",
        "rooms.registry",
        "values.functions",
        "values.timeouts",
    },
    "rooms.admission": {
        "_function",
        "rooms.bus",
        "rooms.catalog",
        "rooms.images",
        "rooms.lifecycle",
        "rooms.registry",
        "values.limits",
    },
    "rooms.classes": {
        "_nag",
        "_place",
        "_role",
        "rooms.cluster",
        "rooms.lifecycle",
        "rooms.network",
        "rooms.registration",
        "values.mounts",
        "values.runner_class",
    },
    "rooms.intake": {
        "_at_rest",
        "_function",
        "_nag",
        "_place",
        "rooms.api",
        "rooms.bus",
        "values.functions",
        "values.github",
        "values.webhook",
    },
    "rooms.dispatch": {
        "_at_rest",
        "_function",
        "rooms.admission",
        "rooms.bus",
        "rooms.cluster",
        "rooms.connection",
        "rooms.lifecycle",
        "values.functions",
    },
    "rooms.reconciliation": {
        "_at_rest",
        "_function",
        "rooms.admission",
        "rooms.bus",
        "rooms.cluster",
        "rooms.connection",
        "rooms.dispatch",
        "rooms.lifecycle",
        "values.functions",
        "values.reconciliation",
        "values.timeouts",
    },
    # what is composed of them
    "metrics": {"_runtime", "values.types"},
    "imported": {"_place", "metrics", "values.types"},
    "alarms": {"metrics", "values.types"},
    "log_queries": {"metrics", "values.types"},
    "dashboard": {"alarms", "log_queries", "metrics", "values.types"},
    "platform": {
        "_at_rest",
        "_name",
        "metrics",
        "rooms.admission",
        "rooms.api",
        "rooms.bus",
        "rooms.catalog",
        "rooms.classes",
        "rooms.cluster",
        "rooms.connection",
        "rooms.functions",
        "rooms.image_pipeline",
        "rooms.images",
        "rooms.lifecycle",
        "rooms.network",
        "rooms.registration",
        "rooms.registry",
        "values.fleet_images",
        "values.functions",
        "values.github",
        "values.limits",
        "values.runner_class",
        "values.runner_image",
        "values.timeouts",
        "values.types",
    },
    "fleet": {
        "_name",
        "alarms",
        "dashboard",
        "log_queries",
        "imported",
        "metrics",
        "platform",
        "rooms.classes",
        "rooms.dispatch",
        "rooms.explanation",
        "rooms.intake",
        "rooms.reconciliation",
        "values.functions",
        "values.github",
        "values.limits",
        "values.reconciliation",
        "values.runner_class",
        "values.runner_image",
        "values.timeouts",
        "values.types",
        "values.webhook",
    },
    "context": {
        "fleet",
        "rooms.network",
        "values.functions",
        "values.github",
        "values.limits",
        "values.reconciliation",
        "values.runner_class",
        "values.runner_image",
        "values.timeouts",
        "values.webhook",
    },
    "stack": {"context", "fleet", "values.types"},
}
"""Each module of the constructs and what it imports of the others, all of which stand above it."""

MAKERS: Mapping[str, AbstractSet[str]] = {
    "platform": {"*"},
    "fleet": {"*"},
    "rooms.classes": {"ClassRunners"},
}
"""Who makes rooms. A room is handed others, whose tables, URLs and grants it uses."""


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Attribute) and ast.unparse(node.value) == "rooms":
            yield f"cdk_runner_fleet.rooms.{node.attr}"  # loaded when it is used


def sources(folder: Path) -> list[Path]:
    found = sorted(folder.rglob("*.py"))
    assert found, folder
    return found


def _module(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


def construct_files() -> dict[str, Path]:
    files = [*PACKAGE.glob("*.py"), *PACKAGE.glob("values/*.py"), *PACKAGE.glob("rooms/*.py")]
    return {_module(path): path for path in files if path.name != "__init__.py"}


def test_every_module_of_the_constructs_has_its_place() -> None:
    assert set(construct_files()) == set(CONSTRUCTS)


@pytest.mark.parametrize("module", CONSTRUCTS)
def test_a_module_of_the_constructs_imports_what_its_place_allows(module: str) -> None:
    own = "cdk_runner_fleet."
    used = [n.removeprefix(own) for n in imports(construct_files()[module]) if n.startswith(own)]
    # each name is a module or in one; what is in none, such as the command line, is its own
    homes = {next((m for m in CONSTRUCTS if f"{name}.".startswith(f"{m}.")), name) for name in used}
    assert homes == CONSTRUCTS[module] | (homes & {"rooms", "values"})


def test_the_constructs_are_imported_in_one_order() -> None:
    places = {module: place for place, module in enumerate(CONSTRUCTS)}
    for module, allowed in CONSTRUCTS.items():
        assert {name for name in allowed if places[name] >= places[module]} == set(), module


def test_only_the_fleet_makes_rooms() -> None:
    trees = {
        module: ast.parse(path.read_text(encoding="utf-8"))
        for module, path in construct_files().items()
    }
    rooms = {
        node.name
        for module, tree in trees.items()
        for node in ast.walk(tree)
        if module.startswith("rooms.")
        and isinstance(node, ast.ClassDef)
        and "Construct" in [base.id for base in node.bases if isinstance(base, ast.Name)]
    }
    assert len(rooms) > 10
    for module, tree in trees.items():
        made = {
            ast.unparse(node.func).rpartition(".")[2]
            for node in ast.walk(tree)
            if isinstance(node, ast.Call)
        }
        allowed = MAKERS.get(module, set())
        assert allowed == {"*"} or made & rooms <= allowed, module


def test_types_are_checked_of_each_service_that_is_imported() -> None:
    """The others are skipped, and a name of theirs would be Any."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mypy"]["overrides"]
    followed = (one["module"] for one in settings if one.get("follow_imports") == "normal")
    checked = {name for names in followed for name in names}
    paths = (*sources(PACKAGE), ROOT / "app.py")
    imported = {
        ".".join(name.split(".")[:2])
        for path in paths
        for name in imports(path)
        if name.startswith("aws_cdk.aws_")
    }
    assert {name for name in checked if name.startswith("aws_cdk.aws_")} == imported
    interfaces = {name.replace("aws_cdk.", "aws_cdk.interfaces.") for name in imported}
    there = {name for name in interfaces if importlib.util.find_spec(name)}
    assert {name for name in checked if name.startswith("aws_cdk.interfaces.")} == there
    # cdk.aws_sns would be there without an import of its own
    assert not [path for path in paths if re.search(r"\b(?:cdk|aws_cdk)\.aws_\w", path.read_text())]


def test_constructs_do_not_import_the_functions() -> None:
    functions = {path.stem for path in FUNCTIONS.glob("*.py")} | {"fleet_runtime"}
    for module, path in construct_files().items():
        assert not {name.split(".")[0] for name in imports(path)} & functions, module


def test_functions_do_not_import_the_constructs() -> None:
    for path in sources(FUNCTIONS):
        roots = {name.split(".")[0] for name in imports(path)}
        assert not roots & {"cdk_runner_fleet", "aws_cdk", "constructs"}, path.name


RUNTIME = FUNCTIONS / "fleet_runtime"
_FLOORS: list[set[str]] = [
    {"environment", "metrics"},
    {"aws"},
    {"observability"},
    {"job"},
    {"github"},
    {"runner"},
    {"admission", "images", "explanation"},
    {"dispatch"},
    {"reconciliation"},
]
"""The runtime's rooms from the bottom up: a room may import from those below its own floor."""
MAY_IMPORT = {
    room: set[str]().union(*_FLOORS[:floor])
    for floor, rooms in enumerate(_FLOORS)
    for room in rooms
}
"""ROOM -> may import. What is less than all below stands here:"""
MAY_IMPORT["aws"] = set()
MAY_IMPORT["job"] = set()


def _room(path: Path) -> str:
    return path.relative_to(RUNTIME).parts[0].removesuffix(".py")


def _rooms_used(path: Path) -> set[str]:
    used = {name.split(".")[1] for name in imports(path) if name.startswith("fleet_runtime.")}
    return used - {_room(path)}


def test_every_room_of_the_runtime_stands_in_the_table() -> None:
    rooms = {_room(path) for path in sources(RUNTIME)} - {"__init__"}
    assert rooms == set(MAY_IMPORT)


@pytest.mark.parametrize("room", sorted(MAY_IMPORT))
def test_rooms_of_the_runtime_import_one_way(room: str) -> None:
    for path in sources(RUNTIME):
        if _room(path) == room:
            assert _rooms_used(path) <= MAY_IMPORT[room], path.relative_to(RUNTIME)


def test_importing_a_room_imports_nothing() -> None:
    for path in RUNTIME.glob("*/__init__.py"):
        assert not path.read_text(encoding="utf-8"), path


def test_entry_points_read_their_event_and_make_one_call() -> None:
    for path in FUNCTIONS.glob("*.py"):
        lines = path.read_text(encoding="utf-8").splitlines()
        assert len(lines) <= 60, f"{path.name} has {len(lines)} lines: what it does is a room's"


def test_the_runtime_does_not_import_the_entry_points() -> None:
    entry_points = {path.stem for path in FUNCTIONS.glob("*.py")}
    for path in sources(FUNCTIONS):
        assert not {name.split(".")[0] for name in imports(path)} & entry_points, path.name


def test_the_pure_modules_need_the_standard_library_alone() -> None:
    resources = ["message", "jobs", "runners", "hooks", "checks"]
    others = ["job/runner_name", "admission/line", "explanation/causes", "explanation/explanation"]
    for name in ["job", *(f"github/{resource}" for resource in resources), *others]:
        path = RUNTIME / name
        for module in sources(path) if path.is_dir() else [path.with_suffix(".py")]:
            roots = {each.split(".")[0] for each in imports(module)}
            impure = {"boto3", "botocore", "aws_lambda_powertools", "urllib3", "http", "socket"}
            assert not roots & impure, module


def _needed(name: str) -> set[str]:
    """The packages that a file of the runtime and those that it imports of it need."""
    needed: set[str] = set()
    for each in imports(RUNTIME / f"{name}.py"):
        other = each.removeprefix("fleet_runtime.").replace(".", "/")
        if each == other.replace("/", "."):
            needed.add(each.split(".")[0])
        elif (RUNTIME / f"{other}.py").exists():
            needed |= _needed(other)
    return needed


def test_what_the_package_runs_of_the_functions_needs_the_standard_library_alone() -> None:
    """It is run where it lies, on a machine with none of what the functions have in Lambda."""
    named = re.compile(r'runtime\("([a-z_/]+)"\)')
    names = {name for path in sources(PACKAGE) for name in named.findall(path.read_text())}
    assert {"job/runner_name", "job/image_reference"} <= names
    for name in names:
        assert _needed(name) <= sys.stdlib_module_names, name
    script = f"""
import sys
from cdk_runner_fleet._runtime import runtime
before = list(sys.path)
assert all(map(runtime, {sorted(names)}))
assert sys.path == before
"""
    # alone: these tests have the functions on their path
    subprocess.run([sys.executable, "-P", "-c", script], cwd=ROOT, check=True, timeout=60)


def test_the_environment_is_read_in_one_place() -> None:
    for path in sources(FUNCTIONS):
        if path != RUNTIME / "environment.py":
            assert "os.environ" not in path.read_text(encoding="utf-8"), path.name


def _variables(settings: type) -> set[str]:
    """The environment variables that settings are filled from."""
    found: set[str] = set()
    for name, kind in get_type_hints(settings).items():
        group = _group(kind)
        found |= _variables(group) if group else {name.upper()}
    return found


def _group(kind: Any) -> type | None:
    """The settings that a field stands for, which may be None."""
    each = [one for one in get_args(kind) or (kind,) if one is not type(None)]
    return each[0] if len(each) == 1 and environment.is_group(each[0]) else None


def test_functions_get_the_environment_that_they_read(
    environments: dict[str, dict[str, str]],
) -> None:
    for name, given in environments.items():
        settings = importlib.import_module(name).Settings
        read = {key for key in _variables(settings) if not key.startswith("AWS_")}
        observed = _variables(observability.Telemetry) | {"LOG_LEVEL"}
        assert set(given) - observed <= read, name
        optional = {key for key in read if hasattr(settings, key.lower())}
        missing = read - set(given) - optional
        # what has a default in a group of settings may be missing too
        assert all(_has_default(settings, key.lower()) for key in missing), (name, missing)


def _has_default(settings: type, name: str) -> bool:
    return hasattr(settings, name) or any(
        _has_default(group, name)
        for kind in get_type_hints(settings).values()
        if (group := _group(kind))
    )


@pytest.fixture(scope="module")
def fleet() -> RunnerFleet:
    app = cdk.App(analytics_reporting=False, builtin_cloud_formation_validation=False)
    stack = cdk.Stack(app, "Test")
    return RunnerFleet(stack, "Fleet", github=GitHub.repository("o/r"))


@pytest.fixture(scope="module")
def environments(fleet: RunnerFleet) -> dict[str, dict[str, str]]:
    """What the constructs give to each function, by the name of its module."""
    template = assertions.Template.from_stack(cdk.Stack.of(fleet))
    functions = template.find_resources("AWS::Lambda::Function")
    return {
        function["Properties"]["Handler"].removesuffix(".handler"): function["Properties"][
            "Environment"
        ]["Variables"]
        for function in functions.values()
        if function["Properties"]["Runtime"].startswith("python")
    }


def test_a_move_of_a_turn_is_settled_when_no_function_can_be_at_it(fleet: RunnerFleet) -> None:
    template = assertions.Template.from_stack(cdk.Stack.of(fleet))
    properties = [
        one["Properties"] for one in template.find_resources("AWS::Lambda::Function").values()
    ]
    lives = {
        one["Handler"]: one["Timeout"]
        for one in properties
        # who asks only why others wait has limits too
        if {"MAX_RUNNERS", "STATE_MACHINE_ARN"} <= set(one["Environment"]["Variables"])
    }
    assert set(lives) == {"dispatch_event.handler", "reconcile_demand.handler"}
    # the clocks of two may differ by seconds
    assert max(lives.values()) + 60 <= SETTLED_SECONDS


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
        github_runner_id=None,
        created_at=1,
        started_at=None,
        completed_at=None,
        url="",
        head_sha="",
    )
    offer = Offer(
        runner_name_prefix="fleet",
        task_family="f",
        images=FleetImages.parse('[{"name": "default", "base": "a.b/c:1", "recipe": "r"}]'),
        image_recipe="r",
        architectures=("X86_64",),
        policy=ImagePolicy(allowed_images=(), image_building=True),
        scopes=RunnerScopes(github_scope=Scope.parse("repos/o/r")),
        label_rules=LabelRules(),
    )
    catalog = Catalog.parse('{"small": {"cpu": 512, "memory": 1024}}')
    written = execution_input(
        JobEvent.missed(job), runner_id="r", catalog=catalog, offer=offer, now=1
    )
    assert isinstance(written, dict)
    # the line adds when a runner joined it, see starts.py
    assert set(written) == read - {"in_line_at"}


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


def test_no_file_of_the_local_fleet_needs_itself() -> None:
    files = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for path in sources(PACKAGE / "local")
    }
    # imports for the sake of a type count too: they are a circle to whoever reads
    needs = {
        name: {other for other in _imports_of(path, name) if other in files and other != name}
        for name, path in files.items()
    }
    assert len(needs) > 40
    while free := {name for name, needed in needs.items() if not needed & needs.keys()}:
        for name in free:
            del needs[name]
    assert needs == {}


def _imports_of(path: Path, module: str) -> Iterator[str]:
    package = module if path.stem == "__init__" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            yield from (f"{package}.{node.module or alias.name}" for alias in node.names)
    yield from imports(path)


def test_an_index_has_what_is_read_of_it_and_no_more() -> None:
    fields = {field.name for field in dataclasses.fields(Waiting)}
    assert fields == {"runner_id", "place", *registry.LINE_ATTRIBUTES}
