"""How long a waiting state may last."""

from __future__ import annotations

import pytest
from aws_cdk import Duration

from cdk_runner_fleet.values.timeouts import LifecycleTimeouts


def test_impossible_timeouts_are_refused() -> None:
    with pytest.raises(ValueError, match="432000"):
        LifecycleTimeouts(job=Duration.days(6))
