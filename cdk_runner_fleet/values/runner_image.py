"""Runner images as values: what runners run in, and how a fleet has images built and kept."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from cdk_runner_fleet.values.ecr import shown_form
from cdk_runner_fleet.values.image_reference import glob_fault, has_registry
from cdk_runner_fleet.values.types import check_types, is_token

if TYPE_CHECKING:
    from aws_cdk import aws_ecr as ecr

ImageVariant = Literal["base", "python", "node", "full"]
"""What is in a built image besides its base: a target of the Dockerfile."""

VARIANTS: Mapping[ImageVariant, Sequence[str]] = {
    "base": ("shell",),
    "python": ("shell", "python"),
    "node": ("shell", "node"),
    "full": ("shell", "python", "node", "native"),
}
"""The Dockerfile's targets, and which capabilities are found in each on its own default base."""

BUILD_ARGUMENTS_OF_ALL_BASES = frozenset(
    {
        "RUNNER_ARCHIVE_URL",
        *(f"{kind}_PROXY" for kind in ("HTTP", "HTTPS", "FTP", "NO", "ALL")),
        *(f"{kind}_proxy" for kind in ("http", "https", "ftp", "no", "all")),
    }
)
"""Build arguments that every build may need: that of the fleet's Dockerfile, and those each has
without an ARG (Dockerfile reference, "Predefined ARGs")."""

_OFFICIAL = "public.ecr.aws/docker/library"
"""AWS's mirror of Docker's official images, where builds log in: it has limits for anybody else."""
_DEFAULT_BASES: Mapping[ImageVariant, str] = {
    "base": f"{_OFFICIAL}/ubuntu:24.04",
    "python": f"{_OFFICIAL}/python:3.13-slim-bookworm",
    "node": f"{_OFFICIAL}/node:24-bookworm-slim",
    "full": f"{_OFFICIAL}/ubuntu:24.04",
}
# what the build itself sets (docker-bake.hcl), or what has a prop of its own
_RESERVED = {
    "BASE_IMAGE": "the prop base",
    "RUNNER_RELEASE": "the library's own release of the runner",
    "RUNNER_SHA256": "the library's own release of the runner",
    "APT_PACKAGES": "the prop apt_packages",
    "PIP_PACKAGES": "the prop pip_packages",
    "RUNNER_CAPABILITIES": "the prop capabilities",
}
_BUILD_ARGUMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# Debian policy 5.6.1, and how apt-get takes a version; runner_image/build/packages.sh has it too
_APT_PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]+(=[A-Za-z0-9.+:~-]+)?")
# what begins with a dash would be an option of pip's, and two names in one text are no package
_PIP_PACKAGE = re.compile(r"(?![\w.-]+[ \t]+[\w-])[A-Za-z0-9][^\r\n]*")

# https://github.com/distribution/reference: the grammar of tags, and of the digests that ECR has
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
# what ECS pulls needs no registry, but nothing of Docker's own images, which have no slash, is a
# runner; and a host alone is no image
_READY = re.compile(
    r"([A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*(:[0-9]{1,5})?/)?[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*"
    r"(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*"
    rf"(:{_TAG.pattern})?(@{_DIGEST.pattern})?"
)
# readable part of an image's name: the rules of a tag, with room for the digest behind it
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,59}")
_CAPABILITY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,62}")


