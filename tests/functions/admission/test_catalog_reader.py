from __future__ import annotations

import json
from typing import Any

from fleet_runtime.admission.catalog_reader import CatalogReader

SIZES = {"small": {"cpu": 512, "memory": 1024}, "Large": {"cpu": 2048, "memory": 4096}}


def test_the_catalog_is_read_again_after_a_minute() -> None:
    class Ssm:
        reads = 0

        def get_parameter(self, **_: object) -> dict[str, Any]:
            self.reads += 1
            return {"Parameter": {"Value": json.dumps(SIZES)}}

    ssm, now = Ssm(), [1000.0]
    reader = CatalogReader(ssm=ssm, parameter="p", clock=lambda: now[0])
    reader.catalog()
    now[0] += 59.9
    reader.catalog()
    assert ssm.reads == 1
    now[0] += 0.1
    reader.catalog()
    assert ssm.reads == 2


def test_a_catalog_that_cannot_be_read_leaves_the_last_one_in_use() -> None:
    class Ssm:
        value = json.dumps(SIZES)

        def get_parameter(self, **_: object) -> dict[str, Any]:
            return {"Parameter": {"Value": self.value}}

    ssm, now = Ssm(), [1000.0]
    reader = CatalogReader(ssm=ssm, parameter="p", clock=lambda: now[0])
    good = reader.catalog()
    ssm.value = "{ being edited"
    now[0] += 60
    assert reader.catalog() == good
    ssm.value = '{"tiny": {"cpu": 256, "memory": 512}}'
    now[0] += 60
    assert list(reader.catalog().classes) == ["tiny"]
