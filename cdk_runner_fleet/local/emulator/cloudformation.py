"""CloudFormation: the resource types ministack lacks, and the event that a stack is done."""

from __future__ import annotations

import functools
import json
import sys
import uuid
from typing import Any

from ministack.core.responses import get_account_id, get_region, request_scope
from ministack.services import apigateway, ecs, eventbridge, secretsmanager, ssm
from ministack.services.cloudformation import provisioners, stacks

from . import updates, upstream
from .events import publish
from .faults import Faults
from .options import ACCOUNT, REGION

# Types that are accepted and do nothing here: their part service, for the ARN.
_WITHOUT_EFFECT = {
    "AWS::CloudWatch::CompositeAlarm": "cloudwatch",
    "AWS::EC2::FlowLog": "ec2",
    "AWS::EC2::SecurityGroupEgress": "ec2",
    "AWS::EC2::SecurityGroupIngress": "ec2",
    "AWS::Lambda::EventInvokeConfig": "lambda",
    "AWS::Logs::LogAnomalyDetector": "logs",
    "AWS::Logs::QueryDefinition": "logs",
}
# Public SSM parameters that templates read; the layer itself is this environment's Powertools.
_PUBLIC_PARAMETERS = tuple(
    f"/aws/service/powertools/python/{architecture}/python{version}/latest"
    for architecture in ("arm64", "x86_64")
    for version in ("3.11", "3.12", "3.13", "3.14")
)
_BOOTSTRAP_VERSION = "/cdk-bootstrap/hnb659fds/version"


def _create_cluster_providers(
    logical_id: str, props: dict[str, Any], stack_name: str
) -> tuple[str, dict[str, Any]]:
    del logical_id, stack_name
    strategy = [
        {name[0].lower() + name[1:]: value for name, value in item.items()}
        for item in props.get("DefaultCapacityProviderStrategy", [])
    ]
    ecs._put_cluster_capacity_providers(
        {
            "cluster": props["Cluster"],
            "capacityProviders": props.get("CapacityProviders", []),
            "defaultCapacityProviderStrategy": strategy,
        }
    )
    return props["Cluster"], {}


def _create_cluster(
    upstream_create: Any, logical_id: str, props: dict[str, Any], stack_name: str
) -> tuple[str, dict[str, Any]]:
    """An account's first cluster makes the service-linked role, too late for its providers.

    https://github.com/aws-cloudformation/cloudformation-coverage-roadmap/issues/818
    """
    if props.get("CapacityProviders") and not ecs._clusters:
        raise ValueError(
            "Unable to assume the service linked role. Please verify that the ECS service linked "
            "role exists. (Service: AmazonECS; Status Code: 400; Error Code: "
            "InvalidParameterException)"
        )
    result: tuple[str, dict[str, Any]] = upstream_create(logical_id, props, stack_name)
    return result


def _create_task_definition(
    upstream_create: Any, logical_id: str, props: dict[str, Any], stack_name: str
) -> tuple[str, dict[str, Any]]:
    """Volumes have ECS's names in what ECS answers; ministack leaves them those of the template."""
    volumes = [_volume(volume) for volume in props.get("Volumes") or []]
    more = {"Volumes": volumes} if volumes else {}
    result: tuple[str, dict[str, Any]] = upstream_create(logical_id, {**props, **more}, stack_name)
    return result


def _volume(volume: dict[str, Any]) -> dict[str, Any]:
    given = volume["EFSVolumeConfiguration"]
    authorization = given.get("AuthorizationConfig") or {}
    point = authorization.get("AccessPointId")
    return {
        "name": volume["Name"],
        "efsVolumeConfiguration": {
            "fileSystemId": given["FilesystemId"],
            "rootDirectory": given.get("RootDirectory", "/"),
            "transitEncryption": given.get("TransitEncryption", "DISABLED"),
            "authorizationConfig": {
                "iam": authorization.get("IAM", "DISABLED"),
                **({"accessPointId": point} if point else {}),
            },
        },
    }


def _create_archive(
    logical_id: str, props: dict[str, Any], stack_name: str
) -> tuple[str, dict[str, Any]]:
    """An archive of a bus, from which its events can be replayed."""
    name = props.get("ArchiveName") or provisioners._physical_name(
        stack_name, logical_id, max_len=48
    )
    pattern = props.get("EventPattern")
    status, _, body = eventbridge._create_archive(
        {
            "ArchiveName": name,
            "EventSourceArn": props["SourceArn"],
            "EventPattern": json.dumps(pattern) if pattern else "",
            "RetentionDays": int(props.get("RetentionDays", 0)),
        }
    )
    if status != 200:
        raise ValueError(f"the archive cannot be made: {body!r}")
    return name, {"Arn": json.loads(body)["ArchiveArn"], "ArchiveName": name}


