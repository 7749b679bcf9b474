"""Who tells a job's author."""

from __future__ import annotations

import json

from ..templates import Template, environment, heard_by


def test_authors_are_told_unless_that_is_off(minimal: Template, everything: Template) -> None:
    assert environment(minimal, "explain_job")["EXPLAIN_AT_GITHUB"] == "on"
    assert environment(everything, "explain_job")["EXPLAIN_AT_GITHUB"] == "off"


def test_it_hears_of_unserved_jobs_and_may_write_checks_alone(minimal: Template) -> None:
    assert heard_by(minimal, "explain_job") == ["job_unserved"]
    permissions = environment(minimal, "explain_job")["GITHUB_PERMISSIONS"]
    assert json.loads(permissions) == {"checks": "write"}
