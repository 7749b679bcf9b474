"""Whose jobs the fleet serves: one repository's, an organization's or an enterprise's. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

REPOSITORY = re.compile(
    r"[A-Za-z0-9][A-Za-z0-9_-]{0,38}/"
    r"(?!\.{1,2}(?:/|\Z))(?![^/]*\.git(?:/|\Z))[A-Za-z0-9._-]{1,100}"
)
"""``owner/name``. Managed users' logins have an underscore (GitHub docs, "About Enterprise Managed
Users"), and no name ends with ``.git``."""

_KINDS = ("repos", "orgs", "enterprises")


@dataclass(frozen=True, kw_only=True)
class Scope:
    """A place at GitHub that runners are registered for.

    Attributes:
        kind: ``repos``, ``orgs`` or ``enterprises``, as in the REST API's paths.
        name: ``owner/name`` of a repository, login of an organization, slug of an enterprise.
    """

    kind: str
    name: str

    @classmethod
    def parse(cls, text: str) -> Scope:
        """Read ``repos/octo-org/octo-repo``, ``orgs/octo-org`` or ``enterprises/octo``.

        Raises:
            ValueError: if it is none of them.
        """
        kind, _, name = text.partition("/")
        if kind not in _KINDS or not name or name.count("/") != (kind == "repos"):
            raise ValueError(
                f"{text!r} is no scope, use repos/owner/name, orgs/login or enterprises/slug"
            )
        return cls(kind=kind, name=name)

    @property
    def text(self) -> str:
        """The scope as a text, which ``parse`` reads."""
        return f"{self.kind}/{self.name}"

    @property
    def path(self) -> str:
        """Where the REST API keeps the scope, its runners and their groups."""
        return f"/{self.text}"

    @property
    def has_groups(self) -> bool:
        """Whether its runners are in groups; a repository's are not."""
        return self.kind != "repos"

    def registered(self, registered_for: str) -> Scope:
        """Where a runner is registered whose row says this; here, if it says nothing."""
        return Scope.parse(registered_for) if registered_for else self

    def covers(self, repository: str) -> bool:
        """Whether a repository, ``owner/name``, is in the scope as far as its name tells.

        A name does not tell its enterprise; there the webhook's payload does.
        """
        if self.kind == "repos":
            return repository.lower() == self.name.lower()
        if self.kind == "orgs":
            return repository.partition("/")[0].lower() == self.name.lower()
        return True

    def covers_event(self, payload: Mapping[str, Any]) -> bool:
        """Whether a webhook's payload is about a repository in the scope."""
        if self.kind == "enterprises":
            return _text(payload, "enterprise", "slug").lower() == self.name.lower()
        return self.covers(_text(payload, "repository", "full_name"))

    def __str__(self) -> str:
        return f"{_WORDS[self.kind]} {self.name}"


_WORDS = {"repos": "repository", "orgs": "organization", "enterprises": "enterprise"}


def _text(payload: Mapping[str, Any], key: str, part: str) -> str:
    found = payload.get(key)
    value = found.get(part) if isinstance(found, Mapping) else None
    return value if isinstance(value, str) else ""
