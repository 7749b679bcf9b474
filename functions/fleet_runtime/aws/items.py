"""DynamoDB's attribute values, as far as the fleet's tables have them: S, N, SS, M of N. Pure."""

from __future__ import annotations

from collections.abc import Mapping

Value = str | int | float | frozenset[str] | Mapping[str, float]
Item = Mapping[str, Mapping[str, object]]


def encode(value: Value) -> dict[str, object]:
    """Write a value as DynamoDB's API does."""
    if isinstance(value, str):
        return {"S": value}
    if isinstance(value, frozenset):
        return {"SS": sorted(value)}
    if isinstance(value, Mapping):
        return {"M": {name: {"N": str(number)} for name, number in value.items()}}
    return {"N": str(value)}


def encode_all(values: Mapping[str, Value]) -> dict[str, dict[str, object]]:
    """Write a row as DynamoDB's API does."""
    return {name: encode(value) for name, value in values.items()}


def text(item: Item, name: str) -> str:
    """Read a text attribute, empty if the row lacks it."""
    return str(item.get(name, {}).get("S", ""))


def number(item: Item, name: str) -> int | None:
    """Read a whole number, None if the row lacks it."""
    value = item.get(name, {}).get("N")
    return None if value is None else int(str(value))


def amount(item: Item, name: str) -> float:
    """Read an amount, 0 if the row lacks it."""
    return float(str(item.get(name, {}).get("N", 0)))


def texts(item: Item, name: str) -> frozenset[str]:
    """Read a set of texts, empty if the row lacks it."""
    value = item.get(name, {}).get("SS")
    return frozenset(map(str, value)) if isinstance(value, list) else frozenset()


def amounts(item: Item, name: str) -> dict[str, float]:
    """Read a map of amounts, empty if the row lacks it."""
    value = item.get(name, {}).get("M")
    return {key: float(each["N"]) for key, each in value.items()} if isinstance(value, dict) else {}


def numbers(item: Item, name: str) -> dict[str, int]:
    """Read a map of whole numbers, empty if the row lacks it."""
    value = item.get(name, {}).get("M")
    return {key: int(each["N"]) for key, each in value.items()} if isinstance(value, dict) else {}
