"""Who tells a job's author."""

from __future__ import annotations

import json

from ..templates import Template, environment, heard_by


def test_authors_are_told_unless_that_is_off(minimal: Template, everything: Template) -> None:
    assert environment(minimal, "explain_job")["EXPLAIN_AT_GITHUB"] == "on"
    assert environment(everything, "explain_job")["EXPLAIN_AT_GITHUB"] == "off"


def test_it_hears_of_jobs_without_a_runner_and_with_one_and_looks_at_both(
    minimal: Template,
) -> None:
    assert heard_by(minimal, "explain_job") == ["job_served", "job_unserved"]
    permissions = environment(minimal, "explain_job")["GITHUB_PERMISSIONS"]
    assert json.loads(permissions) == {"actions": "read", "administration": "read"}
