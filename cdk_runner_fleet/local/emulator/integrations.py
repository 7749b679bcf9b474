"""How a state calls an AWS service: casing, credentials and error names.

Parameters and results are PascalCase in Step Functions whatever the API uses; botocore's models
say which member is meant. Calls are signed with a session of the state machine's role, so a
permission that is missing there fails here.
Error names: https://docs.aws.amazon.com/step-functions/latest/dg/supported-services-awssdk.html
"""

from __future__ import annotations

import sys
import threading
import uuid
from typing import Any

import boto3
import botocore.session
from botocore.client import BaseClient
from botocore.config import Config
from botocore.exceptions import ClientError
from moto.stepfunctions.parser.api import HistoryEventType, TaskFailedEventDetails
from moto.stepfunctions.parser.asl.component.common.error_name.custom_error_name import (
    CustomErrorName,
)
from moto.stepfunctions.parser.asl.component.common.error_name.failure_event import FailureEvent
from moto.stepfunctions.parser.asl.component.state.exec.state_task.service import (
    state_task_service_aws_sdk,
    state_task_service_ecs,
)
from moto.stepfunctions.parser.asl.component.state.exec.state_task.service.state_task_service import (  # noqa: E501 - upstream's path
    StateTaskService,
)
from moto.stepfunctions.parser.asl.component.state.exec.state_task.service.state_task_service_callback import (  # noqa: E501 - upstream's path
    StateTaskServiceCallback,
)
from moto.stepfunctions.parser.asl.eval.event.event_detail import EventDetails
from moto.stepfunctions.parser.utils import camel_to_snake_case

from . import access, upstream

# Java SDK v2 client names, which Step Functions uses in aws-sdk error names.
_ERROR_PREFIXES = {
    "cloudwatch": "CloudWatch",
    "codebuild": "CodeBuild",
    "dynamodb": "DynamoDb",
    "ecr": "Ecr",
    "ecs": "Ecs",
    "eventbridge": "EventBridge",
    "lambda": "Lambda",
    "s3": "S3",
    "secretsmanager": "SecretsManager",
    "sfn": "Sfn",
    "sns": "Sns",
    "sqs": "Sqs",
    "ssm": "Ssm",
    "sts": "Sts",
}


class Clients:
    """boto3 clients of the emulator's own endpoint, one a region, service and role."""

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint
        self._lock = threading.Lock()
        self._clients: dict[tuple[str, str, str | None], BaseClient] = {}
        self._session = boto3.session.Session()

    def for_state(self, region: str, service: str, state_credentials: Any = None) -> BaseClient:
        """The client a state uses (replaces moto's ``boto_client_for``)."""
        role = getattr(state_credentials, "role_arn", None)
        key = (region, service, role)
        with self._lock:
            if key not in self._clients:
                self._clients[key] = self._make(region, service, role)
            return self._clients[key]

    def _make(self, region: str, service: str, role: str | None) -> BaseClient:
        keys = access.role_session(role, session_name="StepFunctions") if role else access.ROOT_KEYS
        # The typed stubs know only literal service names.
        make: Any = self._session.client
        client: BaseClient = make(
            service,
            region_name=region,
            endpoint_url=self._endpoint,
            aws_access_key_id=keys.access_key_id,
            aws_secret_access_key=keys.secret_access_key,
            aws_session_token=keys.session_token,
            config=Config(
                parameter_validation=False,  # the service answers, as on AWS
                retries={"total_max_attempts": 1},  # the machine's own Retry is what is tested
                read_timeout=900,
                inject_host_prefix=False,
                max_pool_connections=64,
            ),
        )
        client.meta.events.register("after-call", _with_request_id)
        return client


def _with_request_id(parsed: dict[str, Any] | None = None, **_: Any) -> None:
    """Moto reads a request id from every error; some of ministack's have none."""
    if parsed is not None:
        parsed.setdefault("ResponseMetadata", {}).setdefault("RequestId", str(uuid.uuid4()))


class _Models:
    """botocore's models, each loaded once: a burst of executions asks for the same one at once."""

    def __init__(self) -> None:
        self._session = botocore.session.get_session()
        self._lock = threading.Lock()
        self._operations: dict[str, dict[str, Any]] = {}

    def operation(self, service: str, action: str) -> Any:
        with self._lock:
            if service not in self._operations:
                model = self._session.get_service_model(service)
                self._operations[service] = {
                    camel_to_snake_case(name): model.operation_model(name)
                    for name in model.operation_names
                }
            return self._operations[service][camel_to_snake_case(action)]


