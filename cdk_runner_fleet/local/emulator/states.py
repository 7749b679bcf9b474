"""How one state runs: parked without a thread of its own, its text never taken for code."""

from __future__ import annotations

import base64
import copy
import json
import secrets
import sys
from collections.abc import Callable
from typing import Any

from moto.stepfunctions.parser.api import (
    EvaluationFailedEventDetails,
    ExecutionFailedEventDetails,
    HistoryEventType,
    TaskTimedOutEventDetails,
)
from moto.stepfunctions.parser.asl.component.common.error_name.error_equals_decl import (
    ErrorEqualsDecl,
)
from moto.stepfunctions.parser.asl.component.common.error_name.failure_event import (
    FailureEvent,
    FailureEventException,
)
from moto.stepfunctions.parser.asl.component.common.error_name.states_error_name import (
    StatesErrorName,
)
from moto.stepfunctions.parser.asl.component.common.error_name.states_error_name_type import (
    StatesErrorNameType,
)
from moto.stepfunctions.parser.asl.component.common.string import string_expression
from moto.stepfunctions.parser.asl.component.common.timeouts.heartbeat import (
    HeartbeatSecondsJSONata,
)
from moto.stepfunctions.parser.asl.component.common.timeouts.timeout import TimeoutSecondsJSONata
from moto.stepfunctions.parser.asl.component.state.choice.comparison.comparison import (
    ConditionStringJSONata,
)
from moto.stepfunctions.parser.asl.component.state.choice.state_choice import StateChoice
from moto.stepfunctions.parser.asl.component.state.exec.execute_state import ExecutionState
from moto.stepfunctions.parser.asl.component.state.exec.state_task.service.resource import (
    ResourceCondition,
)
from moto.stepfunctions.parser.asl.component.state.exec.state_task.service.state_task_service_callback import (  # noqa: E501 - upstream's path
    StateTaskServiceCallback,
)
from moto.stepfunctions.parser.asl.component.state.wait.wait_function.seconds import SecondsJSONata
from moto.stepfunctions.parser.asl.eval.callback import callback as moto_callback
from moto.stepfunctions.parser.asl.eval.environment import Environment
from moto.stepfunctions.parser.asl.eval.event.event_detail import EventDetails
from moto.stepfunctions.parser.asl.eval.event.event_manager import EventManager
from moto.stepfunctions.parser.asl.eval.states import ContextObject, States, TaskData
from moto.stepfunctions.parser.asl.eval.variable_store import VariableStore
from moto.stepfunctions.parser.asl.parse import preprocessor
from moto.stepfunctions.parser.asl.utils.encoding import to_json_str

from . import expressions, upstream
from .callbacks import TokenEndpoint

_HEARTBEAT_TIMEOUT = StatesErrorName(typ=StatesErrorNameType.StatesHeartbeatTimeout)
_TIMEOUT = StatesErrorName(typ=StatesErrorNameType.StatesTimeout)
_EVERYTHING = StatesErrorName(typ=StatesErrorNameType.StatesALL)
_RUNTIME = StatesErrorName(typ=StatesErrorNameType.StatesRuntime)
_TERMINAL = (
    _RUNTIME,
    StatesErrorName(typ=StatesErrorNameType.StatesStatesDataLimitExceeded),
)
"""What ``States.ALL`` does not stand for."""
_MOST_SECONDS = 99_999_999
_TOKEN_BYTES = 600  # 800 characters in base64, about as many as AWS's tokens have


def _give_out_token(self: ContextObject) -> str:
    """A token as long as AWS's: rows that hold one have their size, and cost what they cost."""
    token = base64.b64encode(secrets.token_bytes(_TOKEN_BYTES)).decode()
    self.context_object_data["Task"] = TaskData(Token=token)
    return token


def _waits_for_token(state: ExecutionState) -> bool:
    return (
        isinstance(state, StateTaskServiceCallback)
        and state.resource.condition == ResourceCondition.WaitForTaskToken
    )


