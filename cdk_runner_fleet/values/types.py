"""Whether values are of the kind that a constructor's annotations name."""

from __future__ import annotations

import inspect
import math
import sys
import types
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any, Literal, Union, get_args, get_origin

from aws_cdk import Token

_CDK = {
    "apigateway": "aws_apigatewayv2",
    "ec2": "aws_ec2",
    "ecr": "aws_ecr",
    "ecs": "aws_ecs",
    "efs": "aws_efs",
    "events": "aws_events",
    "iam": "aws_iam",
    "kms": "aws_kms",
    "lambda_": "aws_lambda",
    "logs": "aws_logs",
    "secretsmanager": "aws_secretsmanager",
    "ssm": "aws_ssm",
}
"""Modules that annotations name. Who gives a value has loaded its module, so this costs nothing."""
_NONE = type(None)
_FOR_EXAMPLE = {
    "Duration": "Duration.minutes(5)",
    "FleetAlarms": "fleet.add_alarms(topic)",
    "IRunnerFleet": 'RunnerFleet(self, "Fleet", …)',
    "EfsMount": 'EfsMount(file_system=file_system, path="/mnt/cache")',
    "FunctionOptions": "FunctionOptions(tracing=lambda_.Tracing.ACTIVE)",
    "GitHub": 'GitHub.repository("owner/name")',
    "GitHubApp": 'GitHubApp(app_id=1, private_key=Secret.from_secret_name_v2(…, "name"))',
    "ImageBuilds": "ImageBuilds(max_concurrent_builds=10)",
    "ICluster": "ecs.Cluster.from_cluster_attributes(…)",
    "IAccessPoint": 'file_system.add_access_point("Cache", …)',
    "IDomainName": "apigatewayv2.DomainName.from_domain_name_attributes(…)",
    "IEventBus": "events.EventBus.from_event_bus_arn(…)",
    "IFileSystem": "efs.FileSystem.from_file_system_attributes(…)",
    "IKey": "kms.Key.from_key_arn(…)",
    "IRepository": "ecr.Repository.from_repository_name(…)",
    "ILayerVersion": "lambda_.LayerVersion.from_layer_version_arn(…)",
    "IRole": 'iam.Role.from_role_name(…, "name")',
    "ISecret": 'secretsmanager.Secret.from_secret_name_v2(…, "name")',
    "ISecurityGroup": "ec2.SecurityGroup.from_security_group_id(…)",
    "IStringParameter": "ssm.StringParameter.from_string_parameter_name(…)",
    "ITopic": "sns.Topic.from_topic_arn(…)",
    "IVpc": "ec2.Vpc.from_lookup(…)",
    "LifecycleTimeouts": "LifecycleTimeouts(job=Duration.hours(1))",
    "Reconciliation": "Reconciliation(every=Duration.minutes(5))",
    "RetentionDays": "logs.RetentionDays.ONE_YEAR",
    "RunnerClass": "RunnerClass(cpu=512, memory=1024)",
    "RunnerImage": 'RunnerImage.built(variant="python")',
    "RunnerLimits": "RunnerLimits(max_runners=50)",
    "SubnetSelection": "ec2.SubnetSelection(subnet_type=ec2.SubnetType.PRIVATE_WITH_EGRESS)",
    "Tracing": "lambda_.Tracing.ACTIVE",
    "Webhook": 'Webhook(allowed_cidrs=["192.30.252.0/22"])',
}


def check_types(constructor: Callable[..., object], values: Mapping[str, object]) -> None:
    """Hold values to the annotations of the parameters that they are given for.

    Args:
        constructor: Whose parameters they are. ``str``, ``bool``, numbers, classes, literals,
            jsii's interfaces, and sequences and mappings of them are known; the rest passes.
        values: The values by the parameters' names; others are left out. A token passes: its value
            is not known yet.

    Raises:
        TypeError: if one is of another kind. It names the parameter and both kinds, and not the
            value, which may be a secret where none should stand.
    """
    for name, parameter in inspect.signature(constructor).parameters.items():
        is_given = name in values and values[name] is not parameter.default
        if is_given and parameter.annotation is not parameter.empty:
            _check(name, values[name], _hint(parameter.annotation, constructor.__module__))


