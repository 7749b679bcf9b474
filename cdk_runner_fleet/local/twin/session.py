"""The runners' sessions: a connection for each, one JSON object a line both ways.

To the runner: `job`, `cancel`, `removed`. From it: `started`, `log`, `completed`. The connection's
end is the runner's end: the twin needs no heartbeat to know it, so a hundred idle runners cost
nothing.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterable
from typing import Any

from cdk_runner_fleet.local.twin.board import Board
from cdk_runner_fleet.local.twin.records import Runner

__all__ = ["Sessions"]

_HEAD = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: twin-session\r\n\r\n"


class Sessions:
    """All that are open."""

    def __init__(self) -> None:
        self._open: set[socket.socket] = set()

    def hold(
        self,
        board: Board,
        *,
        runner_id: int,
        token: str,
        connection: socket.socket,
        lines: Iterable[bytes],
    ) -> None:
        """Turn a connection into a runner's session, until it ends.

        Args:
            board: where the runner is registered.
            runner_id: its id.
            token: what it proves with that it is the one.
            connection: the connection.
            lines: what is read from it.
        """

        def send(message: dict[str, Any]) -> None:
            try:
                connection.sendall(json.dumps(message).encode() + b"\n")
                if message["type"] == "removed":
                    _hang_up(connection)
            except OSError:  # the reader below sees the same end and tells the board
                return

        connection.settimeout(None)
        with board.lock:  # nothing may be sent before the answer's own head
            connection.sendall(_HEAD)
            runner = board.connect(runner_id, token=token, send=send)
            if runner is None:
                send({"type": "removed"})
                return
        self._open.add(connection)
        try:
            _listen(board, runner, lines)
        except OSError:  # reset by a runner that was killed
            pass
        finally:
            self._open.discard(connection)
            board.disconnect(runner)

    def close(self) -> None:
        """End them all."""
        for connection in list(self._open):
            _hang_up(connection)


def _listen(board: Board, runner: Runner, lines: Iterable[bytes]) -> None:
    for line in lines:
        message = json.loads(line)
        match message["type"]:
            case "started":
                board.started(runner)
            case "log":
                if runner.job:
                    runner.job.log.append(message["line"])
            case "completed":
                board.completed(runner, message)


def _hang_up(connection: socket.socket) -> None:
    """End a session whose reader is blocked in another thread."""
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:  # the other side was quicker
        return
