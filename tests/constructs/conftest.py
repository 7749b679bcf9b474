"""Each fleet of ``fleets.py``: its template, made once for the whole run."""

from __future__ import annotations

import aws_cdk as cdk
import pytest
from syrupy.assertion import SnapshotAssertion
from syrupy.extensions.json import JSONSnapshotExtension

from cdk_runner_fleet import RunnerFleet

from . import fleets
from .templates import Template, synthesize, template_of


@pytest.fixture(scope="session")
def minimal_fleet() -> RunnerFleet:
    return fleets.minimal(cdk.Stack(cdk.App(analytics_reporting=False), "Test"))


@pytest.fixture(scope="session")
def minimal(minimal_fleet: RunnerFleet) -> Template:
    return template_of(cdk.Stack.of(minimal_fleet))


@pytest.fixture(scope="session")
def everything() -> Template:
    return synthesize(fleets.everything)


@pytest.fixture(scope="session")
def encrypted() -> Template:
    return synthesize(fleets.encrypted)


@pytest.fixture(scope="session")
def organization() -> Template:
    return synthesize(fleets.organization)


@pytest.fixture(scope="session")
def enterprise() -> Template:
    return synthesize(fleets.enterprise)


@pytest.fixture(scope="session")
def beside_ready() -> Template:
    return synthesize(fleets.beside_ready)


@pytest.fixture(scope="session")
def parameters() -> Template:
    return synthesize(fleets.parameters)


@pytest.fixture
def stack() -> cdk.Stack:
    """A stack to make a part of a fleet in, which nobody synthesizes."""
    return cdk.Stack(cdk.App(analytics_reporting=False), "Test")


@pytest.fixture
def template_snapshot(snapshot: SnapshotAssertion) -> SnapshotAssertion:
    return snapshot.use_extension(JSONSnapshotExtension)
