"""What is done about each event: who starts runners, and signals them."""

from __future__ import annotations

import re

from aws_cdk import Token
from constructs import Construct

from cdk_runner_fleet._at_rest import DataAtRest
from cdk_runner_fleet._function import FleetFunction
from cdk_runner_fleet.rooms.admission import RunnerAdmission
from cdk_runner_fleet.rooms.bus import FleetBus
from cdk_runner_fleet.rooms.cluster import RunnerCluster
from cdk_runner_fleet.rooms.connection import GitHubConnection
from cdk_runner_fleet.rooms.lifecycle import RunnerLifecycle
from cdk_runner_fleet.values.functions import FunctionOptions

# a runner's name at GitHub has at most 64 characters; job id and attempt take up to 32 of them
_NAME_PREFIX = re.compile(r"[a-z][a-z0-9-]{0,30}")


class EventDispatch(Construct):
    """Starts a runner for each queued job, and tells runners what happens to their job and task.

    Args:
        scope: The construct's parent.
        construct_id: The construct's id in it.
        admission: What runners are started by.
        cluster: Whose tasks are heard of.
        lifecycle: Whose ends are heard of.
        github: Where runners are registered, and which jobs are the fleet's.
        bus: Where jobs' events come from.
        runner_name_prefix: What the runners' names begin with.
        options: What all functions of the fleet have in common.
        at_rest: How what they hold and handle is kept.

    Raises:
        ValueError: if no runner can be named with the prefix.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        admission: RunnerAdmission,
        cluster: RunnerCluster,
        lifecycle: RunnerLifecycle,
        github: GitHubConnection,
        bus: FleetBus,
        runner_name_prefix: str,
        options: FunctionOptions,
        at_rest: DataAtRest,
    ) -> None:
        super().__init__(scope, construct_id)
        _check_name_prefix(runner_name_prefix)
        self.environment = {
            **admission.environment,
            **github.served.label_rules.to_settings(),
            **github.runner_scopes,
            "RUNNER_NAME_PREFIX": runner_name_prefix,
        }
        self.dispatch_event = FleetFunction(
            self,
            "DispatchEvent",
            handler="dispatch_event",
            options=options,
            at_rest=at_rest,
            on_failure=bus.failed_events,
            environment=self.environment,
        )
        admission.grant_start(self.dispatch_event)
        bus.deliver_own(self, self.dispatch_event, "workflow_job")
        bus.deliver(
            self,
            self.dispatch_event,
            {
                "source": ["aws.ecs"],
                "detail-type": ["ECS Task State Change"],
                "detail": {
                    "clusterArn": [cluster.cluster_arn],
                    # of a task that is launched without one (ECS API reference, RunTask)
                    "group": [{"prefix": f"family:{cluster.family}"}],
                    "lastStatus": ["STOPPED"],
                },
            },
            # reconciliation hears of those that were stopped: it ends what they left
            lifecycle.ended("SUCCEEDED", "FAILED"),
        )


def _check_name_prefix(value: str) -> None:
    if not Token.is_unresolved(value) and not _NAME_PREFIX.fullmatch(value):
        raise ValueError(
            f"runner_name_prefix {value!r} cannot begin a runner's name, use up to 31 "
            "lower-case letters, digits and dashes, a letter first"
        )
