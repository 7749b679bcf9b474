"""Where runner images come from: what builds them, where they are kept, and who may pull them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

from aws_cdk import Annotations, ArnFormat, Aws, Duration, Fn, RemovalPolicy, Stack, Stage, Token
from aws_cdk import aws_codebuild as codebuild
from aws_cdk import aws_ecr as ecr
from aws_cdk import aws_iam as iam
from aws_cdk import aws_s3_assets as s3_assets
from aws_cdk.region_info import RegionInfo
from constructs import Construct

from cdk_runner_fleet._at_rest import DataAtRest
from cdk_runner_fleet._nag import (
    acknowledge,
    acknowledge_any_resource,
    acknowledge_own_policy,
    acknowledge_pattern,
)
from cdk_runner_fleet.rooms.recipe import stage
from cdk_runner_fleet.values.ecr import region_of, repository_arn
from cdk_runner_fleet.values.fleet_images import FleetImages
from cdk_runner_fleet.values.runner_image import BuiltImage, ImageBuilds, ReadyImage, RunnerImage

_PULLING = ("ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer")
_TOLD_BUILDS = ("BASE_IMAGE", "IMAGE_TAG", "RECIPE_DIGEST", "RUNNER_SHA256", "RUNNER_VERSION")
"""Variables that whoever starts a build sets; the others are the project's."""
_CACHE_PREFIX = "cache."
"""What the tags of build caches begin with (build_image.sh); no tag of an image has a dot."""


