"""An assembly is made once for the same settings and sources, and never taken for another one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path

import pytest

from cdk_runner_fleet import _assets
from cdk_runner_fleet.local import assembly
from cdk_runner_fleet.local.assembly import Synthesis
from cdk_runner_fleet.local.errors import LocalFleetError, SettingsError

ROOT = Path(__file__).parents[2]
CONTEXT: dict[str, object] = {"github_repo": "a/b", "idle_timeout_seconds": 2}


class Bench:
    """Sources of its own, a cache of its own, and a synthesis that is done at once."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._folder = folder
        self._log = folder / "syntheses"
        self.sources = folder / "functions"
        self.kept = folder / "cache" / "cdk-runner-fleet"
        self.source("one.py").write_text("1\n")
        self.source("room/two.py").write_text("2\n")
        monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        monkeypatch.setenv("SYNTHESES", str(self._log))
        monkeypatch.setattr(assembly, "_SYNTH", "tests.local.synth_stand_in")
        monkeypatch.setattr(assembly, "_SOURCES", (self.sources,))

    def source(self, name: str) -> Path:
        path = self.sources / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def make(self, context: dict[str, object] = CONTEXT) -> Path:
        """The assembly, as a fleet asks for it."""
        folder = Path(tempfile.mkdtemp(dir=self._folder))
        with Synthesis(folder, context) as synthesis:
            return synthesis.result()

    @property
    def syntheses(self) -> int:
        return len(self._log.read_text().splitlines()) if self._log.exists() else 0


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(tmp_path, monkeypatch)


