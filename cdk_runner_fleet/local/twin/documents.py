"""YAML as GitHub reads it: the core schema of YAML 1.2, and where everything stands.

A date is text, `010` is ten, `12:30` is text, `1e3` and `0o17` are numbers; nothing is merged, and
a tag or an anchor means what it says. PyYAML, which reads YAML 1.1, does no more than the syntax.

Source: yaml.org, "Core Schema"; actions/runner, src/Sdk/WorkflowParser, for tags and limits.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from cdk_runner_fleet.local.twin.coercions import Value, as_text, number

__all__ = ["DocumentError", "Memory", "Token", "read_document"]

MAX_CHARACTERS = 1024 * 1024
MAX_DEPTH = 50
MAX_NODES = 50_000
"""Beginnings and ends of a document's values, with its aliases written out."""
MAX_BYTES = 10 * 1024 * 1024
"""That a file takes with those that it calls, as GitHub reckons it."""
_VALUE_BYTES, _TEXT_BYTES, _CHARACTER_BYTES = 24, 26, 2
_STYLES = {"'": "SingleQuoted", '"': "DoubleQuoted", "|": "Literal", ">": "Folded"}

_TAG = "tag:yaml.org,2002:"
_NULL = re.compile(r"(?:null|Null|NULL|~)?")
_BOOLEAN = re.compile(r"true|True|TRUE|false|False|FALSE")
_INTEGER = re.compile(r"[-+]?[0-9]+")
_BASES = {"0o": (8, re.compile(r"0o[0-7]+")), "0x": (16, re.compile(r"0x[0-9a-fA-F]+"))}
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_INFINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)")
_NOT_A_NUMBER = re.compile(r"\.(?:nan|NaN|NAN)")
_NO_VALUE = object()


class DocumentError(ValueError):
    """A text that is not YAML as GitHub takes it; says where and why."""


@dataclass(kw_only=True)
class Memory:
    """What the files of one run take.

    Attributes:
        taken: bytes so far.
    """

    taken: int = 0

    def take(self, size: int) -> None:
        """So many bytes more; raises DocumentError if there are none left."""
        self.taken += size
        if self.taken > MAX_BYTES:
            raise DocumentError("Maximum object size exceeded")

    def take_text(self, text: str) -> None:
        """A text more; raises DocumentError if there is no room for it."""
        self.take(_TEXT_BYTES + _CHARACTER_BYTES * len(text))


@dataclass(frozen=True, kw_only=True)
class Token:
    """A value of a document.

    Args:
        line: where it begins, from 1.
        column: where it begins, from 1.
        value: null, a boolean, a number or text; for a sequence the tuple of its items, for a
            mapping the list of its pairs.
    """

    line: int
    column: int
    value: Any

    @property
    def is_scalar(self) -> bool:
        """Whether it is neither a sequence nor a mapping."""
        return not isinstance(self.value, tuple | list)

    @property
    def text(self) -> str:
        """A scalar as text."""
        return as_text(self.value)

    def plain(self) -> Value:
        """Its value, with those in it."""
        if isinstance(self.value, tuple):
            return [item.plain() for item in self.value]
        if isinstance(self.value, list):
            return {key.text: item.plain() for key, item in self.value}
        return self.value

    def get(self, name: str) -> Token | None:
        """A member of a mapping; None if it has none of that name, or is no mapping."""
        pairs = self.value if isinstance(self.value, list) else []
        return next((item for key, item in pairs if key.text == name), None)


def read_document(text: str, memory: Memory | None = None) -> Token:
    """Reads a text that holds one document.

    Args:
        text: the file.
        memory: what it takes is added to it. Default: it is reckoned alone.

    Raises:
        DocumentError: GitHub takes no such file.
    """
    if len(text) > MAX_CHARACTERS:
        raise DocumentError(
            f"The maximum file size of {MAX_CHARACTERS} characters has been exceeded"
        )
    try:
        events = yaml.parse(text, Loader=yaml.SafeLoader)
        return _Reader(events, memory or Memory()).document()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f" (Line: {mark.line + 1}, Col: {mark.column + 1}): " if mark else ""
        raise DocumentError(f"{where}{error.problem or error}") from error
    except yaml.YAMLError as error:
        raise DocumentError(str(error)) from error


@dataclass(frozen=True, kw_only=True)
class _Size:
    nodes: int
    taken: int