class RunnerImage(ABC):
    """An image that runners run in. It is a value, made by one of three factories.

    :meth:`built` has one built in the account, :meth:`ready` and :meth:`from_ecr_repository` take
    one that is there. Changing one for another replaces nothing that holds images.

    Attributes:
        name: What the image is called, and its name begins with; None if that follows from where
            it is given.
        capabilities: What its runners declare to have, in small letters; empty if that is found in
            the image.
    """

    name: str | None
    capabilities: tuple[str, ...]

    @property
    @abstractmethod
    def detected_capabilities(self) -> tuple[str, ...]:
        """What will be found in the image; empty if only the image itself can tell."""

    @staticmethod
    def built(
        *,
        variant: ImageVariant = "base",
        base: str | None = None,
        dockerfile_directory: str | Path | None = None,
        dockerfile_for_all_bases: bool = False,
        build_args: Mapping[str, str] | None = None,
        apt_packages: Sequence[str] = (),
        pip_packages: Sequence[str] = (),
        name: str | None = None,
        capabilities: Sequence[str] = (),
        soci: bool = False,
    ) -> RunnerImage:
        """Have an image built in the account: on demand, and never while CloudFormation waits.

        It is named by its content: base, recipe, runner and architecture.

        Args:
            variant: What is in it besides its base: ``base`` (a shell), ``python``, ``node`` or
                ``full`` (all of these and native build tools). Default: ``base``.
            base: What it is built on, Debian or Ubuntu, in full as in
                ``public.ecr.aws/docker/library/debian:13``. Builds may pull it if it is in a
                private ECR. Default: Ubuntu 24.04 for ``base`` and ``full``, Python 3.13 or
                Node.js 24 on Debian 12 for ``python`` and ``node``.
            dockerfile_directory: Folder with a Dockerfile of your own. It gets the base as build
                argument ``BASE_IMAGE``, and the runner goes on top of what it makes. It is for
                this base alone, see ``dockerfile_for_all_bases``. Default: the runner goes on top
                of the base.
            dockerfile_for_all_bases: Whether bases that jobs choose go through that Dockerfile too:
                what an author's base brings then runs with its folder and the build arguments in
                reach. Default: they do not.
            build_args: Build arguments for that Dockerfile, and for the fleet's, which also knows
                ``RUNNER_ARCHIVE_URL``, a mirror of the runner's archive. That one and those of
                proxies go to all builds, the others where the Dockerfile goes. No place for
                secrets: they can be read in the image. Default: none but the fleet's own.
            apt_packages: Debian packages to install as well. Default: what the variant has.
            pip_packages: Python packages to install as well. Default: what the variant has.
            name: What the image is called in the catalog of classes, and its name begins with.
                Default: ``default`` as a fleet's, and as a class's the class's name.
            capabilities: What its runners declare to have, instead of what is found in it.
                Default: it is found out in the image.
            soci: Whether it gets a SOCI index if it has 250 MB or more, with which Fargate starts
                it before all of it is there. Its layers are then gzip's instead of zstd's.
                Default: it gets none.

        Raises:
            TypeError: if a value is of another kind than its parameter's annotation.
            ValueError: if a part cannot be built, or is not known before the deployment.
        """
        check_types(RunnerImage.built, locals())
        if variant not in VARIANTS:
            raise ValueError(
                f"variant {variant!r} is unknown, use one of {list(VARIANTS)}, and packages or a "
                "Dockerfile of your own for what none of them has"
            )
        if dockerfile_for_all_bases and dockerfile_directory is None:
            raise ValueError(
                "dockerfile_for_all_bases is on, and there is no Dockerfile: leave it out, or give "
                "dockerfile_directory"
            )
        _check_base(base)
        return BuiltImage(
            name=_checked_name(name),
            capabilities=_checked_capabilities(capabilities),
            variant=variant,
            base=base or _DEFAULT_BASES[variant],
            dockerfile_directory=(
                Path(dockerfile_directory) if dockerfile_directory is not None else None
            ),
            dockerfile_for_all_bases=dockerfile_for_all_bases,
            build_args=dict(build_args or {}),
            apt_packages=tuple(apt_packages),
            pip_packages=tuple(pip_packages),
            soci=soci,
        )

    @staticmethod
    def ready(
        uri: str, *, name: str | None = None, capabilities: Sequence[str] = ()
    ) -> RunnerImage:
        """Take an image that is there, for all architectures that run in it.

        If it is in a private ECR, the runners may pull from that repository, of this or another
        account or region; another account's has to allow it too.

        Args:
            uri: Registry, repository and tag or digest.
            name: What the image is called in the catalog of classes and on the rows of its
                runners. Default: ``default`` as a fleet's, and as a class's the class's name.
            capabilities: What its runners declare to have, instead of what is found in it.
                Default: it is found out in the image.

        Raises:
            TypeError: if a value is of another kind than its parameter's annotation.
            ValueError: if it is no image of a runner, or Fargate could not pull it.
        """
        check_types(RunnerImage.ready, locals())
        _check_uri(uri)
        return ReadyImage(
            name=_checked_name(name),
            capabilities=_checked_capabilities(capabilities),
            uri=uri,
            repository=None,
        )

    @staticmethod
    def from_ecr_repository(
        repository: ecr.IRepository,
        *,
        tag: str | None = None,
        digest: str | None = None,
        name: str | None = None,
        capabilities: Sequence[str] = (),
    ) -> RunnerImage:
        """Take an image that is there, of a private ECR repository of any account and region.

        The runners may pull from it. A repository of another account has to allow it too: aws-cdk
        sees to that where the repository is made in the same app.

        Args:
            repository: The repository.
            tag: The image's tag. Default: ``latest``, unless there is a ``digest``.
            digest: The image's digest, ``sha256:…``: that stays the same image whatever is pushed.
                Default: it is found by its tag.
            name: What the image is called in the catalog of classes and on the rows of its
                runners. Default: ``default`` as a fleet's, and as a class's the class's name.
            capabilities: What its runners declare to have, instead of what is found in it.
                Default: it is found out in the image.

        Raises:
            TypeError: if a value is of another kind than its parameter's annotation.
            ValueError: if tag and digest are both given, or one is none.
        """
        check_types(RunnerImage.from_ecr_repository, locals())
        if tag is not None and digest is not None:
            raise ValueError(
                f"tag {tag!r} and digest {digest!r} are given, and an image is found by one: leave "
                "the tag out"
            )
        _check_form("tag", tag, _TAG, like="1.2 (128 of letters, digits, dots, dashes, _)")
        _check_form("digest", digest, _DIGEST, like="sha256: and 64 of 0-9 a-f")
        return ReadyImage(
            name=_checked_name(name),
            capabilities=_checked_capabilities(capabilities),
            uri=(
                repository.repository_uri_for_tag(tag or "latest")
                if digest is None
                else repository.repository_uri_for_digest(digest)
            ),
            repository=repository,
        )


