"""Where runner images come from: their recipe, what builds them, and where they are kept."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from aws_cdk import Annotations, ArnFormat, Aws, Duration, Fn, RemovalPolicy, Stack, Stage, Token
from aws_cdk import aws_codebuild as codebuild
from aws_cdk import aws_ecr as ecr
from aws_cdk import aws_iam as iam
from aws_cdk import aws_s3_assets as s3_assets
from constructs import Construct

from cdk_runner_fleet._logs import log_group
from cdk_runner_fleet._nag import acknowledge, acknowledge_any_resource, acknowledge_pattern
from cdk_runner_fleet.rooms.recipe import VARIANTS, ImageVariant, Recipe, digest
from cdk_runner_fleet.values.ecr import repository_arn, shown_form
from cdk_runner_fleet.values.image_reference import glob_fault, has_registry
from cdk_runner_fleet.values.types import check_types

_OFFICIAL = "public.ecr.aws/docker/library"
"""AWS's mirror of Docker's official images, where builds log in: it has limits for anybody else."""
_DEFAULT_BASES: Mapping[ImageVariant, str] = {
    "base": f"{_OFFICIAL}/ubuntu:24.04",
    "python": f"{_OFFICIAL}/python:3.13-slim-bookworm",
    "node": f"{_OFFICIAL}/node:24-bookworm-slim",
    "full": f"{_OFFICIAL}/ubuntu:24.04",
}
_PULLING = ("ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer")
_TOLD_BUILDS = ("BASE_IMAGE", "IMAGE_TAG", "RUNNER_SHA256", "RUNNER_VERSION")
"""Variables that whoever starts a build sets; the others are the project's."""
_CACHE_PREFIX = "cache."
"""What the tags of build caches begin with (build_image.sh); no tag of an image has a dot."""

# what ECS pulls needs no registry, but nothing of Docker's own images, which have no slash, is a
# runner; and a host alone is no image
_READY = re.compile(
    r"([A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*(:[0-9]{1,5})?/)?[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*"
    r"(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*"
    r"(:[A-Za-z0-9_][A-Za-z0-9._-]{0,127})?(@sha256:[0-9a-f]{64})?"
)
# readable part of an image's name: the rules of a tag, with room for the digest behind it
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,59}")
_CAPABILITY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,62}")


