"""Who may do what: sessions for roles, ``iam:PassRole`` and the permissions of event targets.

ministack evaluates identity policies of every signed request (its AUTH mode). What it leaves out
and a deployment would trip over is added here.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import hmac
import inspect
import json
import logging
import re
import secrets
import sys
import threading
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from ministack import app as ministack_app
from ministack.core import iam_actions, iam_evaluator
from ministack.core.responses import error_response_json, get_account_id, get_region, request_scope
from ministack.core.router import extract_access_key_id
from ministack.services import apigateway, ecs, eventbridge, iam, lambda_svc, sts

from . import ecs_tags, upstream
from .callbacks import Tokens
from .options import ACCOUNT

_LOG = logging.getLogger(__name__)
_POLICIES = 1000
"""Texts of policies that are kept as they were read; a fleet has some thirty."""
_INVOKE_LAMBDA_PROXY = (
    "integration", "api_id", "stage", "path", "method", "headers", "body", "query_params",
    "route_key", "path_params", "authorizer_claims", "authorizer_scopes",
    "authorizer_lambda_context", "authorizer_iam", "owner_account_id", "owner_region",
    "raw_query_string",
)  # fmt: skip


ECR_IMAGE = re.compile(
    r"^(?P<account>\d{12})\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.[^/]+/(?P<repository>[^:@]+)"
    r"(?::(?P<tag>[^@]+))?(?:@(?P<digest>sha256:[0-9a-f]+))?$"
)
_PULLING = ("ecr:BatchCheckLayerAvailability", "ecr:GetDownloadUrlForLayer", "ecr:BatchGetImage")
_BUILD_OVERRIDES = {
    "codebuild:source.buildspec": "buildspecOverride",
    "codebuild:source.location": "sourceLocationOverride",
    "codebuild:environment.image": "imageOverride",
}


@dataclass(frozen=True, kw_only=True)
class Keys:
    """Credentials as an SDK takes them; the token is None for the account's root."""

    access_key_id: str
    secret_access_key: str
    session_token: str | None = None


# ministack takes an access key of twelve digits for the root of that account. The secret is all
# that other users of this machine do not know.
ROOT_KEYS = Keys(access_key_id=ACCOUNT, secret_access_key=secrets.token_urlsafe(30))
_SESSIONS_KEY = secrets.token_bytes(32)  # without it nobody can tell the keys of a role's session
_registering = threading.Lock()  # ministack looks through its sessions at each new one


def role_session(role_arn: str, *, session_name: str, holder: str = "") -> Keys:
    """Credentials of a role, as the service that assumes it would hold them.

    Registered directly: the caller is AWS itself, and a role's trust policy rightly refuses
    everybody else's AssumeRole.

    Args:
        role_arn: the role.
        session_name: the session's, as in the caller's ARN.
        holder: who gets them, where several hold a session of the same name; their keys differ.
    """

    def derived(what: str) -> str:
        text = f"{what}/{role_arn}/{session_name}/{holder}"
        return hmac.new(_SESSIONS_KEY, text.encode(), hashlib.sha256).hexdigest()

    keys = Keys(
        access_key_id=f"ASIA{derived('id')[:16].upper()}",
        secret_access_key=derived("secret")[:40],  # as long as AWS's
        session_token=derived("token"),
    )
    account, name = role_arn.split(":")[4], role_arn.rsplit("/", 1)[-1]
    with _registering, request_scope(account, get_region()):
        sts.register_session(
            keys.access_key_id,
            {
                "Arn": f"arn:aws:sts::{account}:assumed-role/{name}/{session_name}",
                "UserId": f"{name}:{session_name}",
                "SecretAccessKey": keys.secret_access_key,
                "SessionToken": keys.session_token,
            },
        )
    return keys


def _request(body: bytes) -> dict[str, Any]:
    try:
        request = json.loads(body or b"{}")
    except ValueError:
        return {}
    return request if isinstance(request, dict) else {}


def _cluster_arn(request: dict[str, Any]) -> str:
    name = ecs._resolve_cluster_name(request.get("cluster", "default"))
    return f"arn:aws:ecs:{get_region()}:{get_account_id()}:cluster/{name}"


