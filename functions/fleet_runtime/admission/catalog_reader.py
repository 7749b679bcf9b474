"""The catalog of classes as it is in force now, from its SSM parameters."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from fleet_runtime.aws.client import Client
from fleet_runtime.job.catalog import Catalog, CatalogError, Version
from fleet_runtime.observability import count, logger

CACHE_SECONDS = 60
"""How long a catalog is used before it is read again."""


class CatalogReader:
    """Reads the catalog from its SSM parameters, at most once a minute.

    An edit that cannot be used is logged and counted each time, and what was in force before it
    stays so, in every process: Parameter Store keeps the last 100 versions of a parameter.

    Args:
        ssm: The client.
        parameters: Names of the parameters, at most 10: in the order of their classes.
        clock: Seconds that only go up. Default: the system's.
    """

    def __init__(
        self, *, ssm: Client, parameters: Sequence[str], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._ssm = ssm
        self._parameters = parameters
        self._clock = clock
        self._read_at = 0.0
        self._newest: list[Version] = []
        self._catalog: Catalog | None = None

    def catalog(self) -> Catalog:
        """Return the catalog; raises CatalogError, or botocore's errors."""
        now = self._clock()
        if self._catalog is None or now - self._read_at >= CACHE_SECONDS:
            newest = self._read()
            self._read_at = now
            if self._catalog is None or newest != self._newest:
                self._catalog = self._in_force(newest)
                self._newest = newest
            if self._catalog.faults:
                count("CatalogRefused")
                logger.error("catalog refused", faults=self._catalog.faults)
        return self._catalog

    def _read(self) -> list[Version]:
        answer = self._ssm.get_parameters(Names=list(self._parameters))
        found = {each["Name"]: _version(each) for each in answer["Parameters"]}
        if missing := [name for name in self._parameters if name not in found]:
            raise CatalogError(f"there is no SSM parameter {missing[0]}: deploy the stack again")
        return [found[name] for name in self._parameters]

    def _in_force(self, newest: Sequence[Version]) -> Catalog:
        with suppress(CatalogError):
            catalog = Catalog.in_force([[version] for version in newest])
            if not catalog.faults:
                return catalog
        # something is wrong with it: what was before?
        try:
            return Catalog.in_force([self._history(name) for name in self._parameters])
        except CatalogError as error:
            count("CatalogRefused")
            logger.error("catalog refused", faults=[str(error)])
            raise

    def _history(self, parameter: str) -> list[Version]:
        """Every version that there still is, the newest first."""
        pages = self._ssm.get_paginator("get_parameter_history").paginate(Name=parameter)
        versions = [_version(each) for page in pages for each in page["Parameters"]]
        return sorted(versions, key=lambda each: each.number, reverse=True)


def _version(answer: dict[str, object]) -> Version:
    return Version(
        parameter=str(answer["Name"]), number=int(str(answer["Version"])), text=str(answer["Value"])
    )
