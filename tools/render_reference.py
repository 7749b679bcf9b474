"""Render the API reference: each public name of the library, from its docstring.

    python tools/render_reference.py reference

A warning of the generator is an error: a name that nothing is found for, a type that cannot be
read.
"""

from __future__ import annotations

import re
import sys
import warnings
from importlib import import_module
from pathlib import Path

from pdoc import doc, render

import cdk_runner_fleet

_ROLE = re.compile(r":\w+:(?=`)")


def main(folder: Path) -> None:
    """Write the reference into ``folder``, as a page ``index.html``."""
    for name in cdk_runner_fleet.__all__:
        # they are loaded when they are asked for, and the generator asks the module's dictionary
        vars(cdk_runner_fleet)[name] = getattr(cdk_runner_fleet, name)
    render.configure(docformat="google", search=False, show_source=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        package = doc.Module(cdk_runner_fleet)
        for variable in package.variables:
            home = import_module(cdk_runner_fleet._HOMES[variable.name])
            told = doc.Module(home).get(variable.name)
            variable.docstring = told.docstring if told is not None else ""
        _leave_out_roles(package)
        page = render.html_module(package, all_modules={package.fullname: package})
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "index.html").write_text(page, encoding="utf-8")


def _leave_out_roles(documented: doc.Namespace[object]) -> None:
    """A name in a docstring is a link to it by itself; its role is another generator's."""
    documented.docstring = _ROLE.sub("", documented.docstring)
    for member in documented.own_members:
        if isinstance(member, doc.Namespace):
            _leave_out_roles(member)
        else:
            member.docstring = _ROLE.sub("", member.docstring)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
