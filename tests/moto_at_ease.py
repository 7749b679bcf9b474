"""moto with what it works out anew at each call, though it is the same each time, worked out once.

DynamoDB's calls, some forty thousand in the functions' tests, go from botocore's serializer to
moto's DynamoDB and from there to botocore's parser: the texts between them are those of the wire.
Left out is what is between, and is as it was for the call before: a signature that nobody checks,
the preparing of HTTP, and the search for whose address it is.
"""

from __future__ import annotations

import functools
from types import SimpleNamespace
from typing import Any

from botocore import handlers, useragent
from botocore.model import OperationModel
from botocore.parsers import create_parser
from moto.core import DEFAULT_ACCOUNT_ID, models, responses, serialize
from moto.core.parse import PROTOCOL_PARSERS
from moto.dynamodb.parsing import ast_nodes, expressions
from moto.dynamodb.responses import DynamoHandler

_any_value = serialize.ResponseSerializer.get_value
_parse_response = create_parser("json").parse


def _answer(
    model: OperationModel, params: dict[str, Any], request_signer: Any, **_: object
) -> tuple[SimpleNamespace, dict[str, Any]] | None:
    """DynamoDB's answer, where botocore would send; None if that would not be to moto."""
    if not models.botocore_stubber.enabled or ".amazonaws.com/" not in params["url"]:
        return None
    called = DynamoHandler()
    called.region, called.current_account = request_signer.region_name, DEFAULT_ACCOUNT_ID
    called.headers, called.querystring, called.response_headers = params["headers"], {}, {}
    parser = PROTOCOL_PARSERS["json"](model, map_type=called.PROTOCOL_PARSER_MAP_TYPE)
    called.params = parser.parse({"body": params["body"], "headers": params["headers"]})
    status, headers, body = called.call_action()
    text = body.encode() if isinstance(body, str) else body
    answer = {"status_code": int(status), "headers": headers, "body": text}
    parsed = _parse_response(answer, model.output_shape)
    parsed["ResponseMetadata"]["RetryAttempts"] = 0
    return SimpleNamespace(status_code=int(status), headers=headers), parsed


def _value(self: Any, value: Any, key: str, shape: Any) -> Any:
    """A member of a response; DynamoDB's are plain dicts already, by the members' own names.

    moto looks for other spellings of each of the ten members of each attribute value.
    """
    if type(value) is dict and self.operation_model.service_model.service_name == "dynamodb":
        return value.get(key)
    return _any_value(self, value, key, shape)


@functools.cache
def _is(kind: type, *kinds: type) -> bool:
    """Whether a node of this class is one of those; their classes are abstract, and slow to ask."""
    return issubclass(kind, kinds)


@functools.cache
def _node_types(traverser: type[ast_nodes.DepthFirstTraverser]) -> tuple[type, ...]:
    # the map's keys are classes, whatever the traverser was made with
    return tuple(object.__new__(traverser)._processing_map())


def _traverse(self: ast_nodes.DepthFirstTraverser, node: Any, child_id: int = -1) -> Any:
    """moto's own, which asks each node of an expression anew, ten times over, what it is."""
    if not _is(type(node), ast_nodes.Node):
        return node
    parent = node.parent
    for number, child in enumerate(node.children or ()):
        self.pre_processing_of_child(node, number)
        _traverse(self, child, number)
    if _is(type(node), *_node_types(type(self))):
        node = self.process(node)
        node.parent = parent
        if parent:
            parent.children[child_id] = node
    return node


def _clauses(self: ast_nodes.Node, clause_types: list[type]) -> list[Any]:
    found = []
    for child in self.children or ():
        kind = type(child)
        if kind in clause_types:
            found.append(child)
        elif _is(kind, ast_nodes.Expression, ast_nodes.UpdateExpressionFunction):
            found.extend(_clauses(child, clause_types))
    return found


def install() -> None:
    # whoever else has something to say to a call, such as a test's fault, comes before
    handlers.BUILTIN_HANDLERS.append(("before-call.dynamodb", _answer, handlers.REGISTER_LAST))
    useragent.sanitize_user_agent_string_component = functools.cache(
        useragent.sanitize_user_agent_string_component
    )
    serialize.ResponseSerializer.get_value = _value
    responses.method_names_from_class = functools.cache(responses.method_names_from_class)
    ast_nodes.DepthFirstTraverser.traverse_node_recursively = _traverse
    ast_nodes.Node.find_clauses = _clauses
    # the validator works on a copy of what was parsed, and nobody else changes it
    parse = functools.cache(expressions.UpdateExpressionParser.make)
    expressions.UpdateExpressionParser.make = staticmethod(parse)
