"""Text of others, made fit for a terminal.

A job's name, a label, a cause, a line of a log: strangers write them, and a terminal obeys what is
in them. It can be told to clear itself, to change its title, to write to the clipboard (OSC 52), to
show a link that leads elsewhere (OSC 8) and to run the letters the other way (Unicode's bidi
controls, https://trojansource.codes).
"""

from __future__ import annotations

import re

__all__ = ["coloured", "shown", "shown_lines"]

# Select Graphic Rendition (ECMA-48, 8.3.117): colours and the like, until they are reset
_COLOURS = re.compile(r"(\x1b\[[0-9;]*m)")


def shown(text: object) -> str:
    """The text in one line of what can be seen: whitespace is a space, the rest is escaped."""
    return "".join(map(_visible, str(text)))


def shown_lines(text: str) -> str:
    """The text line by line; for what is the fleet's own but quotes others."""
    return "\n".join(map(shown, text.split("\n")))


def coloured(line: str) -> str:
    """A line of a job's log: its colours stay, for they are the job's own."""
    parts = _COLOURS.split(line.expandtabs())
    return "".join(part if _COLOURS.fullmatch(part) else shown(part) for part in parts)


def _visible(char: str) -> str:
    if char.isprintable():
        return char
    return " " if char.isspace() else char.encode("unicode_escape").decode()