def _delete_archive(physical_id: str, props: dict[str, Any]) -> None:
    del props
    eventbridge._delete_archive({"ArchiveName": physical_id})


def _create_api(
    upstream_create: Any, endpoint: str, logical_id: str, props: dict[str, Any], stack_name: str
) -> tuple[str, dict[str, Any]]:
    """An HTTP API whose endpoint answers on this machine, without DNS."""
    api_id, attributes = upstream_create(logical_id, props, stack_name)
    apigateway._apis[api_id]["apiEndpoint"] = api_url(endpoint, api_id)
    return api_id, {**attributes, "ApiEndpoint": api_url(endpoint, api_id)}


def _check_stage(props: dict[str, Any]) -> None:
    """A stage of an HTTP API names no route before there is one.

    https://github.com/aws/serverless-application-model/issues/2479

    Raises:
        ValueError: it does.
    """
    routes = apigateway._routes.get(props["ApiId"], {}).values()
    for key in props.get("RouteSettings") or {}:
        if key not in {route["routeKey"] for route in routes}:
            raise ValueError(f"Unable to find Route by key {key} within the provided RouteSettings")


def _create_stage(
    upstream_create: Any, logical_id: str, props: dict[str, Any], stack_name: str
) -> tuple[str, dict[str, Any]]:
    _check_stage(props)
    result: tuple[str, dict[str, Any]] = upstream_create(logical_id, props, stack_name)
    return result


def _update_stage(
    upstream_update: Any,
    physical_id: str,
    old_props: dict[str, Any],
    new_props: dict[str, Any],
    *names: str,
) -> tuple[str, dict[str, Any]]:
    _check_stage(new_props)
    result: tuple[str, dict[str, Any]] = upstream_update(physical_id, old_props, new_props, *names)
    return result


def api_url(endpoint: str, api_id: str) -> str:
    """Where an HTTP API's default stage answers: its paths stand below this URL."""
    return f"{endpoint}/_aws/execute-api/{api_id}"


def _secret_name(arn: str) -> str:
    return arn.rsplit(":", 1)[-1].rsplit("-", 1)[0]


def _create_secret(
    upstream_create: Any, logical_id: str, props: dict[str, Any], stack_name: str
) -> tuple[str, dict[str, Any]]:
    """``Ref`` of a secret is its ARN; policies are written with it."""
    _, attributes = upstream_create(logical_id, props, stack_name)
    return attributes["Arn"], attributes


def _update_secret(
    upstream_update: Any,
    physical_id: str,
    old_props: dict[str, Any],
    new_props: dict[str, Any],
    *names: str,
) -> tuple[str, dict[str, Any]]:
    _, attributes = upstream_update(_secret_name(physical_id), old_props, new_props, *names)
    return attributes["Arn"], attributes


def _generated_secret(upstream_string: Any, props: dict[str, Any]) -> str:
    """``GenerateSecretString`` by GetRandomPassword, which knows all of its exclusions."""
    wanted = props.get("GenerateSecretString")
    if wanted is None or wanted.get("SecretStringTemplate"):
        text: str = upstream_string(props)
        return text
    status, _, body = secretsmanager._get_random_password(wanted)
    if status != 200:
        raise ValueError(f"GenerateSecretString cannot be met: {body!r}")
    password: str = json.loads(body)["RandomPassword"]
    return password


def _create_parameter(
    upstream_create: Any, logical_id: str, props: dict[str, Any], stack_name: str
) -> tuple[str, dict[str, Any]]:
    """CloudFormation's generated names have no slash in front; ARNs are composed with them."""
    generated = f"CFN-{logical_id}-{uuid.uuid4().hex[:12]}"
    result: tuple[str, dict[str, Any]] = upstream_create(
        logical_id, {"Name": generated, **props}, stack_name
    )
    return result


def _delete_cluster(physical_id: str, props: dict[str, Any]) -> None:
    """A cluster, unless ECS refuses: ministack takes a refusal for a deletion."""
    del props
    status, _, body = ecs._delete_cluster({"cluster": physical_id})
    if status != 200:
        refusal = json.loads(body)
        if "ClusterNotFoundException" not in refusal["__type"]:
            raise ValueError(f"{refusal['__type']}: {refusal['message']}")


def _delete_nothing(physical_id: str, props: dict[str, Any]) -> None:
    del physical_id, props


def _without_effect(service: str) -> dict[str, Any]:
    def create(
        logical_id: str, props: dict[str, Any], stack_name: str
    ) -> tuple[str, dict[str, Any]]:
        del props
        physical_id = f"{stack_name}-{logical_id}"
        arn = f"arn:aws:{service}:{get_region()}:{get_account_id()}:{physical_id}"
        return physical_id, {"Arn": arn, "Id": physical_id}

    return {"create": create, "delete": _delete_nothing}


