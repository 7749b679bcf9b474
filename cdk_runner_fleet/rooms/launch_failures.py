"""What ECS can answer to a launch, and what the state machine does about it: the one table.

``RunTask`` refuses in two ways: with an SDK error, or with 200 and a reason in ``failures[]``. A
task that was accepted can still stop before a job runs on it, with a stop code and a reason. The
state machine tells them apart by their text, with the patterns that this table makes.

Sources: the errors of ``RunTask`` and ``TaskStopCode`` in the ECS API reference; "API failure
reasons" and "Stopped tasks error messages" in the ECS developer guide; AWS re:Post on unavailable
Fargate capacity. The texts are AWS's; none was seen on AWS by this project yet.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Answer(StrEnum):
    """What the state machine does about a failure, in the order in which it is asked."""

    FAIL = "fails at once with the remedy"
    WAIT = "the next capacity provider, another subnet, then patience with jitter for 24 hours"
    FIND_IMAGE = "looks for the image and has it built, twice at the most; then fails"
    AGAIN = "is replaced once before a job has started, then fails; the job's demand starts another"


@dataclass(frozen=True, kw_only=True)
class LaunchFailure:
    """One failure.

    Attributes:
        name: What ECS calls it.
        pattern: Regular expression over the failure's text, in what JSONata, Python and JSON read
            alike: no quote, slash or backslash. Empty: what no other pattern fits.
        answer: What is done.
        remedy: What an operator does.
    """

    name: str
    pattern: str
    answer: Answer
    remedy: str

    def __post_init__(self) -> None:
        """Raise ``ValueError`` for a pattern that cannot stand in the state machine's file."""
        if set(self.pattern) & set("\"'/\\"):
            raise ValueError(
                f"the pattern {self.pattern!r} of {self.name} has a quote, slash or backslash"
            )
        re.compile(self.pattern)


# a refusal by IAM names the family, and with it an image that a job has chosen
_NO_REFUSAL = "^(?!.*not authorized to).*"

# Fargate's scheduler says "Fargate is not supported in the requested availability zone: …" under
# EKS (awsdocs/amazon-eks-user-guide#262); what ECS says is not published
_NO_FARGATE = (
    "(not supported|unsupported).*availability zone|availability zone.*(not support|unsup)"
)
_OTHER_ZONES = (
    "give availability_zones that Fargate is in (Supported Regions for Amazon ECS on AWS Fargate "
    "lists them by id; aws ec2 describe-availability-zones has the names), or subnets there: as "
    "long as one of several is, the runner will start in it"
)