class ImagePipeline(Construct):
    """Builds runner images in CodeBuild, keeps them in ECR, and lets runners pull what they run in.

    Images are built in the account, on demand: never on the deployer's machine, and never while
    CloudFormation waits. What is here does not depend on which image it is, so that another one
    replaces neither the repository nor the projects nor their log group.

    Args:
        scope: The construct's parent.
        construct_id: The construct's id in it.
        images: What classes run in. What jobs choose is built by the recipe of the default one, or
            with nothing added if that is ready.
        builds: What jobs may choose, and how images are kept.
        architectures: Those that images are built for, by ECS's names.
        at_rest: How images and the logs of builds are kept.

    Raises:
        ValueError: if nothing is ever built and there is a repository for it, or if one is in
            another partition of AWS, which no role of this one reaches.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        images: FleetImages,
        builds: ImageBuilds,
        architectures: Sequence[str],
        at_rest: DataAtRest,
    ) -> None:
        super().__init__(scope, construct_id)
        self.images = images
        self.builds = builds
        self._at_rest = at_rest
        self.repository: ecr.IRepository | None = None
        self.projects: Mapping[str, codebuild.Project] = {}
        self.recipes: Mapping[str, str] = {}
        """Digest of the recipe of each image that is built, by its name."""
        self.recipe_of_choices = ""
        """Digest of the recipe of those on a base that a job chose; empty if none may."""
        for image in images.ready.values():
            self._check_ready(image)
        built = list(images.built.values())
        if not built and not builds.globs:
            if builds.repository is not None:
                raise ValueError(
                    "images has a repository, and nothing is built: leave it out, or let jobs "
                    "choose among allowed_bases"
                )
            return
        bases = (*builds.globs, *(image.base for image in built))
        self._arns_of_bases = list(dict.fromkeys(filter(None, map(repository_arn, bases))))
        _warn_of_unknown_bases(self, bases)
        if builds.repository is not None:
            _check_partition(self, "repository of images", builds.repository.env.region)
        self.repository = builds.repository or _repository(self, at_rest)
        self._source = self._stage()
        self.log_group = at_rest.log_group(self, "Logs")
        self.projects = {name: self._project(name) for name in architectures}

    @property
    def is_built(self) -> bool:
        """Whether images are built at all."""
        return self.repository is not None

    @property
    def task_image(self) -> str:
        """What stands in a base task definition: a ready image, or a name that is only cloned."""
        default = self.images.default
        if isinstance(default, ReadyImage):
            return default.uri
        assert self.repository is not None  # noqa: S101 - there is one where images are built
        return self.repository.repository_uri_for_tag(self.images.default_name)

    def grant_pull(self, role: iam.IRole) -> None:
        """Let ``role`` pull what runners are started from, where that is in a private ECR."""
        ready = self.images.ready.values()
        given = [self.repository, *(image.repository for image in ready)]
        named = [repository_arn(image.uri) for image in ready if image.repository is None]
        repositories = list(filter(None, given))
        arns = list(dict.fromkeys(filter(None, named)))
        for repository in repositories:
            repository.grant_pull(role)
        for arn in arns:
            role.add_to_principal_policy(
                iam.PolicyStatement(actions=list(_PULLING), resources=[arn])
            )
        if arns and not repositories:
            role.add_to_principal_policy(
                iam.PolicyStatement(actions=["ecr:GetAuthorizationToken"], resources=["*"])
            )
        if arns or repositories:
            acknowledge_any_resource(role, actions="ecr:GetAuthorizationToken")

    def grant_build(self, grantee: iam.IGrantable) -> None:
        """Let ``grantee`` start builds, follow them, and look after the images."""
        assert self.repository is not None  # noqa: S101 - there is one where images are built
        policy = grantee.grant_principal.add_to_principal_policy
        projects = [project.project_arn for project in self.projects.values()]
        policy(iam.PolicyStatement(actions=["codebuild:BatchGetBuilds"], resources=projects))
        policy(
            iam.PolicyStatement(
                actions=["codebuild:StartBuild"],
                resources=projects,
                # without these a build can be told what to build, and not what to do
                conditions={
                    "ForAllValues:StringEquals": {
                        "codebuild:environment.environmentVariables.name": list(_TOLD_BUILDS)
                    },
                    "Null": {
                        "codebuild:source.buildspec": "true",
                        "codebuild:source.location": "true",
                        "codebuild:environment.image": "true",
                    },
                },
            )
        )
        policy(
            iam.PolicyStatement(
                actions=["ecr:DescribeImages", "ecr:BatchDeleteImage"],
                resources=[self.repository.repository_arn],
            )
        )

    @property
    def _owner(self) -> dict[str, str]:
        """What a build is told of whose images are: it goes into their tags."""
        if self.builds.repository is None:
            return {}
        # other fleets may push to it and each deletes what it does not use: no tag is of two
        return {"IMAGES_OF": Fn.join("/", [Aws.STACK_ID, self.node.addr])}

    def _check_ready(self, image: ReadyImage) -> None:
        if image.repository is not None:
            _check_partition(self, "repository of a ready image", image.repository.env.region)
        elif (region := region_of(image.uri)) is not None:
            _check_partition(self, f"uri {image.uri!r}", region)
        elif Token.is_unresolved(image.uri) and repository_arn(image.uri) is None:
            Annotations.of(self).add_warning_v2(
                "cdk-runner-fleet:unknownRepository",
                "the uri of a ready image is only known at deployment, so runners get no "
                "permission to pull it: if it is in a private ECR, name it with "
                "RunnerImage.from_ecr_repository; if not, acknowledge this warning",
            )

    def _stage(self) -> s3_assets.Asset:
        # beside the other assets: the library's own folder may be read-only, and this has to be
        # there for as long as the cloud assembly
        assembly = Stage.of(self)
        assert assembly is not None  # noqa: S101 - a stack, which this is in, is in one
        folder = Path(assembly.asset_outdir, f"runner-image-{self.node.addr}")
        built, default = self.images.built, self.images.default_name
        has_plain = bool(self.builds.globs) and default not in built
        plain = [cast(BuiltImage, RunnerImage.built())] if has_plain else []
        recipes = stage([*built.values(), *plain], folder)
        self.recipes = dict(zip(built, recipes, strict=False))
        if self.builds.globs:
            self.recipe_of_choices = self.recipes.get(default, recipes[-1])
        return s3_assets.Asset(self, "Recipe", path=str(folder))

    def _project(self, architecture: str) -> codebuild.Project:
        source, repository = self._source, self.repository
        assert repository is not None  # noqa: S101 - there is one where images are built
        # by their ids: the oldest aws-cdk-lib that is allowed has no constants for them
        construct_id, build_image = {
            "X86_64": (
                "Builder",
                codebuild.LinuxBuildImage.from_code_build_image_id(
                    "aws/codebuild/amazonlinux-x86_64-standard:6.0"
                ),
            ),
            "ARM64": (
                "Arm64Builder",
                codebuild.LinuxArmBuildImage.from_code_build_image_id(
                    "aws/codebuild/amazonlinux-aarch64-standard:4.0"
                ),
            ),
        }[architecture]
        project = codebuild.Project(
            self,
            construct_id,
            description=f"cdk-runner-fleet: builds runner images for {architecture}",
            source=codebuild.Source.s3(bucket=source.bucket, path=source.s3_object_key),
            build_spec=codebuild.BuildSpec.from_source_filename("buildspec.yml"),
            environment=codebuild.BuildEnvironment(
                build_image=build_image,
                compute_type=codebuild.ComputeType.SMALL,
                privileged=True,  # BuildKit needs it
            ),
            environment_variables={
                name: codebuild.BuildEnvironmentVariable(value=value)
                for name, value in {
                    "RUNNER_REPOSITORY_URL": repository.repository_uri,
                    "ARCHITECTURE": architecture,
                    **self._owner,
                }.items()
            },
            # how long one may run is said by whoever starts it
            queued_timeout=Duration.minutes(30),
            grant_report_group_permissions=False,
            logging=codebuild.LoggingOptions(
                cloud_watch=codebuild.CloudWatchLoggingOptions(log_group=self.log_group)
            ),
        )
        self._encrypt(project)
        repository.grant_pull_push(project)
        _allow(project, "ecr:DescribeImages", resource=repository.repository_arn)
        stack = Stack.of(self)
        for arn in self._arns_of_bases:
            _allow(project, *_PULLING, resource=arn)
            acknowledge_pattern(
                project, arn, reason="allowed_bases has this pattern; builds only pull from there."
            )
        acknowledge(
            project,
            "CB4",
            reason="Builds write no artifacts; the image goes to ECR, which encrypts it.",
        )
        acknowledge(
            project,
            "CodeBuildProjectSourceRepoUrl",
            reason="The source is an asset in S3: builds clone nothing from GitHub or BitBucket.",
        )
        acknowledge_own_policy(project)
        # https://docs.aws.amazon.com/AmazonECR/latest/public/public-registry-auth.html
        _allow(project, "ecr-public:GetAuthorizationToken", resource="*")
        project.add_to_role_policy(
            iam.PolicyStatement(
                actions=["sts:GetServiceBearerToken"],
                resources=["*"],
                conditions={"StringEquals": {"sts:AWSServiceName": "ecr-public.amazonaws.com"}},
            )
        )
        acknowledge_any_resource(
            project,
            actions="ecr:GetAuthorizationToken, ecr-public:GetAuthorizationToken, "
            "sts:GetServiceBearerToken",
        )
        for action in ("s3:GetObject*", "s3:GetBucket*", "s3:List*"):
            acknowledge(
                project, f"IAM5[Action::{action}]", reason="aws-cdk's read grant on the one asset."
            )
        acknowledge_pattern(
            project,
            stack.format_arn(
                service="logs",
                resource="log-group",
                resource_name=f"/aws/codebuild/{project.project_name}:*",
                arn_format=ArnFormat.COLON_RESOURCE_NAME,
            ),
            reason="aws-cdk's grant on the streams of the project's own log group.",
        )
        return project

    def _encrypt(self, project: codebuild.Project) -> None:
        key_arn = self._at_rest.key_arn
        if key_arn is None:
            return
        # not by aws-cdk's prop, which grants whatever begins like what is needed: builds write no
        # artifacts, and what CodeBuild itself keeps of one it keeps in S3
        resource = project.node.default_child
        assert isinstance(resource, codebuild.CfnProject)  # noqa: S101 - narrows the type
        resource.encryption_key = key_arn
        self._at_rest.grant_use(project, "s3", also=["kms:Encrypt", "kms:GenerateDataKey"])


def _repository(scope: Construct, at_rest: DataAtRest) -> ecr.Repository:
    return ecr.Repository(
        scope,
        "Repository",
        image_scan_on_push=True,
        image_tag_mutability=ecr.TagMutability.IMMUTABLE_WITH_EXCLUSION,
        image_tag_mutability_exclusion_filters=[
            ecr.ImageTagMutabilityExclusionFilter.wildcard(f"{_CACHE_PREFIX}*")
        ],
        # images with a tag are build_image's to delete, which knows what is in use
        lifecycle_rules=[
            ecr.LifecycleRule(
                description="caches of images that nobody has had built for a month",
                tag_status=ecr.TagStatus.TAGGED,
                tag_prefix_list=[_CACHE_PREFIX],
                max_image_age=Duration.days(30),
            ),
            ecr.LifecycleRule(
                description="replaced caches and what is left of deleted images",
                tag_status=ecr.TagStatus.UNTAGGED,
                max_image_age=Duration.days(1),
            ),
        ],
        # to give it another key is to replace it, with all images: CloudFormation makes it anew
        encryption=(
            ecr.RepositoryEncryption.KMS
            if at_rest.encryption_key
            else ecr.RepositoryEncryption.AES_256
        ),
        encryption_key=at_rest.encryption_key,
        empty_on_delete=True,
        removal_policy=RemovalPolicy.DESTROY,
    )


def _check_partition(scope: Construct, what: str, region: str) -> None:
    """Refuse what no role of the stack's reaches, where both regions are known."""
    here = Stack.of(scope).region
    if Token.is_unresolved(here) or Token.is_unresolved(region):
        return
    ours, theirs = (RegionInfo.get(one).partition for one in (here, region))
    if ours and theirs and ours != theirs:
        raise ValueError(
            f"{what} is in {region}, of partition {theirs}, and the stack in {here}, of {ours}: no "
            f"role reaches another partition, give one of {ours}"
        )


def _warn_of_unknown_bases(scope: Construct, bases: Sequence[str]) -> None:
    unknown = [base for base in bases if Token.is_unresolved(base) and repository_arn(base) is None]
    if unknown:
        Annotations.of(scope).add_warning_v2(
            "cdk-runner-fleet:unknownBase",
            "a base is only known at deployment, so builds get no permission to pull it: if it is "
            "in a private ECR, write it as <account>.dkr.ecr.<region>.<suffix>/<name>, of which "
            "each part may be a token; if not, acknowledge this warning",
        )


def _allow(project: codebuild.Project, *actions: str, resource: str) -> None:
    project.add_to_role_policy(iam.PolicyStatement(actions=list(actions), resources=[resource]))
