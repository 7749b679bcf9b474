"""Which jobs are the fleet's by their labels, and which of these are no class's business. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from fleet_runtime.job import labels
from fleet_runtime.job.labels import SELF_HOSTED, Refusal, RunnerRequest, shown

_RUN_PREFIX = "run-id="
_LEAST_DIGITS = 8
"""Of a run's id that counts wherever it stands in a label: GitHub.com's have eleven, and a new
server's could be part of a version such as ``java-21``."""


@dataclass(frozen=True, kw_only=True)
class LabelRules:
    """What a deployment has set of labels.

    Attributes:
        required_labels: What a job has to hold besides ``self-hosted``; without all of them it is
            somebody else's.
        single_labels: Class names by label: a job that has this label and no other is the fleet's,
            and of this class. GitHub itself writes such jobs, and nobody can add to their labels.
    """

    required_labels: tuple[str, ...] = ()
    single_labels: Mapping[str, str] = field(default_factory=dict)

    def ignored(self, job_labels: Sequence[object]) -> str | None:
        """Say why a job with these labels is no business of the fleet; None if it is."""
        if not job_labels:
            return "the job names a runner group and no label, give runs-on labels: [self-hosted]"
        if self._single(job_labels) is not None:
            return None
        meant = labels.words(job_labels)
        if SELF_HOSTED not in meant:
            return "the job has no self-hosted label"
        lacking = [label for label in self.required_labels if label.lower() not in meant]
        if lacking:
            return f"the job has no label {shown(lacking[0])}, which this fleet's jobs have"
        return None

    def read(self, job_labels: Sequence[object], *, run_id: int) -> RunnerRequest | Refusal:
        """Read what a job asks of a class; see ``labels.read``.

        Args:
            job_labels: Its labels.
            run_id: Its run.
        """
        request = labels.read(job_labels)
        if isinstance(request, Refusal):
            return request
        single = self._single(job_labels)
        if single is not None:
            return replace(request, class_name=single.lower(), tags=())
        required = {label.lower() for label in self.required_labels}
        tags = [tag for tag in request.tags if tag not in required and not _is_of_run(tag, run_id)]
        return replace(request, tags=tuple(tags))

    def _single(self, job_labels: Sequence[object]) -> str | None:
        if len(job_labels) != 1:
            return None
        by_label = {label.lower(): name for label, name in self.single_labels.items()}
        return by_label.get(str(job_labels[0]).lower())


def _is_of_run(tag: str, run_id: int) -> bool:
    """Whether a label is one run's alone, so that no class can name it."""
    if tag.startswith(_RUN_PREFIX):
        return len(tag) > len(_RUN_PREFIX)
    digits = str(run_id)
    return len(digits) >= _LEAST_DIGITS and digits in re.findall(r"[0-9]+", tag)