_MODELS = _Models()


def _shapes(state: StateTaskService, service: str | None, action: str | None) -> Any:
    return _MODELS.operation(
        state._get_boto_service_name(service), state._get_boto_service_action(action)
    )


def _normalise_parameters(
    self: StateTaskService,
    parameters: dict[str, Any],
    boto_service_name: str | None = None,
    service_action_name: str | None = None,
) -> None:
    shape = _shapes(self, boto_service_name, service_action_name).input_shape
    if shape is not None:
        self._to_boto_request(parameters, shape)


def _normalise_response(
    self: StateTaskService,
    response: Any,
    boto_service_name: str | None = None,
    service_action_name: str | None = None,
) -> None:
    shape = _shapes(self, boto_service_name, service_action_name).output_shape
    if shape is not None:
        self._from_boto_response(response, shape)


def _run_task(  # noqa: PLR0917 - upstream's signature
    clients: Clients,
    self: state_task_service_ecs.StateTaskServiceEcs,
    env: Any,
    resource_runtime_part: Any,
    normalised_parameters: dict[str, Any],
    state_credentials: Any,
) -> None:
    """Answer with RunTask's own response, ``Failures`` included (moto asks DescribeTasks)."""
    client = clients.for_state(
        region=resource_runtime_part.region, service="ecs", state_credentials=state_credentials
    )
    response = getattr(client, self._get_boto_service_action())(**normalised_parameters)
    response.pop("ResponseMetadata", None)
    env.stack.append(response)


def _ecs_error(upstream_from_error: Any, self: Any, env: Any, ex: Exception) -> FailureEvent:
    """``ECS.ClientException`` and the like; what the API does not model is the SDK's own."""
    if not isinstance(ex, ClientError):
        failure: FailureEvent = upstream_from_error(self, env=env, ex=ex)
        return failure
    code = ex.response["Error"]["Code"]
    modelled = {
        shape.name for shape in _MODELS.operation("ecs", "runTask").service_model.error_shapes
    }
    error = f"ECS.{code if code in modelled else 'AmazonECSException'}"
    meta = ex.response["ResponseMetadata"]
    cause = (
        f"{ex.response['Error'].get('Message', '')} (Service: AmazonECS; "
        f"Status Code: {meta['HTTPStatusCode']}; Error Code: {code}; "
        f"Request ID: {meta['RequestId']}; Proxy: null)"
    )
    return FailureEvent(
        env=env,
        error_name=CustomErrorName(error_name=error),
        event_type=HistoryEventType.TaskFailed,
        event_details=EventDetails(
            taskFailedEventDetails=TaskFailedEventDetails(
                error=error,
                cause=cause,
                resource=self._get_sfn_resource(),
                resourceType=self._get_sfn_resource_type(),
            )
        ),
    )


def install(endpoint: str) -> Clients:
    """Put the calls' rules into moto's engine; returns the clients it will use."""
    clients = Clients(endpoint)
    upstream.rebind(
        "moto.stepfunctions", "boto_client_for", clients.for_state, modules=dict(sys.modules)
    )
    normalise = ("self", "{}", "boto_service_name", "service_action_name")
    upstream.replace(
        StateTaskService,
        "_normalise_parameters",
        _normalise_parameters,
        takes=(normalise[0], "parameters", *normalise[2:]),
    )
    upstream.replace(
        StateTaskService,
        "_normalise_response",
        _normalise_response,
        takes=(normalise[0], "response", *normalise[2:]),
    )
    names: dict[str, str] = state_task_service_aws_sdk._SERVICE_ERROR_NAMES
    names.update(_ERROR_PREFIXES)
    ecs = state_task_service_ecs.StateTaskServiceEcs
    upstream.replace(
        ecs,
        "_eval_service_task",
        lambda self, env, resource_runtime_part, normalised_parameters, state_credentials: (
            _run_task(
                clients,
                self,
                env,
                resource_runtime_part,
                normalised_parameters,
                state_credentials,
            )
        ),
        takes=(
            "self",
            "env",
            "resource_runtime_part",
            "normalised_parameters",
            "state_credentials",
        ),
    )
    bindings: dict[str, set[str]] = state_task_service_ecs._SUPPORTED_API_PARAM_BINDINGS
    bindings["runtask"] |= {
        name[:1].upper() + name[1:]
        for name in _MODELS.operation("ecs", "runTask").input_shape.members
    }
    upstream_from_error = StateTaskServiceCallback._from_error
    ecs._from_error = lambda self, env, ex: _ecs_error(upstream_from_error, self, env, ex)
    return clients
