"""What `import cdk_runner_fleet` offers, and what it costs."""

from __future__ import annotations

import inspect
import pydoc
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from typing import get_args

import pytest

import cdk_runner_fleet

LISTS = {
    "Architecture": ("X86_64", "ARM64"),
    "CapacityProvider": ("FARGATE", "FARGATE_SPOT"),
    "ImageVariant": ("base", "python", "node", "full"),
    "JobConclusion": ("success", "failure", "cancelled", "timed_out", "skipped", "other"),
    "RegisterFor": ("repository",),
}


FLEET = (
    "github",
    "classes",
    "image",
    "images",
    "vpc",
    "vpc_subnets",
    "security_groups",
    "assign_public_ip",
    "cluster",
    "execution_role",
    "event_bus",
    "encryption_key",
    "log_retention",
    "limits",
    "timeouts",
    "webhook",
    "reconciliation",
    "functions",
    "runner_name_prefix",
)
"""All that a fleet is told; what else comes to mind belongs into one of its values."""


def test_a_fleet_is_told_no_more_than_this_and_says_of_each_what_it_is() -> None:
    fleet = cdk_runner_fleet.RunnerFleet
    told = list(inspect.signature(fleet.__init__).parameters)
    assert set(told) - {"self", "scope", "construct_id"} <= set(FLEET)
    described = re.findall(r"^    (\w+): ", inspect.getdoc(fleet) or "", re.M)
    assert {*told} - {"self"} <= {*described}
    shown = pydoc.plain(pydoc.render_doc(fleet))
    for name in told[3:]:
        assert f"{name}: " in shown, name


def test_all_is_sorted_and_complete() -> None:
    names = cdk_runner_fleet.__all__
    assert names == sorted(names)
    for name in names:
        offered = getattr(cdk_runner_fleet, name)
        if name in LISTS:
            assert get_args(offered) == LISTS[name]
        else:
            assert offered.__name__ == name


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="RunnerFlett"):
        cdk_runner_fleet.RunnerFlett  # type: ignore[attr-defined]  # noqa: B018


def test_importing_the_package_or_its_command_line_does_not_load_aws_cdk() -> None:
    code = "import sys, cdk_runner_fleet, cdk_runner_fleet.cli; sys.exit('aws_cdk' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_importing_a_fleet_loads_of_aws_cdk_what_its_classes_are_made_of() -> None:
    """The rest is loaded with the rooms, when a fleet is made, and nothing is asked of Node yet."""
    code = """
import sys
from aws_cdk import aws_ec2, aws_iam, aws_kms, aws_logs
before = set(sys.modules)
from cdk_runner_fleet import GitHub, RunnerClass, RunnerFleet, RunnerImage, RunnerPlatform
more = sorted(set(sys.modules) - before)
print([name for name in more if name.startswith("aws_cdk.") or ".rooms." in name])
print("typeguard" in sys.modules)  # which jsii loads when it is first called
"""
    more = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert more.stdout == "[]\nFalse\n"


def test_dir_and_help_show_what_there_is() -> None:
    public = [name for name in dir(cdk_runner_fleet) if not name.startswith("_")]
    assert public == sorted(cdk_runner_fleet.__all__)
    shown = pydoc.plain(pydoc.render_doc(cdk_runner_fleet))
    for name in cdk_runner_fleet.__all__:
        assert (f"\n    {name} = " if name in LISTS else f"class {name}(") in shown, name
    assert "github: What to serve at GitHub" in shown


MADE_FOR_USERS = (cdk_runner_fleet.GitHub, cdk_runner_fleet.ClassRunners)
"""What is made by ``GitHub.repository`` and its like, and by ``fleet.runner_class``."""


def told_of(offered: type) -> Iterator[str]:
    """The annotations that a user reads of a class: of its constructor, methods and properties."""
    for name, member in inspect.getmembers_static(offered):
        said = member.fget if isinstance(member, property) else getattr(member, "__func__", member)
        if name == "__init__" and offered in MADE_FOR_USERS:
            continue
        if (name == "__init__" or not name.startswith("_")) and inspect.isfunction(said):
            yield from map(str, inspect.get_annotations(said).values())


def test_whatever_a_public_name_takes_or_gives_is_public_too() -> None:
    homes = {import_module(home) for home in cdk_runner_fleet._HOMES.values()}
    ours = {
        name
        for home in homes
        for name, one in vars(home).items()
        if getattr(one, "__module__", "").startswith("cdk_runner_fleet")
    }
    missing = {
        (offered, word)
        for offered in cdk_runner_fleet.__all__
        if offered not in LISTS
        for told in told_of(getattr(cdk_runner_fleet, offered))
        for word in re.findall(r"\w+", told)
        if word in ours and word not in cdk_runner_fleet.__all__
    }
    assert not missing


def test_what_a_metric_is_stands_in_its_own_words() -> None:
    for name, accessor in inspect.getmembers_static(cdk_runner_fleet.IRunnerFleet):
        if name.startswith("metric_"):
            summary = (inspect.getdoc(accessor) or "").split(". ")[0]
            assert not re.search(r"\bfrom then\b|\bof it\b|^As\b", summary), (name, summary)


@pytest.mark.parametrize(
    ("method", "made"),
    [
        ("add_alarms", cdk_runner_fleet.FleetAlarms),
        ("add_dashboard", cdk_runner_fleet.FleetDashboard),
        ("add_log_queries", cdk_runner_fleet.FleetLogQueries),
    ],
)
def test_what_a_fleet_adds_is_told_all_that_it_can_be_told(method: str, made: type) -> None:
    parameters = inspect.signature(made.__init__).parameters.keys()  # type: ignore[misc]
    adding = inspect.signature(getattr(cdk_runner_fleet.RunnerFleet, method)).parameters.keys()
    assert adding == parameters - {"scope", "construct_id", "fleet"}
