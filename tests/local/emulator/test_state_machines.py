"""The executed state machine: tokens and waits, retries, errors, permissions, text."""

from __future__ import annotations

import json
import time
import uuid
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.local.emulator.harness import ALLOW_ALL, Emulator, Events, eventually

SDK = "arn:aws:states:::aws-sdk:"


def park(table: str, key: str, **more: Any) -> dict[str, Any]:
    """A state that stores its token and waits for an answer."""
    return {
        "Type": "Task",
        "Resource": f"{SDK}dynamodb:updateItem.waitForTaskToken",
        "Arguments": {
            "TableName": table,
            "Key": {"id": {"S": key}},
            "UpdateExpression": "SET task_token = :t",
            "ExpressionAttributeValues": {":t": {"S": "{% $states.context.Task.Token %}"}},
        },
        "End": True,
        **more,
    }


def one(state: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"StartAt": "Only", "States": {"Only": state}, **more}


def caught(state: dict[str, Any], catchers: list[list[str]]) -> dict[str, Any]:
    """A machine whose output says which catcher caught what."""
    return {
        "StartAt": "Only",
        "States": {
            "Only": {
                **state,
                "Catch": [
                    {
                        "ErrorEquals": names,
                        "Output": [number, "{% $states.errorOutput.Error %}"],
                        "Next": "Caught",
                    }
                    for number, names in enumerate(catchers)
                ],
            },
            "Caught": {"Type": "Succeed"},
        },
    }


def token(emulator: Emulator, table: str, key: str) -> str:
    item = eventually(lambda: emulator.item(table, key).get("task_token"))
    return str(item["S"])


def code(error: pytest.ExceptionInfo[ClientError]) -> str:
    return str(error.value.response["Error"]["Code"])