@dataclass(frozen=True, kw_only=True)
class ReadyImage(RunnerImage):
    """An image that is there, as :meth:`RunnerImage.ready` takes one.

    Attributes:
        uri: What it is pulled by.
        repository: Its repository, where that was given.
    """

    name: str | None
    capabilities: tuple[str, ...]
    uri: str
    repository: ecr.IRepository | None

    @property
    def detected_capabilities(self) -> tuple[str, ...]:
        """Nothing: only the image itself can tell."""
        return ()


@dataclass(frozen=True, kw_only=True)
class BuiltImage(RunnerImage):
    """An image that is built in the account, as :meth:`RunnerImage.built` says.

    Attributes:
        variant: Target of the fleet's Dockerfile.
        base: What it is built on.
        dockerfile_directory: Folder with a Dockerfile that makes the base; None if there is none.
        dockerfile_for_all_bases: Whether that is for bases that jobs choose, too.
        build_args: Build arguments of both Dockerfiles.
        apt_packages: Debian packages to install.
        pip_packages: Python packages to install.
        soci: Whether it gets an index for lazy loading, if it is large.

    Raises:
        ValueError: if a part cannot be built, or is not known before the deployment.
    """

    name: str | None
    capabilities: tuple[str, ...]
    variant: ImageVariant
    base: str
    dockerfile_directory: Path | None
    dockerfile_for_all_bases: bool
    build_args: Mapping[str, str]
    apt_packages: tuple[str, ...]
    pip_packages: tuple[str, ...]
    soci: bool

    def __post_init__(self) -> None:
        """Check each part: a build is started in the account, long after this."""
        own = self.dockerfile_directory
        if own is not None and not (own / "Dockerfile").is_file():
            raise ValueError(
                f"dockerfile_directory {str(own)!r} has no Dockerfile (there is no file "
                f"{str(own.absolute() / 'Dockerfile')!r}): name the folder that has one"
            )
        for name, value in self.build_args.items():
            _check_build_argument(name, value)
        if is_token(self.own_base):
            raise ValueError(
                "base is only known at deployment, and dockerfile_directory and build_args are for "
                "that base alone: give one that is known when the app is synthesized, or "
                "dockerfile_for_all_bases"
            )
        _check_packages(
            "apt_packages",
            self.apt_packages,
            _APT_PACKAGE,
            like="libpq-dev or jq=1.7.1-3 (a-z 0-9 + - . and no more)",
        )
        _check_packages(
            "pip_packages", self.pip_packages, _PIP_PACKAGE, like="requests or awscli>=2,<3"
        )

    @property
    def own_base(self) -> str:
        """The base that Dockerfile and build arguments of one's own are for; empty for all."""
        own = self.dockerfile_directory or self.build_args.keys() - BUILD_ARGUMENTS_OF_ALL_BASES
        return self.base if own and not self.dockerfile_for_all_bases else ""

    @property
    def detected_capabilities(self) -> tuple[str, ...]:
        """What will be found in the image; empty if only the image itself can tell."""
        is_plain = self.base == _DEFAULT_BASES[self.variant] and not (
            self.dockerfile_directory or self.apt_packages or self.pip_packages
        )
        # no image has more of what is detected than a full one
        return tuple(VARIANTS[self.variant]) if is_plain or self.variant == "full" else ()


