"""What the functions print: one JSON object a line, and metrics in some."""

from __future__ import annotations

import json
from typing import Any


def lines(printed: str) -> list[dict[str, Any]]:
    """Read the lines that are JSON."""
    return [json.loads(line) for line in printed.splitlines() if line[:1] == "{"]


def measured(line: dict[str, Any]) -> dict[str, tuple[float, tuple[str, ...]]]:
    """Each metric in a line as CloudWatch takes it: its value, and those of its dimensions."""
    return {
        metric["Name"]: (line[metric["Name"]], tuple(line[name] for name in dimensions))
        for directive in line.get("_aws", {}).get("CloudWatchMetrics", [])
        for dimensions in directive["Dimensions"]
        for metric in directive["Metrics"]
    }
