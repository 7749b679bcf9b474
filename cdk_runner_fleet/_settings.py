"""Checks of settings that are plain strings: each error says what was given and what would do."""

from __future__ import annotations

import re

from aws_cdk import Token

_REPOSITORY = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,38})/[A-Za-z0-9._-]{1,100}")
# a runner's name at GitHub has at most 64 characters; job id and attempt take up to 32 of them
_NAME_PREFIX = re.compile(r"[a-z][a-z0-9-]{0,30}")
# readable part of an image's tag: the rules of a tag, with room for the digest behind it
_IMAGE_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,59}")


def check_repository(value: str) -> None:
    """Raise ``ValueError`` unless ``value`` is ``owner/repo``."""
    if not Token.is_unresolved(value) and not _REPOSITORY.fullmatch(value):
        raise ValueError(
            f"github_repo {value!r} is not a repository, give it as owner/repo, "
            "for example octo-org/octo-repo"
        )


def check_api_url(value: str) -> None:
    """Raise ``ValueError`` unless ``value`` is an HTTP URL."""
    if not Token.is_unresolved(value) and not re.fullmatch(
        r"https?://[^\s/?#]+(/[^\s?#]*)?", value
    ):
        raise ValueError(
            f"github_api_url {value!r} is not a URL, use https://api.github.com "
            "or https://<host>/api/v3"
        )


def check_name_prefix(value: str) -> None:
    """Raise ``ValueError`` unless runners can be named ``<value>-<job id>-<attempt>``."""
    if not Token.is_unresolved(value) and not _NAME_PREFIX.fullmatch(value):
        raise ValueError(
            f"runner_name_prefix {value!r} cannot begin a runner's name, use up to 31 "
            "lower-case letters, digits and dashes, a letter first"
        )


def check_image_tag(value: str) -> None:
    """Raise ``ValueError`` unless ``value`` can begin an image tag."""
    if not Token.is_unresolved(value) and not _IMAGE_TAG.fullmatch(value):
        raise ValueError(
            f"runner_image_tag {value!r} cannot begin an image tag, use up to 60 letters, "
            "digits, dots, dashes and underscores"
        )
