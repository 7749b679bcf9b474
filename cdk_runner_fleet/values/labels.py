"""Labels as jobs ask for them, and which jobs are a fleet's by their labels."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from cdk_runner_fleet.values.types import check_types, is_token

LONGEST_LABEL = 256
"""Characters of a label (actions/runner, Validators.cs)."""
_LABEL = re.compile(r"[A-Za-z0-9._\-/:=@+# ]+")
_NO_TAGS = ("class:", "image:")
_OF_A_RUN = "run-id="
"""What begins a label that is one run's alone: no class is asked for it."""
SELF_HOSTED = "self-hosted"
_MOST_REQUIRED = 49
"""A job has up to 50 labels here, and one is self-hosted (``fleet_runtime/job/labels.py``)."""
_GITHUB_HOSTED = re.compile(r"(ubuntu|windows|macos)-([0-9.]+|latest)(-[a-z0-9-]+)?", re.IGNORECASE)
"""Labels of GitHub's own runners (GitHub docs, "GitHub-hosted runners reference")."""


def check_labels(values: Sequence[str], *, of: str) -> None:
    """Raise ``ValueError`` if a job could not ask for each of these labels as a tag.

    Args:
        values: The labels.
        of: Whose they are, for the message.
    """
    seen: dict[str, str] = {}
    for label in values:
        if is_token(label):
            continue
        _check_label(label, of=of)
        if (first := seen.get(label.lower())) is not None:
            raise ValueError(
                f"{of} names {first!r} and {label!r}, which are one label to GitHub: name it once"
            )
        seen[label.lower()] = label


def is_github_hosted(label: str) -> bool:
    """Whether GitHub has runners of its own with a label."""
    return bool(_GITHUB_HOSTED.fullmatch(label))


def _check_label(label: str, *, of: str) -> None:
    if not label.strip() or len(label) > LONGEST_LABEL or not _LABEL.fullmatch(label):
        raise ValueError(
            f"label {label!r} of {of} is none that a job can ask for, use 1 to {LONGEST_LABEL} "
            "letters, digits, spaces and . _ - / : = @ + #"
        )
    if label != label.strip():
        raise ValueError(
            f"label {label!r} of {of} has blanks around it, which no job writes: take them out"
        )
    if SELF_HOSTED in re.split(r"\s+", label.lower()) and label.lower() != SELF_HOSTED:
        raise ValueError(
            f"label {label!r} of {of} is several in one text, and jobs that have it are refused: "
            "name each by itself"
        )
    if label.lower().startswith(_OF_A_RUN):
        raise ValueError(
            f"label {label!r} of {of} is never asked for, {_OF_A_RUN} begins what is one run's "
            "alone: take another"
        )
    if label.lower().startswith(_NO_TAGS):
        raise ValueError(
            f"label {label!r} of {of} cannot be had, class: and image: choose a size and an image: "
            "take another"
        )


@dataclass(frozen=True, kw_only=True)
class LabelRules:
    """Which of the jobs that it hears of are a fleet's.

    Args:
        required_labels: What a job has to hold besides ``self-hosted``: jobs without all of them
            are somebody else's, and left alone. Every runner has them, so no class names them.
            Default: every job with ``self-hosted`` is the fleet's.
        single_labels: Class names by a label that is a job's only one. GitHub writes such jobs
            itself and nobody can add to their labels: ``{"dependabot": "medium"}``. Default: none.

    Raises:
        TypeError: if a value is of another kind.
        ValueError: if a job could not ask for a label.
    """

    required_labels: Sequence[str] = ()
    single_labels: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the labels."""
        check_types(LabelRules, vars(self))
        check_labels(self.required_labels, of="required_labels")
        check_labels(list(self.single_labels), of="single_labels")
        if SELF_HOSTED in map(str.lower, self.required_labels):
            raise ValueError(
                "required_labels names self-hosted, which every job has: name one that only this "
                "fleet's jobs have, or leave it out"
            )
        if len(self.required_labels) > _MOST_REQUIRED:
            raise ValueError(
                f"required_labels are {len(self.required_labels)}, and no job has more than "
                f"{_MOST_REQUIRED} besides self-hosted: name fewer"
            )
        if SELF_HOSTED in map(str.lower, self.single_labels):
            raise ValueError(
                "single_labels names self-hosted, which is every job's: leave it out, the first "
                "class serves who asks for nothing more"
            )

    def check_classes(self, names: Collection[str]) -> None:
        """Raise ``ValueError`` if a label stands for a class that is not among ``names``."""
        for label, name in self.single_labels.items():
            if not is_token(name) and name not in names:
                raise ValueError(
                    f"single_labels gives {label!r} the class {name!r}, which is none of "
                    f"{sorted(names)}: name one of them"
                )

    def to_settings(self) -> dict[str, str]:
        """The rules as they stand in the functions' settings."""
        return {
            "REQUIRED_LABELS": json.dumps(list(self.required_labels)),
            "SINGLE_LABELS": json.dumps(dict(self.single_labels)),
        }
