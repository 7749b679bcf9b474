"""Each fleet of ``fleets.py``: its template, made once for the whole run."""

from __future__ import annotations

import functools

import aws_cdk as cdk
import pytest
from syrupy.assertion import SnapshotAssertion
from syrupy.extensions.json import JSONSnapshotExtension

from cdk_runner_fleet import RunnerFleet

from .fleets import FLEETS
from .templates import Template, template_of


@functools.cache
def made(name: str) -> RunnerFleet:
    """A fleet of ``fleets.py``, in a stack of its own."""
    return FLEETS[name](cdk.Stack(cdk.App(analytics_reporting=False), "Test"))


@pytest.fixture(scope="session")
def minimal_fleet() -> RunnerFleet:
    return made("minimal")


@pytest.fixture(scope="session")
def minimal() -> Template:
    return template_of(cdk.Stack.of(made("minimal")))


@pytest.fixture(scope="session")
def everything() -> Template:
    return template_of(cdk.Stack.of(made("everything")))


@pytest.fixture(scope="session")
def encrypted() -> Template:
    return template_of(cdk.Stack.of(made("encrypted")))


@pytest.fixture(scope="session")
def organization() -> Template:
    return template_of(cdk.Stack.of(made("organization")))


@pytest.fixture(scope="session")
def enterprise() -> Template:
    return template_of(cdk.Stack.of(made("enterprise")))


@pytest.fixture(scope="session")
def beside_ready() -> Template:
    return template_of(cdk.Stack.of(made("beside_ready")))


@pytest.fixture(scope="session")
def parameters() -> Template:
    return template_of(cdk.Stack.of(made("parameters")))


@pytest.fixture
def stack() -> cdk.Stack:
    """A stack to make a part of a fleet in, which nobody synthesizes."""
    return cdk.Stack(cdk.App(analytics_reporting=False), "Test")


@pytest.fixture
def template_snapshot(snapshot: SnapshotAssertion) -> SnapshotAssertion:
    return snapshot.use_extension(JSONSnapshotExtension)