class TestTokens:
    def test_a_token_is_as_long_as_on_aws(self, emulator: Emulator) -> None:
        table = emulator.table()
        emulator.start(one(park(table, "a")))
        emulator.start(one(park(table, "b")))
        one_, other = token(emulator, table, "a"), token(emulator, table, "b")
        assert len(one_) == len(other) == 800
        assert one_ != other

    def test_success_resumes_with_its_output(self, emulator: Emulator) -> None:
        table = emulator.table()
        arn = emulator.start(one(park(table, "a", Output="{% $states.result.n + 1 %}")))
        states = emulator.client("stepfunctions")
        states.send_task_success(taskToken=token(emulator, table, "a"), output='{"n": 41}')
        assert json.loads(emulator.ended(arn)["output"]) == 42

    @pytest.mark.parametrize(("output", "told"), [("null", [True, True]), ("{}", [True, False])])
    def test_a_result_that_is_null_is_one(
        self, emulator: Emulator, output: str, told: list[bool]
    ) -> None:
        table = emulator.table()
        say = "{% [$exists($states.result), $states.result = null] %}"
        arn = emulator.start(one(park(table, "a", Output=say)))
        states = emulator.client("stepfunctions")
        states.send_task_success(taskToken=token(emulator, table, "a"), output=output)
        assert json.loads(emulator.ended(arn)["output"]) == told

    def test_what_has_failed_has_an_error_and_no_result(self, emulator: Emulator) -> None:
        table = emulator.table()
        say = "{% [$exists($states.result), $exists($states.errorOutput)] %}"
        catch = [{"ErrorEquals": ["States.ALL"], "Output": say, "Next": "Caught"}]
        retry = [{"ErrorEquals": ["Again"], "IntervalSeconds": 1}]
        state = park(table, "a", Catch=catch, Retry=retry, Output=say)
        machine = {"StartAt": "Only", "States": {"Only": state, "Caught": {"Type": "Succeed"}}}
        states = emulator.client("stepfunctions")
        arn = emulator.start(machine)
        first = token(emulator, table, "a")
        states.send_task_failure(taskToken=first, error="Mine")
        assert json.loads(emulator.ended(arn)["output"]) == [False, True]
        arn = emulator.start(machine)
        second = eventually(lambda: (one_ := token(emulator, table, "a")) != first and one_)
        states.send_task_failure(taskToken=second, error="Again")
        third = eventually(lambda: (one_ := token(emulator, table, "a")) != second and one_)
        states.send_task_success(taskToken=third, output="{}")
        assert json.loads(emulator.ended(arn)["output"]) == [True, False]

    def test_a_running_execution_keeps_the_definition_it_began_with(
        self, emulator: Emulator
    ) -> None:
        # AWS Step Functions, developer guide: an update is for the executions that start after it
        table, states = emulator.table(), emulator.client("stepfunctions")
        waiting = park(table, "a", Next="Last")
        del waiting["End"]
        before = {"StartAt": "First", "States": {"First": waiting, "Last": {"Type": "Succeed"}}}
        arn = emulator.start(before)
        used = token(emulator, table, "a")
        after = {"StartAt": "Refuse", "States": {"Refuse": {"Type": "Fail", "Error": "New"}}}
        machine = states.describe_execution(executionArn=arn)["stateMachineArn"]
        states.update_state_machine(
            stateMachineArn=machine, definition=json.dumps({"QueryLanguage": "JSONata", **after})
        )
        later = states.start_execution(stateMachineArn=machine)["executionArn"]
        assert emulator.ended(later)["error"] == "New"
        states.send_task_success(taskToken=used, output="{}")
        assert emulator.ended(arn)["status"] == "SUCCEEDED"

    def test_failure_has_its_error_and_cause(self, emulator: Emulator) -> None:
        table = emulator.table()
        arn = emulator.start(one(park(table, "a")))
        emulator.client("stepfunctions").send_task_failure(
            taskToken=token(emulator, table, "a"),
            error="Runner.TaskStopped",
            cause='a "quoted" one',
        )
        ended = emulator.ended(arn)
        assert (ended["status"], ended["error"], ended["cause"]) == (
            "FAILED", "Runner.TaskStopped", 'a "quoted" one',
        )  # fmt: skip

    def test_answers_that_come_too_late(self, emulator: Emulator) -> None:
        table, states = emulator.table(), emulator.client("stepfunctions")
        arn = emulator.start(one(park(table, "a")))
        used = token(emulator, table, "a")
        states.send_task_success(taskToken=used, output="{}")
        with pytest.raises(ClientError) as second:
            states.send_task_success(taskToken=used, output="{}")
        assert code(second) == "TaskTimedOut"
        emulator.ended(arn)
        for send, more in (
            (states.send_task_success, {"output": "{}"}),
            (states.send_task_failure, {}),
            (states.send_task_heartbeat, {}),
        ):
            with pytest.raises(ClientError) as late:
                send(taskToken=used, **more)
            assert code(late) == "TaskTimedOut"
        with pytest.raises(ClientError) as bogus:
            states.send_task_success(taskToken="bogus", output="{}")
        assert code(bogus) == "InvalidToken"

    def test_output_must_be_json(self, emulator: Emulator) -> None:
        with pytest.raises(ClientError) as refused:
            emulator.client("stepfunctions").send_task_success(taskToken="x", output="{")
        assert code(refused) == "InvalidOutput"

    def test_timeout_from_an_expression(self, emulator: Emulator) -> None:
        table = emulator.table()
        state = park(table, "a", TimeoutSeconds="{% $states.input.seconds %}")
        ended = emulator.run(one(state), given={"seconds": 1})
        assert (ended["status"], ended["error"]) == ("FAILED", "States.Timeout")
        with pytest.raises(ClientError) as late:
            emulator.client("stepfunctions").send_task_success(
                taskToken=token(emulator, table, "a"), output="{}"
            )
        assert code(late) == "TaskTimedOut"

    def test_heartbeats_keep_it_alive_until_they_stop(self, emulator: Emulator) -> None:
        table, states = emulator.table(), emulator.client("stepfunctions")
        arn = emulator.start(one(park(table, "a", HeartbeatSeconds=2, TimeoutSeconds=60)))
        parked = token(emulator, table, "a")
        longer_than_one = time.monotonic() + 2.5
        while time.monotonic() < longer_than_one:
            states.send_task_heartbeat(taskToken=parked)
        assert states.describe_execution(executionArn=arn)["status"] == "RUNNING"
        ended = emulator.ended(arn)
        assert (ended["status"], ended["error"]) == ("FAILED", "States.HeartbeatTimeout")
        with pytest.raises(ClientError) as late:
            states.send_task_heartbeat(taskToken=parked)
        assert code(late) == "TaskTimedOut"
        with pytest.raises(ClientError) as bogus:
            states.send_task_heartbeat(taskToken="bogus")
        assert code(bogus) == "InvalidToken"

    @pytest.mark.parametrize(
        ("catchers", "by"),
        [
            ([["States.HeartbeatTimeout"], ["States.Timeout"], ["States.ALL"]], 0),
            ([["States.Timeout"], ["States.HeartbeatTimeout"]], 0),
            ([["Other"], ["States.Timeout", "Another"]], 1),
            ([["States.TaskFailed"], ["States.ALL"]], 1),
        ],
    )
    def test_a_missed_heartbeat_is_a_timeout_too(
        self, emulator: Emulator, catchers: list[list[str]], by: int
    ) -> None:
        ended = emulator.run(
            caught(park(emulator.table(), "a", HeartbeatSeconds=1, TimeoutSeconds=30), catchers)
        )
        assert json.loads(ended["output"]) == [by, "States.HeartbeatTimeout"]

    def test_a_timeout_is_no_missed_heartbeat(self, emulator: Emulator) -> None:
        catchers = [["States.HeartbeatTimeout"], ["States.Timeout"]]
        ended = emulator.run(caught(park(emulator.table(), "a", TimeoutSeconds=1), catchers))
        assert json.loads(ended["output"]) == [1, "States.Timeout"]

    def test_another_error_is_no_timeout(self, emulator: Emulator) -> None:
        table, catchers = emulator.table(), [["States.Timeout"], ["Other"]]
        arn = emulator.start(caught(park(table, "a", TimeoutSeconds=30), catchers))
        emulator.client("stepfunctions").send_task_failure(
            taskToken=token(emulator, table, "a"), error="Other"
        )
        assert json.loads(emulator.ended(arn)["output"]) == [1, "Other"]

    def test_a_missed_heartbeat_is_tried_again_as_a_timeout(self, emulator: Emulator) -> None:
        table, retry = emulator.table(), {"ErrorEquals": ["States.Timeout"], "IntervalSeconds": 1}
        state = park(table, "a", HeartbeatSeconds=1, TimeoutSeconds=30, Retry=[retry])
        arn = emulator.start(one(state))
        first = token(emulator, table, "a")
        # each try has a token of its own
        eventually(lambda: token(emulator, table, "a") != first)
        emulator.client("stepfunctions").send_task_success(
            taskToken=token(emulator, table, "a"), output="{}"
        )
        assert emulator.ended(arn)["status"] == "SUCCEEDED"

    def test_heartbeats_from_an_expression(self, emulator: Emulator) -> None:
        state = park(
            emulator.table(), "a", HeartbeatSeconds="{% $states.input.n %}", TimeoutSeconds=30
        )
        ended = emulator.run(one(state), given={"n": 1})
        assert ended["error"] == "States.HeartbeatTimeout"
        for wrong in (0, 30):  # and it must be below TimeoutSeconds
            ended = emulator.run(one(state), given={"n": wrong})
            assert ended["error"] == "States.QueryEvaluationError"
            assert "HeartbeatSeconds" in ended["cause"]

    def test_heartbeat_state_is_resumed_at_once(self, emulator: Emulator) -> None:
        table = emulator.table()
        arn = emulator.start(one(park(table, "a", HeartbeatSeconds=20, TimeoutSeconds=30)))
        emulator.client("stepfunctions").send_task_success(
            taskToken=token(emulator, table, "a"), output="{}"
        )
        assert emulator.ended(arn)["status"] == "SUCCEEDED"

    def test_permission_to_answer_is_given_on_the_machine(self, emulator: Emulator) -> None:
        table = emulator.table()
        arn = emulator.start(one(park(table, "a")))
        machine = emulator.client("stepfunctions").describe_execution(executionArn=arn)[
            "stateMachineArn"
        ]
        own = role_client(emulator, "stepfunctions", machine)
        other = role_client(emulator, "stepfunctions", machine + "x")
        parked = token(emulator, table, "a")
        with pytest.raises(ClientError) as denied:
            other.send_task_success(taskToken=parked, output="{}")
        assert code(denied) == "AccessDeniedException"
        with pytest.raises(ClientError) as denied:
            other.send_task_heartbeat(taskToken=parked)
        assert code(denied) == "AccessDeniedException"
        own.send_task_heartbeat(taskToken=parked)
        own.send_task_success(taskToken=parked, output="{}")
        assert emulator.ended(arn)["status"] == "SUCCEEDED"


