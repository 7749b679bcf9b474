"""The fleet's metrics: what the functions write has an accessor that names it, and no other has."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aws_cdk as cdk
import pytest
from aws_cdk import aws_cloudwatch as cloudwatch

from cdk_runner_fleet import GitHub, RunnerFleet
from cdk_runner_fleet._assets import FUNCTIONS
from cdk_runner_fleet._name import fleet_name
from cdk_runner_fleet.metrics import IRunnerFleet, MetricOptions
from fleet_runtime import metrics

ROOT = Path(__file__).parents[2]
ACCESSORS = sorted(name for name in dir(IRunnerFleet) if name.startswith("metric_"))
"""Of all metrics, the functions' and AWS's own."""


OF = {"conclusion": "success", "error": "Runner.BootTimeout", "who": "token"}
"""A value of each dimension that a metric has beside the fleet."""


def accessor(fleet: IRunnerFleet, name: str, **options: Any) -> cloudwatch.Metric:
    """The metric, of some value of the dimension that it has beside the fleet."""
    method = getattr(fleet, name)
    more = {
        each.name: OF[each.name]
        for each in inspect.signature(method).parameters.values()
        if each.kind is each.KEYWORD_ONLY
    }
    metric: cloudwatch.Metric = method(**more, **options)
    return metric


def written() -> Iterator[tuple[str, frozenset[str]]]:
    """Each metric that the functions' code writes, with its dimensions, where it does."""
    for path in sorted(FUNCTIONS.rglob("*.py")):
        if path.stem == "observability":  # where ``count`` is made of ``measure``
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
                continue
            given = {each.arg: each.value for each in node.keywords}
            if node.func.id == "count":
                yield ast.literal_eval(node.args[0]), frozenset({"fleet"})
            elif node.func.id in ("measure", "fields"):
                names = _keys(node.args[0])
                assert names, f"{path.name}:{node.lineno} hides what it measures"
                by = set() if "by" not in given else _keys(given["by"])
                dimensions = {metrics.METRICS[name].by for name in names} - {""}
                assert dimensions == by, f"{path.name}:{node.lineno}"
                yield from ((n, frozenset({"fleet", metrics.METRICS[n].by} - {""})) for n in names)


def _keys(node: ast.expr) -> set[str]:
    assert isinstance(node, ast.Dict), ast.unparse(node)
    return {ast.literal_eval(key) for key in node.keys if key is not None}


def test_what_the_functions_write_is_what_stands_in_the_table() -> None:
    assert {name for name, _ in written() if name} == set(metrics.METRICS)


def test_each_metric_that_is_written_has_one_accessor_that_names_it(
    minimal_fleet: RunnerFleet,
) -> None:
    found = [accessor(minimal_fleet, name) for name in ACCESSORS]
    named = [each.metric_name for each in found if each.namespace == metrics.NAMESPACE]
    assert sorted(named) == sorted(metrics.METRICS)
    assert {each.metric_name for each in found} - set(named) == {
        "ApproximateNumberOfMessagesVisible",
        "ExecutionsFailed",
        "ExecutionsStarted",
    }


@pytest.mark.parametrize("name", ACCESSORS)
def test_an_accessor_names_metric_unit_and_dimensions_as_they_are_written(
    name: str, minimal_fleet: RunnerFleet
) -> None:
    metric = accessor(minimal_fleet, name)
    if metric.namespace != metrics.NAMESPACE:
        return
    of = {
        "fleet": fleet_name(minimal_fleet.platform.cluster),
        metrics.METRICS[metric.metric_name].by: OF.get(metrics.METRICS[metric.metric_name].by, ""),
    }
    line = metrics.fields({metric.metric_name: 1}, of=of)
    [directive] = line["_aws"]["CloudWatchMetrics"]
    [said] = directive["Metrics"]
    [dimensions] = directive["Dimensions"]
    assert directive["Namespace"] == metric.namespace
    assert {each: line[each] for each in dimensions} == metric.dimensions
    assert metric.unit is not None
    assert said == {"Name": metric.metric_name, "Unit": metric.unit.value.title()}


@pytest.mark.parametrize("name", ACCESSORS)
def test_an_accessor_says_what_it_is_and_takes_what_cdks_own_take(
    name: str, minimal_fleet: RunnerFleet
) -> None:
    docs = inspect.getdoc(getattr(IRunnerFleet, name)) or ""
    assert "Default: the " in docs
    given: dict[str, Any] = {
        "account": "123456789012",
        "color": "#ff0000",
        "label": "so it is called",
        "period": cdk.Duration.minutes(1),
        "region": "eu-west-3",
        "statistic": "p90",
    }
    metric = accessor(minimal_fleet, name, **given)
    assert metric.period.to_seconds() == 60
    for option in given.keys() - {"period"}:
        assert getattr(metric, option) == given[option], option


def test_the_runbook_has_each_metric(minimal_fleet: RunnerFleet) -> None:
    rows = re.findall(
        r"^\| `(\w+)` \| `(metric_\w+)` \| (\w+) \| `?(\w*)`? \| ",
        (ROOT / "docs/runbook.md").read_text(encoding="utf-8"),
        re.MULTILINE,
    )
    named = {name: accessor(minimal_fleet, name).metric_name for name in ACCESSORS}
    assert {(named[method], unit, by) for _, method, unit, by in rows} == {
        (name, metric.unit, metric.by) for name, metric in metrics.METRICS.items()
    }
    assert all(named[method] == name for name, method, _, _ in rows)


def test_the_options_are_those_of_cdk() -> None:
    takes = set(inspect.signature(cloudwatch.MetricOptions.__init__).parameters) - {"self"}
    assert set(MetricOptions.__annotations__) == takes


def test_metrics_of_two_fleets_are_two(stack: cdk.Stack) -> None:
    both = [
        RunnerFleet(
            stack, name, github=GitHub.repository("octo-org/octo-repo"), runner_name_prefix=prefix
        )
        for name, prefix in (("One", "one"), ("Two", "two"))
    ]
    for name in ACCESSORS:
        one, two = (stack.resolve(accessor(each, name).dimensions) for each in both)
        assert one != two, name


def test_what_is_known_once_a_day_is_asked_for_once_a_day(minimal_fleet: RunnerFleet) -> None:
    left = minimal_fleet.metric_runner_version_days_left()
    assert (left.period.to_seconds(), left.statistic) == (86400, "Minimum")
    assert minimal_fleet.metric_budget_spent().statistic == "Maximum"


def test_the_quota_is_of_who_asks_github(minimal_fleet: RunnerFleet) -> None:
    with pytest.raises(ValueError, match=r"^who is 'app-99', and token asks GitHub here: name one"):
        minimal_fleet.metric_github_quota_left(who="app-99")


def test_a_conclusion_is_one_that_is_counted(minimal_fleet: RunnerFleet) -> None:
    with pytest.raises(ValueError, match=r"^conclusion 'succes' is not counted, use one of"):
        minimal_fleet.metric_jobs_ended(conclusion="succes")  # type: ignore[arg-type]