def _evaluate_in_this_thread(state: ExecutionState, env: Environment) -> None:
    """A parked state needs no thread of its own: its wait keeps the timeout itself."""
    context = env.states.context_object
    if context.context_object_data["State"]["RetryCount"]:
        # what is tried again waits for a token of its own; moto would hand the spent one out
        env.callback_pool_manager.add(context.update_task_token())
    frame = env.open_frame()
    frame.states.reset(input_value=env.states.get_input())
    frame.stack = copy.deepcopy(env.stack)
    try:
        state._eval_execution(frame)
        result = frame.stack.pop()
    finally:
        frame.set_ended()
        env.close_frame(frame)
    env.stack.append(result)
    if not state._is_language_query_jsonpath():
        env.states.set_result(result)
    if state.assign_decl:
        state.assign_decl.eval(env=env)
    if state.result_selector:
        state.result_selector.eval(env=env)
    if state.result_path:
        state.result_path.eval(env)
    else:
        env.states.reset(input_value=env.stack.pop())


def _await_token(
    self: StateTaskServiceCallback,
    env: Environment,
    timeout_seconds: int,
    callback_endpoint: TokenEndpoint,
    heartbeat_endpoint: moto_callback.HeartbeatEndpoint | None,
) -> Any:
    del self  # upstream's signature
    heartbeat = heartbeat_endpoint._heartbeat_seconds if heartbeat_endpoint else None
    if heartbeat is not None and not 1 <= heartbeat < timeout_seconds:
        raise _query_failed(
            env,
            f"HeartbeatSeconds is {heartbeat}, it must be at least 1 and smaller than "
            f"TimeoutSeconds, which is {timeout_seconds}",
        )
    return callback_endpoint.await_outcome(timeout=timeout_seconds, heartbeat=heartbeat)


def _heartbeat_timed_out(state: StateTaskServiceCallback, env: Environment) -> FailureEvent:
    """A missed heartbeat by its own name; moto has one name for both timeouts."""
    return FailureEvent(
        env=env,
        error_name=_HEARTBEAT_TIMEOUT,
        event_type=HistoryEventType.TaskTimedOut,
        event_details=EventDetails(
            taskTimedOutEventDetails=TaskTimedOutEventDetails(
                resourceType=state._get_sfn_resource_type(),
                resource=state._get_sfn_resource(),
                error=_HEARTBEAT_TIMEOUT.error_name,
            )
        ),
    )


def _is_named(self: ErrorEqualsDecl, env: Environment, exactly: Callable[..., None]) -> None:
    """``States.Timeout`` names a missed heartbeat too: for years that had no name of its own.

    https://github.com/aws/aws-cdk/issues/16084. Nothing names ``States.Runtime``, and
    ``States.ALL`` no ``States.DataLimitExceeded``:
    https://docs.aws.amazon.com/step-functions/latest/dg/concepts-error-handling.html
    """
    error = env.stack[-1]
    if error == _RUNTIME or (error in _TERMINAL and _EVERYTHING in self.error_names):
        env.stack[-1] = False
        return
    if env.stack[-1] == _HEARTBEAT_TIMEOUT and _HEARTBEAT_TIMEOUT not in self.error_names:
        env.stack[-1] = _TIMEOUT
    exactly(self, env)


def _query_failed(env: Environment, cause: str) -> FailureEventException:
    name = StatesErrorName(typ=StatesErrorNameType.StatesQueryEvaluationError)
    failure = FailureEventException(
        failure_event=FailureEvent(
            env=env,
            error_name=name,
            event_type=HistoryEventType.EvaluationFailed,
            event_details=EventDetails(
                evaluationFailedEventDetails=EvaluationFailedEventDetails(
                    error=name.error_name, cause=cause
                )
            ),
        )
    )
    env.event_manager.add_event(
        context=env.event_history_context,
        event_type=HistoryEventType.EvaluationFailed,
        event_details=EventDetails(
            evaluationFailedEventDetails=failure.get_evaluation_failed_event_details()
        ),
    )
    return failure


