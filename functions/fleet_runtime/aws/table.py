"""One DynamoDB table: read with every write before it, changed by single conditional writes."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, ClassVar

from fleet_runtime.aws.client import Client
from fleet_runtime.aws.items import Item, Value, encode, encode_all

_NAME = re.compile(r"#\w+")
_MOST_KEYS = 100
"""Of one BatchGetItem."""
_PAUSE_SECONDS = 0.2


class Table:
    """A table whose rows have a text for their key.

    In conditions and expressions ``#status`` is the attribute ``status``: many names are reserved
    words of DynamoDB's, and all can be written like this.

    Args:
        dynamodb: A DynamoDB client.
        name: Name of the table.
        key: The attribute that is the key.
        clock: Epoch seconds. Default: the system's.
        pause: Waits for so many seconds. Default: the system's.
    """

    def __init__(
        self,
        *,
        dynamodb: Client,
        name: str,
        key: str,
        clock: Callable[[], float] = time.time,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._dynamodb = dynamodb
        self._name = name
        self._key = key
        self._clock = clock
        self._pause = pause

    @property
    def now(self) -> int:
        """Epoch seconds."""
        return int(self._clock())

    def get(self, key: str) -> Item:
        """Read a row; empty if there is none."""
        answer = self._dynamodb.get_item(
            TableName=self._name, Key=self._key_of(key), ConsistentRead=True
        )
        item: Item = answer.get("Item", {})
        return item

    def get_all(self, keys: Iterable[str]) -> Iterator[Item]:
        """Read the rows that there are of some keys, which differ, in any order."""
        rest = iter(keys)
        asked: list[dict[str, dict[str, object]]] = []
        while asked := asked + [self._key_of(key) for key in islice(rest, _MOST_KEYS - len(asked))]:
            answer = self._dynamodb.batch_get_item(RequestItems={self._name: {"Keys": asked}})
            yield from answer["Responses"].get(self._name, ())
            # what DynamoDB had no room for, and advises not to ask for again at once
            asked = answer.get("UnprocessedKeys", {}).get(self._name, {}).get("Keys", [])
            if asked:
                self._pause(_PAUSE_SECONDS)

    def scan(self) -> Iterator[Item]:
        """Read every row."""
        return self._pages(self._dynamodb.scan, self._request({"ConsistentRead": True}))

    def query(
        self,
        index: str,
        *,
        attribute: str,
        value: Value,
        after: Mapping[str, Value] | None = None,
        most: int | None = None,
    ) -> Iterator[Item]:
        """Read the rows of an index in which an attribute has a value. An index may lag behind.

        Args:
            index: The index.
            attribute: Its partition key.
            value: What that is.
            after: Its sort key, and behind what value of that to begin. Default: at the first.
            most: How many rows to read at most. Default: all.
        """
        conditions = [f"#{attribute} = :value", *(f"#{name} > :{name}" for name in after or {})]
        asked = {"IndexName": index, "KeyConditionExpression": " AND ".join(conditions)}
        behind = {f":{name}": first for name, first in (after or {}).items()}
        request = self._request(asked, values={":value": value, **behind})
        return self._pages(self._dynamodb.query, request, most=most)

    def put(
        self,
        key: str,
        values: Mapping[str, Value],
        *,
        condition: str,
        operands: Mapping[str, Value] | None = None,
    ) -> bool:
        """Write a whole row, in place of the one that is there, if a condition holds."""
        item = {**self._key_of(key), **encode_all(values)}
        asked = self._request({"Item": item, "ConditionExpression": condition}, values=operands)
        return self._if_it_holds(self._dynamodb.put_item, asked) is not None

    def create(self, key: str, values: Mapping[str, Value]) -> bool:
        """Write a new row; False if there is one already."""
        return self.put(key, values, condition=f"attribute_not_exists(#{self._key})")

    def update(
        self,
        key: str,
        *,
        expected: Mapping[str, Value | None] | None = None,
        condition: str = "",
        operands: Mapping[str, Value] | None = None,
        values: Mapping[str, Value] | None = None,
        first: Mapping[str, Value] | None = None,
        add: Mapping[str, Value] | None = None,
        discard: Mapping[str, Value] | None = None,
        remove: Sequence[str] = (),
    ) -> Item | None:
        """Write to a row, which is made if there is none and nothing else is expected.

        Args:
            key: The row.
            expected: What it has to say for this to be written; None: nothing.
            condition: What else has to hold.
            operands: What stands behind the condition's ``:names``.
            values: What the row is to say.
            first: What it is to say unless it says something already.
            add: What to add to its sets and numbers.
            discard: What to take out of its sets.
            remove: What it is to say no longer.

        Returns:
            The whole row after the write, or None if it was not as it has to be.
        """
        expected, values, first = expected or {}, values or {}, first or {}
        add, discard = add or {}, discard or {}
        clauses = {
            "SET": [f"#{name} = :{name}" for name in values]
            + [f"#{name} = if_not_exists(#{name}, :{name})" for name in first],
            "ADD": [f"#{name} :{name}" for name in add],
            "DELETE": [f"#{name} :{name}" for name in discard],
            "REMOVE": [f"#{name}" for name in remove],
        }
        written = {**values, **first, **add, **discard}
        known = {name: value for name, value in expected.items() if value is not None}
        conditions = [
            f"#{name} = :_{name}" if name in known else f"attribute_not_exists(#{name})"
            for name in expected
        ]
        if condition:
            conditions.append(f"({condition})" if conditions else condition)
        return self.write_if(
            key,
            " ".join(f"{verb} {', '.join(parts)}" for verb, parts in clauses.items() if parts),
            condition=" AND ".join(conditions),
            values={
                **{f":{name}": value for name, value in written.items()},
                **{f":_{name}": value for name, value in known.items()},
                **(operands or {}),
            },
        )

    def write(
        self,
        key: str,
        expression: str,
        *,
        names: Mapping[str, str] | None = None,
        values: Mapping[str, Value] | None = None,
    ) -> Item:
        """Write to a row, which is made if there is none, by an update expression of DynamoDB's.

        Args:
            key: The row.
            expression: The update expression.
            names: What stands behind those of its ``#names`` that are not the attribute's own.
            values: What stands behind its ``:values``.

        Returns:
            The whole row after the write.
        """
        asked = self._updating(key, expression, names=names, values=values)
        item: Item = self._dynamodb.update_item(**asked)["Attributes"]
        return item

    def write_if(
        self,
        key: str,
        expression: str,
        *,
        condition: str,
        names: Mapping[str, str] | None = None,
        values: Mapping[str, Value] | None = None,
    ) -> Item | None:
        """Write to a row, like ``write``, if a condition holds; None if it does not."""
        asked = self._updating(key, expression, condition=condition, names=names, values=values)
        answer = self._if_it_holds(self._dynamodb.update_item, asked)
        return None if answer is None else answer["Attributes"]

    def delete(
        self, key: str, *, condition: str = "", operands: Mapping[str, Value] | None = None
    ) -> Item:
        """Delete a row, if a condition holds; returns it as it was, empty if nothing was done."""
        asked: dict[str, object] = {"Key": self._key_of(key), "ReturnValues": "ALL_OLD"}
        if condition:
            asked["ConditionExpression"] = condition
        request = self._request(asked, values=operands)
        answer = self._if_it_holds(self._dynamodb.delete_item, request) or {}
        return answer.get("Attributes", {})

    def _updating(
        self,
        key: str,
        expression: str,
        *,
        condition: str = "",
        names: Mapping[str, str] | None,
        values: Mapping[str, Value] | None,
    ) -> dict[str, object]:
        asked: dict[str, object] = {
            "Key": self._key_of(key),
            "UpdateExpression": expression,
            "ReturnValues": "ALL_NEW",
        }
        if condition:
            asked["ConditionExpression"] = condition
        return self._request(asked, names=names, values=values)

    def _request(
        self,
        asked: Mapping[str, object],
        *,
        names: Mapping[str, str] | None = None,
        values: Mapping[str, Value] | None = None,
    ) -> dict[str, object]:
        """Add the table, and what stands behind the expressions' names: DynamoDB wants no other."""
        expressions = " ".join(str(asked[key]) for key in asked if key.endswith("Expression"))
        shown = {name: name[1:] for name in _NAME.findall(expressions)} | dict(names or {})
        return {
            "TableName": self._name,
            **asked,
            **({"ExpressionAttributeNames": shown} if shown else {}),
            **({"ExpressionAttributeValues": encode_all(values)} if values else {}),
        }

    def _if_it_holds(
        self, call: Callable[..., Mapping[str, Item]], request: Mapping[str, object]
    ) -> Mapping[str, Item] | None:
        try:
            return call(**request)
        except self._dynamodb.exceptions.ConditionalCheckFailedException:
            return None

    def _pages(
        self,
        call: Callable[..., Any],
        request: Mapping[str, object],
        *,
        most: int | None = None,
    ) -> Iterator[Item]:
        page: dict[str, object] = {}
        while True:
            limit = {} if most is None else {"Limit": most}
            answer = call(**request, **limit, **page)
            yield from answer["Items"]
            if most is not None:
                most -= len(answer["Items"])
            if "LastEvaluatedKey" not in answer or most == 0:
                return
            page = {"ExclusiveStartKey": answer["LastEvaluatedKey"]}

    def _key_of(self, key: str) -> dict[str, dict[str, object]]:
        return {self._key: encode(key)}


class Records:
    """The rows of one kind, in a table of their own. Each kind says what its key is.

    Args:
        dynamodb: A DynamoDB client.
        table: Name of the table.
        clock: Epoch seconds. Default: the system's.
    """

    KEY: ClassVar[str]
    """The attribute that is the key."""

    def __init__(
        self, *, dynamodb: Client, table: str, clock: Callable[[], float] = time.time
    ) -> None:
        self._table = Table(dynamodb=dynamodb, name=table, key=self.KEY, clock=clock)

    @property
    def now(self) -> int:
        """Epoch seconds."""
        return self._table.now
