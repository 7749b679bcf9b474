"""Just enough of curl for the runner image's scripts, on a machine without it.

Only ``http://`` on loopback, and only the options those scripts use; anything else is refused, so
that a script that asks for more is noticed here.
"""

from __future__ import annotations

import argparse
import http.client
import re
import sys
import urllib.parse

_CONFIG_LINE = re.compile(r'^(url|header)\s*=\s*"((?:[^"\\]|\\.)*)"$')


def _arguments(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="curl", allow_abbrev=False)
    flags = ("--silent", "--show-error", "--include", "--http1.1", "--fail")
    for flag in (*flags, "--suppress-connect-headers"):
        parser.add_argument(flag, action="store_true")
    parser.add_argument("--max-time", type=float, default=30.0)
    parser.add_argument("--connect-timeout", type=float)
    parser.add_argument("--noproxy")  # it knows no proxy
    parser.add_argument("--request", default="GET")
    parser.add_argument("--header", action="append", default=[])
    parser.add_argument("--data", "--data-binary", dest="data", default="")
    parser.add_argument("--config", action="append", default=[])
    parser.add_argument("--output")
    parser.add_argument("--retry", type=int, default=0)
    parser.add_argument("url", nargs="?")
    return parser.parse_args(argv)


def _read_config(given: argparse.Namespace) -> None:
    for source in given.config:
        with open(0 if source == "-" else source) as lines:  # noqa: PTH123 - 0 is standard input
            for line in filter(None, (line.strip() for line in lines)):
                found = _CONFIG_LINE.match(line)
                if found is None:
                    sys.exit(f"curl stand-in: cannot read configuration line {line!r}")
                if found[1] == "url":
                    given.url = found[2]
                else:
                    given.header.append(found[2])


def main(argv: list[str]) -> int:
    """Make the request; 0, or curl's 7 (no connection) or 22 (an error status with --fail)."""
    given = _arguments(argv)
    _read_config(given)
    target = urllib.parse.urlsplit(given.url or "")
    if target.scheme != "http" or target.hostname is None:
        sys.exit(f"curl stand-in: only http:// URLs, got {given.url!r}")
    connection = http.client.HTTPConnection(target.hostname, target.port, timeout=given.max_time)
    headers = dict(line.split(": ", 1) for line in given.header)
    try:
        connection.request(given.request, target.path, body=given.data.encode(), headers=headers)
        response = connection.getresponse()
        body = response.read()
    except OSError as error:
        sys.stderr.write(f"curl: (7) {error}\n")
        return 7
    if given.include:
        lines = [f"HTTP/1.1 {response.status} {response.reason}"]
        lines += [f"{name}: {value}" for name, value in response.getheaders()]
        sys.stdout.write("\r\n".join([*lines, "", ""]))
    if given.output is None:
        sys.stdout.write(body.decode())
    return 22 if given.fail and response.status >= 400 else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
