"""How a fleet keeps what it holds: encrypted with whose key, and logs for how long."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from aws_cdk import Annotations, Aws, Fn, RemovalPolicy, Stack, Token
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_logs as logs
from constructs import Construct

if TYPE_CHECKING:
    from aws_cdk import aws_secretsmanager as secretsmanager

_ARN = re.compile(r"arn:[^:]+:kms:(?P<region>[^:]+):[^:]+:key/(?P<id>.+)")


class DataAtRest:
    """Who may decrypt what a fleet holds, where a key of its owner's encrypts it.

    The key's own policy lets AWS's services use it that write by themselves. What the fleet's roles
    may, their policies say: the key's has to leave that to IAM, as every key's does that aws-cdk or
    the console makes.

    Args:
        scope: The fleet, which warnings are told of and the functions' log group is made in.
        encryption_key: A symmetric key of the fleet's region. Default: what each service encrypts
            with by itself.
        log_retention: How long logs are kept. Default: 30 days.

    Raises:
        ValueError: if the key is one that cannot encrypt all of it.
    """

    def __init__(
        self,
        scope: Construct,
        *,
        encryption_key: kms.IKey | None = None,
        log_retention: logs.RetentionDays | None = None,
    ) -> None:
        self.encryption_key = encryption_key
        self._log_retention = log_retention or logs.RetentionDays.ONE_MONTH
        self._scope = scope
        self._stack = Stack.of(scope)
        if encryption_key is None:
            return
        _check_key(encryption_key, region=self._stack.region)
        # CloudWatch Logs User Guide, "Encrypt log data in CloudWatch Logs using AWS KMS"
        is_ours = self.allow_service(
            f"logs.{self._stack.region}.{Aws.URL_SUFFIX}",
            "kms:Encrypt*",
            "kms:Decrypt*",
            "kms:ReEncrypt*",
            "kms:GenerateDataKey*",
            "kms:Describe*",
            conditions={
                "ArnLike": {"kms:EncryptionContext:aws:logs:arn": self.arn("logs", "log-group:*")}
            },
        )
        if not is_ours:
            Annotations.of(scope).add_warning_v2(
                "cdk-runner-fleet:importedKey",
                "encryption_key is imported, and its policy is not the app's to write: unless it "
                "lets CloudWatch Logs, EventBridge and Fargate use the key, the deployment fails. "
                'docs/own-resources.md has the statements, under "A key". Acknowledge this warning '
                "once they are there",
            )

    @property
    def key_arn(self) -> str | None:
        """The key's ARN, if there is one."""
        return self.encryption_key.key_arn if self.encryption_key else None

    @cached_property
    def function_logs(self) -> logs.LogGroup:
        """What all of the fleet's functions write to; its streams have a function's name."""
        return self.log_group(self._scope, "FunctionLogs")

    def log_group(
        self,
        scope: Construct,
        construct_id: str,
        *,
        vended_by: Literal["apis", "states"] | None = None,
    ) -> logs.LogGroup:
        """Make a log group, which goes with the stack.

        Args:
            scope: The construct's parent.
            construct_id: The construct's id in it.
            vended_by: The service that writes to it by itself. For each group that does not stand
                below ``/aws/vendedlogs/`` it adds a statement to one policy of the whole account,
                of 5,120 characters at most, and an account with many groups can then make no more
                (Step Functions Developer Guide, "CloudWatch Logs resource policy size
                restrictions"). Default: functions or tasks write to it, with a role.
        """
        return logs.LogGroup(
            scope,
            construct_id,
            log_group_name=_vended_name(scope, vended_by) if vended_by else None,
            retention=self._log_retention,
            encryption_key=self.encryption_key,
            removal_policy=RemovalPolicy.DESTROY,
        )

    def grant_use(self, grantee: iam.IGrantable, *services: str, also: Sequence[str] = ()) -> None:
        """Let ``grantee`` have ``services`` decrypt for it, if there is a key.

        Not aws-cdk's own grants: those of a secret name the grantee in the policy of the key, which
        cannot be if that is in another stack, and those of a queue allow whatever begins like what
        is needed.

        Args:
            grantee: Who asks the services.
            services: Their names, as in their addresses.
            also: What they do for it besides ``kms:Decrypt``.
        """
        if self.encryption_key is None:
            return
        region = self._stack.region
        grantee.grant_principal.add_to_principal_policy(
            iam.PolicyStatement(
                actions=["kms:Decrypt", *also],
                resources=[self.encryption_key.key_arn],
                conditions={
                    "StringEquals": {
                        "kms:ViaService": [f"{name}.{region}.amazonaws.com" for name in services]
                    }
                },
            )
        )

    def grant_read(self, secret: secretsmanager.ISecret, grantee: iam.IGrantable) -> None:
        """Let ``grantee`` read a secret, whether it is encrypted with this key or not."""
        key = self.encryption_key
        if key is None or secret.encryption_key is not key:
            secret.grant_read(grantee)
            return
        grantee.grant_principal.add_to_principal_policy(
            iam.PolicyStatement(
                actions=["secretsmanager:GetSecretValue", "secretsmanager:DescribeSecret"],
                resources=[secret.secret_full_arn or f"{secret.secret_arn}-??????"],
            )
        )
        self.grant_use(grantee, "secretsmanager")

    def allow_service(
        self, principal: str, *actions: str, conditions: Mapping[str, Any] | None = None
    ) -> bool:
        """Let a service of AWS's use the key by itself, if there is one: its own policy says so.

        Args:
            principal: The service.
            actions: What it may.
            conditions: What of it. Default: all.

        Returns:
            Whether the policy says so now: that of an imported key is not ours to write.
        """
        if self.encryption_key is None:
            return False
        added = self.encryption_key.add_to_resource_policy(
            iam.PolicyStatement(
                principals=[iam.ServicePrincipal(principal)],
                actions=list(actions),
                resources=["*"],  # in the policy of a key: this key
                conditions=conditions,
            )
        )
        return added.statement_added

    def arn(self, service: str, resource: str) -> str:
        """The ARN of something in the fleet's region and account, or a pattern of such.

        Patterns, where a name has to stand in the policy of the key that the named thing has.
        """
        stack = self._stack
        return f"arn:{stack.partition}:{service}:{stack.region}:{stack.account}:{resource}"