class RunnerImage(Construct):
    """The image that a fleet's runners run in, and those that its jobs may choose a base for.

    Images are built in the account, on demand: never on the deployer's machine, and never while
    CloudFormation waits. Each is named by its content: base, recipe, runner and architecture.

    Args:
        scope: The construct's parent.
        construct_id: The construct's id in it.
        image_uri: A ready image for jobs without ``image:``, for all architectures that the
            fleet's classes have. If it names a private ECR repository, of this or another account
            or region, the runners may pull from that one; another account's has to allow it too.
            Default: one is built of the props below.
        variant: What is in a built image besides its base: ``base`` (a shell), ``python``,
            ``node`` or ``full`` (all of these and native build tools). Default: ``base``.
        base_image: What the default image is built on, Debian or Ubuntu, in full as in
            ``public.ecr.aws/docker/library/debian:13``. Default: Ubuntu 24.04 for ``base`` and
            ``full``, Python 3.13 or Node.js 24 on Debian 12 for ``python`` and ``node``.
        dockerfile_directory: Folder with a Dockerfile of your own. It gets the base as build
            argument ``BASE_IMAGE``, and the runner goes on top of what it makes. It is for the
            default image's base alone, see ``dockerfile_for_all_bases``. Default: the runner goes
            on top of the base.
        dockerfile_for_all_bases: Whether bases that jobs choose go through that Dockerfile too:
            what an author's base brings then runs with its folder and the build arguments in
            reach. Default: they do not.
        build_args: Build arguments for that Dockerfile, and for the fleet's, which also knows
            ``RUNNER_ARCHIVE_URL``, a mirror of the runner's archive. That one and those of proxies
            go to all builds, the others where the Dockerfile goes. No place for secrets: they can
            be read in the image. Default: none but the fleet's own.
        apt_packages: Debian packages to install as well. Default: what the variant has.
        pip_packages: Python packages to install as well. Default: what the variant has.
        allowed_bases: Globs of the bases that jobs may choose with ``image:``, matched against the
            full reference, as in ``public.ecr.aws/docker/library/python:*``. ``*`` stands behind
            a slash or in a tag; a glob with a tag allows no digest unless it has an ``@`` too.
            Default: Docker's official images, ``public.ecr.aws/docker/library/*``. A glob that
            names a private ECR, be it the account's own, lets builds pull from there, and nothing
            else does: whoever may name a base reads all that is in it.
        jobs_may_choose: Whether jobs may name a base (``image:<base>``) and have an image built
            on it, by the same recipe. Default: they may.
        repository: Existing ECR repository that built images are pushed to, of any account and
            region, or that a ready image is pulled from whose ``image_uri`` is known at deployment
            only. No lifecycle rule is added to it. Default: one is made where images are built,
            with immutable tags, a scan of each push, and rules that delete nothing but caches and
            what has no tag.
        name: What the default image's name begins with. Default: ``default``.
        capabilities: What runners in these images declare to have, instead of what is found in
            the image. Default: it is found out in the image.
        soci: Whether images of 250 MB and more get a SOCI index, with which Fargate starts them
            before all of it is there. Their layers are then gzip's instead of zstd's.
            Default: they get none.
        max_concurrent_builds: Builds at a time; further ones wait in line. In an organization or
            enterprise one of several is kept for a repository that has none. Default: 5.
        max_images_per_repository: Images that the jobs of one repository may have built with
            ``image:``, one for each base and architecture; an image is deleted 60 days after its
            last job. Default: 20, which are some 20 GB in ECR and, built anew each week, as many
            builds of about eight minutes: about 6 US dollars a month.

    Raises:
        TypeError: if a value is of another kind than its parameter's annotation.
        ValueError: if a value cannot work, or two do not go together; the message says what would.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        image_uri: str | None = None,
        variant: ImageVariant = "base",
        base_image: str | None = None,
        dockerfile_directory: str | Path | None = None,
        dockerfile_for_all_bases: bool = False,
        build_args: Mapping[str, str] | None = None,
        apt_packages: Sequence[str] = (),
        pip_packages: Sequence[str] = (),
        allowed_bases: Sequence[str] | None = None,
        jobs_may_choose: bool = True,
        repository: ecr.IRepository | None = None,
        name: str = "default",
        capabilities: Sequence[str] = (),
        soci: bool = False,
        max_concurrent_builds: int = 5,
        max_images_per_repository: int = 20,
    ) -> None:
        check_types(RunnerImage.__init__, locals())
        super().__init__(scope, construct_id)
        if image_uri is not None:
            _check_ready(
                image_uri,
                variant=variant if variant != "base" else None,
                base_image=base_image,
                dockerfile_directory=dockerfile_directory,
                build_args=build_args,
                apt_packages=apt_packages,
                pip_packages=pip_packages,
            )
        builds = image_uri is None or jobs_may_choose
        if not builds and soci:
            raise ValueError(
                "soci is on and nothing is built: leave it out, or make the index of image_uri "
                "where that is built"
            )
        if not jobs_may_choose and allowed_bases is not None:
            raise ValueError(
                f"allowed_bases {list(allowed_bases)!r} given and jobs_may_choose is off: leave "
                "one of them out"
            )
        if dockerfile_for_all_bases and (dockerfile_directory is None or not jobs_may_choose):
            raise ValueError(
                "dockerfile_for_all_bases is on, and "
                + ("jobs_may_choose is off" if dockerfile_directory else "there is no Dockerfile")
                + ": leave it out, or give dockerfile_directory and leave jobs_may_choose on"
            )
        _check_name(name)
        _check_base(base_image)
        _check_capabilities(capabilities)
        _check_count("max_concurrent_builds", max_concurrent_builds)
        _check_count("max_images_per_repository", max_images_per_repository)
        default_base = base_image or _DEFAULT_BASES.get(variant)
        recipe = Recipe(
            variant=variant,
            dockerfile_directory=(
                Path(dockerfile_directory) if dockerfile_directory is not None else None
            ),
            build_args=build_args or {},
            own_base=default_base if jobs_may_choose and not dockerfile_for_all_bases else None,
            apt_packages=apt_packages,
            pip_packages=pip_packages,
            soci=soci,
        )
        self.image_uri = image_uri
        self.name = name
        self.base_image = base_image or _DEFAULT_BASES[variant]
        self.capabilities = [capability.lower() for capability in capabilities]
        self.max_concurrent_builds = max_concurrent_builds
        self.max_images_per_repository = max_images_per_repository
        self.names_bases = allowed_bases is not None
        self.allowed_bases = _allowed_bases(allowed_bases) if jobs_may_choose else []
        bases = (*self.allowed_bases, self.base_image) if builds else ()
        self._arns_of_bases = list(dict.fromkeys(filter(None, map(repository_arn, bases))))
        _warn_of_unknown_bases(self, bases)
        self.detected_capabilities = (
            list(VARIANTS[variant])
            # no image has more of what is detected than a full one
            if image_uri is None and (variant == "full" or (recipe.is_plain and not base_image))
            else []
        )
        self.repository = repository
        if image_uri is not None and repository is None and Token.is_unresolved(image_uri):
            _warn_of_unknown_repository(self, image_uri)
        self.projects: Mapping[str, codebuild.Project] = {}
        self.recipe = ""
        self._source: s3_assets.Asset | None = None
        self._is_bound = False
        self._is_repository_given = repository is not None
        if builds:
            self.repository = repository or _repository(self)
            self._source = self._stage(recipe)
            self.log_group = log_group(self, "Logs")

    @property
    def is_built(self) -> bool:
        """Whether images are built at all."""
        return self._source is not None

    @property
    def task_image(self) -> str:
        """What stands in a base task definition: a ready image, or a name that is only cloned."""
        if self.image_uri is not None:
            return self.image_uri
        assert self.repository is not None  # noqa: S101 - there is one where images are built
        return self.repository.repository_uri_for_tag(self.name)

    def bind(self, *, architectures: Iterable[str]) -> None:
        """Get ready for the runners of one fleet: it calls this.

        Args:
            architectures: Those of its runner classes, by ECS's names.

        Raises:
            ValueError: if another fleet has this image.
        """
        if self._is_bound:
            raise ValueError(
                f"{self.node.path} serves a fleet already, which counts its builds: make a "
                "RunnerImage for each fleet, they may share a repository"
            )
        self._is_bound = True
        if self._source is not None:
            self.projects = {name: self._project(name) for name in architectures}

    def grant_pull(self, role: iam.IRole) -> None:
        """Let ``role`` pull what runners are started from, where that is in a private ECR."""
        ready = repository_arn(self.image_uri) if self.image_uri is not None else None
        if self.repository is not None:
            self.repository.grant_pull(role)
        if ready is not None:
            for actions, resource in ((_PULLING, ready), (("ecr:GetAuthorizationToken",), "*")):
                role.add_to_principal_policy(
                    iam.PolicyStatement(actions=list(actions), resources=[resource])
                )
        if self.repository is not None or ready is not None:
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
    def _content(self) -> str:
        """What goes into images' tags besides base, runner and architecture."""
        if not self._is_repository_given:
            return self.recipe
        # other fleets may push to it and each deletes what it does not use: no tag is of two
        return Fn.join("/", [self.recipe, Aws.STACK_ID, self.node.addr])

    def _stage(self, recipe: Recipe) -> s3_assets.Asset:
        # beside the other assets: the library's own folder may be read-only, and this has to be
        # there for as long as the cloud assembly
        assembly = Stage.of(self)
        assert assembly is not None  # noqa: S101 - a stack, which this is in, is in one
        folder = Path(assembly.asset_outdir, f"runner-image-{self.node.addr}")
        recipe.stage(folder)
        self.recipe = digest(folder)
        return s3_assets.Asset(self, "Recipe", path=str(folder))

    def _project(self, architecture: str) -> codebuild.Project:
        source, repository = self._source, self.repository
        assert source is not None  # noqa: S101 - the caller has seen to it
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
                    "RECIPE_DIGEST": self._content,
                    "ARCHITECTURE": architecture,
                }.items()
            },
            # how long one may run is said by whoever starts it
            queued_timeout=Duration.minutes(30),
            grant_report_group_permissions=False,
            logging=codebuild.LoggingOptions(
                cloud_watch=codebuild.CloudWatchLoggingOptions(log_group=self.log_group)
            ),
        )
        repository.grant_pull_push(project)
        _allow(project, "ecr:DescribeImages", resource=repository.repository_arn)
        stack = Stack.of(self)
        for arn in self._arns_of_bases:
            _allow(project, *_PULLING, resource=arn)
            acknowledge_pattern(
                project, arn, reason="allowed_bases has this pattern; builds only pull from there."
            )
        acknowledge(
            project, "CB4", "Builds write no artifacts; the image goes to ECR, which encrypts it."
        )
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
                project, f"IAM5[Action::{action}]", "aws-cdk's read grant on the one asset."
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