def _hint(annotation: str, module: str) -> Any:
    """What an annotation says in its module, where aws-cdk's are imported for annotations alone."""
    code = compile(annotation, module, "eval")
    cdk = {name: import_module(f"aws_cdk.{_CDK[name]}") for name in code.co_names if name in _CDK}
    return eval(code, {**vars(sys.modules[module]), **cdk})  # noqa: S307 - the library's own text


def _check(name: str, value: object, hint: Any) -> None:
    if is_token(value):
        return
    options = get_args(hint) if get_origin(hint) in (types.UnionType, Union) else (hint,)
    if any(_fits(value, one) for one in options):
        return
    many = next((one for one in options if get_origin(one) in (Sequence, Mapping)), None)
    if many is None:
        raise _wrong(name, value, " or ".join(_kind(one) for one in options if one is not _NONE))
    _check_each(name, value, many)


def _check_each(name: str, value: object, hint: Any) -> None:
    of = get_args(hint)[-1]
    if get_origin(hint) is Mapping:
        if not isinstance(value, Mapping):
            raise _wrong(name, value, f"a mapping of names, each to {_kind(of)}")
        for key in value:
            if not isinstance(key, str):
                raise TypeError(f"{name} has the name {key!r}, a {type(key).__name__}, give a str")
        each = {f"{name}[{key!r}]": one for key, one in value.items()}
    else:
        # a text is a sequence of texts, too, and surely not what was meant
        if isinstance(value, str | bytes) or not isinstance(value, Sequence):
            raise _wrong(name, value, f"a list, each {_kind(of)}")
        each = {f"{name}[{index}]": one for index, one in enumerate(value)}
    for place, one in each.items():
        _check(place, one, of)


def _fits(value: object, hint: Any) -> bool:
    """Whether a value is of a plain kind; a sequence or a mapping fits nothing here."""
    if hint is Any:
        return True
    if get_origin(hint) is Literal:
        # which of them may be is said by its own check
        return isinstance(value, tuple(type(one) for one in get_args(hint)))
    if hint in (int, float) and isinstance(value, bool):
        return False
    if hint is float:
        return isinstance(value, int | float)
    if not isinstance(hint, type):
        return False
    if getattr(hint, "_is_protocol", False):
        # jsii's interfaces. What it makes of an import may be of no class that has their members
        looked_at = type(value) if hasattr(type(value), "__jsii_type__") else value
        return hasattr(value, "__jsii_ref__") and all(
            hasattr(looked_at, one) for one in _members(hint)
        )
    return isinstance(value, hint)


def _members(protocol: type) -> list[str]:
    return [
        name
        for name, member in vars(protocol).items()
        # to look for a property would be to ask for it
        if not name.startswith("_") and inspect.isfunction(member)
    ]


def is_token(value: object) -> bool:
    """Whether a value is only known at deployment."""
    # a token's text has that in it, and its number is negative: nothing else is asked of Node,
    # which ends at numbers that JSON does not have
    if isinstance(value, str):
        is_likely = "${Token[" in value
    else:
        is_likely = isinstance(value, int | float) and math.isfinite(value) and value < 0
    return is_likely and bool(Token.is_unresolved(value))


def _kind(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return " or ".join(repr(one) for one in get_args(hint))
    name: str = getattr(hint, "__name__", str(hint))
    example = f", such as {_FOR_EXAMPLE[name]}" if name in _FOR_EXAMPLE else ""
    return f"{'an' if name[0] in 'AEIOUaeiou' else 'a'} {name}{example}"


def _wrong(name: str, value: object, wanted: str) -> TypeError:
    return TypeError(f"{name} is a {type(value).__name__}, give {wanted}")