def role_client(emulator: Emulator, service: str, resource: str) -> Any:
    """A client of a user who may do everything on one resource."""
    iam, name = emulator.client("iam"), f"user-{uuid.uuid4().hex[:8]}"
    iam.create_user(UserName=name)
    policy = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": "*", "Resource": resource}],
    }
    iam.put_user_policy(UserName=name, PolicyName="p", PolicyDocument=json.dumps(policy))
    key = iam.create_access_key(UserName=name)["AccessKey"]
    return emulator.client(service, keys=(key["AccessKeyId"], key["SecretAccessKey"]))


class TestEnds:
    def test_every_end_is_told_on_the_default_bus(self, emulator: Emulator) -> None:
        table, states = emulator.table(), emulator.client("stepfunctions")
        statuses = ["SUCCEEDED", "FAILED", "TIMED_OUT", "ABORTED"]
        pattern = {
            "source": ["aws.states"],
            "detail-type": ["Step Functions Execution Status Change"],
            "detail": {"status": statuses},
        }
        events = Events(emulator, pattern)
        ends = {
            "SUCCEEDED": emulator.start({"StartAt": "A", "States": {"A": {"Type": "Succeed"}}}),
            "FAILED": emulator.start({"StartAt": "A", "States": {"A": {"Type": "Fail"}}}),
            "TIMED_OUT": emulator.start(one(park(table, "a"), TimeoutSeconds=1)),
            "ABORTED": emulator.start(one(park(table, "b"))),
        }
        token(emulator, table, "b")
        states.stop_execution(executionArn=ends["ABORTED"])
        told = [
            (detail["status"], detail["executionArn"], detail["name"])
            for detail in events.details(4)
            if detail["executionArn"] in ends.values()
        ]
        assert sorted(told) == sorted(
            (status, arn, arn.rpartition(":")[2]) for status, arn in ends.items()
        )

    def test_stop_execution_while_parked(self, emulator: Emulator) -> None:
        table, states = emulator.table(), emulator.client("stepfunctions")
        arn = emulator.start(one(park(table, "a")))
        parked = token(emulator, table, "a")
        before = emulator.fleet("GET", "stats")[1]["executions_running"]
        states.stop_execution(executionArn=arn, error="Mine", cause="because")
        ended = emulator.ended(arn)
        assert (ended["status"], ended["error"], ended["cause"]) == ("ABORTED", "Mine", "because")
        eventually(
            lambda: emulator.fleet("GET", "stats")[1]["executions_running"] == before - 1
        )  # its thread and its variables are let go
        assert emulator.history(arn)[-1]["type"] == "ExecutionAborted"
        with pytest.raises(ClientError) as late:
            states.send_task_success(taskToken=parked, output="{}")
        assert code(late) == "TaskTimedOut"

    def test_machine_timeout(self, emulator: Emulator) -> None:
        table = emulator.table()
        arn = emulator.start(one(park(table, "a"), TimeoutSeconds=1))
        assert emulator.ended(arn)["status"] == "TIMED_OUT"
        assert emulator.history(arn)[-1]["type"] == "ExecutionTimedOut"

    def test_stopping_a_wait_ends_it_at_once(self, emulator: Emulator) -> None:
        arn = emulator.start(one({"Type": "Wait", "Seconds": 600, "End": True}))
        emulator.client("stepfunctions").stop_execution(executionArn=arn)
        eventually(lambda: emulator.history(arn)[-1]["type"] == "ExecutionAborted")

    def test_the_same_name_starts_once(self, emulator: Emulator) -> None:
        arn = emulator.start(one({"Type": "Succeed"}))
        states = emulator.client("stepfunctions")
        machine = states.describe_execution(executionArn=arn)["stateMachineArn"]
        with pytest.raises(ClientError) as repeated:
            states.start_execution(stateMachineArn=machine, name=arn.rsplit(":", 1)[-1])
        assert code(repeated) == "ExecutionAlreadyExists"

    def test_definition_with_a_mistake_is_refused(self, emulator: Emulator) -> None:
        with pytest.raises(ClientError) as refused:
            emulator.start(one({"Type": "Task", "Resource": "arn:aws:nothing", "Bogus": 1}))
        assert code(refused) == "InvalidDefinition"

    @pytest.mark.parametrize(
        "state",
        [
            {"Type": "Pass", "Output": "{% $states.input.a ?? 1 %}", "End": True},
            {"Type": "Pass", "Output": {"a": [{"b": "{% 1 + %}"}]}, "End": True},
            {"Type": "Pass", "Assign": {"a": "{% $states.input.a ?: 1 %}"}, "End": True},
            {"Type": "Wait", "Seconds": "{% $states.input.a ?? 1 %}", "End": True},
            {"Type": "Fail", "Cause": "{% $states.input.a ?? 1 %}"},
            {"Type": "Choice", "Choices": [{"Condition": "{% $a ?? true %}", "Next": "Only"}]},
            {**park("t", "a"), "TimeoutSeconds": "{% $states.input.a ?? 1 %}"},
            {**park("t", "a"), "Arguments": {"TableName": "{% $states.input.a ?? 1 %}"}},
        ],
    )
    def test_definition_with_an_expression_that_cannot_be_read_is_refused(
        self, emulator: Emulator, state: dict[str, Any]
    ) -> None:
        with pytest.raises(ClientError, match=r"S0[0-9]+: .*, in '") as refused:
            emulator.start(one(state))
        assert code(refused) == "InvalidDefinition"

    def test_a_definition_that_was_refused_leaves_nothing_behind(self, emulator: Emulator) -> None:
        with pytest.raises(ClientError):
            emulator.start(one({"Type": "Pass", "Output": "{% 1 + %}", "End": True}))
        path = {"Type": "Pass", "Parameters": {"b.$": "$.a"}, "End": True}
        ended = emulator.run(one(path, QueryLanguage="JSONPath"), given={"a": 1})
        assert json.loads(ended["output"]) == {"b": 1}

    def test_history_of_a_task(self, emulator: Emulator) -> None:
        table = emulator.table()
        state = {
            "Type": "Task",
            "Resource": f"{SDK}dynamodb:getItem",
            "Arguments": {"TableName": table, "Key": {"id": {"S": "a"}}},
            "End": True,
        }
        arn = emulator.start(one(state))
        emulator.ended(arn)
        assert [event["type"] for event in emulator.history(arn)] == [
            "ExecutionStarted", "TaskStateEntered", "TaskScheduled", "TaskStarted",
            "TaskSucceeded", "TaskStateExited", "ExecutionSucceeded",
        ]  # fmt: skip