def _repository(scope: Construct) -> ecr.Repository:
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
        encryption=ecr.RepositoryEncryption.AES_256,
        empty_on_delete=True,
        removal_policy=RemovalPolicy.DESTROY,
    )


def _warn_of_unknown_repository(image: RunnerImage, image_uri: str) -> None:
    if repository_arn(image_uri) is None:
        Annotations.of(image).add_warning_v2(
            "cdk-runner-fleet:unknownRepository",
            "image_uri is only known at deployment, so runners get no permission to pull it: if "
            "it is in a private ECR, give its repository too (repository=); if not, acknowledge "
            "this warning",
        )


def _warn_of_unknown_bases(image: RunnerImage, bases: Sequence[str]) -> None:
    unknown = [base for base in bases if Token.is_unresolved(base) and repository_arn(base) is None]
    if unknown:
        Annotations.of(image).add_warning_v2(
            "cdk-runner-fleet:unknownBase",
            "a base is only known at deployment, so builds get no permission to pull it: if it is "
            "in a private ECR, write it as <account>.dkr.ecr.<region>.<suffix>/<name>, of which "
            "each part may be a token; if not, acknowledge this warning",
        )


def _allow(project: codebuild.Project, *actions: str, resource: str) -> None:
    project.add_to_role_policy(iam.PolicyStatement(actions=list(actions), resources=[resource]))