def ecs_resource(action: str, body: bytes) -> str:
    """The resource that IAM checks for an ECS call.

    https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonelasticcontainerservice.html
    (ministack takes the cluster for all of them).
    """
    request = _request(body)
    prefix = f"arn:aws:ecs:{get_region()}:{get_account_id()}"
    match action.removeprefix("ecs:"):
        case "RunTask":
            reference = str(request.get("taskDefinition", "")).rsplit("task-definition/", 1)[-1]
            known = ecs._task_defs.get(ecs._resolve_td_key(reference))
            if known is not None:
                return str(known["taskDefinitionArn"])
            return f"{prefix}:task-definition/{reference}"  # there is no revision yet
        case "StopTask" | "DescribeTasks":
            tasks = [request.get("task", ""), *request.get("tasks", [])]
            reference = str(next((task for task in tasks if task), ""))
            cluster = _cluster_arn(request).rsplit("/", 1)[-1]
            return reference if ":" in reference else f"{prefix}:task/{cluster}/{reference}"
        case (
            "RegisterTaskDefinition"  # what its refusals name, whatever the reference says
            | "DescribeTaskDefinition"
            | "DeregisterTaskDefinition"
            | "ListTaskDefinitions"
        ):
            return "*"
        case _:
            return _cluster_arn(request)


def passed_roles(action: str, body: bytes) -> list[str]:
    """Roles that an ECS request hands to a task; the caller needs ``iam:PassRole`` for each."""
    request = _request(body)
    if action == "ecs:RegisterTaskDefinition":
        holders = [request]
    elif action == "ecs:RunTask":
        definition = ecs._task_defs.get(ecs._resolve_td_key(request.get("taskDefinition", "")))
        holders = [{**(definition or {}), **(request.get("overrides") or {})}]
    else:
        return []
    fields = ("executionRoleArn", "taskRoleArn")
    return [holder[field] for holder in holders for field in fields if holder.get(field)]


def pass_role_refusal(
    action: str, headers: dict[str, str], query: dict[str, Any], body: bytes
) -> Any:
    """The answer to a caller who may not pass a role, or None."""
    for role in passed_roles(action, body):
        denied = iam_evaluator.enforce(
            extract_access_key_id(headers, query),
            "iam:PassRole",
            "iam",
            get_region(),
            resource_arn=role,
            service_context={"iam:passedtoservice": "ecs-tasks.amazonaws.com"},
        )
        if denied is not None and not isinstance(denied, iam_evaluator.AuthError):
            return error_response_json(
                "AccessDeniedException",
                f"User: {denied.principal_arn} is not authorized to perform: iam:PassRole "
                f"on resource: {role} because no identity-based policy allows the "
                "iam:PassRole action",
                400,
            )
    return None


def role_refusal(
    role: str, action: str, resource: str, *, context: dict[str, str] | None = None
) -> str:
    """Why a role's own policies do not let it do something, in AWS's words; empty if they do.

    Args:
        role: the role's ARN.
        action: what.
        resource: the ARN of what with.
        context: what conditions may ask for, by their keys in small letters.
    """
    session = role_session(role, session_name="fargate")
    denied = iam_evaluator.enforce(
        session.access_key_id,
        action,
        action.partition(":")[0],
        get_region(),
        resource_arn=resource,
        service_context=context or {},
    )
    if denied is None:
        return ""
    who = denied.message if isinstance(denied, iam_evaluator.AuthError) else denied.principal_arn
    return (
        f"AccessDeniedException: User: {who} is not authorized to perform: {action} on resource: "
        f"{resource} because no identity-based policy allows the {action} action"
    )


