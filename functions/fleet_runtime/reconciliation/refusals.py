"""What GitHub refuses of one runner, kept from stopping what is done for all others."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from fleet_runtime.github.message import GitHubRefused
from fleet_runtime.observability import logger


class Refusals:
    """Notes refusals, so that a step goes on behind them and still fails.

    A repository that was renamed or archived refuses each time it is asked, and its owner decides
    when that is.
    """

    def __init__(self) -> None:
        self._last: GitHubRefused | None = None

    @contextmanager
    def of(self, name: str) -> Iterator[None]:
        """Note a refusal inside the block, which is about the runner ``name`` alone."""
        try:
            yield
        except GitHubRefused as error:
            logger.warning("refused of one", runner_id=name, error=str(error))
            self._last = error

    def tell(self) -> None:
        """Raise the last one, once all others were seen to."""
        if self._last:
            raise self._last
