"""The buildspec's own commands, run with stand-ins for `aws` and `docker`."""

from __future__ import annotations

import subprocess

import yaml

from .conftest import IMAGE, Machine

REPOSITORY = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/fleet/runners"
# one write a call: those of a pipe run side by side
RECORD = """printf '%s\\0' "{0}" "$@" $'\\1' >> "$HOME/calls"\n"""


def build(
    machine: Machine, *, exists: bool, base: str = "public.ecr.aws/x:1"
) -> tuple[int, list[list[str]]]:
    answer = "[[ $2 == describe-images ]] && exit " + ("0" if exists else "254")
    machine.put("aws", RECORD.format("aws") + answer + "\necho secret-password")
    machine.put("docker", RECORD.format("docker") + '[[ $1 != login ]] || cat > "$HOME/password"')
    spec = yaml.safe_load((IMAGE / "buildspec.yml").read_text(encoding="utf-8"))
    assert spec["env"]["shell"] == "bash"
    done = subprocess.run(
        ["bash", "-c", "\n".join(spec["phases"]["build"]["commands"])],
        env=machine.environment(
            BASE_IMAGE=base,
            IMAGE_TAG="x-0123456789ab",
            RUNNER_REPOSITORY_URL=REPOSITORY,
            AWS_REGION="eu-west-1",
        ),
        cwd=machine.home,
        capture_output=True,
        timeout=20,
        check=False,
    )
    calls = (machine.home / "calls").read_text(encoding="utf-8").split("\x01\0")
    return done.returncode, [call.split("\0")[:-1] for call in calls if call]


def test_it_builds_and_pushes_the_tag(machine: Machine) -> None:
    status, calls = build(machine, exists=False)
    assert status == 0
    image = f"{REPOSITORY}:x-0123456789ab"
    assert [call[:2] for call in calls if call[0] == "docker"] == [
        ["docker", "login"],
        ["docker", "build"],
        ["docker", "push"],
    ]
    assert calls[-1] == ["docker", "push", image]
    assert (machine.home / "password").read_text(encoding="utf-8") == "secret-password\n"
    assert [
        "docker",
        "login",
        "--username",
        "AWS",
        "--password-stdin",
        REPOSITORY.partition("/")[0],
    ] in calls
    assert "fleet/runners" in calls[0]


def test_a_tag_that_exists_is_not_built_again(machine: Machine) -> None:
    status, calls = build(machine, exists=True)
    assert status == 0
    assert [call[:3] for call in calls] == [["aws", "ecr", "describe-images"]]


def test_a_hostile_base_is_one_argument(machine: Machine) -> None:
    base = 'x"; touch pwned; $(touch pwned) `touch pwned` --push \n'
    status, calls = build(machine, exists=False, base=base)
    assert status == 0
    (built,) = [call for call in calls if call[1] == "build"]
    assert f"BASE_IMAGE={base}" in built
    assert not (machine.home / "pwned").exists()


def test_a_build_that_fails_is_not_pushed(machine: Machine) -> None:
    spec_docker = RECORD.format("docker") + "cat > /dev/null; [[ $1 != build ]]"
    machine.put("aws", RECORD.format("aws") + "[[ $2 != describe-images ]]")
    machine.put("docker", spec_docker)
    spec = yaml.safe_load((IMAGE / "buildspec.yml").read_text(encoding="utf-8"))
    done = subprocess.run(
        ["bash", "-c", "\n".join(spec["phases"]["build"]["commands"])],
        env=machine.environment(
            BASE_IMAGE="b", IMAGE_TAG="t", RUNNER_REPOSITORY_URL=REPOSITORY, AWS_REGION="r"
        ),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=20,
        check=False,
    )
    assert done.returncode != 0
    assert "push" not in (machine.home / "calls").read_text(encoding="utf-8")