def is_trusted(role: str, *, service: str, source_arn: str) -> bool:
    """Whether a role's trust policy lets a service of this account assume it for a resource.

    Args:
        role: the role's ARN.
        service: the service's principal.
        source_arn: what it assumes the role for, as it tells IAM.
    """
    account, name = role.split(":")[4], role.rsplit("/", 1)[-1]
    known = iam._roles.get_scoped(account, None, name)
    if known is None:
        return False
    document = known["AssumeRolePolicyDocument"]
    policy = json.loads(document) if isinstance(document, str) else document
    context = iam_evaluator.EvalContext(
        principal_arn="",
        principal_type="Service",
        principal_account="",
        action="sts:AssumeRole",
        resource_arn=role,
        region=get_region(),
        service_context={"aws:sourceaccount": get_account_id(), "aws:sourcearn": source_arn},
    )
    return any(
        statement["Effect"] == "Allow"
        and service in _listed((statement.get("Principal") or {}).get("Service"))
        and iam_evaluator._conditions_met(statement.get("Condition") or {}, context)
        for statement in _listed(policy["Statement"])
    )


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def pull_refusal(role: str, image: str) -> str:
    """Why a role may not pull an image of a private ECR; empty if it may, or it is elsewhere."""
    found = ECR_IMAGE.match(image)
    if found is None:
        return ""
    arn = f"arn:aws:ecr:{found['region']}:{found['account']}:repository/{found['repository']}"
    refusals = (role_refusal(role, action, arn) for action in _PULLING)
    return next(filter(None, refusals), "")


def tag_refusal(action: str, headers: dict[str, str], query: dict[str, Any], body: bytes) -> Any:
    """The answer to a caller who makes something with tags and may not give it any, or None.

    "Grant permission to tag resources on creation", Amazon ECS developer guide.
    """
    request = _request(body)
    match action:
        case "ecs:RunTask" if ecs_tags.of_task(request):
            cluster = _cluster_arn(request).rsplit("/", 1)[-1]
            resource = f"arn:aws:ecs:{get_region()}:{get_account_id()}:task/{cluster}/*"
        case "ecs:RegisterTaskDefinition" if request.get("tags"):
            resource = ecs_resource(action, body)
        case _:
            return None
    denied = iam_evaluator.enforce(
        extract_access_key_id(headers, query),
        "ecs:TagResource",
        "iam",
        get_region(),
        resource_arn=resource,
        service_context={"ecs:createaction": action.removeprefix("ecs:")},
    )
    if denied is None or isinstance(denied, iam_evaluator.AuthError):
        return None
    return error_response_json(
        "AccessDeniedException",
        f"User: {denied.principal_arn} is not authorized to perform: ecs:TagResource on resource: "
        f"{resource} because no identity-based policy allows the ecs:TagResource action",
        400,
    )


def _parameter_arn(name: str) -> str:
    return f"arn:aws:ssm:{get_region()}:{get_account_id()}:parameter/{name.lstrip('/')}"


def parameter_refusal(
    action: str, headers: dict[str, str], query: dict[str, Any], body: bytes
) -> Any:
    """The answer to a caller who may not read each of several parameters, or None.

    Service Authorization Reference, "Actions defined by AWS Systems Manager": ``GetParameters`` is
    allowed on parameters (ministack asks for all of them).
    """
    if action != "ssm:GetParameters":
        return None
    for name in _request(body).get("Names") or []:
        denied = iam_evaluator.enforce(
            extract_access_key_id(headers, query),
            action,
            "ssm",
            get_region(),
            resource_arn=_parameter_arn(name),
        )
        if denied is not None and not isinstance(denied, iam_evaluator.AuthError):
            return error_response_json(
                "AccessDeniedException",
                f"User: {denied.principal_arn} is not authorized to perform: {action} on "
                f"resource: {_parameter_arn(name)} because no identity-based policy allows the "
                f"{action} action",
                400,
            )
    return None


def _enforce_execute_api(  # noqa: PLR0917 - upstream's signature
    upstream_enforce: Any,
    api_id: str,
    stage: str,
    method: str,
    execute_path: str,
    headers: dict[str, str],
    query_params: dict[str, Any],
    iam_action: str = "execute-api:Invoke",
) -> Any:
    """An HTTP API says no more than this to whoever its IAM authorizer does not let in."""
    arguments = (api_id, stage, method, execute_path)
    refused = upstream_enforce(*arguments, headers, query_params, iam_action)
    if apigateway.route_authorization_type(*arguments) != "AWS_IAM":
        return refused
    if refused or not headers.get("authorization", "").startswith("AWS4-HMAC-SHA256 "):
        return 403, {"Content-Type": "application/json"}, b'{"message":"Forbidden"}'
    return None


_rule_arn: ContextVar[str] = ContextVar("rule_arn", default="")


