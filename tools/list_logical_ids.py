"""List the logical ids that deployed fleets have, from the snapshots of the least and the most.

tests/constructs/test_logical_ids.py fails when one of the list is gone; what is new is no mistake,
and held from the next ``python tools/list_logical_ids.py`` on.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
SNAPSHOTS = ROOT / "tests" / "constructs" / "__snapshots__" / "test_snapshots"
PAGE = ROOT / "tests" / "constructs" / "logical_ids.json"

_OURS = "Fleet"
"""What the ids of the fleet begin with there; others are the tests' own."""


def by_type(template: Mapping[str, Any]) -> dict[str, list[str]]:
    """The logical ids of a fleet's template, by the types of the resources behind them."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for logical_id, resource in sorted(template["Resources"].items()):
        if logical_id.startswith(_OURS):
            found[resource["Type"]].append(logical_id)
    return dict(sorted(found.items()))


def main() -> None:
    """Write the list anew."""
    listed = {
        name: by_type(json.loads((SNAPSHOTS / f"test_{name}.json").read_text(encoding="utf-8")))
        for name in ("minimal", "everything")
    }
    PAGE.write_text(json.dumps(listed, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
