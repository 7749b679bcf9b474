"""The hooks notice when ministack or moto move under them."""

from __future__ import annotations

from types import ModuleType

import pytest

from cdk_runner_fleet.local.emulator import upstream


def _module() -> ModuleType:
    module = ModuleType("fake")

    def old(data: object) -> str:
        return f"old {data}"

    module.__dict__.update(handler=old, table={"Op": old, "Other": str})
    return module


def test_installed_versions_are_the_pinned_ones() -> None:
    upstream.check_versions()


def test_another_version_is_refused() -> None:
    with pytest.raises(upstream.UpstreamMovedError, match=r"moto 5\.2\.5 \(needs 9\.9\.9\)"):
        upstream.check_versions({"moto": "9.9.9"})


def test_replace_also_rewrites_dispatch_tables() -> None:
    module = _module()

    def new(data: object) -> str:
        return f"new {data}"

    old = upstream.replace(module, "handler", new, takes=("data",))
    assert old(1) == "old 1"
    assert module.__dict__["handler"] is new
    assert module.__dict__["table"] == {"Op": new, "Other": str}


@pytest.mark.parametrize(("name", "takes"), [("gone", ("data",)), ("handler", ("data", "more"))])
def test_replace_refuses_what_is_not_as_expected(name: str, takes: tuple[str, ...]) -> None:
    with pytest.raises(upstream.UpstreamMovedError, match="the emulator"):
        upstream.replace(_module(), name, print, takes=takes)


def test_rebind_needs_a_holder() -> None:
    with pytest.raises(upstream.UpstreamMovedError):
        upstream.rebind("fake", "absent", print, modules={"fake": _module()})


def test_cloudformation_operations_must_exist() -> None:
    with pytest.raises(upstream.UpstreamMovedError):
        upstream.replace_in_handlers({"AWS::X::Y": {}}, "AWS::X::Y", "create", print)
