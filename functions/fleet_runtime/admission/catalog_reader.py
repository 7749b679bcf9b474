"""The catalog of classes as it stands now, in its SSM parameter."""

from __future__ import annotations

import time
from collections.abc import Callable

from fleet_runtime.aws.client import Client
from fleet_runtime.job.catalog import Catalog, CatalogError

CACHE_SECONDS = 60
"""How long a catalog is used before it is read again."""


class CatalogReader:
    """Reads the catalog from its SSM parameter, at most once a minute."""

    def __init__(
        self, *, ssm: Client, parameter: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._ssm = ssm
        self._parameter = parameter
        self._clock = clock
        self._read_at = 0.0
        self._catalog: Catalog | None = None

    def catalog(self) -> Catalog:
        """Return the catalog; raises CatalogError, or botocore's errors."""
        now = self._clock()
        if self._catalog is None or now - self._read_at >= CACHE_SECONDS:
            value = self._ssm.get_parameter(Name=self._parameter)["Parameter"]["Value"]
            self._read_at = now
            try:
                self._catalog = Catalog.parse(value)
            except CatalogError:
                # somebody may be editing it: what could be read last serves another minute
                if self._catalog is None:
                    raise
        return self._catalog