def _add_event(  # noqa: PLR0917 - upstream's signature
    upstream_add_event: Any,
    stack_id: str,
    stack_name: str,
    logical_id: str,
    resource_type: str,
    status: str,
    reason: str = "",
    physical_id: str = "",
    detailed_status: str = "",
) -> None:
    upstream_add_event(
        stack_id, stack_name, logical_id, resource_type, status, reason, physical_id,
        detailed_status,
    )  # fmt: skip
    if resource_type == "AWS::CloudFormation::Stack" and logical_id == stack_name:
        publish(
            "aws.cloudformation",
            "CloudFormation Stack Status Change",
            [stack_id],
            {
                "stack-id": stack_id,
                "status-details": {"status": status, "status-reason": reason},
                "client-request-token": "",
            },
        )


def _wrap_create(resource_type: str, hook: Any) -> None:
    def create(
        logical_id: str, props: dict[str, Any], stack_name: str
    ) -> tuple[str, dict[str, Any]]:
        result: tuple[str, dict[str, Any]] = hook(
            old, logical_id=logical_id, props=props, stack_name=stack_name
        )
        return result

    old = upstream.replace_in_handlers(
        provisioners._RESOURCE_HANDLERS, resource_type, "create", create
    )


def _wrap_update(resource_type: str, hook: Any) -> None:
    old = upstream.replace_in_handlers(
        provisioners._RESOURCE_HANDLERS,
        resource_type,
        "update",
        lambda *resource: hook(old, *resource),
    )


def install(endpoint: str, faults: Faults) -> None:
    """Add the missing types, the public parameters and the stack events to ministack."""
    handlers = provisioners._RESOURCE_HANDLERS
    handlers.setdefault(
        "AWS::ECS::ClusterCapacityProviderAssociations",
        {"create": _create_cluster_providers, "delete": _delete_nothing},
    )
    handlers.setdefault(
        "AWS::Events::Archive", {"create": _create_archive, "delete": _delete_archive}
    )
    for resource_type, service in _WITHOUT_EFFECT.items():
        handlers.setdefault(resource_type, _without_effect(service))
    hooks = {
        "AWS::ApiGatewayV2::Api": functools.partial(_create_api, endpoint=endpoint),
        "AWS::ApiGatewayV2::Stage": _create_stage,
        "AWS::ECS::Cluster": _create_cluster,
        "AWS::ECS::TaskDefinition": _create_task_definition,
        "AWS::SecretsManager::Secret": _create_secret,
        "AWS::SSM::Parameter": _create_parameter,
    }
    for resource_type, hook in hooks.items():
        _wrap_create(resource_type, hook)
    upstream.replace_in_handlers(handlers, "AWS::ECS::Cluster", "delete", _delete_cluster)
    for resource_type, change in {
        "AWS::ApiGatewayV2::Stage": _update_stage,
        "AWS::SecretsManager::Secret": _update_secret,
    }.items():
        _wrap_update(resource_type, change)
    updates.install(faults, without_effect=frozenset(_WITHOUT_EFFECT))
    secret_string = upstream.replace(
        provisioners,
        "_sm_secret_string",
        lambda props: _generated_secret(secret_string, props),
        takes=("props",),
    )
    delete_secret = handlers["AWS::SecretsManager::Secret"]["delete"]
    upstream.replace_in_handlers(
        handlers,
        "AWS::SecretsManager::Secret",
        "delete",
        lambda physical_id, props: delete_secret(_secret_name(physical_id), props),
    )
    takes = (
        "stack_id", "stack_name", "logical_id", "resource_type", "status", "reason",
        "physical_id", "detailed_status",
    )  # fmt: skip
    old = upstream.replace(
        stacks, "_add_event", lambda *args, **named: _add_event(old, *args, **named), takes=takes
    )
    upstream.rebind(
        "ministack.services.cloudformation",
        "_add_event",
        stacks._add_event,
        modules=dict(sys.modules),
    )
    with request_scope(ACCOUNT, REGION):
        # What `cdk bootstrap` leaves behind; every template of the CDK asks for it.
        ssm._put_parameter({"Name": _BOOTSTRAP_VERSION, "Type": "String", "Value": "30"})
    layer = f"arn:aws:lambda:{REGION}:017000801446:layer:AWSLambdaPowertoolsPythonV3:1"
    ssm._PUBLIC_AMI_PARAMETERS.update(dict.fromkeys(_PUBLIC_PARAMETERS, layer))
