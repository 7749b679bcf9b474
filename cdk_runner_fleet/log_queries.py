"""Questions to a fleet's logs, saved where an operator asks: CloudWatch Logs Insights."""

from __future__ import annotations

from collections.abc import Mapping

from aws_cdk import aws_logs as logs
from constructs import Construct

from cdk_runner_fleet.metrics import IRunnerFleet
from cdk_runner_fleet.values.types import check_types

FAILED_STARTS = """filter message = "runner ended" and status = "FAILED"
| stats count(*) as runners, sum(RunnerUsd) as usd, latest(cause) as last by error, class_name
| sort runners desc"""
"""Also the dashboard's table."""

OF_FUNCTIONS: Mapping[str, str] = {
    "Why a job has no runner": """fields @timestamp, service, message, reason, error, cause, status
| filter runner_id like /JOB_ID/ or job_id like /JOB_ID/
| sort @timestamp""",
    "Failed starts by cause": FAILED_STARTS,
    "Refused jobs": """filter message = "job refused"
| stats count(*) as jobs, latest(runner_id) as last by reason
| sort jobs desc""",
    "Jobs that will have no runner": """fields @timestamp, runner_id, error, cause, explained_as
| filter message = "job unserved"
| sort @timestamp desc""",
    "Slowest starts": """fields @timestamp, runner_id, repository, class_name, image_tag,
    QueueSeconds, AdmissionSeconds, LaunchSeconds, BootSeconds, AssignmentSeconds
| filter message = "job started"
| sort QueueSeconds desc
| limit 50""",
    "Starts by class": """filter message = "job started"
| stats count(*) as jobs, pct(QueueSeconds, 50) as p50, pct(QueueSeconds, 95) as p95,
    pct(LaunchSeconds, 95) as launch_p95, pct(BootSeconds, 95) as boot_p95 by class_name
| sort p95 desc""",
    "GitHub's refusals": """filter message in ["registration refused", "github unavailable",
    "no credential", "not explained at GitHub", "not told of runner releases",
    "deliveries not listed",
    "what the fleet serves is not found at GitHub"]
| stats count(*) as times, latest(error) as last by message, service
| sort times desc""",
    "Rejected deliveries": """filter service = "receive_webhook" and status >= 400
| stats count(*) as deliveries, latest(delivery) as last by status, answer
| sort deliveries desc""",
    "Cost by repository and class": """filter message = "runner ended"
| stats count(*) as runners, sum(RunnerUsd) as usd, sum(IdleUsd) as idle_usd
    by repository, class_name
| sort usd desc""",
    "Images that were not built": """fields @timestamp, message, image_tag, error, log_url
| filter message in ["image not built", "image not rebuilt", "image refused", "build not started"]
| sort @timestamp desc""",
    "What reconciliation could not do": """filter message = "step failed"
| stats count(*) as times, latest(error) as last by step
| sort times desc""",
    "Errors": """fields @timestamp, service, message, runner_id, error, cause
| filter level = "ERROR"
| sort @timestamp desc""",
}
"""By what they are called. ``JOB_ID`` is to be replaced by whoever asks."""

OF_LIFECYCLE: Mapping[str, str] = {
    "A runner's states": """fields event_timestamp, type, details.name
| filter execution_arn like /RUNNER_ID/ and type like /StateEntered|Failed|TimedOut/
| sort event_timestamp, id""",
}
"""The same, of the executions."""


class FleetLogQueries(Construct):
    """Saved queries: they stand under the fleet's name in CloudWatch Logs Insights.

    They cost nothing. Asking is billed by what is read: 0.005 US dollars a GB (CloudWatch pricing,
    Logs Insights).

    Args:
        scope: The construct's parent.
        construct_id: The construct's id in it.
        fleet: The fleet, made here or imported.

    Attributes:
        queries: They, by what they are called.

    Raises:
        ValueError: if it is not known where the fleet's logs are.
    """

    def __init__(self, scope: Construct, construct_id: str, *, fleet: IRunnerFleet) -> None:
        check_types(FleetLogQueries.__init__, locals())
        super().__init__(scope, construct_id)
        if fleet.function_logs is None or fleet.lifecycle_logs is None:
            raise ValueError(
                f"fleet {fleet.fleet_name} is imported without its log groups, and queries are "
                "made for them: import it with those of its functions and of its lifecycle"
            )
        self.queries = {
            **self._save(OF_FUNCTIONS, fleet.function_logs, fleet=fleet.fleet_name),
            **self._save(OF_LIFECYCLE, fleet.lifecycle_logs, fleet=fleet.fleet_name),
        }

    def _save(
        self, queries: Mapping[str, str], group: logs.ILogGroup, *, fleet: str
    ) -> dict[str, logs.CfnQueryDefinition]:
        return {
            title: logs.CfnQueryDefinition(
                self,
                "".join(word.capitalize() for word in title.replace("'", "").split()),
                name=f"{fleet}/{title}",
                query_string=text,
                log_group_names=[group.log_group_name],
            )
            for title, text in queries.items()
        }