def contents(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(path.relative_to(folder)): (path.stat().st_mode, path.read_bytes())
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_the_second_is_the_first_one(bench: Bench) -> None:
    first, second = bench.make(), bench.make()
    assert bench.syntheses == 1
    assert first != second
    assert contents(first) == contents(second)
    assert contents(second)["asset.1/run.sh"][0] & 0o100
    assert json.loads((second / "RunnerFleet.template.json").read_text()) == CONTEXT


def test_settings_keep_their_order(bench: Bench) -> None:
    """The first of the classes is that of jobs which name none."""
    made = bench.make({"runner_class_sizes": {"small": 1, "broken": 2}})
    template = json.loads((made / "RunnerFleet.template.json").read_text())
    assert list(template["runner_class_sizes"]) == ["small", "broken"]
    bench.make({"runner_class_sizes": {"broken": 2, "small": 1}})
    assert bench.syntheses == 2


CHANGES: dict[str, Callable[[Bench, pytest.MonkeyPatch], object]] = {
    "a file says another thing": lambda bench, _: bench.source("room/two.py").write_text("3\n"),
    "a file has moved": lambda bench, _: bench.source("one.py").rename(bench.source("room/one.py")),
    "there is one more": lambda bench, _: bench.source("room/three.py").write_text(""),
    "there is one less": lambda bench, _: bench.source("one.py").unlink(),
    "one may be executed": lambda bench, _: bench.source("one.py").chmod(0o755),
    "a line went from one to the next": lambda bench, _: (
        bench.source("one.py").write_text(""),
        bench.source("room/two.py").write_text("1\n2\n"),
    ),
    "another CDK": lambda _, patch: patch.setattr(metadata, "version", lambda _: "9.9.9"),
    "another jsii": lambda _, patch: patch.setattr(
        metadata, "version", lambda name, own=metadata.version: own(name) + "0" * (name == "jsii")
    ),
    "another Python": lambda _, patch: patch.setattr(sys, "version", "3.99.0"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_a_change_is_another_assembly(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, change: Callable[..., object]
) -> None:
    bench.make()
    change(bench, monkeypatch)
    bench.make()
    assert bench.syntheses == 2


@pytest.mark.parametrize(
    "context",
    [
        {**CONTEXT, "idle_timeout_seconds": 3},
        {**CONTEXT, "idle_timeout_seconds": "2"},
        {**CONTEXT, "max_runners": 2},
        {"github_repo": "a/b"},
        {**CONTEXT, "@aws-cdk/aws-iam:minimizePolicies": True},
    ],
)
def test_another_setting_is_another_assembly(bench: Bench, context: dict[str, object]) -> None:
    bench.make()
    made = bench.make(context)
    assert bench.syntheses == 2
    assert json.loads((made / "RunnerFleet.template.json").read_text()) == context


def test_what_python_compiles_is_no_source(bench: Bench) -> None:
    bench.make()
    bench.source("__pycache__/one.pyc").write_text("compiled")
    bench.make()
    assert bench.syntheses == 1


def test_all_that_the_constructs_read_is_a_source() -> None:
    # only bench replaces it; this is what fleets use
    sources = assembly._SOURCES
    read = [value for value in vars(_assets).values() if isinstance(value, Path)]
    assert {_assets.FUNCTIONS, _assets.RUNNER_IMAGE, _assets.STATE_MACHINE} <= set(read)
    roots = {_assets._ROOT, _assets._BUNDLE}
    for path in set(read) - roots:
        assert any(path.is_relative_to(source) for source in sources), path
    named = {name.split(" ", 1)[1] for name, _ in assembly._sources()}
    assert {"functions/dispatch_event.py", "runner_image/entrypoint.sh"} <= named
    assert {"statemachines/runner_lifecycle.asl.json", "cdk_runner_fleet/fleet.py"} <= named


def test_what_cannot_be_made_is_not_kept(bench: Bench) -> None:
    for wrong, error in (("fails", LocalFleetError), ("setting", SettingsError)):
        for _ in range(2):
            with pytest.raises(error):
                bench.make({"wrong": wrong})
    assert bench.syntheses == 4
    assert not bench.kept.exists()


def test_what_was_made_while_a_source_changed_is_not_kept(bench: Bench) -> None:
    context = {"edits": str(bench.source("one.py"))}
    bench.make(context)
    assert not bench.kept.exists()
    bench.source("one.py").write_text("1\n")
    bench.make(context)
    assert bench.syntheses == 2


@pytest.mark.parametrize("spoiled", [b"", b"not an archive", None])
def test_a_spoiled_archive_is_made_anew(bench: Bench, spoiled: bytes | None) -> None:
    whole = contents(bench.make())
    (archive,) = bench.kept.iterdir()
    if spoiled is None:  # a bit has tipped over
        content = bytearray(archive.read_bytes())
        content[45] ^= 0xFF
        spoiled = bytes(content)
    archive.write_bytes(spoiled)
    assert contents(bench.make()) == whole
    assert contents(bench.make()) == whole
    assert bench.syntheses == 2


def test_the_least_used_ones_are_given_up(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assembly, "_MOST_KEPT", 2)
    (bench.kept / "somebody else's").mkdir(parents=True)
    for number in (1, 2):
        bench.make({"max_runners": number})
        for archive in bench.kept.iterdir():
            used = archive.stat().st_mtime - 100
            os.utime(archive, (used, used))
    bench.make({"max_runners": 1})  # used again
    bench.make({"max_runners": 3})
    assert len(list(bench.kept.glob("*.zip"))) == 2
    assert bench.syntheses == 3
    bench.make({"max_runners": 1})
    assert bench.syntheses == 3
    bench.make({"max_runners": 2})
    assert bench.syntheses == 4


def test_a_cache_that_cannot_be_written_is_done_without(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file" / "below"))
    assert bench.make().is_dir()
    assert bench.make().is_dir()
    assert bench.syntheses == 2


def test_a_relative_cache_is_none(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(bench.kept.parent))
    bench.make()
    assert list((bench.kept.parent / ".cache" / "cdk-runner-fleet").iterdir())


def test_two_at_once_find_it_whole_or_not_at_all(bench: Bench) -> None:
    whole = contents(bench.make())
    (archive,) = bench.kept.iterdir()
    done = threading.Event()

    def write() -> None:
        while not done.is_set():
            archive.unlink(missing_ok=True)
            bench.make()

    with ThreadPoolExecutor() as pool:
        writers = [pool.submit(write) for _ in range(2)]
        try:
            found = [contents(bench.make()) for _ in range(20)]
        finally:
            done.set()
        for writer in writers:
            writer.result()
    assert found == [whole] * 20
    assert [path.suffix for path in bench.kept.iterdir()] == [".zip"]


def test_the_stack_is_synthesized_the_same_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real synthesis depends on what the name is made of, and on nothing around it."""
    made = []
    for number, variables in enumerate(
        ({"CDK_CONTEXT_JSON": '{"max_runners": 7}', "CDK_DEFAULT_REGION": "eu-west-1"}, {})
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        monkeypatch.chdir(folder)
        with Synthesis(folder, CONTEXT) as synthesis:
            made.append(contents(synthesis.result()))
        monkeypatch.undo()
        del made[-1]["RunnerFleet.metadata.json"]  # says where jsii unpacked itself
    assert made[0] == made[1]
    template = json.loads(made[0]["RunnerFleet.template.json"][1])
    assert template["Parameters"][assembly.GITHUB_URL_PARAMETER] == {"Type": "String"}


def test_a_setting_that_cannot_work_is_named(tmp_path: Path) -> None:
    """Others: test_synth.py, in a process that has jsii already."""
    settings = {**CONTEXT, "idle_timeout_seconds": "soon"}
    said = "^setting idle_timeout_seconds is 'soon'"
    with Synthesis(tmp_path, settings) as synthesis, pytest.raises(SettingsError, match=said):
        synthesis.result()


def test_finding_one_loads_no_cdk() -> None:
    code = (
        "import sys, cdk_runner_fleet.local.assembly; "
        "sys.exit(any(name.split('.')[0] in ('aws_cdk', 'jsii') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
