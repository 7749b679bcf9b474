"""moto with what it works out anew at each call, though it is the same each time, worked out once.

That is a quarter of what its calls cost, and the functions' tests make some forty thousand of them.
"""

from __future__ import annotations

import functools
from typing import Any

from moto.core import responses, serialize
from moto.dynamodb.parsing import ast_nodes, expressions

_any_value = serialize.ResponseSerializer.get_value


def _value(self: Any, value: Any, key: str, shape: Any) -> Any:
    """A member of a response; DynamoDB's are plain dicts already, by the members' own names.

    moto looks for other spellings of each of the ten members of each attribute value.
    """
    if type(value) is dict and self.operation_model.service_model.service_name == "dynamodb":
        return value.get(key)
    return _any_value(self, value, key, shape)


@functools.cache
def _node_types(traverser: type[ast_nodes.DepthFirstTraverser]) -> tuple[type, ...]:
    # the map's keys are classes, whatever the traverser was made with
    return tuple(object.__new__(traverser)._processing_map())


def _nodes_to_be_processed(self: ast_nodes.DepthFirstTraverser) -> tuple[type, ...]:
    return _node_types(type(self))


def install() -> None:
    serialize.ResponseSerializer.get_value = _value
    responses.method_names_from_class = functools.cache(responses.method_names_from_class)
    ast_nodes.DepthFirstTraverser.nodes_to_be_processed = _nodes_to_be_processed
    # the validator works on a copy of what was parsed, and nobody else changes it
    parse = functools.cache(expressions.UpdateExpressionParser.make)
    expressions.UpdateExpressionParser.make = staticmethod(parse)
