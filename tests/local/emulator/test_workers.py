"""Functions' workers: forked from a zygote, and what a process of its own would be."""

from __future__ import annotations

import io
import json
import signal
import sys
import threading
import uuid
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import BotoCoreError

from tests.local.emulator.harness import ALLOW_ALL, Emulator, eventually, start_emulator
from tests.waiting import PATIENCE_SECONDS

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="workers are forked on Linux alone")

# Says what it is; `look` runs in it.
_CODE = """
import gc, json, locale, logging, os, random, resource, signal, sys, threading, time, uuid

def handler(event, context):
    found = {}
    exec(event["look"], globals(), found)
    return found["answer"]
"""
_PARENT = "answer = open(f'/proc/{os.getppid()}/cmdline').read().replace('\\0', ' ')"


class Function:
    """A function that runs what it is sent."""

    def __init__(
        self, emulator: Emulator, *, files: dict[str, str] | None = None, **variables: str
    ) -> None:
        package = io.BytesIO()
        with zipfile.ZipFile(package, "w") as archive:
            for name, text in {"looker.py": _CODE, **(files or {})}.items():
                archive.writestr(name, text)
        self._emulator = emulator
        self.name = f"looker-{uuid.uuid4().hex[:8]}"
        emulator.client("lambda").create_function(
            FunctionName=self.name,
            Runtime="python3.14",
            Role=emulator.role(ALLOW_ALL, service="lambda"),
            Handler="looker.handler",
            Code={"ZipFile": package.getvalue()},
            Timeout=20,
            Environment={"Variables": {"TABLE": "one", **variables}},
        )

    def __call__(self, look: str) -> Any:
        reply = self._emulator.client("lambda").invoke(
            FunctionName=self.name, Payload=json.dumps({"look": look})
        )
        answer = json.loads(reply["Payload"].read())
        assert "FunctionError" not in reply, answer
        return answer

    @property
    def forked(self) -> bool:
        return "zygote.py" in self(_PARENT)


def own_process(emulator: Emulator) -> Function:
    """The same function with a file that could be a module which the zygote has imported."""
    return Function(emulator, files={"keyword.txt": ""})


@pytest.mark.parametrize(
    "look",
    [
        "answer = sorted(os.environ)",
        "answer = {name: os.environ[name] for name in os.environ if not"
        " name.startswith(('AWS_LAMBDA_', 'AWS_ACCESS', 'AWS_SECRET', 'AWS_SESSION', 'LAMBDA_',"
        " 'PYTHONPATH'))}",
        "answer = [os.environ['PYTHONPATH'] == os.getcwd() == os.environ['LAMBDA_TASK_ROOT']]",
        "answer = [each if each != os.getcwd() else 'here' for each in sys.path]",
        "answer = sys.argv",
        "answer = [sys.modules['__main__'].__name__, sys.modules['__main__'].__file__]",
        "answer = sorted(os.readlink(f'/proc/self/fd/{each}').partition(':')[0]"
        " for each in os.listdir('/proc/self/fd') if os.path.exists(f'/proc/self/fd/{each}'))",
        "answer = [[number, str(signal.getsignal(number)).partition(' at ')[0]]"
        " for number in range(1, 32)]",
        "answer = [line for line in open('/proc/self/status') if line.startswith('Sig')"
        " and 'SigQ' not in line]",
        "answer = [sys.stdout.encoding, sys.stdout.line_buffering, sys.stdout.write_through,"
        " sys.stderr.encoding, sys.stderr.errors, sys.getfilesystemencoding()]",
        "answer = [locale.getlocale(), time.tzname, time.timezone, sys.flags[:16]]",
        "answer = [os.umask(0o22), threading.active_count(), gc.isenabled(), gc.get_threshold()]",
        "answer = [len(logging.root.handlers), logging.root.level, sys.gettrace()]",
        "answer = [type(os.environ).__name__, os.getenv('TABLE'), signal.set_wakeup_fd(-1)]",
        "answer = [os.getpgid(0) == os.getpgid(os.getppid()), resource.getrlimit(7)]",
        "import boto3, botocore, aws_lambda_powertools as powertools; answer = [boto3.__file__,"
        " botocore.__file__, powertools.__file__, boto3.DEFAULT_SESSION]",
        "import boto3; client = boto3.client('dynamodb'); answer = [client.meta.endpoint_url,"
        " sorted(client.meta.config.user_agent), client.meta.service_model.api_version,"
        " len(client.meta.service_model.operation_names)]",
    ],
)
def test_a_fork_is_what_a_process_of_its_own_is(emulator: Emulator, look: str) -> None:
    fork, own = Function(emulator), own_process(emulator)
    assert (fork.forked, own.forked) == (True, False)
    assert fork(look) == own(look)


def test_the_zygote_has_one_thread(emulator: Emulator) -> None:
    assert Function(emulator)("answer = os.listdir(f'/proc/{os.getppid()}/task')")[1:] == []