def _may_invoke(function: dict[str, Any], caller: str, source_arn: str) -> bool:
    """Whether the function's resource policy lets a service invoke it on behalf of a resource."""
    for statement in (function.get("policy") or {}).get("Statement", []):
        principal = statement.get("Principal")
        service = principal.get("Service") if isinstance(principal, dict) else principal
        condition = statement.get("Condition") or {}
        sources = (condition.get("ArnLike") or condition.get("ArnEquals") or {}).get(
            "AWS:SourceArn", "*"
        )
        if (
            statement.get("Effect") == "Allow"
            and service in (caller, "*")
            and iam_evaluator.fnmatch_iam_cs(source_arn, sources)
        ):
            return True
    return False


async def _invoke_for_api(upstream_invoke: Any, *arguments: Any, **named: Any) -> Any:
    """An HTTP API's call to its function, refused without the function's permission."""
    given = inspect.signature(upstream_invoke).bind(*arguments, **named).arguments
    function, _, name = lambda_svc._get_func_record_for_ref(given["integration"]["integrationUri"])
    method, _, route = given["route_key"].partition(" ")
    source = (
        f"arn:aws:execute-api:{get_region()}:{get_account_id()}:"
        f"{given['api_id']}/{given['stage']}/{method}{route}"
    )
    if function and not _may_invoke(function, "apigateway.amazonaws.com", source):
        _LOG.error("API route %s may not invoke %s: add a lambda permission", source, name)
        body = json.dumps({"message": "Internal Server Error"}).encode()
        return 500, {"Content-Type": "application/json"}, body
    return await upstream_invoke(*arguments, **named)


def _invoke_target(
    upstream_invoke: Any, target: Any, event: Any, rule: dict[str, Any], view: Any = None
) -> Any:
    bus = rule.get("EventBusName", "default")
    name = rule.get("Name", "")
    path = name if bus == "default" else f"{bus}/{name}"
    arn = rule.get("Arn") or f"arn:aws:events:{get_region()}:{get_account_id()}:rule/{path}"
    token = _rule_arn.set(arn)
    try:
        return upstream_invoke(target, event, rule, view)
    finally:
        _rule_arn.reset(token)


def _dispatch_to_lambda(arn: str, payload: str) -> None:
    """EventBridge's asynchronous invocation, refused without the function's permission."""
    function, config, name = lambda_svc._get_func_record_for_ref(arn)
    if not function or not config:
        _LOG.warning("rule %s: its target %s does not exist", _rule_arn.get(), name)
        return
    if not _may_invoke(function, "events.amazonaws.com", _rule_arn.get()):
        _LOG.error("rule %s may not invoke %s: add a lambda permission", _rule_arn.get(), name)
        return
    lambda_svc.invoke_async_with_retry(
        lambda_svc._execution_record_for_config(function, config), json.loads(payload)
    )


def _resource_arn(  # noqa: PLR0917 - upstream's signature
    upstream_extract: Any,
    tokens: Tokens,
    service: str,
    method: str,
    path: str,
    headers: dict[str, str],
    body: bytes,
    query_params: dict[str, Any],
    region: str,
    account_id: str,
) -> str:
    arguments = (service, method, path, headers, body, query_params)
    if service == "ecs":
        action = iam_actions.extract_iam_action(*arguments)
        if action is not None:
            return ecs_resource(action, body)
    if service == "codebuild" and (ids := _request(body).get("ids")):
        # Permissions to read a build are given on its project.
        project = str(ids[0]).partition(":")[0]
        return f"arn:aws:codebuild:{region}:{account_id}:project/{project}"
    if service == "ssm" and (names := _request(body).get("Names")):
        return _parameter_arn(names[0])  # of the others see parameter_refusal
    if service == "states" and "taskToken" in (request := _request(body)):
        # Permissions to answer a task are given on the machine that waits for it.
        return tokens.state_machine(request["taskToken"]) or "*"
    arn: str = upstream_extract(*arguments, region, account_id)
    return arn


