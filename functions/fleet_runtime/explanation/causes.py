"""Why a runner came to nothing: every error's meaning and remedy, in one table. Pure.

Needs nothing but the standard library and imports nothing of the fleet: the command line reads
this very file (``cdk_runner_fleet/cli/remedies.py``).
"""

from __future__ import annotations

from typing import NamedTuple


class Cause(NamedTuple):
    """What an error means.

    Attributes:
        title: What happened, as a clause.
        remedy: What to do, and who does it: the workflow's author or the fleet's operator.
        permanent: Whether another runner would meet the same. The job's author is then told at
            GitHub at once, and reconciliation tries again only after a while.
        public: Whether the author is told the cause itself. What only an operator can mend is told
            by title and remedy: its cause may name roles, secrets and subnets.
    """

    title: str
    remedy: str
    permanent: bool = False
    public: bool = False


CAUSES: dict[str, Cause] = {
    "Job.CannotBeServed": Cause(
        title="the fleet does not have what the job asks for",
        remedy="Author: change runs-on as the cause says, push, and run the job again. Operator: "
        "`runner-fleet list-class-sizes` shows what there is; allowed_images and "
        "runner_class_sizes set it, and required_labels keeps other runners' jobs out.",
        permanent=True,
        public=True,
    ),
    "Job.Served": Cause(
        title="what was said of it before is over",
        remedy="Nothing: GitHub has the job's own log.",
        public=True,
    ),
    "Job.Waits": Cause(
        title="there is no room for it now",
        remedy="Author: nothing, the job starts by itself. Operator: the cause names what is "
        "full; `runner-fleet explain` shows the job's place in line.",
        public=True,
    ),
    "Runner.LaunchFailed": Cause(
        title="ECS will not launch the runner's task",
        remedy="Operator: mend what the cause names (quota, class size, subnets, permissions), "
        "then the author runs the job again.",
        permanent=True,
    ),
    "Runner.RegistrationRefused": Cause(
        title="GitHub will not register a runner for the fleet",
        remedy="Operator: the runner's cause has GitHub's answer and what to do about it "
        "(credentials, a permission, a policy of the organization, Actions switched off); then the "
        "author runs the job again.",
        permanent=True,
    ),
    "Image.BuildFailed": Cause(
        title="the runner's image could not be built",
        remedy="Author: see that the image: label names an image that exists for this "
        "architecture. Operator: the build's log says which step failed; the next job that asks "
        "for the image builds it again.",
        permanent=True,
        public=True,
    ),
    "Image.BuildThrottled": Cause(
        title="a registry was asked too often just then, so the runner's image was not built",
        remedy="Author: nothing, it is built again for the job's next runner. Operator: if it "
        "stays so, see that builds log in at the registry (their logs begin with it), or lower "
        "max_image_builds.",
        public=True,
    ),
    "Image.TooMany": Cause(
        title="the job's repository has as many images of its own as it may have",
        remedy="Author: name a base that one of them is built on, or leave image: out. Operator: "
        "an image is deleted 60 days after its last job; max_images_per_repository sets how many "
        "there may be.",
        permanent=True,
        public=True,
    ),
    "Image.BuildNotStarted": Cause(
        title="the build of the runner's image could not be started",
        remedy="Operator: see the log of the function build_image, and CodeBuild's quota of "
        "concurrent builds; then the author runs the job again.",
        permanent=True,
    ),
    "Image.BuildTimeout": Cause(
        title="the runner's image was not built in time",
        remedy="Operator: see the build's log, or raise image_build_timeout_seconds; then the "
        "author runs the job again.",
        permanent=True,
    ),
    "Runner.BootTimeout": Cause(
        title="the task was started twice and never registered",
        remedy="Operator: see the task's log, and that the subnets reach the fleet's API and "
        "GitHub; a slow image pull needs a higher boot_timeout_seconds.",
    ),
    "Runner.TaskStopped": Cause(
        title="the runner's task was stopped from outside, or failed",
        remedy="Author: run the job again if it had started. Operator: the cause has ECS's stop "
        "code; OutOfMemoryError needs a larger class, SpotInterruption needs On-Demand.",
    ),
    "Runner.TaskExited": Cause(
        title="the runner's task ended before a job ran on it",
        remedy="Operator: the task's log has the runner's own words; most often its version is "
        "too old for GitHub, and a rebuilt image mends it.",
    ),
    "Runner.CapabilityMissing": Cause(
        title="the runner's image lacks a capability that the job asks for",
        remedy="Author: ask for an image that has it, with image:, or take the label out of "
        "runs-on. Operator: another variant of the fleet's image has more (runner_image_variant).",
        permanent=True,
        public=True,
    ),
    "Runner.VersionRetired": Cause(
        title="GitHub no longer serves the version of the runner in the image",
        remedy="Operator: the image is built anew on the current release for the next job; a ready "
        "image (runner_image) has to be replaced by hand.",
        permanent=True,
    ),
    "Runner.HeartbeatLost": Cause(
        title="the runner was not heard of for minutes, and GitHub had lost it too",
        remedy="Author: run the job again. Operator: the task's log and ECS's metrics say whether "
        "it ran out of memory or lost its network.",
    ),
    "Runner.JobTimeout": Cause(
        title="the job ran longer than the fleet lets a job run",
        remedy="Author: set a shorter timeout-minutes, or split the job. Operator: raise "
        "runner_ttl_seconds.",
    ),
    "Runner.ReleaseFailed": Cause(
        title="GitHub could not be asked to remove an idle runner",
        remedy="Operator: see the log of the function deregister_runner, and the credentials in "
        "the fleet's secret.",
    ),
    "Runner.ExecutionEnded": Cause(
        title="the runner's execution was stopped or ran out of time",
        remedy="Operator: CloudTrail says who called StopExecution; what was left of the runner "
        "has been taken away.",
    ),
    "Runner.NoJobCame": Cause(
        title="runner after runner waited for the job and did not get it",
        remedy="Author: nothing, if it waits for others of its run (max-parallel, concurrency). "
        "Operator: see that the runner group lets the repository in, and githubstatus.com.",
    ),
    "Runner.Released": Cause(
        title="the runner was not wanted any more",
        remedy="Nothing: its job was cancelled or has another runner.",
    ),
    "Runner.Terminated": Cause(
        title="somebody stopped the runner with `runner-fleet runners terminate`",
        remedy="Author: run the job again if it had started, or cancel it if it is still queued "
        "and not wanted.",
    ),
}
"""The fleet's own errors, by the name that stands on the row and in the execution's history."""

