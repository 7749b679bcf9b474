"""The API reference has every public name, with what its docstring says."""

from __future__ import annotations

import html
import re
from pathlib import Path

import cdk_runner_fleet
from tests.test_public_api import LISTS
from tools import render_reference


def test_every_public_name_is_in_the_reference_with_its_docstring(tmp_path: Path) -> None:
    render_reference.main(tmp_path / "reference")
    page = (tmp_path / "reference" / "index.html").read_text(encoding="utf-8")
    sections = dict(re.findall(r'<section id="(\w+)">(.*?)(?=<section id="\w+">|\Z)', page, re.S))
    assert sections.keys() == set(cdk_runner_fleet.__all__)
    for name, section in sections.items():
        found = re.search(r'class="docstring">(.*?)</div>', section, re.S)
        assert found, f"{name} has no docstring"
        told = " ".join(html.unescape(re.sub("<[^>]+>", "", found[1])).split())
        assert told
        if name not in LISTS:
            docstring = getattr(cdk_runner_fleet, name).__doc__
            first = re.sub(r":\w+:|`|\(\)", "", docstring.split(".")[0])
            assert told.replace("()", "").startswith(" ".join(first.split())), name
    assert not re.search(r":(class|meth|func|mod|attr):", page)