def _context_keys(
    upstream_context: Any, service: str, iam_action: str, body: bytes, query_params: dict[str, Any]
) -> dict[str, Any]:
    context: dict[str, Any] = dict(upstream_context(service, iam_action, body, query_params))
    request = _request(body)
    if service == "ecs":
        context["ecs:cluster"] = _cluster_arn(request)
        context["ecs:compute-compatibility"] = request.get("requiresCompatibilities")
        for tag in ecs._tags.get(ecs_resource(iam_action, body), []):
            context[f"aws:ResourceTag/{tag['key']}"] = tag["value"]
    elif iam_action == "events:PutEvents":
        # a value for each event, "Condition keys for Amazon EventBridge"
        entries = request.get("Entries") or []
        context["events:source"] = [entry.get("Source", "") for entry in entries]
        context["events:detail-type"] = [entry.get("DetailType", "") for entry in entries]
    elif iam_action == "codebuild:StartBuild":
        # those that policies here may ask for, "Condition keys for AWS CodeBuild"
        variables = request.get("environmentVariablesOverride")
        context["codebuild:environment.environmentVariables.name"] = variables and [
            variable["name"] for variable in variables
        ]
        for key, override in _BUILD_OVERRIDES.items():
            context[key] = request.get(override)
    return context


def _is_root(access_key_id: str) -> bool:
    """Whether a key is an account's root; to ministack no key and its settings' own are so too."""
    return bool(re.fullmatch(r"\d{12}", access_key_id))


def _resolve_credential(upstream_resolve: Any, *arguments: Any, **named: Any) -> Any:
    """A known key's credentials; those of a root have this process's secret."""
    found = upstream_resolve(*arguments, **named)
    if getattr(found, "principal_type", "") != "Root":
        return found
    return dataclasses.replace(found, secret_access_key=ROOT_KEYS.secret_access_key)


def _ask_everybody_for_a_signature() -> None:
    """Take nobody for who he says he is: to ministack a root's signature may be any, or none."""
    modules = dict(sys.modules)
    upstream.replace(iam_evaluator, "is_root_access_key", _is_root, takes=("access_key_id",))
    upstream.rebind("ministack", "is_root_access_key", _is_root, modules=modules)
    # who asks this spares a root the check of its signature
    upstream.replace(iam_evaluator, "_is_root_key", lambda _: False, takes=("access_key_id",))

    def resolve(*arguments: Any, **named: Any) -> Any:
        return _resolve_credential(known, *arguments, **named)

    known = upstream.replace(
        iam_evaluator,
        "resolve_credential",
        resolve,
        takes=("access_key_id", "account_id", "session_token"),
    )
    upstream.rebind("ministack", "resolve_credential", resolve, modules=modules)


def _read_policies_once() -> None:
    """A caller's policies would be read anew at each of its calls, and twice."""
    read = upstream.replace(
        iam_evaluator,
        "parse_policy_document",
        lambda doc: known(doc) if isinstance(doc, str) else read(doc),
        takes=("doc",),
    )
    # what was read is looked at, and never changed
    known = functools.lru_cache(_POLICIES)(read)


def install(tokens: Tokens) -> None:
    """Put ECS's resources and conditions and the permissions of event targets into ministack.

    And have each call's signature looked at.
    """
    _ask_everybody_for_a_signature()
    _read_policies_once()
    extract = upstream.replace(
        iam_actions,
        "extract_resource_arn",
        lambda *arguments: _resource_arn(extract, tokens, *arguments),
        takes=(
            "service", "method", "path", "headers", "body", "query_params", "region", "account_id",
        ),
    )  # fmt: skip
    context = upstream.replace(
        iam_actions,
        "request_tag_context",
        lambda *arguments: _context_keys(context, *arguments),
        takes=("service", "iam_action", "body", "params"),
    )
    enforce = upstream.replace(
        ministack_app,
        "_enforce_execute_api",
        lambda *arguments, **named: _enforce_execute_api(enforce, *arguments, **named),
        takes=(
            "api_id", "stage", "method", "execute_path", "headers", "query_params", "iam_action",
        ),
    )  # fmt: skip
    invoke = upstream.replace(
        apigateway,
        "_invoke_lambda_proxy",
        lambda *arguments, **named: _invoke_for_api(invoke, *arguments, **named),
        takes=_INVOKE_LAMBDA_PROXY,
    )
    old = upstream.replace(
        eventbridge,
        "_invoke_target",
        lambda target, event, rule, view=None: _invoke_target(old, target, event, rule, view),
        takes=("target", "event", "rule", "view"),
    )
    upstream.replace(
        eventbridge, "_dispatch_to_lambda", _dispatch_to_lambda, takes=("arn", "payload")
    )