# https://docs.aws.amazon.com/step-functions/latest/dg/concepts-error-handling.html; the state
# machine writes States.X as Runner.X. Those of states that it does not have are left out.
_STEP_FUNCTIONS = {
    "Timeout": "a call of the state machine was not answered in time",
    "HeartbeatTimeout": "a call of the state machine was not answered in time",
    "TaskFailed": "a call of the state machine failed",
    "Permissions": "the state machine may not make one of its calls",
    "Runtime": "the state machine met what it was not written for",
    "QueryEvaluationError": "the state machine met what it was not written for",
    "NoChoiceMatched": "the state machine met what it was not written for",
    "DataLimitExceeded": "a state's data grew over 256 KiB",
}
CAUSES |= {
    f"Runner.{name}": Cause(
        title=title,
        remedy="Operator: the execution's history shows the state and the call. A missing "
        "permission or a changed state machine is mended by deploying again.",
    )
    for name, title in _STEP_FUNCTIONS.items()
}

_AWS = Cause(
    title="AWS did not do what the state machine asked",
    remedy="Operator: the execution's history shows the call and AWS's answer; trouble that "
    "passes was tried again for minutes before this.",
)
_UNKNOWN = Cause(
    title="an error that this version of the fleet does not know",
    remedy="Operator: see the cause and the execution's history.",
)


def cause_of(error: str) -> Cause:
    """Say what an error means; a service's own errors (``DynamoDb.…``) share one meaning."""
    service = error.partition(".")[0]
    known = CAUSES.get(error)
    return known or (_AWS if service in ("DynamoDb", "DynamoDB", "Ecs", "Lambda") else _UNKNOWN)


def is_permanent(error: str) -> bool:
    """Whether another runner for the same job would meet the same error."""
    return cause_of(error).permanent