def _allowed_bases(given: Sequence[str] | None) -> list[str]:
    if given is not None:
        _check_globs(given)
        return list(given)
    # whoever is served may name a base, and need not be one who may read the account's own ECR
    return [f"{_OFFICIAL}/*"]


def _check_globs(values: Sequence[str]) -> None:
    for value in values:
        form = shown_form(value)  # the functions check what is wholly known at deployment only
        if form is not None and (fault := glob_fault(form)):
            raise ValueError(f"allowed_bases has {value!r}, and that {fault}")


def _check_ready(image_uri: str, **recipe: object) -> None:
    given = [f"{name} {value!r}" for name, value in recipe.items() if value]
    if given:
        raise ValueError(
            f"image_uri {image_uri!r} is a ready image and {', '.join(given)} would build one: "
            "leave either out"
        )
    if ".dkr-ecr." in image_uri.partition("/")[0]:
        raise ValueError(
            f"image_uri {image_uri!r} has ECR's dual-stack name, which Fargate does not pull by: "
            "write <account>.dkr.ecr.<region>.amazonaws.com"
        )
    if Token.is_unresolved(image_uri):
        return
    if "/" not in image_uri or not _READY.fullmatch(image_uri):
        raise ValueError(
            f"image_uri {image_uri!r} is no image of a runner, give registry, repository and tag, "
            "such as 123456789012.dkr.ecr.eu-west-3.amazonaws.com/runner:1"
        )


def _check_name(value: str) -> None:
    if not Token.is_unresolved(value) and not _NAME.fullmatch(value):
        raise ValueError(
            f"name {value!r} of an image cannot begin a tag, use up to 60 letters, digits, "
            "dots, dashes and underscores"
        )


def _check_base(value: str | None) -> None:
    if value is None or Token.is_unresolved(value) or has_registry(value):
        return
    raise ValueError(
        f"base_image {value!r} is no full reference of an image, write registry/name:tag in lower "
        f"case, for example {_OFFICIAL}/debian:13"
    )


def _check_capabilities(values: Sequence[str]) -> None:
    for value in values:
        if not _CAPABILITY.fullmatch(value):
            raise ValueError(
                f"capabilities of an image has {value!r}, which cannot be a label, use "
                "letters, digits, dots, dashes, underscores and plus signs"
            )


def _check_count(name: str, value: int) -> None:
    if Token.is_unresolved(value):
        return
    if value < 1:
        raise ValueError(f"{name} {value!r} would build nothing, use a whole number of at least 1")
