"""Step Functions: ministack keeps the API and the records, moto's interpreter runs the states.

An execution parked on a task token costs one thread and its variables; when it ends, its history
is copied to the record and everything of the interpreter is let go.
"""

from __future__ import annotations

import copy
import datetime
import functools
import heapq
import itertools
import json
import logging
import sys
import threading
import time
from typing import Any

from ministack.core.responses import error_response_json, get_account_id, get_region, json_response
from ministack.services import stepfunctions as ministack_states
from ministack.services.cloudformation import provisioners
from moto.stepfunctions.parser.api import (
    EvaluationFailedEventDetails,
    ExecutionAbortedEventDetails,
    ExecutionTimedOutEventDetails,
    HistoryEventType,
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
from moto.stepfunctions.parser.asl.component.program.program import Program
from moto.stepfunctions.parser.asl.component.state.exec.execute_state import ExecutionState
from moto.stepfunctions.parser.asl.component.state.exec.state_task.service.resource import (
    ResourceCondition,
)
from moto.stepfunctions.parser.asl.component.state.exec.state_task.service.state_task_service_callback import (  # noqa: E501 - upstream's path
    StateTaskServiceCallback,
)
from moto.stepfunctions.parser.asl.eval.callback import callback as moto_callback
from moto.stepfunctions.parser.asl.eval.environment import Environment
from moto.stepfunctions.parser.asl.eval.evaluation_details import (
    AWSExecutionDetails,
    EvaluationDetails,
    ExecutionDetails,
    StateMachineDetails,
)
from moto.stepfunctions.parser.asl.eval.event.event_detail import EventDetails
from moto.stepfunctions.parser.asl.eval.program_state import (
    ProgramEnded,
    ProgramError,
    ProgramTimedOut,
)
from moto.stepfunctions.parser.asl.eval.variable_store import VariableStore
from moto.stepfunctions.parser.asl.parse import preprocessor
from moto.stepfunctions.parser.asl.parse.asl_parser import AmazonStateLanguageParser
from moto.stepfunctions.parser.asl.utils.encoding import to_json_str
from moto.stepfunctions.parser.backend.execution_worker import ExecutionWorker
from moto.stepfunctions.parser.utils import TMP_THREADS

from . import expressions, upstream
from .callbacks import ExecutionHaltedError, TokenEndpoint, Tokens

_LOG = logging.getLogger(__name__)

_SPENT = ("TaskTimedOut", "Task Timed Out: 'Provided task does not exist anymore'")
_INVALID = ("InvalidToken", "Invalid Token: 'Invalid token'")


@functools.lru_cache(maxsize=32)
def _program(definition: str) -> Program:
    """The parsed state machine. Parsing costs 0.2 s; running one keeps its state in the
    environment, so executions can share it (held by the concurrency test)."""
    parsed: Program = AmazonStateLanguageParser.parse(definition)[0]
    return parsed


class _Deadlines:
    """One thread for the TimeoutSeconds of all state machines."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._heap: list[tuple[float, int, str]] = []
        self._order = itertools.count()
        self._expire: Any = None

    def start(self, expire: Any) -> None:
        self._expire = expire
        threading.Thread(target=self._watch, daemon=True, name="state-machine-timeouts").start()

    def add(self, seconds: float, execution_arn: str) -> None:
        with self._changed:
            heapq.heappush(
                self._heap, (time.monotonic() + seconds, next(self._order), execution_arn)
            )
            self._changed.notify()

    def _watch(self) -> None:
        while True:
            with self._changed:
                while not self._heap or self._heap[0][0] > time.monotonic():
                    wait = self._heap[0][0] - time.monotonic() if self._heap else None
                    self._changed.wait(wait)
                _, _, arn = heapq.heappop(self._heap)
            self._expire(arn)


class Engine:
    """The executions that are running, and what the Step Functions API does with them."""

    def __init__(self) -> None:
        self.tokens = Tokens()
        self._live: dict[str, Environment] = {}
        self._deadlines = _Deadlines()
        self._upstream_history: Any = None
        self._upstream_stop: Any = None
        self._upstream_create: Any = None
        self._upstream_cfn_create: Any = None

    @property
    def running(self) -> int:
        """Executions that hold an interpreter."""
        return len(self._live)

    # --- API handlers (ministack's signatures)

    def create_state_machine(self, data: dict[str, Any]) -> Any:
        problem = definition_problem(data.get("definition", ""))
        if problem:
            return error_response_json("InvalidDefinition", problem, 400)
        return self._upstream_create(data)

    def cfn_state_machine_create(
        self, logical_id: str, props: dict[str, Any], stack_name: str
    ) -> Any:
        problem = definition_problem(provisioners._sfn_definition(props))
        if problem:
            raise ValueError(problem)
        return self._upstream_cfn_create(logical_id, props, stack_name)

    def stop_execution(self, data: dict[str, Any]) -> Any:
        response = self._upstream_stop(data)
        env = self._live.get(data.get("executionArn", ""))
        if env is not None:
            env.set_stop(
                stop_date=datetime.datetime.now(datetime.UTC),
                error=data.get("error"),
                cause=data.get("cause"),
            )
            self._halt_waits(env)
        return response

    def get_execution_history(self, data: dict[str, Any]) -> Any:
        arn = data.get("executionArn", "")
        env = self._live.get(arn)
        if env is not None:
            _copy_history(env, ministack_states._executions[arn])
        return self._upstream_history(data)

    def send_task_success(self, data: dict[str, Any]) -> Any:
        output = data.get("output", "")
        try:
            json.loads(output)
        except ValueError:
            return error_response_json("InvalidOutput", f"Invalid Output: {output!r}", 400)
        token = data.get("taskToken", "")
        return self._signal(
            token, moto_callback.CallbackOutcomeSuccess(callback_id=token, output=output)
        )

    def send_task_failure(self, data: dict[str, Any]) -> Any:
        token = data.get("taskToken", "")
        return self._signal(
            token,
            moto_callback.CallbackOutcomeFailure(
                callback_id=token, error=data.get("error", ""), cause=data.get("cause", "")
            ),
        )

    def send_task_heartbeat(self, data: dict[str, Any]) -> Any:
        return self._signal(data.get("taskToken", ""), None)

    def _signal(self, token: str, outcome: moto_callback.CallbackOutcome | None) -> Any:
        if not self.tokens.issued(token):
            return error_response_json(*_INVALID, 400)
        endpoint = self.tokens.find(token)
        taken = endpoint is not None and (
            endpoint.beat() if outcome is None else endpoint.offer(outcome)
        )
        return json_response({}) if taken else error_response_json(*_SPENT, 400)

    # --- running

    def run(self, exec_arn: str) -> None:
        """Run one execution to its end in this thread."""
        record = ministack_states._executions[exec_arn]
        machine = ministack_states._state_machines[record["stateMachineArn"]]
        program = _program(machine["definition"])
        env = _environment(record, machine)
        env.next_state_name = program.start_at.start_at_name
        self._live[exec_arn] = env
        try:
            if record["status"] != "RUNNING":  # stopped before it began
                return
            if program.timeout_seconds is not None:
                self._deadlines.add(program.timeout_seconds.timeout_seconds, exec_arn)
            try:
                program._eval_body(env)
            except ExecutionHaltedError:
                _record_halt(env)
            _finish(env, record)
        finally:
            del self._live[exec_arn]
            TMP_THREADS.clear()  # moto's list of every thread it ever started

    def _expire(self, exec_arn: str) -> None:
        env = self._live.get(exec_arn)
        if env is not None:
            env.set_timed_out()
            self._halt_waits(env)

    @staticmethod
    def _halt_waits(env: Environment) -> None:
        for endpoint in list(env.callback_pool_manager._pool.values()):
            if isinstance(endpoint, TokenEndpoint):
                endpoint.halt()

    # --- hooks

    def add_token(self, manager: moto_callback.CallbackPoolManager, token: str) -> TokenEndpoint:
        endpoint = TokenEndpoint(callback_id=token)
        manager._pool[token] = endpoint
        self.tokens.add(endpoint)
        return endpoint


def definition_problem(definition: str) -> str | None:
    """Why AWS would refuse the definition, as far as the parser can tell; None if it would not."""
    try:
        _program(definition)
    except Exception as error:  # noqa: BLE001 - the ANTLR visitors raise anything for a bad file
        return f"Invalid State Machine Definition: {error}"
    return None


def _environment(record: dict[str, Any], machine: dict[str, Any]) -> Environment:
    worker = ExecutionWorker(
        evaluation_details=EvaluationDetails(
            aws_execution_details=AWSExecutionDetails(
                account=get_account_id(), region=get_region(), role_arn=machine["roleArn"]
            ),
            execution_details=ExecutionDetails(
                arn=record["executionArn"],
                name=record["name"],
                role_arn=machine["roleArn"],
                inpt=json.loads(record["input"]),
                start_time=record["startDate"],
            ),
            state_machine_details=StateMachineDetails(
                arn=record["stateMachineArn"],
                name=machine["name"],
                typ=machine.get("type", "STANDARD"),
                definition=machine["definition"],
            ),
        ),
        exec_comm=None,
        cloud_watch_logging_session=None,
        activity_store={},
    )
    env: Environment = worker._get_evaluation_environment()
    env.event_manager.add_event(
        context=env.event_history_context,
        event_type=HistoryEventType.ExecutionStarted,
        event_details=EventDetails(
            executionStartedEventDetails={
                "input": record["input"],
                "inputDetails": {"truncated": False},
                "roleArn": machine["roleArn"],
            }
        ),
        update_source_event_id=False,
    )
    return env


def _record_halt(env: Environment) -> None:
    state = env.program_state()
    if isinstance(state, ProgramTimedOut):
        kind, details = HistoryEventType.ExecutionTimedOut, EventDetails(
            executionTimedOutEventDetails=ExecutionTimedOutEventDetails()
        )
    else:
        kind, details = HistoryEventType.ExecutionAborted, EventDetails(
            executionAbortedEventDetails=ExecutionAbortedEventDetails(
                error=state.error, cause=state.cause
            )
        )
    env.event_history_context.source_event_id = 0
    env.event_manager.add_event(
        context=env.event_history_context, event_type=kind, event_details=details
    )


def _copy_history(env: Environment, record: dict[str, Any]) -> None:
    events = json.loads(to_json_str(env.event_manager.get_event_history()))
    if events:
        record["events"] = events


def _finish(env: Environment, record: dict[str, Any]) -> None:
    state = env.program_state()
    _copy_history(env, record)
    if record["status"] != "RUNNING":  # StopExecution has already written the end
        return
    record["stopDate"] = ministack_states.now_iso()
    if isinstance(state, ProgramEnded):
        record["output"] = to_json_str(env.states.get_input(), separators=(",", ":"))
        record["status"] = "SUCCEEDED"
    elif isinstance(state, ProgramTimedOut):
        record["status"] = "TIMED_OUT"
    else:
        details = state.error if isinstance(state, ProgramError) else {}
        record["error"], record["cause"] = details.get("error"), details.get("cause")
        record["status"] = "FAILED"
    ministack_states._emit_execution_status_event(record)


# --- states


def _waits_for_token(state: ExecutionState) -> bool:
    return (
        isinstance(state, StateTaskServiceCallback)
        and state.resource.condition == ResourceCondition.WaitForTaskToken
    )


def _evaluate_in_this_thread(state: ExecutionState, env: Environment) -> None:
    """A parked state needs no thread of its own: its wait keeps the timeout itself."""
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
    heartbeat = heartbeat_endpoint._heartbeat_seconds if heartbeat_endpoint else None
    return callback_endpoint.await_outcome(timeout=timeout_seconds, heartbeat=heartbeat)


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


def _evaluate_expression(self: Any, env: Environment) -> None:
    variables = {
        **env.variable_store._outer_scope,
        **env.variable_store._inner_scope,
        "states": expressions.state_variables(env.states._states_data),
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



def install() -> Engine:
    """Put the engine into ministack; returns it."""
    engine = Engine()
    states = ministack_states
    one = ("data",)
    engine._upstream_create = upstream.replace(
        states, "_create_state_machine", engine.create_state_machine, takes=one
    )
    engine._upstream_stop = upstream.replace(
        states, "_stop_execution", engine.stop_execution, takes=one
    )
    engine._upstream_history = upstream.replace(
        states, "_get_execution_history", engine.get_execution_history, takes=one
    )
    upstream.replace(states, "_run_execution", engine.run, takes=("exec_arn",))
    upstream.replace(states, "_send_task_success", engine.send_task_success, takes=one)
    upstream.replace(states, "_send_task_failure", engine.send_task_failure, takes=one)
    upstream.replace(states, "_send_task_heartbeat", engine.send_task_heartbeat, takes=one)
    engine._upstream_cfn_create = upstream.replace(
        provisioners,
        "_sfn_state_machine_create",
        engine.cfn_state_machine_create,
        takes=("logical_id", "props", "stack_name"),
    )
    upstream.replace_in_handlers(
        provisioners._RESOURCE_HANDLERS,
        "AWS::StepFunctions::StateMachine",
        "create",
        engine.cfn_state_machine_create,
    )
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
    upstream.replace(
        moto_callback.CallbackPoolManager,
        "add",
        lambda self, callback_id: engine.add_token(self, callback_id),
        takes=("self", "callback_id"),
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
    upstream.replace(
        VariableStore, "get_assigned_variables", _assigned_variables, takes=("self",)
    )
    engine._deadlines.start(engine._expire)
    return engine