@dataclass(frozen=True, kw_only=True)
class ImageBuilds:
    """Which images jobs may have built, and how built images are made and kept.

    Args:
        allowed_bases: Globs of the bases that jobs may choose with ``image:``, matched against the
            full reference, as in ``public.ecr.aws/docker/library/python:*``. ``*`` stands behind
            a slash or in a tag; a glob with a tag allows no digest unless it has an ``@`` too.
            A glob that names a private ECR, be it the account's own, lets builds pull from there:
            whoever may name a base reads all that is in it. ``()`` is none: jobs choose nothing,
            and beside ready images nothing is ever built. Default: Docker's official images,
            ``public.ecr.aws/docker/library/*``.
        repository: Existing ECR repository that built images are pushed to, of any account and
            region. No lifecycle rule is added to it. Default: one is made, with immutable tags, a
            scan of each push, and rules that delete nothing but caches and what has no tag.
        max_concurrent_builds: Builds at a time; further ones wait in line. In an organization or
            enterprise one of several is kept for a repository that has none. Default: 5.
        max_images_per_repository: Images that the jobs of one repository may have built with
            ``image:``, one for each base and architecture; an image is deleted 60 days after its
            last job. Default: 20, which are some 20 GB in ECR and, built anew each week, as many
            builds of about eight minutes: about 6 US dollars a month.

    Raises:
        TypeError: if a value is of another kind than its parameter's annotation.
        ValueError: if a glob means what no image matches or more than it says, or a number is less
            than 1.
    """

    allowed_bases: Sequence[str] | None = None
    repository: ecr.IRepository | None = None
    max_concurrent_builds: int = 5
    max_images_per_repository: int = 20

    def __post_init__(self) -> None:
        """Check the globs and the numbers."""
        check_types(ImageBuilds, vars(self))
        for value in self.allowed_bases or ():
            form = shown_form(value)  # functions check what is wholly known at deployment only
            if form is not None and (fault := glob_fault(form)):
                raise ValueError(f"allowed_bases has {value!r}, and that {fault}")
        _check_count("max_concurrent_builds", self.max_concurrent_builds)
        _check_count("max_images_per_repository", self.max_images_per_repository)

    @property
    def globs(self) -> tuple[str, ...]:
        """The bases that jobs may choose, the default's included."""
        # whoever is served may name a base, and need not be one who may read the account's own ECR
        return (f"{_OFFICIAL}/*",) if self.allowed_bases is None else tuple(self.allowed_bases)


def _check_base(value: str | None) -> None:
    if value is None or is_token(value) or has_registry(value):
        return
    raise ValueError(
        f"base {value!r} is no full reference of an image, write registry/name:tag in lower "
        f"case, for example {_OFFICIAL}/debian:13"
    )


def _check_uri(uri: str) -> None:
    if ".dkr-ecr." in uri.partition("/")[0]:
        raise ValueError(
            f"uri {uri!r} has ECR's dual-stack name, which Fargate does not pull by: "
            "write <account>.dkr.ecr.<region>.amazonaws.com"
        )
    if is_token(uri):
        return
    if "/" not in uri or not _READY.fullmatch(uri):
        raise ValueError(
            f"uri {uri!r} is no image of a runner, give registry, repository and tag, "
            "such as 123456789012.dkr.ecr.eu-west-3.amazonaws.com/runner:1"
        )


def _check_form(prop: str, value: str | None, form: re.Pattern[str], *, like: str) -> None:
    if value is not None and not is_token(value) and not form.fullmatch(value):
        raise ValueError(f"{prop} {value!r} of an image is none, give one such as {like}")


def _checked_name(value: str | None) -> str | None:
    if value is not None and not is_token(value) and not _NAME.fullmatch(value):
        raise ValueError(
            f"name {value!r} of an image cannot begin a tag, use up to 60 letters, digits, "
            "dots, dashes and underscores"
        )
    return value


def _checked_capabilities(values: Sequence[str]) -> tuple[str, ...]:
    for value in values:
        if not _CAPABILITY.fullmatch(value):
            raise ValueError(
                f"capabilities of an image has {value!r}, which cannot be a label, use "
                "letters, digits, dots, dashes, underscores and plus signs"
            )
    return tuple(value.lower() for value in values)


def _check_build_argument(name: str, value: str) -> None:
    if name in _RESERVED:
        raise ValueError(
            f"build argument {name} is set by the fleet, from {_RESERVED[name]}: "
            f"leave {value!r} out"
        )
    if not _BUILD_ARGUMENT.fullmatch(name):
        raise ValueError(
            f"build argument {name!r} cannot be one, use letters, digits and underscores, no digit "
            "first"
        )
    if is_token(value) or re.search(r"[\r\n]", value):
        raise ValueError(
            f"build argument {name} is {value!r}, give one line of text that is known when the app "
            "is synthesized, and no secret: it can be read in the image"
        )


def _check_packages(
    prop: str, packages: Sequence[str], name: re.Pattern[str], *, like: str
) -> None:
    for package in packages:
        if is_token(package) or not name.fullmatch(package):
            raise ValueError(
                f"{package!r} of {prop} cannot be installed, use names such as {like}, known when "
                "the app is synthesized"
            )


def _check_count(name: str, value: int) -> None:
    if not is_token(value) and value < 1:
        raise ValueError(f"{name} {value!r} would build nothing, use a whole number of at least 1")
