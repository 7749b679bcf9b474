"""The rows of runners and of their images, and the ledger that the whole fleet shares."""

from __future__ import annotations

from aws_cdk import Duration, RemovalPolicy
from aws_cdk import aws_dynamodb as dynamodb
from constructs import Construct

from cdk_runner_fleet._at_rest import DataAtRest

WAITING_INDEX = "waiting-index"
"""Sparse index of the runners that wait for a job, by their labels."""

LIVE_INDEX = "live-index"
"""Sparse index of the runners that are in line or started, the oldest job first."""

LINE_INDEX = "line-index"
"""Sparse index of the runners in line, by their places: by repository, then the oldest job first.
So a look at the line finds each repository, however many of one are before it."""

LINE_ATTRIBUTES = ("repository", "class_name", "image_tag", "queued_at", "released_at")
"""What it has of them besides: what decides whose turn is next."""

ROW_LIFETIME = Duration.days(30)
"""How long a row stays after its runner was started: no job lasts longer than five days."""


class RunnerRegistry(Construct):
    """Three DynamoDB tables: one row a runner, one row an image, and the ledger.

    The ledger has who holds a turn, what was spent today, what is held back, and the cursors and
    leases of reconciliation. Beside a runner's row is an item with its last heartbeat. The tables
    are apart so that whoever reads the runners finds nothing else there. All hold the traces of
    things that are gone, so they go with the stack.

    Args:
        scope: The construct's parent.
        construct_id: The construct's id in it.
        at_rest: How the tables are encrypted.
    """

    def __init__(self, scope: Construct, construct_id: str, *, at_rest: DataAtRest) -> None:
        super().__init__(scope, construct_id)
        recovery = dynamodb.PointInTimeRecoverySpecification(point_in_time_recovery_enabled=True)
        self.runner_table = dynamodb.TableV2(
            self,
            "Runners",
            partition_key=_string("runner_id"),
            time_to_live_attribute="expires_at",
            global_secondary_indexes=[
                dynamodb.GlobalSecondaryIndexPropsV2(
                    index_name=WAITING_INDEX,
                    partition_key=_string("waiting_labels"),
                    # only who waits is read, and each change of what it projects is one more write
                    projection_type=dynamodb.ProjectionType.KEYS_ONLY,
                ),
                dynamodb.GlobalSecondaryIndexPropsV2(
                    index_name=LIVE_INDEX,
                    partition_key=_string("live"),
                    sort_key=dynamodb.Attribute(
                        name="queued_at", type=dynamodb.AttributeType.NUMBER
                    ),
                    projection_type=dynamodb.ProjectionType.KEYS_ONLY,
                ),
                dynamodb.GlobalSecondaryIndexPropsV2(
                    index_name=LINE_INDEX,
                    partition_key=_string("live"),
                    sort_key=_string("place"),
                    projection_type=dynamodb.ProjectionType.INCLUDE,
                    non_key_attributes=list(LINE_ATTRIBUTES),
                ),
            ],
            point_in_time_recovery_specification=recovery,
            removal_policy=RemovalPolicy.DESTROY,
        )
        self.image_table = dynamodb.TableV2(
            self,
            "Images",
            partition_key=_string("image_tag"),
            point_in_time_recovery_specification=recovery,
            removal_policy=RemovalPolicy.DESTROY,
        )
        self.ledger_table = dynamodb.TableV2(
            self,
            "Ledger",
            partition_key=_string("entry"),
            time_to_live_attribute="expires_at",
            point_in_time_recovery_specification=recovery,
            removal_policy=RemovalPolicy.DESTROY,
        )

        if at_rest.key_arn:
            for table in (self.runner_table, self.image_table, self.ledger_table):
                _encrypt(table, at_rest.key_arn)


def _encrypt(table: dynamodb.TableV2, key_arn: str) -> None:
    # not by aws-cdk's prop: it asks for a stack whose region is known
    resource = table.node.default_child
    assert isinstance(resource, dynamodb.CfnGlobalTable)  # noqa: S101 - narrows the type
    resource.add_property_override("SSESpecification", {"SSEEnabled": True, "SSEType": "KMS"})
    resource.add_property_override("Replicas.0.SSESpecification.KMSMasterKeyId", key_arn)


def _string(name: str) -> dynamodb.Attribute:
    return dynamodb.Attribute(name=name, type=dynamodb.AttributeType.STRING)
