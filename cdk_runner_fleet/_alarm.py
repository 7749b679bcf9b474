"""Every default of the fleet's alarms on what should not happen, once."""

from __future__ import annotations

from aws_cdk import aws_cloudwatch as cloudwatch
from constructs import Construct


def alarm_at_first(
    scope: Construct, construct_id: str, *, metric: cloudwatch.IMetric, description: str
) -> cloudwatch.Alarm:
    """An alarm that rings when something has happened once, and has no action of its own.

    Args:
        scope: The construct's parent.
        construct_id: The construct's id in it.
        metric: What counts it. Nothing is reported as long as it does not happen.
        description: What has happened, and where it stands what to do.
    """
    return cloudwatch.Alarm(
        scope,
        construct_id,
        alarm_description=f"cdk-runner-fleet: {description}",
        metric=metric,
        threshold=1,
        evaluation_periods=1,
        treat_missing_data=cloudwatch.TreatMissingData.NOT_BREACHING,
    )
