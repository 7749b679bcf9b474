"""ECS's tags: what a task gets of its launch and of its definition, and what ECS refuses."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ministack.core.responses import error_response_json
from ministack.services import ecs

Tags = list[dict[str, str]]

_MOST = 50
# API reference of the data type Tag: "Allowed characters are letters, numbers, and spaces
# representable in UTF-8, and the following characters: + - = . _ : / @"
_TEXT = re.compile(r"[\w +\-=.:/@]*")


def of_task(request: Mapping[str, Any]) -> Tags:
    """The tags that a task is launched with: those asked for, and its definition's if they go on.

    That a tag asked for goes before one of the same name is not documented; nothing may rely on it.
    """
    tags: Tags = list(request.get("tags") or [])
    if request.get("propagateTags") == "TASK_DEFINITION":
        definition = ecs._task_defs.get(ecs._resolve_td_key(request.get("taskDefinition", "")))
        known = {tag["key"] for tag in tags}
        of_definition = ecs._tags.get((definition or {}).get("taskDefinitionArn", ""), [])
        tags += [tag for tag in of_definition if tag["key"] not in known]
    return tags


def refusal(tags: Sequence[Mapping[str, str]]) -> Any:
    """The answer to tags that ECS does not take, or None."""
    keys = [tag["key"] for tag in tags]
    wrong = [
        tag
        for tag in tags
        if not tag["key"]
        or len(tag["key"]) > 128
        or len(tag.get("value", "")) > 256
        or not _TEXT.fullmatch(tag["key"])
        or not _TEXT.fullmatch(tag.get("value", ""))
    ]
    if wrong:
        message = f"Some tags contain invalid characters or are too long: {wrong}"
    elif any(key.lower().startswith("aws:") for key in keys):
        message = "Tag keys cannot start with aws:, which is reserved for AWS use."
    elif len(set(keys)) < len(keys):
        message = "Duplicate tag keys found. Tag keys must be unique."
    elif len(keys) > _MOST:
        message = f"The number of tags exceeds the limit of {_MOST}."
    else:
        return None
    return error_response_json("InvalidParameterException", message, 400)