def _once(self: EventManager, *where: Any, recorded: Callable[..., int], **event: Any) -> int:
    """What has failed an expression stands in the history already when its state reports it."""
    written = self._history_event_list
    if (
        event.get("event_type") == HistoryEventType.EvaluationFailed
        and written
        and written[-1]["type"] == HistoryEventType.EvaluationFailed
    ):
        return int(written[-1]["id"])
    return recorded(self, *where, **event)


def _seconds_of(field: str, *, least: int) -> Callable[[Any, Environment], int]:
    """Reads the value of a field's expression, which moto cut to a whole number."""

    def read(self: Any, env: Environment) -> int:
        self.string_jsonata.eval(env=env)
        seconds = env.stack.pop()
        if type(seconds) is not int or not least <= seconds <= _MOST_SECONDS:
            raise _query_failed(
                env,
                f"The JSONata expression '{self.string_jsonata.expression}' specified for the "
                f"field '{field}' returned {to_json_str(seconds)}, it must be a whole number from "
                f"{least} to {_MOST_SECONDS}",
            )
        return seconds

    return read


def _condition(self: ConditionStringJSONata, env: Environment) -> None:
    self.string_jsonata.eval(env=env)
    if not isinstance(env.stack[-1], bool):
        raise _query_failed(
            env,
            f"The JSONata expression '{self.string_jsonata.expression}' specified for the field "
            f"'Condition' returned {to_json_str(env.stack[-1])}, it must be true or false",
        )


def _choose(self: StateChoice, env: Environment, exactly: Callable[..., None]) -> None:
    """A choice of none by its own name; moto has States.Runtime for it."""
    try:
        exactly(self, env)
    except RuntimeError as error:
        name = StatesErrorName(typ=StatesErrorNameType.StatesNoChoiceMatched)
        details = ExecutionFailedEventDetails(error=name.error_name, cause=str(error.args[0]))
        raise FailureEventException(
            failure_event=FailureEvent(
                env=env,
                error_name=name,
                event_type=HistoryEventType.ExecutionFailed,
                event_details=EventDetails(executionFailedEventDetails=details),
            )
        ) from error


def _readable(expression: str) -> str:
    """AWS refuses a definition for its expressions; moto reads each when a state comes to it."""
    expressions.parse(expression)
    return expression


def _reset(self: States, input_value: Any) -> None:
    """``$states`` of a state that begins; moto has null for what is not there yet."""
    self._states_data["input"] = copy.deepcopy(input_value)
    _leave_out(self, "result", "errorOutput")


def _set_result(self: States, result: Any) -> None:
    """``$states.result``, of what has succeeded alone: moto gives an error as a result too."""
    if "errorOutput" in self._states_data and result == self._states_data["errorOutput"]:
        _leave_out(self, "result")
    else:
        _leave_out(self, "errorOutput")
        self._states_data["result"] = copy.deepcopy(result)


def _leave_out(states: States, *names: str) -> None:
    for name in names:
        states._states_data.pop(name, None)


def _own_scopes(self: preprocessor.Preprocessor, *_: Any, **__: Any) -> None:
    """One list each; moto has one for all, on which a refused definition leaves its language."""
    self._query_language_per_scope = []


def _evaluate_expression(self: Any, env: Environment) -> None:
    variables = {
        **env.variable_store._outer_scope,
        **env.variable_store._inner_scope,
        "states": env.states._states_data,
    }
    try:
        env.stack.append(expressions.evaluate(self.expression, variables))
    except expressions.EvaluationError as error:
        raise _query_failed(env, str(error)) from error


def _string_of(parser_rule_context: Any) -> str | None:
    """The value of a JSON string in the file; moto returned its source text, escapes and all."""
    text = parser_rule_context.getText()
    if not text.startswith('"'):
        return None if text == "null" else str(text)
    value: str = json.loads(text)
    return value