class TestErrors:
    def put(self, table: str, **more: Any) -> dict[str, Any]:
        return {
            "Type": "Task",
            "Resource": f"{SDK}dynamodb:putItem",
            "Arguments": {
                "TableName": table,
                "Item": {"id": {"S": "a"}},
                "ConditionExpression": "attribute_not_exists(id)",
            },
            "End": True,
            **more,
        }

    def test_condition_that_fails(self, emulator: Emulator) -> None:
        table = emulator.table()
        machine = one(self.put(table))
        assert emulator.run(machine)["status"] == "SUCCEEDED"
        assert emulator.run(machine)["error"] == "DynamoDb.ConditionalCheckFailedException"

    def test_permission_that_is_missing(self, emulator: Emulator) -> None:
        table = emulator.table()
        allowed = [{"Effect": "Allow", "Action": "dynamodb:GetItem", "Resource": "*"}]
        ended = emulator.run(one(self.put(table)), statements=allowed)
        assert ended["error"] == "DynamoDb.DynamoDbException"
        assert "is not authorized to perform: dynamodb:PutItem" in ended["cause"]

    def test_unknown_cluster_by_the_sdk(self, emulator: Emulator) -> None:
        state = {
            "Type": "Task",
            "Resource": f"{SDK}ecs:stopTask",
            "Arguments": {"Cluster": "absent", "Task": "x"},
            "End": True,
        }
        assert emulator.run(one(state))["error"] in (
            "Ecs.ClusterNotFoundException", "Ecs.InvalidParameterException",
        )  # fmt: skip

    def test_undefined_expression(self, emulator: Emulator) -> None:
        ended = emulator.run(one({"Type": "Pass", "Output": "{% $missing %}", "End": True}))
        assert ended["error"] == "States.QueryEvaluationError"

    def test_undefined_expression_can_be_caught(self, emulator: Emulator) -> None:
        machine = {
            "StartAt": "Ask",
            "States": {
                "Ask": {
                    "Type": "Task",
                    "Resource": f"{SDK}dynamodb:getItem",
                    "Arguments": "{% $missing %}",
                    "Catch": [{"ErrorEquals": ["States.QueryEvaluationError"], "Next": "Good"}],
                    "Next": "Bad",
                },
                "Good": {"Type": "Succeed"},
                "Bad": {"Type": "Fail"},
            },
        }
        assert emulator.run(machine)["status"] == "SUCCEEDED"

    @pytest.mark.parametrize(
        "state",
        [
            {"Type": "Wait", "Seconds": "{% $states.input.n %}", "End": True},
            {"Type": "Choice", "Choices": [{"Condition": "{% $states.input.n %}", "Next": "Only"}]},
            park("t", "a", TimeoutSeconds="{% $states.input.n %}"),
            park("t", "a", TimeoutSeconds=30, HeartbeatSeconds="{% $states.input.n %}"),
        ],
        ids=["Seconds", "Condition", "TimeoutSeconds", "HeartbeatSeconds"],
    )
    @pytest.mark.parametrize("value", [1.5, "2", -1, None, [1], 100_000_000])
    def test_a_value_that_its_field_cannot_have_is_an_error_of_the_expression(
        self, emulator: Emulator, state: dict[str, Any], value: object
    ) -> None:
        # an incorrectly typed result: appendix A of the Amazon States Language
        ended = emulator.run(one(state), given={"n": value})
        assert (ended["status"], ended["error"]) == ("FAILED", "States.QueryEvaluationError")
        assert "'$states.input.n' specified for the field" in ended["cause"]

    def test_an_error_of_an_expression_is_one_of_all(self, emulator: Emulator) -> None:
        state = park("t", "a", TimeoutSeconds="{% $states.input.n %}")
        machine = caught(state, [["States.Timeout"], ["States.TaskFailed"], ["States.ALL"]])
        arn = emulator.start(machine, given={"n": 1.5})
        assert json.loads(emulator.ended(arn)["output"]) == [2, "States.QueryEvaluationError"]
        kinds = [event["type"] for event in emulator.history(arn)]
        assert kinds.count("EvaluationFailed") == 1

    def test_what_nothing_catches(self, emulator: Emulator) -> None:
        state = {
            "QueryLanguage": "JSONPath",
            "Type": "Task",
            "Resource": f"{SDK}dynamodb:getItem",
            "Parameters": {"TableName.$": "$.absent"},
            "Catch": [{"ErrorEquals": ["States.ALL"], "Next": "Caught"}],
            "End": True,
        }
        machine = {"StartAt": "Only", "States": {"Only": state, "Caught": {"Type": "Succeed"}}}
        ended = emulator.run({**machine, "QueryLanguage": "JSONPath"})
        assert (ended["status"], ended["error"]) == ("FAILED", "States.Runtime")

    def test_a_choice_of_none(self, emulator: Emulator) -> None:
        choices = [{"Condition": "{% false %}", "Next": "Only"}]
        ended = emulator.run(one({"Type": "Choice", "Choices": choices}))
        assert (ended["status"], ended["error"]) == ("FAILED", "States.NoChoiceMatched")

    def test_seconds_in_the_file_are_whole(self, emulator: Emulator) -> None:
        for state in (
            {"Type": "Wait", "Seconds": 1.5, "End": True},
            park("t", "a", TimeoutSeconds=1.5),
            park("t", "a", TimeoutSeconds=30, HeartbeatSeconds=1.5),
        ):
            with pytest.raises(ClientError) as refused:
                emulator.start(one(state))
            assert code(refused) == "InvalidDefinition"

    def test_retries_are_counted_and_bounded(self, emulator: Emulator) -> None:
        table = emulator.table()
        emulator.fleet(
            "POST",
            "faults",
            {"on": "dynamodb:PutItem", "outcome": "error", "code": "InternalServerError",
             "match": table, "times": None},
        )  # fmt: skip
        retry = {
            "ErrorEquals": ["DynamoDb.InternalServerErrorException",
                            "DynamoDb.InternalServerError"],
            "IntervalSeconds": 1,
            "MaxDelaySeconds": 1,
            "BackoffRate": 9,
            "MaxAttempts": 2,
            "JitterStrategy": "FULL",
        }  # fmt: skip
        before = emulator.fleet("GET", "stats")[1]["transitions"]
        arn = emulator.start(one(self.put(table, Retry=[retry])))
        assert emulator.ended(arn)["status"] == "FAILED"
        # AWS bills a retry as a transition of its own
        eventually(lambda: emulator.fleet("GET", "stats")[1]["transitions"] == before + 3)
        events = [event["type"] for event in emulator.history(arn)]
        assert events.count("TaskFailed") == 3


