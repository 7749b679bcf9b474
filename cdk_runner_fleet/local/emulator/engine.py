"""Step Functions: ministack keeps the API and the records, moto's interpreter runs the states.

An execution parked on a task token costs one thread and its variables; when it ends, its history
is copied to the record and everything of the interpreter is let go.
"""

from __future__ import annotations

import datetime
import functools
import json
import logging
from typing import Any

from ministack.core.responses import error_response_json, get_account_id, get_region, json_response
from ministack.services import stepfunctions as ministack_states
from ministack.services.cloudformation import provisioners
from moto.stepfunctions.parser.api import (
    ExecutionAbortedEventDetails,
    ExecutionTimedOutEventDetails,
    HistoryEventType,
)
from moto.stepfunctions.parser.asl.component.program.program import Program
from moto.stepfunctions.parser.asl.eval.callback import callback as moto_callback
from moto.stepfunctions.parser.asl.eval.callback.callback import CallbackPoolManager
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
from moto.stepfunctions.parser.asl.parse.asl_parser import AmazonStateLanguageParser
from moto.stepfunctions.parser.asl.utils.encoding import to_json_str
from moto.stepfunctions.parser.backend.execution_worker import ExecutionWorker
from moto.stepfunctions.parser.utils import TMP_THREADS

from . import states, upstream
from .callbacks import Deadlines, ExecutionHaltedError, TokenEndpoint, Tokens

_LOG = logging.getLogger(__name__)

_SPENT = ("TaskTimedOut", "Task Timed Out: 'Provided task does not exist anymore'")
_INVALID = ("InvalidToken", "Invalid Token: 'Invalid token'")


@functools.lru_cache(maxsize=32)
def _program(definition: str) -> Program:
    """The parsed state machine. Parsing costs 0.2 s; running one keeps its state in the
    environment, so executions can share it (held by the concurrency test).
    """
    parsed: Program = AmazonStateLanguageParser.parse(definition)[0]
    return parsed


class Engine:
    """The executions that are running, and what the Step Functions API does with them.

    Attributes:
        transitions: state transitions of the executions that have ended, as AWS bills them.
    """

    def __init__(self) -> None:
        self.tokens = Tokens()
        self.transitions = 0
        self._live: dict[str, Environment] = {}
        self._deadlines = Deadlines()
        self._upstream_history: Any = None
        self._upstream_stop: Any = None
        self._upstream_create: Any = None
        self._upstream_cfn_create: Any = None
        self._upstream_cfn_update: Any = None

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

    def cfn_state_machine_update(
        self, physical_id: str, old_props: dict[str, Any], new_props: dict[str, Any], *names: str
    ) -> Any:
        """Executions that run go on by what they began with.

        https://docs.aws.amazon.com/step-functions/latest/apireference/API_UpdateStateMachine.html
        """
        problem = definition_problem(provisioners._sfn_definition(new_props))
        if problem:
            raise ValueError(problem)
        return self._upstream_cfn_update(physical_id, old_props, new_props, *names)

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
        if self.tokens.state_machine(token) is None:
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
            self.transitions += transitions(record.get("events", []))
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

    def add_token(self, manager: CallbackPoolManager, token: str) -> TokenEndpoint:
        endpoint = TokenEndpoint(callback_id=token)
        manager._pool[token] = endpoint
        self.tokens.add(endpoint, manager.state_machine_arn)
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
    # Shared by all frames of the execution, so it says whose token a branch hands out.
    env.callback_pool_manager.state_machine_arn = record["stateMachineArn"]
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
        kind, details = (
            HistoryEventType.ExecutionTimedOut,
            EventDetails(executionTimedOutEventDetails=ExecutionTimedOutEventDetails()),
        )
    else:
        kind, details = (
            HistoryEventType.ExecutionAborted,
            EventDetails(
                executionAbortedEventDetails=ExecutionAbortedEventDetails(
                    error=state.error, cause=state.cause
                )
            ),
        )
    env.event_history_context.source_event_id = 0
    env.event_manager.add_event(
        context=env.event_history_context, event_type=kind, event_details=details
    )


def _copy_history(env: Environment, record: dict[str, Any]) -> None:
    events = json.loads(to_json_str(env.event_manager.get_event_history()))
    if events:
        record["events"] = events


def transitions(events: list[dict[str, Any]]) -> int:
    """State transitions in a history: states entered, and retries.

    https://aws.amazon.com/step-functions/pricing/: "retries are counted" too.
    """
    total = attempts = 0
    for event in events:
        if "stateEnteredEventDetails" in event:
            total, attempts = total + 1, 0
        elif event["type"] == "TaskScheduled":
            attempts += 1
            total += attempts > 1
    return total


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


def install() -> Engine:
    """Put the engine into ministack; returns it."""
    engine = Engine()
    one = ("data",)
    engine._upstream_create = upstream.replace(
        ministack_states, "_create_state_machine", engine.create_state_machine, takes=one
    )
    engine._upstream_stop = upstream.replace(
        ministack_states, "_stop_execution", engine.stop_execution, takes=one
    )
    engine._upstream_history = upstream.replace(
        ministack_states, "_get_execution_history", engine.get_execution_history, takes=one
    )
    upstream.replace(ministack_states, "_run_execution", engine.run, takes=("exec_arn",))
    upstream.replace(ministack_states, "_send_task_success", engine.send_task_success, takes=one)
    upstream.replace(ministack_states, "_send_task_failure", engine.send_task_failure, takes=one)
    upstream.replace(
        ministack_states, "_send_task_heartbeat", engine.send_task_heartbeat, takes=one
    )
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
    engine._upstream_cfn_update = upstream.replace_in_handlers(
        provisioners._RESOURCE_HANDLERS,
        "AWS::StepFunctions::StateMachine",
        "update",
        engine.cfn_state_machine_update,
    )

    def add_token(manager: CallbackPoolManager, callback_id: str) -> TokenEndpoint:
        return engine.add_token(manager, callback_id)

    states.install(add_token)
    engine._deadlines.start(engine._expire)
    return engine
