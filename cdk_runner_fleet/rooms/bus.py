"""How events travel: the fleet's bus, the account's default bus, and a dead-letter queue."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aws_cdk import Duration, RemovalPolicy
from aws_cdk import aws_events as events
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from cdk_runner_fleet._at_rest import DataAtRest
from cdk_runner_fleet._function import FleetFunction
from cdk_runner_fleet._nag import acknowledge
from cdk_runner_fleet._name import fleet_name
from cdk_runner_fleet._place import check_place

Pattern = Mapping[str, Any]
"""An event pattern, as EventBridge writes it."""


class FleetBus(Construct):
    """An EventBridge bus with an archive for replay, and a dead-letter queue.

    Args:
        scope: The construct's parent.
        construct_id: The construct's id in it.
        at_rest: How events are encrypted while they wait.
        event_bus: The bus, if there is one already. Default: one is made.

    Raises:
        ValueError: if the fleet cannot listen on that bus.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        at_rest: DataAtRest,
        event_bus: events.IEventBus | None = None,
    ) -> None:
        super().__init__(scope, construct_id)
        if event_bus is not None:
            _check_bus(self, event_bus)
        self.event_source = f"cdk-runner-fleet/{fleet_name(self)}"
        """Source of the fleet's own events: others' may travel on the bus, those of fleets too."""
        self.event_bus: events.IEventBus = event_bus or events.EventBus(self, "Bus")
        self.archive = events.Archive(
            self,
            "Archive",
            source_event_bus=self.event_bus,
            event_pattern=events.EventPattern(source=[self.event_source]),
            retention=Duration.days(3),  # as long as GitHub itself can deliver again
        )
        self.dead_letter_queue = sqs.Queue(
            self,
            "FailedEvents",
            enforce_ssl=True,
            encryption=(
                sqs.QueueEncryption.KMS
                if at_rest.encryption_key
                else sqs.QueueEncryption.SQS_MANAGED
            ),
            encryption_master_key=at_rest.encryption_key,
            retention_period=Duration.days(14),
            removal_policy=RemovalPolicy.DESTROY,
        )
        self.failed_events: sqs.IQueue = self.dead_letter_queue
        """The same, for functions: what they need of its key is granted where they are made."""
        if at_rest.encryption_key:
            self._encrypt(at_rest, is_own=event_bus is None)
            self.failed_events = sqs.Queue.from_queue_arn(
                self, "FailedEventsOfFunctions", self.dead_letter_queue.queue_arn
            )
        acknowledge(
            self.dead_letter_queue,
            "SQS3",
            "SQSRedrivePolicy",
            reason="This is the dead-letter queue of the rules and of the functions.",
        )
        self._rule_arns: list[str] = []
        self._giving_up = iam.PolicyStatement(
            principals=[iam.ServicePrincipal("events.amazonaws.com")],
            actions=["sqs:SendMessage"],
            resources=[self.dead_letter_queue.queue_arn],
        )

    def _encrypt(self, at_rest: DataAtRest, *, is_own: bool) -> None:
        # not by aws-cdk's props: its statement for an archive names the bus, which has the key
        archive = self.archive.node.default_child
        assert isinstance(archive, events.CfnArchive)  # noqa: S101 - narrows the type
        archive.kms_key_identifier = at_rest.key_arn
        if is_own:
            self._encrypt_bus(at_rest)
        # "Authorizing EventBridge to use a customer managed key", EventBridge User Guide
        at_rest.allow_service("events.amazonaws.com", "kms:DescribeKey")
        at_rest.allow_service(
            "events.amazonaws.com",
            "kms:Decrypt",
            "kms:GenerateDataKey",
            "kms:ReEncrypt*",
            conditions={
                "ArnLike": {
                    "kms:EncryptionContext:aws:events:event-bus:arn": at_rest.arn(
                        "events", "event-bus/*"
                    )
                }
            },
        )
        # what a rule gives up goes to the queue; "Encryption at rest in Amazon SQS" has its context
        at_rest.allow_service(
            "events.amazonaws.com",
            "kms:Decrypt",
            "kms:GenerateDataKey",
            conditions={"ArnLike": {"kms:EncryptionContext:aws:sqs:arn": at_rest.arn("sqs", "*")}},
        )

    def _encrypt_bus(self, at_rest: DataAtRest) -> None:
        bus = self.event_bus.node.default_child
        assert isinstance(bus, events.CfnEventBus)  # noqa: S101 - narrows the type
        bus.kms_key_identifier = at_rest.key_arn
        # where events go that cannot be encrypted or decrypted, "DLQs for encrypted events" there
        queue = self.dead_letter_queue
        bus.dead_letter_config = events.CfnEventBus.DeadLetterConfigProperty(arn=queue.queue_arn)
        queue.add_to_resource_policy(
            iam.PolicyStatement(
                principals=[iam.ServicePrincipal("events.amazonaws.com")],
                actions=["sqs:SendMessage"],
                resources=[queue.queue_arn],
                conditions={"ArnEquals": {"aws:SourceArn": self.event_bus.event_bus_arn}},
            )
        )

    @property
    def environment(self) -> dict[str, str]:
        """What a function is told of it that puts events onto it."""
        return {
            "EVENT_BUS_NAME": self.event_bus.event_bus_name,
            "EVENT_SOURCE": self.event_source,
        }

    def deliver(
        self,
        scope: Construct,
        function: FleetFunction,
        *patterns: Pattern,
        every: Duration | None = None,
        max_event_age: Duration | None = None,
    ) -> None:
        """Tell ``function`` of AWS's own events, which come to the account's default bus.

        One rule has all that a function hears from there, and one permission lets it: a rule can
        have a pattern and a schedule (EventBridge API reference, PutRule).

        Args:
            scope: Whoever listens.
            function: What is told.
            patterns: Which events; one that meets any of them is told.
            every: How often it is told that time has passed, in whole minutes. Default: never.
            max_event_age: How long it is tried. Default: 24 hours, the most that EventBridge has.
        """
        self._rule(
            scope,
            "Events",
            function,
            event_pattern={"$or": list(patterns)} if len(patterns) > 1 else patterns[0],
            schedule_expression=events.Schedule.rate(every).expression_string if every else None,
            max_event_age=max_event_age,
        )

    def deliver_own(self, scope: Construct, function: FleetFunction, *kinds: str) -> None:
        """Tell ``function`` of the fleet's own events of these ``kinds``, their detail types."""
        self._rule(
            scope,
            "OwnEvents",
            function,
            event_pattern={"source": [self.event_source], "detail-type": list(kinds)},
            event_bus_name=self.event_bus.event_bus_name,
        )

    def _rule(
        self,
        scope: Construct,
        kind: str,
        function: FleetFunction,
        *,
        event_pattern: Pattern | None,
        schedule_expression: str | None = None,
        event_bus_name: str | None = None,
        max_event_age: Duration | None = None,
    ) -> None:
        age = max_event_age or Duration.hours(24)
        name, function_arn = function.node.id, function.function_arn
        rule = events.CfnRule(
            scope,
            f"{name}{kind}",
            event_bus_name=event_bus_name,
            event_pattern=event_pattern,
            schedule_expression=schedule_expression,
            targets=[
                events.CfnRule.TargetProperty(
                    id=name,
                    arn=function_arn,
                    dead_letter_config=events.CfnRule.DeadLetterConfigProperty(
                        arn=self.dead_letter_queue.queue_arn
                    ),
                    retry_policy=events.CfnRule.RetryPolicyProperty(
                        maximum_event_age_in_seconds=age.to_seconds(),
                        maximum_retry_attempts=185,  # the most that EventBridge has
                    ),
                )
            ],
        )
        rule_arn = rule.attr_arn
        lambda_.CfnPermission(
            scope,
            f"{name}{kind}Permission",
            action="lambda:InvokeFunction",
            function_name=function_arn,
            principal="events.amazonaws.com",
            source_arn=rule_arn,
        )
        if not self._rule_arns:
            self.dead_letter_queue.add_to_resource_policy(self._giving_up)
        self._rule_arns.append(rule_arn)
        self._giving_up.add_condition("ArnEquals", {"aws:SourceArn": self._rule_arns})

    def grant_put(self, function: FleetFunction, *kinds: str) -> None:
        """Let ``function`` put the fleet's own events of these ``kinds`` onto the bus, no others.

        What a rule hears of is believed: whoever could put any event could have all images retired
        and write at commits what they like.
        """
        function.add_to_role_policy(
            iam.PolicyStatement(
                actions=["events:PutEvents"],
                resources=[self.event_bus.event_bus_arn],
                conditions={
                    # both keys have a value for each event of a request
                    "ForAllValues:StringEquals": {
                        "events:source": [self.event_source],
                        "events:detail-type": list(kinds),
                    },
                    # which a request without them would meet
                    "Null": {"events:source": "false", "events:detail-type": "false"},
                },
            )
        )


def _check_bus(scope: Construct, event_bus: events.IEventBus) -> None:
    """Refuse a bus on which no rule of the fleet could listen."""
    path = event_bus.node.path
    check_place(
        scope,
        f"event_bus {path}",
        event_bus,
        arn=event_bus.event_bus_arn,
        why="a rule is where its bus is",
    )