@pytest.mark.parametrize(
    "make",
    [
        lambda emulator: Function(emulator, files={"boto3/__init__.py": "mine = True\n"}),
        lambda emulator: Function(emulator, files={"jmespath.py": ""}),
        lambda emulator: Function(emulator, PYTHONHASHSEED="0"),
        lambda emulator: Function(emulator, LANG="C"),
        lambda emulator: Function(emulator, POWERTOOLS_DEBUG="true"),
        lambda emulator: Function(emulator, PYTHONPATH="/nowhere"),
    ],
    ids=["package", "module", "interpreter", "locale", "read at import", "elsewhere"],
)
def test_no_fork_where_it_would_make_a_difference(
    emulator: Emulator, make: Callable[[Emulator], Function]
) -> None:
    assert not make(emulator).forked


def test_a_function_s_own_sdk_is_the_one_it_gets(emulator: Emulator) -> None:
    function = Function(emulator, files={"boto3/__init__.py": "mine = True\n"})
    assert function("import boto3; answer = boto3.mine")


def test_forks_draw_numbers_of_their_own(emulator: Emulator) -> None:
    draw = "answer = [random.random(), uuid.uuid4().hex]"
    one, other = Function(emulator)(draw), Function(emulator)(draw)
    assert one[0] != other[0]
    assert one[1] != other[1]


def test_a_session_with_models_elsewhere_reads_them_there(
    emulator: Emulator, tmp_path: Path
) -> None:
    model = tmp_path / "fleetish" / "2026-01-01" / "service-2.json"
    model.parent.mkdir(parents=True)
    model.write_text("{}")
    look = "import boto3; answer = 'fleetish' in boto3.Session().get_available_services()"
    assert Function(emulator, AWS_DATA_PATH=str(tmp_path))(look)
    assert not Function(emulator)(look)


def test_how_it_ended_is_told(emulator: Emulator) -> None:
    function = Function(emulator)
    client = emulator.client("lambda")
    for look, ending in (("os._exit(3)", "exit status 3"), ("os.kill(os.getpid(), 9)", "killed")):
        payload = json.dumps({"look": look})
        answer = json.load(client.invoke(FunctionName=function.name, Payload=payload)["Payload"])
        assert answer["errorType"] == "Runtime.ExitError"
        assert answer["errorMessage"].endswith(ending)
    assert function.forked


def test_a_module_that_cannot_be_imported_is_told(emulator: Emulator) -> None:
    function = Function(emulator)
    emulator.client("lambda").update_function_configuration(
        FunctionName=function.name, Handler="nowhere.handler"
    )
    reply = emulator.client("lambda").invoke(FunctionName=function.name, Payload="{}")
    answer = json.load(reply["Payload"])
    assert answer["errorType"] == "Runtime.ImportModuleError"
    assert "No module named 'nowhere'" in answer["errorMessage"]


def _gone(pid: int) -> bool:
    state = Path(f"/proc/{pid}/stat")
    return not state.exists() or state.read_text().rsplit(")", 1)[1].split()[0] == "Z"


def test_an_emulator_that_is_told_to_end_waits_for_no_function(tmp_path: Path) -> None:
    emulator = start_emulator(tmp_path)
    try:
        function = Function(emulator)
        client = emulator.client("lambda")
        client.update_function_configuration(FunctionName=function.name, Timeout=900)
        payload = json.dumps({"look": f"open({str(tmp_path / 'at')!r}, 'w'); time.sleep(900)"})

        def call() -> None:
            with suppress(BotoCoreError):  # it may have no answer
                client.invoke(FunctionName=function.name, Payload=payload)

        caller = threading.Thread(target=call)
        caller.start()
        eventually((tmp_path / "at").exists)
        emulator.process.terminate()
        assert emulator.process.wait(PATIENCE_SECONDS) == 0
        caller.join()
    finally:
        emulator.process.kill()


def test_none_is_left_when_the_emulator_is_killed(tmp_path: Path) -> None:
    emulator = start_emulator(tmp_path)
    try:
        function = Function(emulator)
        worker, zygote = function("answer = [os.getpid(), os.getppid()]")
        # in the middle of something, so that it does not end for want of a next event
        emulator.client("lambda").invoke(
            FunctionName=function.name,
            InvocationType="Event",
            Payload=json.dumps({"look": f"open({str(tmp_path / 'at')!r}, 'w'); time.sleep(600)"}),
        )
        eventually((tmp_path / "at").exists)
    finally:
        emulator.process.kill()
        emulator.process.wait()
    eventually(lambda: _gone(worker) and _gone(zygote))


def test_it_ends_with_the_emulator(tmp_path: Path) -> None:
    emulator = start_emulator(tmp_path)
    worker, zygote = Function(emulator)("answer = [os.getpid(), os.getppid()]")
    emulator.process.send_signal(signal.SIGTERM)
    assert emulator.process.wait(PATIENCE_SECONDS) == 0
    assert not Path(f"/proc/{worker}").exists()
    assert not Path(f"/proc/{zygote}").exists()


def test_ended_workers_are_reaped(emulator: Emulator) -> None:
    function = Function(emulator)
    dead = function("answer = os.getpid()")
    payload = json.dumps({"look": "os._exit(0)"})
    emulator.client("lambda").invoke(FunctionName=function.name, Payload=payload)
    eventually(lambda: not Path(f"/proc/{dead}").exists())
    assert function.forked
