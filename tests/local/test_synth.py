"""What the synthesis says of settings; how a fleet hears of it: test_assembly.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from cdk_runner_fleet.local.synth import synthesize


@pytest.mark.parametrize(
    ("context", "said"),
    [
        ({"idle_timeout_second": "1"}, "is idle_timeout_seconds meant"),
        ({"idle_timeout_seconds": "soon"}, "idle_timeout_seconds is 'soon'"),
        ({"github_repo": "not a repository"}, "github_repo 'not a repository'"),
        ({"runner_class_sizes": '{"small": {"cpu": 512, "memory": 1}}'}, "memory 1 does not go"),
    ],
)
def test_a_setting_that_cannot_work_is_named(
    tmp_path: Path, context: dict[str, object], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        synthesize(str(tmp_path), {"github_repo": "a/b", **context})