class TestText:
    QUOTED = 'say "hi" \\ back\nslash \u00e9 \U0001f600 {% not one'

    def test_literals_of_the_file_keep_their_characters(self, emulator: Emulator) -> None:
        state = {
            "Type": "Pass",
            "Assign": {"kept": self.QUOTED, "deep": {"list": [self.QUOTED]}},
            "Next": "Show",
        }
        show = {"Type": "Pass", "Output": {"kept": "{% $kept %}", "deep": "{% $deep %}",
                                           "literal": self.QUOTED}, "End": True}  # fmt: skip
        ended = emulator.run({"StartAt": "Set", "States": {"Set": state, "Show": show}})
        assert json.loads(ended["output"]) == {
            "kept": self.QUOTED, "deep": {"list": [self.QUOTED]}, "literal": self.QUOTED,
        }  # fmt: skip

    @pytest.mark.parametrize(
        "value", ["{% $states.context %}", '"; $x := 1', "\\", '\\"', "$uuid()", "a\u2028b"]
    )
    def test_input_is_never_evaluated(self, emulator: Emulator, value: str) -> None:
        assert emulator.output("{% $states.input.label %}", given={"label": value}) == value
        table = emulator.table()
        keep = {
            "Type": "Task",
            "Resource": f"{SDK}dynamodb:putItem",
            "Arguments": {"TableName": table,
                          "Item": {"id": {"S": "a"}, "label": {"S": "{% $label %}"}}},
            "End": True,
        }  # fmt: skip
        first = {"Type": "Pass", "Assign": {"label": "{% $states.input.label %}"}, "Next": "Keep"}
        machine = {"StartAt": "Set", "States": {"Set": first, "Keep": keep}}
        assert emulator.run(machine, given={"label": value})["status"] == "SUCCEEDED"
        assert emulator.item(table, "a")["label"] == {"S": value}

    def test_result_is_not_evaluated_either(self, emulator: Emulator) -> None:
        table = emulator.table()
        arn = emulator.start(one(park(table, "a", Output="{% $states.result %}")))
        emulator.client("stepfunctions").send_task_success(
            taskToken=token(emulator, table, "a"), output=json.dumps({"x": '{% 1 + 1 %}"'})
        )
        assert json.loads(emulator.ended(arn)["output"]) == {"x": '{% 1 + 1 %}"'}

    def test_functions_of_step_functions(self, emulator: Emulator) -> None:
        assert emulator.output("{% $partition([1, 2, 3], 2) %}") == [[1, 2], [3]]
        assert len(emulator.output("{% $hash($uuid(), 'SHA-256') %}")) == 64