def _assigned_variables(self: VariableStore) -> dict[str, str]:
    """What the history shows of Assign, as JSON text (moto left quotes unescaped)."""
    return {
        name: to_json_str(self.get(name), separators=(",", ":"))
        for name in self._declaration_tracing
    }


def install(
    add_token: Callable[[moto_callback.CallbackPoolManager, str], TokenEndpoint],
) -> None:
    """Put these rules into moto's interpreter; ``add_token`` makes the endpoint of a new token."""
    threaded = upstream.replace(
        ExecutionState,
        "_evaluate_with_timeout",
        lambda self, env: (
            _evaluate_in_this_thread(self, env) if _waits_for_token(self) else threaded(self, env)
        ),
        takes=("self", "env"),
    )
    upstream.replace(
        StateTaskServiceCallback,
        "_eval_wait_for_task_token",
        _await_token,
        takes=("self", "env", "timeout_seconds", "callback_endpoint", "heartbeat_endpoint"),
    )
    read_error = upstream.replace(
        StateTaskServiceCallback,
        "_from_error",
        lambda self, env, ex: (
            _heartbeat_timed_out(self, env)
            if isinstance(ex, moto_callback.HeartbeatTimeoutError)
            else read_error(self, env, ex)
        ),
        takes=("self", "env", "ex"),
    )
    exactly = upstream.replace(
        ErrorEqualsDecl,
        "_eval_body",
        lambda self, env: _is_named(self, env, exactly),
        takes=("self", "env"),
    )
    upstream.replace(
        moto_callback.CallbackPoolManager,
        "add",
        add_token,
        takes=("self", "callback_id"),
    )
    for kind, method, field, least in (
        (TimeoutSecondsJSONata, "_eval_seconds", "TimeoutSeconds", 1),
        (HeartbeatSecondsJSONata, "_eval_seconds", "HeartbeatSeconds", 1),
        (SecondsJSONata, "_get_wait_seconds", "Seconds", 0),
    ):
        upstream.replace(kind, method, _seconds_of(field, least=least), takes=("self", "env"))
    recorded = upstream.replace(
        EventManager,
        "add_event",
        lambda self, *where, **event: _once(self, *where, recorded=recorded, **event),
        takes=(
            "self",
            "context",
            "event_type",
            "event_details",
            "timestamp",
            "update_source_event_id",
        ),
    )
    upstream.replace(ConditionStringJSONata, "_eval_body", _condition, takes=("self", "env"))
    choose = upstream.replace(
        StateChoice,
        "_eval_state",
        lambda self, env: _choose(self, env, choose),
        takes=("self", "env"),
    )
    upstream.replace(States, "reset", _reset, takes=("self", "input_value"))
    upstream.replace(States, "set_result", _set_result, takes=("self", "result"))
    upstream.replace(
        preprocessor.Preprocessor, "__init__", _own_scopes, takes=("self", "args", "kwargs")
    )
    body_of = upstream.replace(
        preprocessor.Preprocessor,
        "_inner_jsonata_expr",
        lambda self, ctx: _readable(body_of(self, ctx)),
        takes=("self", "ctx"),
    )
    for kind in (string_expression.StringJSONata, string_expression.StringVariableSample):
        upstream.replace(kind, "_eval_body", _evaluate_expression, takes=("self", "env"))
    upstream.replace(
        preprocessor.Preprocessor, "_inner_string_of", _string_of, takes=("parser_rule_context",)
    )
    upstream.rebind(
        "moto.stepfunctions.parser.asl.parse",
        "from_string_literal",
        _string_of,
        modules=dict(sys.modules),
    )
    upstream.replace(ContextObject, "update_task_token", _give_out_token, takes=("self",))
    upstream.replace(VariableStore, "get_assigned_variables", _assigned_variables, takes=("self",))