RUN_TASK: tuple[LaunchFailure, ...] = (
    LaunchFailure(
        name="vCPU quota of 0",
        pattern="limit of 0",
        answer=Answer.FAIL,
        remedy="ask for the Fargate vCPU quota (L-3032A538, Spot: L-36FBB829)",
    ),
    LaunchFailure(
        name="No Fargate configuration exists",
        pattern="No Fargate configuration exists|Invalid .?(cpu|memory).? setting",
        answer=Answer.FAIL,
        remedy="give the class a size that Fargate has",
    ),
    LaunchFailure(
        name="subnet or security group does not exist",
        pattern="(subnet|security group).*does not exist|InvalidSubnet|InvalidGroup",
        answer=Answer.FAIL,
        remedy="deploy again with subnets and security groups that exist",
    ),
    LaunchFailure(
        name="capacity provider not associated",
        pattern="capacity provider.*(not found|not associated|not valid|is invalid)",
        answer=Answer.FAIL,
        remedy="deploy again: the cluster lost its capacity providers",
    ),
    LaunchFailure(
        name="service-linked role",
        pattern="service.?linked role",
        answer=Answer.FAIL,
        remedy="make the role that ECS works with in this account: aws iam "
        "create-service-linked-role --aws-service-name ecs.amazonaws.com",
    ),
    LaunchFailure(
        name="role that ECS cannot assume",
        pattern="unable to assume the role",
        answer=Answer.FAIL,
        remedy="wait a minute if the fleet has just been deployed, a new role is not known "
        "everywhere at once; else deploy again: the execution role or the task role is gone, or "
        "does not trust ecs-tasks.amazonaws.com",
    ),
    LaunchFailure(
        name="AccessDeniedException: denied whatever the image",
        pattern="iam:PassRole|ecs:TagResource|explicit deny",
        answer=Answer.FAIL,
        remedy="deploy again, and look for a service control policy or a permissions boundary that "
        "denies it",
    ),
    LaunchFailure(
        # of a family that is not there yet nothing can be resolved, so IAM may be asked for a name
        # that no policy can have
        name="AccessDeniedException",
        pattern="AccessDenied|not authorized",
        answer=Answer.FIND_IMAGE,
        remedy="deploy again, and look for a service control policy that denies ecs:RunTask",
    ),
    LaunchFailure(
        name="BlockedException",
        pattern="BlockedException|account is .*blocked",
        answer=Answer.FAIL,
        remedy="the AWS account is blocked: ask AWS Support",
    ),
    LaunchFailure(
        name="ClusterNotFoundException",
        pattern="ClusterNotFound|^MISSING|^INACTIVE",
        answer=Answer.FAIL,
        remedy="deploy again: the cluster is gone",
    ),
    LaunchFailure(
        name="PlatformUnknownException",
        pattern="PlatformUnknown",
        answer=Answer.FAIL,
        remedy="the region does not have this Fargate platform version",
    ),
    LaunchFailure(
        name="PlatformTaskDefinitionIncompatibilityException",
        pattern="PlatformTaskDefinitionIncompatib",
        answer=Answer.FAIL,
        remedy="the region's Fargate platform cannot run this task definition",
    ),
    LaunchFailure(
        name="UnsupportedFeatureException",
        pattern="UnsupportedFeature(?!.*availability zone)",
        answer=Answer.FAIL,
        remedy="the region does not have a feature of this task definition",
    ),
    LaunchFailure(
        name="ATTRIBUTE and LOCATION",
        pattern="^(ATTRIBUTE|LOCATION)",
        answer=Answer.FAIL,
        remedy="the task asks for what this cluster does not have: deploy again",
    ),
    LaunchFailure(
        name="Capacity is unavailable",
        pattern=f"{_NO_REFUSAL}(capacity is unavailable|insufficient)",
        answer=Answer.WAIT,
        remedy="give subnets of more availability zones, or FARGATE behind FARGATE_SPOT",
    ),
    LaunchFailure(
        name="zone without Fargate",
        pattern=f"{_NO_REFUSAL}({_NO_FARGATE})",
        answer=Answer.WAIT,
        remedy=_OTHER_ZONES,
    ),
    LaunchFailure(
        name="RESOURCE:*",
        # from its beginning: a refusal by IAM has "on resource: …"
        pattern="^RESOURCE:",
        answer=Answer.WAIT,
        remedy="RESOURCE:ENI means that the subnets have no address left: give larger ones",
    ),
    LaunchFailure(
        name="AGENT",
        pattern="^AGENT",
        answer=Answer.WAIT,
        remedy="nothing: Fargate's own agent was not there",
    ),
    LaunchFailure(
        name="limit on the number of vCPUs or tasks",
        pattern=f"{_NO_REFUSAL}(limit on the number|LimitExceeded)",
        answer=Answer.WAIT,
        remedy="raise the Fargate vCPU quota (L-3032A538, Spot: L-36FBB829), or lower max_runners",
    ),
    LaunchFailure(
        name="ThrottlingException",
        pattern=f"{_NO_REFUSAL}(throttl|rate exceeded|Too Many Requests)",
        answer=Answer.WAIT,
        remedy="nothing: Fargate launches 20 tasks a second after a burst of 100",
    ),
    LaunchFailure(
        name="ServerException",
        pattern=f"{_NO_REFUSAL}(ServerException|SdkClientException|States.Timeout)",
        answer=Answer.WAIT,
        remedy="nothing: ECS did not answer",
    ),
    LaunchFailure(
        name="ConflictException",
        pattern=f"{_NO_REFUSAL}(ConflictException)",
        answer=Answer.WAIT,
        remedy="nothing: the next try has a fresh client token",
    ),
    LaunchFailure(
        name="ClientException",
        pattern="ClientException|EcsException",
        answer=Answer.FIND_IMAGE,
        remedy="TaskDefinition not found: its image is not built yet",
    ),
    LaunchFailure(
        name="InvalidParameterException",
        pattern="InvalidParameter",
        answer=Answer.FIND_IMAGE,
        remedy="see the message",
    ),
)
"""Refusals of ``RunTask``; the first that fits decides, any other fails at once."""

