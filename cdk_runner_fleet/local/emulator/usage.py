"""What AWS would bill: DynamoDB's units, by table and index, and how often each API was called.

Units of writes are ministack's own, from the sizes of the items before and after, with those of the
indexes that a write reaches; those of reads are worked out here from what was read.
"""

from __future__ import annotations

import json
import threading
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any

from ministack.services import dynamodb

from . import upstream

_WRITES = ("_put_item", "_update_item", "_delete_item")
_READS = ("_get_item", "_query", "_scan", "_batch_get_item")
_READ_BYTES = 4096
Handler = Callable[[dict[str, Any]], tuple[int, dict[str, str], Any]]


class Usage:
    """Counters, since the emulator began."""

    def __init__(self) -> None:
        self.requests: Counter[str] = Counter()
        self.write_units: defaultdict[str, float] = defaultdict(float)
        self.read_units: defaultdict[str, float] = defaultdict(float)
        self._lock = threading.Lock()

    def wrote(self, handler: Handler, data: dict[str, Any]) -> tuple[int, dict[str, str], Any]:
        """Answer a write and count it; one whose condition fails costs a unit at the least."""
        status, headers, body = handler({**data, "ReturnConsumedCapacity": "INDEXES"})
        answer = json.loads(body)
        table = _short(data)
        consumed = answer.pop("ConsumedCapacity", None)
        with self._lock:
            if consumed:
                self.write_units[table] += consumed["Table"]["CapacityUnits"]
                for index, units in consumed.get("GlobalSecondaryIndexes", {}).items():
                    self.write_units[f"{table}/{index}"] += units["CapacityUnits"]
            elif "ConditionalCheckFailed" in answer.get("__type", ""):
                self.write_units[table] += 1
        if consumed and "ReturnConsumedCapacity" not in data:
            body = json.dumps(answer, ensure_ascii=False).encode()
        return status, headers, body

    def read(self, handler: Handler, data: dict[str, Any]) -> tuple[int, dict[str, str], Any]:
        """Answer a read and count it: half a unit for 4 KB, a whole one with every write before."""
        status, headers, body = handler(data)
        if status == 200:
            answer = json.loads(body)
            for table, items, whole in _found(data, answer):
                factor = 1 if data.get("ConsistentRead") else 0.5
                sizes = [sum(items)] if whole else items
                units = sum(max(1, -(-size // _READ_BYTES)) for size in sizes or [0])
                with self._lock:
                    self.read_units[table] += units * factor
        return status, headers, body


def _short(data: dict[str, Any]) -> str:
    table = str(data["TableName"]).rpartition("/")[2]
    return f"{table}/{data['IndexName']}" if "IndexName" in data else table


def _found(data: dict[str, Any], answer: dict[str, Any]) -> list[tuple[str, list[int], bool]]:
    """What was read of each table: the items' sizes, and whether they are billed as one."""
    size = dynamodb._item_size_bytes
    if "RequestItems" in data:
        return [
            (table, [size(item) for item in items], False)
            for table, items in answer.get("Responses", {}).items()
        ]
    items = answer.get("Items") or ([answer["Item"]] if answer.get("Item") else [])
    return [(_short(data), [size(item) for item in items], True)]


def install() -> Usage:
    """Count what is asked of DynamoDB."""
    usage = Usage()
    for names, count in ((_WRITES, usage.wrote), (_READS, usage.read)):
        for name in names:
            _count(name, count)
    return usage


def _count(name: str, count: Callable[[Handler, dict[str, Any]], Any]) -> None:
    def counted(data: dict[str, Any]) -> Any:
        return count(old, data)

    old: Handler = upstream.replace(dynamodb, name, counted, takes=("data",))
