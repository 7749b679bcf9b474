"""What an update of a stack does to a resource: it is left alone, changed, replaced, or refused.

ministack compares the properties, calls the handler of a type, makes what is replaced anew under
another generated name, and deletes what was replaced or left out at the end. It guesses where it
does not know a type. Here nothing is guessed: a change of a type or of a property that is not
listed fails the update, with its name.

Which properties replace a resource is what the schemas of the CloudFormation registry call
``createOnlyProperties`` and ``conditionalCreateOnlyProperties``, which the pages of the template
reference show as "Update requires: Replacement"; read in those that cfn-lint 1.58 carries.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ministack.services import eventbridge
from ministack.services.cloudformation import provisioners, stacks

from . import upstream
from .faults import Faults

_Props = dict[str, Any]
_Made = tuple[str, dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class _Type:
    """What a change of a resource's properties comes to.

    Properties are written as a text, with spaces between them.

    Attributes:
        replaces: Properties whose change makes another resource.
        changes: Properties that are changed in place.
        idle: Properties that nothing here looks at, neither before an update nor after it.
        name: The property that names the resource. With a name of its own it is not replaced.
    """

    replaces: str = ""
    changes: str = ""
    idle: str = ""
    name: str = ""

    def unknown(self, changed: set[str]) -> list[str]:
        known = f"Tags {self.replaces} {self.changes} {self.idle}".split()
        return sorted(changed.difference(known))

    def replaced_by(self, changed: set[str]) -> bool:
        return not changed.isdisjoint(self.replaces.split())


_TYPES: Mapping[str, _Type] = {
    "AWS::ApiGatewayV2::Api": _Type(
        replaces="ProtocolType",
        changes="Description DisableExecuteApiEndpoint Name",
    ),
    "AWS::ApiGatewayV2::Integration": _Type(
        replaces="ApiId",
        changes="IntegrationType IntegrationUri PayloadFormatVersion TimeoutInMillis",
    ),
    "AWS::ApiGatewayV2::Route": _Type(
        replaces="ApiId",
        changes="AuthorizationType AuthorizerId RouteKey Target",
    ),
    "AWS::ApiGatewayV2::Stage": _Type(
        replaces="ApiId StageName",
        changes="AccessLogSettings AutoDeploy DefaultRouteSettings RouteSettings",
    ),
    "AWS::CloudWatch::Alarm": _Type(
        replaces="AlarmName",
        changes=(
            "ActionsEnabled AlarmActions AlarmDescription ComparisonOperator "
            "DatapointsToAlarm Dimensions EvaluationPeriods ExtendedStatistic "
            "InsufficientDataActions MetricName Metrics Namespace OKActions Period Statistic "
            "Threshold TreatMissingData Unit"
        ),
    ),
    "AWS::CloudWatch::Dashboard": _Type(
        replaces="DashboardName",
        changes="DashboardBody",
    ),
    "AWS::CodeBuild::Project": _Type(
        replaces="Name",
        changes="Artifacts Description Environment ServiceRole Source TimeoutInMinutes",
        idle="Cache ConcurrentBuildLimit EncryptionKey LogsConfig QueuedTimeoutInMinutes VpcConfig",
        name="Name",
    ),
    "AWS::DynamoDB::GlobalTable": _Type(
        replaces="GlobalTableSourceArn KeySchema LocalSecondaryIndexes TableName",
        changes="AttributeDefinitions BillingMode GlobalSecondaryIndexes StreamSpecification",
        idle="Replicas SSESpecification TimeToLiveSpecification",
        name="TableName",
    ),
    "AWS::EC2::SecurityGroup": _Type(
        replaces="GroupDescription GroupName VpcId",
        changes="SecurityGroupEgress SecurityGroupIngress",
        name="GroupName",
    ),
    "AWS::ECR::Repository": _Type(
        replaces="EncryptionConfiguration RepositoryName",
        changes=(
            "ImageScanningConfiguration ImageTagMutability ImageTagMutabilityExclusionFilters "
            "LifecyclePolicy RepositoryPolicyText"
        ),
        idle="EmptyOnDelete",
        name="RepositoryName",
    ),
    "AWS::ECS::Cluster": _Type(
        replaces="ClusterName",
        changes="CapacityProviders ClusterSettings Configuration DefaultCapacityProviderStrategy",
    ),
    "AWS::ECS::ClusterCapacityProviderAssociations": _Type(
        replaces="Cluster",
        changes="CapacityProviders DefaultCapacityProviderStrategy",
    ),
    "AWS::ECS::TaskDefinition": _Type(
        replaces=(
            "ContainerDefinitions Cpu EnableFaultInjection EphemeralStorage ExecutionRoleArn "
            "Family IpcMode Memory NetworkMode PidMode PlacementConstraints "
            "ProxyConfiguration RequiresCompatibilities RuntimePlatform TaskRoleArn Volumes"
        ),
    ),
    "AWS::Events::Archive": _Type(
        replaces="ArchiveName SourceArn",
        changes="Description EventPattern RetentionDays",
        idle="KmsKeyIdentifier",
        name="ArchiveName",
    ),
    "AWS::Events::EventBus": _Type(
        replaces="Name",
        changes="Description",
        idle="DeadLetterConfig KmsKeyIdentifier LogConfig",
    ),
    "AWS::Events::Rule": _Type(
        replaces="Name",
        changes="Description EventBusName EventPattern RoleArn ScheduleExpression State Targets",
    ),
    "AWS::IAM::Policy": _Type(
        changes="PolicyDocument PolicyName Roles",
    ),
    "AWS::IAM::Role": _Type(
        replaces="Path RoleName",
        changes=(
            "AssumeRolePolicyDocument Description ManagedPolicyArns MaxSessionDuration "
            "PermissionsBoundary Policies"
        ),
    ),
    "AWS::Lambda::EventInvokeConfig": _Type(
        replaces="FunctionName Qualifier",
        changes="DestinationConfig MaximumEventAgeInSeconds MaximumRetryAttempts",
    ),
    "AWS::Lambda::Function": _Type(
        replaces="FunctionName PackageType TenancyConfig",
        changes=(
            "Architectures Code Description Environment EphemeralStorage Handler Layers "
            "LoggingConfig MemorySize Role Runtime Timeout TracingConfig"
        ),
        idle="KmsKeyArn ReservedConcurrentExecutions VpcConfig",
    ),
    "AWS::Lambda::Permission": _Type(
        replaces=(
            "Action EventSourceToken FunctionName FunctionUrlAuthType InvokedViaFunctionUrl "
            "Principal PrincipalOrgID SourceAccount SourceArn"
        ),
    ),
    "AWS::Logs::LogGroup": _Type(
        replaces="LogGroupName",
        changes="KmsKeyId RetentionInDays",
    ),
    "AWS::SQS::Queue": _Type(
        replaces="FifoQueue QueueName",
        changes=(
            "KmsMasterKeyId MessageRetentionPeriod RedrivePolicy SqsManagedSseEnabled "
            "VisibilityTimeout"
        ),
        idle="KmsDataKeyReusePeriodSeconds",
    ),
    "AWS::SQS::QueuePolicy": _Type(
        changes="PolicyDocument Queues",
    ),
    "AWS::SSM::Parameter": _Type(
        replaces="Name",
        changes="AllowedPattern Description Tier Type Value",
    ),
    "AWS::SecretsManager::Secret": _Type(
        replaces="Name",
        changes="Description GenerateSecretString KmsKeyId SecretString",
    ),
    "AWS::StepFunctions::StateMachine": _Type(
        replaces="StateMachineName StateMachineType",
        changes=(
            "DefinitionString DefinitionSubstitutions EncryptionConfiguration "
            "LoggingConfiguration RoleArn"
        ),
        idle="TracingConfiguration",
        name="StateMachineName",
    ),
}


def _update(  # noqa: PLR0917 - upstream's signature
    upstream_update: Callable[..., _Made],
    faults: Faults,
    without_effect: frozenset[str],
    resource_type: str,
    physical_id: str,
    old_props: _Props,
    new_props: _Props,
    stack_name: str,
    logical_id: str | None = None,
    old_attrs: dict[str, Any] | None = None,
) -> _Made:
    fault = faults.take("update", f"{resource_type} {logical_id}")
    if fault is not None:
        faults.hold(fault)
    changed = {
        name
        for name in old_props.keys() | new_props.keys()
        if old_props.get(name) != new_props.get(name)
    }
    if changed and resource_type not in without_effect:
        _check(resource_type, changed, old_props, new_props)
    return upstream_update(
        resource_type, physical_id, old_props, new_props, stack_name, logical_id, old_attrs
    )


def _check(resource_type: str, changed: set[str], old: _Props, new: _Props) -> None:
    """Refuse what nobody here knows, and what CloudFormation itself refuses.

    Raises:
        ValueError: it is refused.
    """
    known = _TYPES.get(resource_type)
    unknown = sorted(changed) if known is None else known.unknown(changed)
    if known is None or unknown:
        raise ValueError(
            f"the emulator does not know what an update of {', '.join(unknown)} does to a resource "
            f"of type {resource_type}; it knows those in local/emulator/updates.py"
        )
    name = old.get(known.name)
    if name and name == new.get(known.name) and known.replaced_by(changed):
        raise ValueError(
            "CloudFormation cannot update a stack when a custom-named resource requires replacing. "
            f"Rename {name} and update the stack again."
        )


def _update_table(
    upstream_update: Callable[..., _Made],
    physical_id: str,
    old_props: _Props,
    new_props: _Props,
    stack_name: str,
) -> _Made:
    """A table keeps its rows, whatever name it has; ministack finds it by a name that was given.

    https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_UpdateTable.html
    """
    was, wanted = (
        {index["IndexName"]: index for index in props.get("GlobalSecondaryIndexes", [])}
        for props in (old_props, new_props)
    )
    made_or_deleted = [
        name
        for name in sorted(was.keys() | wanted.keys())
        for there in (was.get(name), wanted.get(name))
        if there is not None and was.get(name) != wanted.get(name)
    ]
    if len(made_or_deleted) > 1:
        raise ValueError(
            "Cannot perform more than one GSI creation or deletion in a single update: "
            f"{made_or_deleted}"
        )
    types = {each["AttributeName"]: each for each in old_props["AttributeDefinitions"]}
    for each in new_props["AttributeDefinitions"]:
        if types.get(each["AttributeName"], each) != each:
            raise ValueError(f"the type of the attribute {each['AttributeName']} cannot change")
    named = {"TableName": physical_id}
    return upstream_update(physical_id, old_props | named, new_props | named, stack_name)


def _update_archive(
    physical_id: str, old_props: _Props, new_props: _Props, stack_name: str
) -> _Made:
    del old_props, stack_name
    pattern = new_props.get("EventPattern")
    status, _, body = eventbridge._update_archive(
        {
            "ArchiveName": physical_id,
            "Description": new_props.get("Description", ""),
            "EventPattern": json.dumps(pattern) if pattern else "",
            "RetentionDays": int(new_props.get("RetentionDays", 0)),
        }
    )
    if status != 200:
        raise ValueError(f"the archive cannot be changed: {body!r}")
    arn = json.loads(body)["ArchiveArn"]
    return physical_id, {"Arn": arn, "ArchiveName": physical_id}


def install(faults: Faults, *, without_effect: frozenset[str]) -> None:
    """Have updates of stacks go by what is listed here.

    Each resource is made and changed in a thread: meanwhile everything else goes on, with functions
    of before and of after, as it does for minutes on AWS.

    Args:
        faults: Where an update may be told to stand still.
        without_effect: Types of which nothing is here that an update could change.
    """
    handlers = provisioners._RESOURCE_HANDLERS
    for resource_type, known in _TYPES.items():
        provisioners._REPLACING_PROPERTIES.setdefault(resource_type, tuple(known.replaces.split()))
    upstream.replace(stacks, "_runs_on_worker_thread", lambda _: True, takes=("resource_type",))
    table = upstream.replace_in_handlers(
        handlers,
        "AWS::DynamoDB::GlobalTable",
        "update",
        lambda *resource: _update_table(table, *resource),
    )
    handlers["AWS::Events::Archive"]["update"] = _update_archive
    update = upstream.replace(
        provisioners,
        "_update_resource",
        lambda *resource: _update(update, faults, without_effect, *resource),
        takes=(
            *("resource_type", "physical_id", "old_props", "new_props", "stack_name"),
            *("logical_id", "old_attrs"),
        ),
    )
    upstream.rebind(
        "ministack.services.cloudformation",
        "_update_resource",
        provisioners._update_resource,
        modules=dict(sys.modules),
    )
