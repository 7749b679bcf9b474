"""The saved queries: what they ask for is what the functions say."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import aws_cdk as cdk
import pytest

from cdk_runner_fleet import FleetLogQueries
from cdk_runner_fleet._assets import FUNCTIONS
from cdk_runner_fleet.log_queries import OF_FUNCTIONS, OF_LIFECYCLE
from fleet_runtime.metrics import METRICS

from .templates import Template, environment, of_type
from .test_alarms import Known

LOGGED = {"@timestamp", "level", "service", "message"}
"""What every line has: tests/functions/test_observability.py reads some."""
STEP_FUNCTIONS = {"id", "type", "details.name", "execution_arn", "event_timestamp"}
"""Step Functions Developer Guide, "Logging in CloudWatch Logs": an event's members."""
_WORDS = {
    *("fields", "filter", "stats", "sort", "limit", "by", "as", "and", "or", "like", "in", "asc"),
    *("desc", "count", "sum", "pct", "latest"),
}


def fields(query: str) -> set[str]:
    """The fields that a query names: all words but its own, and what it makes itself."""
    text = re.sub(r'"[^"]*"|(?<=like )/[^/]*/', "", query)
    made = set(re.findall(r" as (\w+)", text))
    return set(re.findall(r"@?[A-Za-z_][\w.]*", text)) - _WORDS - made


def messages(query: str) -> set[str]:
    """The messages that a query is about."""
    found = re.search(r'message (?:= |in \[)((?:"[^"]+"(?:,\s+)?)+)', query)
    return set(re.findall(r'"([^"]+)"', found[1])) if found else set()


def said() -> Iterator[tuple[str, set[str]]]:
    """Each message that the functions' code logs, with what it says besides."""
    for path in FUNCTIONS.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            given = {each.arg: each.value for each in node.keywords if each.arg}
            if isinstance(node.func, ast.Attribute) and ast.unparse(node.func.value) == "logger":
                if node.args and isinstance(node.args[0], ast.Constant):
                    yield node.args[0].value, set(given)
            elif ast.unparse(node.func) == "measure" and "message" in given:
                measured = node.args[0]
                assert isinstance(measured, ast.Dict)
                names = {ast.literal_eval(key) for key in measured.keys if key}
                by = {METRICS[name].by for name in names} - {""}
                yield ast.literal_eval(given["message"]), set(given) - {"by"} | names | by


SAID: dict[str, set[str]] = {}
for _message, _fields in said():
    SAID[_message] = SAID.get(_message, set()) | _fields
WEBHOOK = {"status", "answer", "delivery", "error"}
"""What ``receive_webhook`` says; tests/functions/test_receive_webhook.py reads its lines."""


@pytest.mark.parametrize("title", OF_FUNCTIONS)
def test_a_query_asks_for_what_is_logged(title: str) -> None:
    query = OF_FUNCTIONS[title]
    wanted = messages(query)
    assert wanted <= set(SAID), title
    if "receive_webhook" in query:
        assert fields(query) <= LOGGED | WEBHOOK
        return
    if wanted:
        every = [SAID[message] | LOGGED for message in wanted]
        assert fields(query) <= set().union(*every), title
        # what is counted or shown of several messages is in each of them
        assert fields(query) - {"image_tag", "log_url"} <= set.intersection(*every), title
    else:
        assert fields(query) <= set().union(*SAID.values(), LOGGED, WEBHOOK), title


def test_a_query_of_the_executions_asks_for_what_step_functions_logs() -> None:
    for query in OF_LIFECYCLE.values():
        assert fields(query) <= STEP_FUNCTIONS


def test_they_are_saved_under_the_fleets_name(everything: Template) -> None:
    fleet = environment(everything, "dispatch_event")["FLEET_NAME"]
    saved = {each["Name"]: each for each in of_type(everything, "AWS::Logs::QueryDefinition")}
    titles = (*OF_FUNCTIONS, *OF_LIFECYCLE)
    assert set(saved) == {f"{fleet}/{title}" for title in titles}
    groups = {
        str(each["LoggingConfig"]["LogGroup"])
        for each in of_type(everything, "AWS::Lambda::Function")
        if each.get("Description", "").startswith("cdk-runner-fleet: ")
    }
    for title in OF_FUNCTIONS:
        [name] = saved[f"{fleet}/{title}"]["LogGroupNames"]
        assert groups == {str(name)}
    for title in OF_LIFECYCLE:
        [name] = saved[f"{fleet}/{title}"]["LogGroupNames"]
        assert "Lifecycle" in str(name)


def test_without_logs_there_is_nothing_to_ask(stack: cdk.Stack) -> None:
    with pytest.raises(ValueError, match="imported without its log groups"):
        FleetLogQueries(stack, "Queries", fleet=Known(stack))