STOPPED: tuple[LaunchFailure, ...] = (
    LaunchFailure(
        name="zone without Fargate",
        pattern=_NO_FARGATE,
        answer=Answer.WAIT,
        remedy=_OTHER_ZONES,
    ),
    LaunchFailure(
        # its name means the mount target of the task's own zone; others' reports have the words
        name="ResourceInitializationError: no mount target",
        pattern="Failed to resolve .?fs-",
        answer=Answer.WAIT,
        remedy="make a mount target of the class's file system in the zone of each of its subnets, "
        "or give the class subnets where there is one (aws efs describe-mount-targets lists them); "
        "and see that the VPC has DNS hostnames and DNS resolution",
    ),
    LaunchFailure(
        name="ResourceInitializationError: file system denied",
        pattern="EFS.*access denied",
        answer=Answer.FAIL,
        remedy="the class's task role may not mount the file system, by this access point if it "
        "has one: a role that was brought with mutable=False needs elasticfilesystem:ClientMount, "
        "and a policy of the file system's has to let the role in",
    ),
    LaunchFailure(
        name="ResourceInitializationError: file system without the folder",
        pattern="EFS.*(reason given by server|no such file)",
        answer=Answer.FAIL,
        remedy="the access point's folder is not there: make it, or give the access point a "
        "create_acl",
    ),
    LaunchFailure(
        name="CannotPullContainerError: no such image",
        pattern="CannotPullContainer.*(not found|manifest unknown)",
        answer=Answer.FIND_IMAGE,
        remedy="somebody deleted the image in ECR: it is built anew. A ready image has to exist",
    ),
    LaunchFailure(
        name="CannotPullContainerError: no permission",
        pattern="CannotPull(ECR)?Container.*(denied|not authorized|unauthorized|403 Forbidden"
        "|no basic auth)|registry auth.*(AccessDenied|not authorized)",
        answer=Answer.FAIL,
        remedy="the execution role may not pull the image: a ready one in ECR has to be named so "
        "that its account, region and repository can be read (or with repository=), and another "
        "account's repository has to let this account pull; of a pull-through cache, pull the "
        "image once yourself (docs/runner-images.md)",
    ),
    LaunchFailure(
        name="CannotPullContainerError: another architecture",
        pattern="no matching manifest|descriptor matching platform",
        answer=Answer.FAIL,
        remedy="name an image that there is for the class's architecture, or give the class the "
        "image's",
    ),
    LaunchFailure(
        name="CannotStartContainerError: the image cannot run",
        pattern="exec format error|executable file not found|no such file or directory",
        answer=Answer.FAIL,
        remedy="the image is for another architecture, or is not a runner image",
    ),
    LaunchFailure(
        name="ResourceInitializationError: no log",
        pattern="logger args.*(AccessDenied|not authorized|ResourceNotFound)",
        answer=Answer.FAIL,
        remedy="deploy again: the runners' log group is gone, or the execution role cannot write "
        "to it",
    ),
    *(
        LaunchFailure(name=name, pattern="", answer=Answer.AGAIN, remedy=remedy)
        for name, remedy in {
            "CannotPullContainerError": "see that the subnets reach the registry",
            "CannotStartContainerError": "see the task's log",
            "CannotCreateContainerError": "see the task's log",
            "ResourceInitializationError": "see that the subnets reach ECR, CloudWatch Logs and "
            "the internet",
            "OutOfMemoryError": "give the job a class with more memory",
            "TaskFailedToStart": "see the reason on the row",
            "EssentialContainerExited": "see the task's log",
            "SpotInterruption": "keep FARGATE behind FARGATE_SPOT, or leave Spot",
            "TerminationNotice": "nothing: AWS retired the task's host",
            "InfrastructureHealth": "nothing: AWS replaced unhealthy hardware",
            "UserInitiated": "somebody stopped the task: see CloudTrail for StopTask",
            "ServiceSchedulerInitiated": "nothing of the fleet is a service: see CloudTrail",
        }.items()
    ),
)
"""Ends of a task before a job runs on it; the first that fits decides."""


def pattern(failures: Sequence[LaunchFailure], answer: Answer) -> str:
    """Return the regular expression for all ``failures`` that get this answer."""
    return "|".join(one.pattern for one in failures if one.answer is answer and one.pattern)


def remedy_of(text: str) -> str:
    """Return what an operator does about a failure that the state machine told in these words.

    Empty if the table knows no better than the words themselves.
    """
    rows = [
        one
        for table in (STOPPED, RUN_TASK)
        for answer in Answer
        for one in table
        if one.answer is answer and one.pattern
    ]
    fitting = (one.remedy for one in rows if re.search(one.pattern, text, re.IGNORECASE))
    return next(fitting, "")
