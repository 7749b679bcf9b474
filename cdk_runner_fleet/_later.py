"""Texts of the template that are known once all of the app has been said."""

from __future__ import annotations

from collections.abc import Callable

import jsii
from aws_cdk import IStableStringProducer, Lazy


@jsii.implements(IStableStringProducer)
class _Producer:
    def __init__(self, text: Callable[[], str]) -> None:
        self._text = text

    def produce(self) -> str:
        """Called when the template is written."""
        return self._text()


def later(text: Callable[[], str]) -> str:
    """Return a token of what ``text`` returns when the template is written."""
    return Lazy.string(_Producer(text))
