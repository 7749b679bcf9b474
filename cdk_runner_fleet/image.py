"""Where runner images are built and kept."""

from __future__ import annotations

import hashlib
from pathlib import Path

from aws_cdk import Duration, RemovalPolicy, Stack
from aws_cdk import aws_codebuild as codebuild
from aws_cdk import aws_ecr as ecr
from aws_cdk import aws_iam as iam
from aws_cdk import aws_logs as logs
from aws_cdk import aws_s3_assets as s3_assets
from constructs import Construct

from cdk_runner_fleet import _assets

_ARCHITECTURE = "linux/amd64"


class RunnerImages(Construct):
    """An ECR repository and the CodeBuild project that fills it.

    Builds run in the account, on demand: never on the deployer's machine, and never while
    CloudFormation waits.

    Args:
        scope: The construct's parent.
        construct_id: The construct's id in it.
        build_timeout: How long one build may take.
    """

    def __init__(self, scope: Construct, construct_id: str, *, build_timeout: Duration) -> None:
        super().__init__(scope, construct_id)
        self.recipe = recipe_digest(_assets.RUNNER_IMAGE)
        self.repository = ecr.Repository(
            self,
            "Repository",
            image_scan_on_push=True,
            image_tag_mutability=ecr.TagMutability.IMMUTABLE,
            encryption=ecr.RepositoryEncryption.AES_256,
            empty_on_delete=True,
            removal_policy=RemovalPolicy.DESTROY,
        )
        self.log_group = logs.LogGroup(
            self,
            "Logs",
            retention=logs.RetentionDays.ONE_MONTH,
            removal_policy=RemovalPolicy.DESTROY,
        )
        source = s3_assets.Asset(self, "Recipe", path=str(_assets.RUNNER_IMAGE))
        self.project = codebuild.Project(
            self,
            "Builder",
            description="cdk-runner-fleet: builds runner images",
            source=codebuild.Source.s3(bucket=source.bucket, path=source.s3_object_key),
            build_spec=codebuild.BuildSpec.from_source_filename("buildspec.yml"),
            environment=codebuild.BuildEnvironment(
                build_image=codebuild.LinuxBuildImage.STANDARD_7_0,
                compute_type=codebuild.ComputeType.SMALL,
                privileged=True,  # docker build needs it
            ),
            environment_variables={
                "RUNNER_REPOSITORY_URL": codebuild.BuildEnvironmentVariable(
                    value=self.repository.repository_uri
                )
            },
            # CodeBuild's own bounds (API reference, CreateProject timeoutInMinutes)
            timeout=Duration.minutes(_clamp(build_timeout, least=5, most=480)),
            queued_timeout=Duration.minutes(30),
            grant_report_group_permissions=False,
            logging=codebuild.LoggingOptions(
                cloud_watch=codebuild.CloudWatchLoggingOptions(log_group=self.log_group)
            ),
        )
        self.repository.grant_pull_push(self.project)
        self._allow("ecr:DescribeImages", resource=self.repository.repository_arn)
        # bases from the account's own repositories are allowed unless allowed_images says otherwise
        self._allow(
            "ecr:BatchCheckLayerAvailability",
            "ecr:BatchGetImage",
            "ecr:GetDownloadUrlForLayer",
            resource=self.own_repositories_arn,
        )

    @property
    def own_repositories_arn(self) -> str:
        """ARN pattern of the account's repositories in this region."""
        return Stack.of(self).format_arn(service="ecr", resource="repository", resource_name="*")

    def _allow(self, *actions: str, resource: str) -> None:
        self.project.add_to_role_policy(
            iam.PolicyStatement(actions=list(actions), resources=[resource])
        )

    def grant_build(self, grantee: iam.IGrantable) -> None:
        """Let ``grantee`` start builds and look images up."""
        policy = grantee.grant_principal.add_to_principal_policy
        policy(
            iam.PolicyStatement(
                actions=["codebuild:StartBuild"], resources=[self.project.project_arn]
            )
        )
        policy(
            iam.PolicyStatement(
                actions=["ecr:DescribeImages"], resources=[self.repository.repository_arn]
            )
        )


def recipe_digest(folder: Path) -> str:
    """Digest of everything that makes a runner image but its base: the recipe and the architecture.

    The runner's version is pinned in the recipe's Dockerfile, so it is part of it.
    """
    digest = hashlib.sha256(_ARCHITECTURE.encode())
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        digest.update(path.relative_to(folder).as_posix().encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _clamp(duration: Duration, *, least: int, most: int) -> int:
    if duration.is_unresolved():
        return most
    return int(min(most, max(least, -(-duration.to_seconds() // 60))))
