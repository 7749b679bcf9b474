"""What a job asks for, read from its labels. Pure.

Labels are written by whoever can edit a workflow, so they are hostile input: they are compared,
split at the first colon and otherwise passed on as they are, never evaluated.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

MAX_LABELS = 50
"""Labels per job. GitHub takes 100 per runner; no honest job comes near this."""
MAX_LABEL_LENGTH = 256
"""Characters per label (actions/runner, Validators.cs)."""
MAX_TOTAL_LENGTH = 1900
"""Characters of all labels joined. DynamoDB's partition keys have up to 2048 bytes, and
``waiting_labels`` may begin with a repository's name, which has up to 140."""

_ALLOWED = re.compile(r"[A-Za-z0-9._\-/:=@+# ]+")
_ALLOWED_TEXT = "letters, digits, spaces and . _ - / : = @ + #"
_GLUE = re.compile(r"[\s,;\[\]\"']+")
SELF_HOSTED = "self-hosted"
_IMAGE = "image:"


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """A job cannot be served: why, and what to change."""

    reason: str


@dataclass(frozen=True, kw_only=True)
class RunnerRequest:
    """What a job's labels ask for.

    Attributes:
        labels: The labels as the job has them, without repetitions.
        class_name: Lower-cased ``class:`` value; None for the default class.
        image: ``image:`` value, everything after the first colon; None for the default image.
        tags: The other labels but ``self-hosted``, lower-cased: all of them the class must have.
    """

    labels: tuple[str, ...]
    class_name: str | None
    image: str | None
    tags: tuple[str, ...]

    @property
    def runner_labels(self) -> str:
        """The labels a runner for this job registers with, joined by commas."""
        return ",".join(self.labels)

    @property
    def waiting_labels(self) -> str:
        """Equal for two jobs exactly if one's runner can serve the other."""
        return ",".join(sorted(label.lower() for label in self.labels))


def read(labels: Sequence[object]) -> RunnerRequest | Refusal:
    """Read a job's labels.

    Returns:
        The request, or a Refusal that names the offending label and the rule it breaks.
    """
    if len(labels) > MAX_LABELS:
        return Refusal(reason=f"the job has {len(labels)} labels, use at most {MAX_LABELS}")
    distinct: dict[str, str] = {}
    for label in labels:
        if fault := _fault(label):
            return Refusal(reason=fault)
        distinct.setdefault(str(label).lower(), str(label))
    total = sum(map(len, distinct)) + len(distinct) - 1
    if total > MAX_TOTAL_LENGTH:
        return Refusal(
            reason=f"the job's labels are {total} characters long in all, "
            f"use at most {MAX_TOTAL_LENGTH}"
        )
    classes: set[str] = set()
    images: set[str] = set()
    tags: list[str] = []
    for lowered, label in distinct.items():
        if lowered.startswith("class:"):
            classes.add(lowered.partition(":")[2].strip())
        elif lowered.startswith(_IMAGE):
            images.add(label.partition(":")[2].strip())
        elif lowered != SELF_HOSTED:
            tags.append(lowered)
    if fault := _prefix_fault("class", classes) or _prefix_fault("image", images):
        return Refusal(reason=fault)
    return RunnerRequest(
        labels=tuple(distinct.values()),
        class_name=next(iter(classes), None),
        image=next(iter(images), None),
        tags=tuple(tags),
    )


def tag_fault(label: str) -> str | None:
    """Say why no job could ask a class for a label; None if one could."""
    if fault := _fault(label):
        return fault
    if label.lower().startswith(("class:", _IMAGE)):
        return f"label {shown(label)} cannot be had, class: and image: choose a size and an image"
    return None


def chosen_images(labels: Sequence[object]) -> frozenset[str]:
    """The labels that choose an image, lower-cased; none for the fleet's own."""
    texts = (label.lower() for label in labels if isinstance(label, str))
    return frozenset(text for text in texts if text.startswith(_IMAGE))


def words(labels: Sequence[object]) -> frozenset[str]:
    """The labels that a job's author may have meant, lower-cased.

    One text can hold several: ``runs-on: "self-hosted, linux"`` is one label to GitHub, and so is
    the text of a list that nobody read with ``fromJSON``.
    """
    texts = (label.lower() for label in labels if isinstance(label, str))
    return frozenset(word for text in texts for word in (text, *_GLUE.split(text)) if word)


def shown(value: object, *, limit: int = 80) -> str:
    """Show a hostile value in a message: quoted, escaped to ASCII and cut."""
    text = ascii(value)
    return text if len(text) <= limit else f"{text[:limit]}…"


def _fault(label: object) -> str | None:
    if not isinstance(label, str):
        return f"label {shown(label)} is not text"
    if len(label) > MAX_LABEL_LENGTH:
        return f"label {shown(label)} has {len(label)} characters, use at most {MAX_LABEL_LENGTH}"
    if not label.strip():
        return f"label {shown(label)} is empty, take it out of runs-on"
    if SELF_HOSTED in words([label]) - {label.lower()}:
        return (
            f"label {shown(label)} is several labels in one text, write runs-on as a list such as "
            "[self-hosted, linux], or read the text with fromJSON"
        )
    if not _ALLOWED.fullmatch(label):
        return f"label {shown(label)} has characters that are not allowed, use {_ALLOWED_TEXT}"
    return None


def _prefix_fault(prefix: str, values: set[str]) -> str | None:
    if len(values) > 1:
        return (
            f"the job has {len(values)} different {prefix}: labels "
            f"({shown(', '.join(sorted(values)))}), use one"
        )
    if "" in values:
        return f"label '{prefix}:' is empty, name one after the colon or take it out of runs-on"
    return None
