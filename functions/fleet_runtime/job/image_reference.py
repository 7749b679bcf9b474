"""References of images and globs over them: one spelling, what matches, and names made of them.

Standard library alone: the constructs run this file too, so that a glob means at synthesis what it
means when a job names an image.
"""

from __future__ import annotations

import hashlib
import re
from functools import cache

# https://github.com/distribution/reference: the grammar of references, less upper-case domains.
# Not \d, which takes the digits of every script.
_LABEL = r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?"
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REFERENCE = re.compile(
    rf"(?:(?P<domain>(?:localhost|{_LABEL}(?:\.{_LABEL})+|{_LABEL}(?=:[0-9]))(?::[0-9]{{1,5}})?)/)?"
    rf"(?P<path>{_COMPONENT}(?:/{_COMPONENT})*)"
    r"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9._-]{0,127}))?"
    r"(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)
_DOCKER_HUB = frozenset({"docker.io", "index.docker.io", "registry-1.docker.io"})
_OFFICIAL_MIRROR = "public.ecr.aws/docker"
"""AWS's mirror of Docker's official images, where builds log in: it has limits for anybody else."""
_GLOB = re.compile(
    r"(?P<registry>[^/]+)/(?P<path>[^:@]+)(?::(?P<tag>[^@]*))?(?:@(?P<digest>.*))?", re.DOTALL
)
_ECR_OF_REGIONS = re.compile(r"[0-9]{12}\.dkr\.ecr(?:-fips)?\.[a-z0-9*-]+\.[a-z0-9.-]+")
"""The one registry that may have a wildcard: an account's ECR is that account's everywhere."""
_FOR_EXAMPLE = "public.ecr.aws/docker/library/python:*"
_READABLE_LENGTH = 60
_DIGEST_LENGTH = 24
"""96 bits: whoever may name a base chooses what is digested, and must not find another's name."""


def normalise(reference: str) -> str | None:
    """Spell an image reference in the one way that globs are matched against.

    Docker Hub's official images become those of AWS's mirror, other names without a registry get
    ``docker.io``, and a reference with neither tag nor digest gets ``:latest``.

    Args:
        reference: What a job wrote behind ``image:``, hostile.

    Returns:
        Its spelling, or None if it is no reference.
    """
    match = _REFERENCE.fullmatch(reference)
    if match is None:
        return None
    domain, path = match["domain"] or "docker.io", match["path"]
    if domain in _DOCKER_HUB:
        name, official = path.removeprefix("library/"), path.startswith("library/")
        if "/" not in name and (official or "/" not in path):
            domain, path = _OFFICIAL_MIRROR, f"library/{name}"
        else:
            domain = "docker.io"
    tag, digest = match["tag"], match["digest"]
    suffix = (f":{tag}" if tag else "") + (f"@{digest}" if digest else "")
    return f"{domain}/{path}{suffix or ':latest'}"


def has_registry(reference: str) -> bool:
    """Whether a text is a reference that names its registry, and so means one image anywhere."""
    match = _REFERENCE.fullmatch(reference)
    return match is not None and match["domain"] is not None


def glob_fault(glob: str) -> str:
    """Say why a glob cannot stand in an allow-list.

    ``*`` stands for characters of the part that it is in: of the path, slashes included, of the tag
    or of the digest. ``/*`` at the end stands for every image that is in there, by whatever tag or
    digest.

    Args:
        glob: What the deployer wrote.

    Returns:
        What is wrong with it, with the remedy, to be put behind it; empty if nothing is.
    """
    registry = glob.partition("/")[0]
    match = _GLOB.fullmatch(glob)
    if found := re.search(r"[?\[\]]", glob):
        return f"has {found[0]!r}, and * is the only wildcard: use that, or name each image"
    if "*" in registry and not (match and _ECR_OF_REGIONS.fullmatch(registry)):
        return (
            "has a wildcard where its registry is to stand, which anybody's host could match: "
            f"name the registry, as in {_FOR_EXAMPLE}"
        )
    if match and (open_name := re.match(r"(?P<name>.*[^/*])\*", match["path"], re.DOTALL)):
        name = f"{registry}/{open_name['name']}"
        return (
            f"has a wildcard right behind {name!r}, which others' names that begin so match too: "
            f"write {name}/* for what is in it, or name each"
        )
    if not (match and _is_spelled_out(match)):
        return (
            "is what no image matches: write globs over full references, registry and all, such "
            f"as {_FOR_EXAMPLE} for the official image python"
        )
    if match["tag"] is None and match["digest"] is None and not _is_open(match["path"]):
        return f"names no tag: write {glob}:* for all of them, or {glob}:latest"
    return ""


def matches(reference: str, glob: str) -> bool:
    """Whether a glob allows an image. One with a fault allows none.

    Args:
        reference: The image's normalised reference.
        glob: The glob.
    """
    pattern = _pattern(glob)
    return pattern is not None and pattern.fullmatch(reference) is not None


@cache
def _pattern(glob: str) -> re.Pattern[str] | None:
    match = _GLOB.fullmatch(glob)
    if match is None or glob_fault(glob):
        return None
    pattern = _open(match["registry"], "[a-z0-9-]+") + "/" + _open(match["path"], "[a-z0-9._/-]+")
    if match["tag"] is None and match["digest"] is None:
        return re.compile(f"{pattern}[:@].+")
    if match["tag"] is not None:
        pattern += ":" + _open(match["tag"], "[A-Za-z0-9._-]*")
    # what a digest names need not be what has the tag
    if match["digest"] is not None:
        pattern += "@" + _open(match["digest"], ".+")
    return re.compile(pattern)


def _open(text: str, characters: str) -> str:
    return characters.join(map(re.escape, text.split("*")))


def _is_open(path: str) -> bool:
    return path == "*" or path.endswith("/*")


def _is_spelled_out(glob: re.Match[str]) -> bool:
    """Whether references can be spelled so: one that is put into the glob's place is."""
    registry, path, tag, digest = (glob[name] for name in ("registry", "path", "tag", "digest"))
    # an official image has one name, of all the others on Docker Hub each has two
    filled = f"{registry.replace('*', 'x')}/{path.replace('*', 'x' if path != '*' else 'x/x')}"
    filled += ":x" if tag is None and digest is None else ""
    filled += f":{tag.replace('*', 'x')}" if tag is not None else ""
    whole = {"*": f"sha256:{'0' * 64}", "sha256:*": f"sha256:{'0' * 64}"}
    filled += f"@{whole.get(digest, digest)}" if digest is not None else ""
    return normalise(filled) == filled


def image_tag(base: str, *, recipe: str, architecture: str, readable: str | None = None) -> str:
    """Name the image that is built from ``base``, without asking a registry.

    Args:
        base: Normalised reference of the base image.
        recipe: Digest of all else that goes into the image but the runner's release.
        architecture: ``X86_64`` or ``ARM64``.
        readable: What stands before the digest. Default: the last part of ``base``.

    Returns:
        A name of letters, digits, ``_`` and ``-``, so that it can stand in the name of a
        task-definition family too.
    """
    name = readable or base.rpartition("/")[2].partition("@")[0]
    sanitised = re.sub(r"[^A-Za-z0-9_]+", "-", name).strip("-")[:_READABLE_LENGTH].strip("-")
    return f"{sanitised or 'image'}-{_digest(base, recipe, architecture)}"


def family_name(prefix: str, tag: str) -> str:
    """Name the task-definition family that launches an image.

    Args:
        prefix: Of the task definition that the fleet is deployed with.
        tag: The image's name.
    """
    return f"{prefix}-{tag}"


def is_current(tag: str, *, base: str, recipe: str, architecture: str) -> bool:
    """Whether an image of this name is made by this recipe, not by an earlier one."""
    return tag.rpartition("-")[2] == _digest(base, recipe, architecture)


def _digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:_DIGEST_LENGTH]