def _check_key(key: kms.IKey, *, region: str) -> None:
    if hasattr(key, "alias_name"):
        raise ValueError(
            "encryption_key is an alias, and neither IAM nor CloudWatch Logs goes by one: give the "
            'key that it stands for, such as kms.Key.from_lookup(self, "Key", alias_name="alias/…")'
        )
    resource = key.node.default_child
    if isinstance(resource, kms.CfnKey):
        spec = resource.key_spec
        if spec is not None and not Token.is_unresolved(spec) and spec != "SYMMETRIC_DEFAULT":
            raise ValueError(
                f"encryption_key is a key of {spec}, and AWS's services encrypt with symmetric "
                "ones alone: leave key_spec out"
            )
    found = _ARN.fullmatch(key.key_arn)
    if found is None or Token.is_unresolved(region) or Token.is_unresolved(found["region"]):
        return
    if found["region"] != region:
        raise ValueError(
            f"encryption_key {key.key_arn} is in {found['region']} and the stack in {region}, and "
            f"AWS's services take keys of their own region alone: give one in {region}"
        )


def is_multi_region(key: kms.IKey) -> bool:
    """Whether a key is known to have replicas in other regions."""
    resource = key.node.default_child
    if isinstance(resource, kms.CfnKey):
        return resource.multi_region is True
    found = _ARN.fullmatch(key.key_arn)
    return found is not None and found["id"].startswith("mrk-")


def _vended_name(scope: Construct, service: str) -> str:
    # unique in the account, also after a stack of the same name that left its group behind
    incarnation = Fn.select(0, Fn.split("-", Fn.select(2, Fn.split("/", Aws.STACK_ID))))
    place = scope.node.addr[-8:]
    return Fn.join("", [f"/aws/vendedlogs/{service}/", Aws.STACK_NAME, f"-{place}-", incarnation])