class _Reader:
    def __init__(self, events: Iterator[yaml.Event], memory: Memory) -> None:
        self._events = events
        self._memory = memory
        self._anchors: dict[str, Token] = {}
        self._sizes: dict[int, _Size] = {}
        self._nodes = 2  # the beginnings of the stream and of the document

    def document(self) -> Token:
        next(self._events)  # the stream's start
        if isinstance(next(self._events), yaml.StreamEndEvent):
            raise DocumentError("the file is empty")
        token = self._token(next(self._events), 1)
        next(self._events)  # the document's end
        if not isinstance(next(self._events), yaml.StreamEndEvent):
            raise DocumentError("the file holds more than one document")
        return token

    def _token(self, event: Any, depth: int) -> Token:
        if depth > MAX_DEPTH:
            raise DocumentError("Maximum object depth exceeded")
        if isinstance(event, yaml.AliasEvent):
            token = self._anchored(event)
            size = self._sizes[id(token)]
            self._count(size.nodes)
            self._memory.take(size.taken)
            return token
        nodes, taken = self._nodes, self._memory.taken
        token = self._new(event, depth)
        if event.anchor:
            self._anchors[event.anchor] = token
            self._sizes[id(token)] = _Size(
                nodes=self._nodes - nodes, taken=self._memory.taken - taken
            )
        return token

    def _anchored(self, event: yaml.AliasEvent) -> Token:
        if event.anchor not in self._anchors:
            raise DocumentError(f"{_where(event)}: there is no anchor '{event.anchor}' before it")
        return self._anchors[event.anchor]

    def _count(self, nodes: int) -> None:
        self._nodes += nodes
        if self._nodes > MAX_NODES:
            raise DocumentError("Maximum YAML nodes exceeded")

    def _new(self, event: Any, depth: int) -> Token:
        value: Any
        self._memory.take(_VALUE_BYTES)
        if isinstance(event, yaml.ScalarEvent):
            self._count(1)
            value = _scalar(event)
            if isinstance(value, str):
                self._memory.take_text(value)
        elif isinstance(event, yaml.SequenceStartEvent):
            self._count(2)
            _check_tag(event, "seq")
            value = tuple(self._until(yaml.SequenceEndEvent, depth))
        else:
            self._count(2)
            _check_tag(event, "map")
            inside = self._until(yaml.MappingEndEvent, depth)
            value = []
            for key in inside:
                if not key.is_scalar:
                    raise DocumentError(
                        f" (Line: {key.line}, Col: {key.column}): A mapping key must be a scalar"
                    )
                value.append((key, next(inside)))
        mark = event.start_mark
        return Token(line=mark.line + 1, column=mark.column + 1, value=value)

    def _until(self, end: type[yaml.Event], depth: int) -> Iterator[Token]:
        for event in self._events:
            if isinstance(event, end):
                return
            yield self._token(event, depth + 1)


def _check_tag(event: yaml.Event, kind: str) -> None:
    tag = getattr(event, "tag", None)
    if tag not in (None, "!", _TAG + kind):
        raise DocumentError(f"{_where(event)}: Unexpected tag '{tag}'")


def _scalar(event: yaml.ScalarEvent) -> Value:
    if event.tag is None:
        return event.value if event.style else _plain(event.value)
    if event.tag in ("!", f"{_TAG}str"):
        return event.value
    kind = event.tag.removeprefix(_TAG)
    if kind not in _READERS:
        raise DocumentError(f"{_where(event)}: Unexpected tag '{event.tag}'")
    place = f"on line {event.start_mark.line + 1} and column {event.start_mark.column + 1}"
    if event.style:
        raise DocumentError(
            f"The scalar style '{_STYLES[event.style]}' {place} is not valid with the tag "
            f"'{event.tag}'"
        )
    value = _READERS[kind](event.value)
    if value is _NO_VALUE:
        raise DocumentError(
            f"The value '{event.value}' {place} is invalid for the type '{event.tag}'"
        )
    return value


def _plain(text: str) -> Value:
    read = (reader(text) for reader in _READERS.values())
    return next((value for value in read if value is not _NO_VALUE), text)


def _null(text: str) -> Value:
    return None if _NULL.fullmatch(text) else _NO_VALUE


def _boolean(text: str) -> Value:
    return text.lower() == "true" if _BOOLEAN.fullmatch(text) else _NO_VALUE


def _integer(text: str) -> Value:
    if _INTEGER.fullmatch(text):
        return number(float(text))
    base, pattern = _BASES.get(text[:2], (0, None))
    return int(text[2:], base) if pattern and pattern.fullmatch(text) else _NO_VALUE


def _float(text: str) -> Value:
    if _INFINITE.fullmatch(text):
        return -math.inf if text[0] == "-" else math.inf
    if _NOT_A_NUMBER.fullmatch(text):
        return math.nan
    return number(float(text)) if _FLOAT.fullmatch(text) else _NO_VALUE


_READERS = {"null": _null, "bool": _boolean, "int": _integer, "float": _float}


def _where(event: yaml.Event) -> str:
    return f" (Line: {event.start_mark.line + 1}, Col: {event.start_mark.column + 1})"