def test_executions_do_not_disturb_each_other(emulator: Emulator) -> None:
    """One parsed machine serves all: each keeps its own variables and its own retries."""
    states, table = emulator.client("stepfunctions"), emulator.table()
    wait = park(table, "x", Next="Say")
    del wait["End"]
    wait["Arguments"]["Key"] = {"id": {"S": "{% $states.context.Execution.Name %}"}}
    machine = states.create_state_machine(
        name=f"many-{uuid.uuid4().hex[:8]}",
        roleArn=emulator.role(ALLOW_ALL),
        definition=json.dumps(
            {
                "QueryLanguage": "JSONata",
                "StartAt": "Keep",
                "States": {
                    "Keep": {"Type": "Pass", "Assign": {"n": "{% $states.input.n %}"},
                             "Next": "Wait"},
                    "Wait": wait,
                    "Say": {"Type": "Succeed", "Output": "{% $n * 2 %}"},
                },
            }
        ),
    )["stateMachineArn"]  # fmt: skip
    arns = [
        states.start_execution(stateMachineArn=machine, name=f"e{n}", input=json.dumps({"n": n}))[
            "executionArn"
        ]
        for n in range(30)
    ]
    for n in reversed(range(30)):
        states.send_task_success(taskToken=token(emulator, table, f"e{n}"), output="{}")
    assert [json.loads(emulator.ended(arn)["output"]) for arn in arns] == [n * 2 for n in range(30)]
