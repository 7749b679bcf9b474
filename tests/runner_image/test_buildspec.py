"""The buildspec's own commands, run with stand-ins for `aws`, `docker` and `curl`."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import tarfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.waiting import PATIENCE_SECONDS

from .conftest import IMAGE, Machine

REGISTRY = "123456789012.dkr.ecr.eu-west-1.amazonaws.com"
REPOSITORY = f"{REGISTRY}/fleet/runners"
BASE = "public.ecr.aws/docker/library/node:20-bookworm"
DIGEST = "sha256:" + "b" * 64
RECIPE = {
    "variant": "base",
    "apt_packages": [],
    "pip_packages": [],
    "build_args": {},
    "own_build_args": {},
    "own_base": "",
    "own": False,
    "soci": False,
}
RECIPE_DIGEST = "d" * 64
# what `docker buildx bake` reads from its environment
BAKED = [
    "BASE_IMAGE",
    "BASE_NAME",
    "BASE_DIGEST",
    "RUNNER_VERSION",
    "RUNNER_SHA256",
    "PLATFORM",
    "VARIANT",
    "APT_PACKAGES",
    "PIP_PACKAGES",
    "OWN",
    "IMAGE",
    "CACHE",
]
# one write a call: those of a pipe run side by side
RECORD = """printf '%s\\0' "{0}" "$@" $'\\1' >> "$HOME/calls"\n"""
DOCKER = (
    RECORD.format("docker")
    + """
# REFUSALS has, for a word, how often a registry still refuses: by a file each
refuse() {
  for refusal in $REFUSALS; do
    [[ $refusal == "$1":* ]] || continue
    [[ $(cat "$HOME/refused.$1" 2>/dev/null | wc -c) -lt ${refusal#*:} ]] || continue
    printf x >> "$HOME/refused.$1"
    echo "ERROR: unexpected status from HEAD request: 429 Too Many Requests" >&2
    exit 1
  done
}
case "$1 $2 $3" in
  login*) cat > "$HOME/password"; [[ -z $ANONYMOUS || "${!#}" != public.ecr.aws ]] ;;
  import*) cat > "$HOME/buildkit.tar" ;;
  "buildx imagetools inspect") refuse imagetools; printf '%s' "$MANIFEST" ;;
  "buildx bake "*)
    for name in """
    + " ".join(BAKED)
    + """; do printf '%s\\0' "${!name-unset}"; done > "$HOME/baked"
    target="${!#}"
    refuse "$target"
    [[ " $FAILING " != *" $target "* ]] || printf '%b' "$SAID" >&2
    [[ " $FAILING " != *" $target "* ]] || { [[ -z $ELSEWHERE ]] || touch "$HOME/in_ecr"; exit 1; }
    if [[ $target == layout ]]; then
      mkdir -p layout/blobs/sha256
      echo '{"manifests": [{"digest": "sha256:m"}]}' > layout/index.json
      layers='{"layers": [{"size": 1}, {"size": %d}]}'
      printf "$layers" "$((LAYER_BYTES - 1))" > layout/blobs/sha256/m
    fi ;;
  run*) [[ " $FAILING " != *" smoke "* ]] ;;
esac
"""
)
AWS = (
    RECORD.format("aws")
    + """
[[ $2 != describe-images ]] || { [[ -e "$HOME/in_ecr" ]]; exit; }
echo secret-password
"""
)
CURL = (
    RECORD.format("curl")
    + """
url="${!#}"
while [[ $1 != --output ]]; do shift; done
archive=tools
[[ $url != */moby/buildkit/* ]] || archive=buildkit
cp "$HOME/$archive.tar.gz" "$2"
"""
)
# the real one, but for archives, of which there are none here
CHECKSUMS = """
if [[ $1 == --check && -n $TRUSTING ]]; then cat >> "$HOME/checked"; exit; fi
exec {real} "$@"
"""


@dataclass
class Build:
    """What is built, and what stands in the way."""

    base: str = BASE
    architecture: str = "X86_64"
    recipe: dict[str, Any] = field(default_factory=dict)
    recipe_digest: str = RECIPE_DIGEST
    images_of: str = ""
    manifest: str = json.dumps({"digest": DIGEST, "manifests": [{"digest": "sha256:child"}]})
    exists: bool = False
    failing: str = ""
    pushed_elsewhere: bool = False
    layer_bytes: int = 1000
    trusting: bool = True
    missing: str = ""
    refusals: str = ""
    anonymous: bool = False
    said: str = ""


@dataclass
class Built:
    """How it went."""

    status: int
    log: str
    calls: list[list[str]]
    exported: dict[str, str]
    baked: dict[str, str]
    home: Path

    @property
    def logins(self) -> list[tuple[str, str]]:
        """Registries, and the regions that the passwords are of."""
        hosts = [call[-1] for call in self.calls if call[:2] == ["docker", "login"]]
        regions = [call[-1] for call in self.calls if call[2:3] == ["get-login-password"]]
        return list(zip(hosts, regions, strict=True))

    @property
    def done(self) -> list[str]:
        """The commands by their first words; a bake by its target."""
        return [
            f"bake {call[-1]}" if call[1:3] == ["buildx", "bake"] else " ".join(call[:3])
            for call in self.calls
        ]


def build(machine: Machine, what: Build) -> Built:
    source, home = machine.home / "source", machine.home
    shutil.copytree(IMAGE, source, ignore=shutil.ignore_patterns("__pycache__"))
    (source / "recipes" / RECIPE_DIGEST).mkdir(parents=True)
    (source / "recipes" / RECIPE_DIGEST / "recipe.json").write_text(
        json.dumps(RECIPE | what.recipe)
    )
    (source / "recipes" / ("e" * 64)).mkdir()
    machine.put("aws", AWS)
    machine.put("docker", DOCKER)
    machine.put("curl", CURL)
    machine.put("sha256sum", CHECKSUMS.format(real=shutil.which("sha256sum")))
    tools = home / "tools"
    tools.mkdir()
    machine.script(tools / "soci", RECORD.format("soci"))
    crane = RECORD.format("crane") + '[[ " $FAILING " != *" crane "* ]]'
    machine.script(tools / "crane", crane)
    subprocess.run(["tar", "-czf", home / "tools.tar.gz", "-C", tools, "soci", "crane"], check=True)
    (home / "released" / "bin").mkdir(parents=True)
    for name in ("buildkitd", "buildctl", "buildkit-runc"):
        (home / "released" / "bin" / name).write_text("#!/bin/sh\n")
    released = ["-C", home / "released", "bin"]
    subprocess.run(["tar", "-czf", home / "buildkit.tar.gz", *released], check=True)
    (home / "certificates").write_text("of all who are trusted")
    machine.put("sleep", RECORD.format("sleep"))
    if what.exists:
        (home / "in_ecr").touch()
    variables = {
        "BASE_IMAGE": what.base,
        "IMAGE_TAG": "node-20-bookworm-0123456789ab",
        "RUNNER_VERSION": "2.338.0",
        "RUNNER_SHA256": "c" * 64,
        "RUNNER_REPOSITORY_URL": REPOSITORY,
        "RECIPE_DIGEST": what.recipe_digest,
        "IMAGES_OF": what.images_of,
        "ARCHITECTURE": what.architecture,
    }
    variables.pop(what.missing, None)
    spec = yaml.safe_load((IMAGE / "buildspec.yml").read_text(encoding="utf-8"))
    assert spec["env"]["shell"] == "bash"
    # each command counts, as in CodeBuild, and its variables are exported from the same shell
    commands = " && ".join(f"{{ {c}\n}}" for c in spec["phases"]["build"]["commands"])
    names = spec["env"]["exported-variables"]
    shown = "".join(f'printf "%s\\0" "${{{name}-}}" >> "$HOME/exported"\n' for name in names)
    ended = subprocess.run(
        ["bash", "-c", f"{commands}\nstatus=$?\n{shown}exit $status"],
        env=machine.environment(
            **variables,
            MANIFEST=what.manifest,
            FAILING=what.failing,
            ELSEWHERE="yes" if what.pushed_elsewhere else "",
            LAYER_BYTES=str(what.layer_bytes),
            TRUSTING="yes" if what.trusting else "",
            REFUSALS=what.refusals,
            SAID=what.said,
            ANONYMOUS="yes" if what.anonymous else "",
            SSL_CERT_FILE=str(home / "certificates"),
        ),
        cwd=source,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    calls = _read(home / "calls").split("\x01\0")
    return Built(
        status=ended.returncode,
        log=ended.stdout + ended.stderr,
        calls=[call.split("\0")[:-1] for call in calls if call],
        exported=dict(zip(names, _read(home / "exported").split("\0")[:-1], strict=True)),
        baked=dict(zip(BAKED, _read(home / "baked").split("\0"), strict=False)),
        home=home,
    )


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""


def content_tag(base: str = BASE, architecture: str = "X86_64", recipe: str = RECIPE_DIGEST) -> str:
    parts = (base, DIGEST, recipe, "2.338.0", architecture)
    return "node-20-bookworm-" + hashlib.sha256("\n".join(parts).encode()).hexdigest()[:24]


def test_it_builds_tries_and_pushes_what_the_base_is_now(machine: Machine) -> None:
    built = build(machine, Build())
    assert built.status == 0, built.log
    # the two of a pipe each
    assert sorted(built.done[:2]) == ["aws ecr get-login-password", "docker login --username"]
    assert sorted(built.done[2:4]) == [
        "aws ecr-public get-login-password",
        "docker login --username",
    ]
    assert built.done[4:] == [
        "docker buildx imagetools",
        "aws ecr describe-images",
        "curl --fail --silent",
        "docker import --change",
        "docker buildx create",
        "bake loaded",
        "docker run --rm",
        "bake pushed",
    ]
    assert _read(built.home / "password") == "secret-password\n"
    assert built.exported == {"CONTENT_TAG": content_tag(), "BASE_DIGEST": DIGEST}
    assert built.baked["BASE_IMAGE"] == f"{BASE}@{DIGEST}"
    assert built.baked["BASE_NAME"] == BASE
    assert built.baked["IMAGE"] == f"{REPOSITORY}:{content_tag()}"
    of_base = hashlib.sha256(BASE.encode()).hexdigest()[:24]
    assert built.baked["CACHE"] == f"{REPOSITORY}:cache.{of_base}.X86_64"
    assert built.baked["PLATFORM"] == "linux/amd64"
    assert built.baked["RUNNER_VERSION"] == "2.338.0"
    assert built.baked["RUNNER_SHA256"] == "c" * 64
    assert (built.baked["VARIANT"], built.baked["OWN"]) == ("base", "off")
    [tried] = [call for call in built.calls if call[:2] == ["docker", "run"]]
    assert tried[-2:] == [built.baked["IMAGE"], "--smoke"]
    assert built.logins == [(REGISTRY, "eu-west-1"), ("public.ecr.aws", "us-east-1")]
    [asked] = [call for call in built.calls if call[:3] == ["aws", "ecr", "describe-images"]]
    assert asked[3:9] == [
        *("--region", "eu-west-1", "--registry-id", "123456789012"),
        *("--repository-name", "fleet/runners"),
    ]


def test_an_image_of_a_shared_repository_has_a_tag_of_its_own_fleet(machine: Machine) -> None:
    built = build(machine, Build(images_of="arn:stack/c8addr"))
    assert built.exported["CONTENT_TAG"] == content_tag(recipe=f"{RECIPE_DIGEST}/arn:stack/c8addr")


def test_a_build_has_its_own_recipe_and_no_other_images(machine: Machine) -> None:
    built = build(machine, Build(recipe={"variant": "node"}))
    assert built.baked["VARIANT"] == "node"
    assert (built.home / "source" / "recipe.json").is_file()
    assert not (built.home / "source" / "recipes").exists()


@pytest.mark.parametrize("recipe_digest", ["f" * 64, "..", "dd"])
def test_a_recipe_that_is_not_there_is_said_so(machine: Machine, recipe_digest: str) -> None:
    built = build(machine, Build(recipe_digest=recipe_digest))
    assert built.status == 1
    assert f"there is no recipe {recipe_digest}: a deployment has come since" in built.log
    assert built.calls == []


def test_buildkit_is_its_projects_release_and_checked(machine: Machine) -> None:
    built = build(machine, Build())
    [builder] = [call for call in built.calls if call[:3] == ["docker", "buildx", "create"]]
    [imported] = [call for call in built.calls if call[:2] == ["docker", "import"]]
    # a name that no registry on the internet has
    assert imported[-1] == "localhost/fleet-buildkit"
    assert f"image={imported[-1]}" in builder
    assert 'ENTRYPOINT ["buildkitd"]' in imported
    with tarfile.open(built.home / "buildkit.tar") as tar:
        held = {name.removeprefix("./") for name in tar.getnames()}
        ca = tar.extractfile("./etc/ssl/certs/ca-certificates.crt")
        assert ca is not None
        assert ca.read() == b"of all who are trusted"
    assert {"bin/buildkitd", "bin/buildctl", "bin/buildkit-runc", "tmp"} <= held
    [checked] = _read(built.home / "checked").splitlines()
    assert checked.startswith("4e044bcd62a0")
    [loaded] = [call[-1] for call in built.calls if call[0] == "curl"]
    assert loaded.endswith(
        "/moby/buildkit/releases/download/v0.33.1/buildkit-v0.33.1.linux-amd64.tar.gz"
    )


def test_a_buildkit_that_is_not_the_one_is_never_run(machine: Machine) -> None:
    built = build(machine, Build(trusting=False))
    assert built.status not in (0, 75)
    assert "docker import --change" not in built.done
    assert "docker buildx create" not in built.done


def test_nothing_privileged_comes_from_a_tag_that_may_change() -> None:
    script = (IMAGE / "build_image.sh").read_text(encoding="utf-8")
    assert "image=$BUILDKIT" in script
    assert "vend/" not in script


@pytest.mark.parametrize("at", ["imagetools", "loaded", "pushed"])
def test_a_registry_that_is_asked_too_often_is_asked_again_later(at: str, machine: Machine) -> None:
    built = build(machine, Build(refusals=f"{at}:2"))
    assert built.status == 0, built.log
    assert [call[1:] for call in built.calls if call[0] == "sleep"] == [["5"], ["20"]]
    assert built.exported["CONTENT_TAG"] == content_tag()


@pytest.mark.parametrize("at", ["imagetools", "loaded", "pushed"])
def test_a_registry_that_stays_so_is_told_from_a_base_that_is_not_there(
    at: str, machine: Machine
) -> None:
    built = build(machine, Build(refusals=f"{at}:9"))
    assert built.status == 75
    assert "fleet: a registry is asked too often, for minutes" in built.log
    assert "the base image cannot be read" not in built.log
    assert [call[1] for call in built.calls if call[0] == "sleep"] == ["5", "20", "60"]


@pytest.mark.parametrize(
    "said",
    [
        "#8 0.123 ERROR: 429 Too Many Requests\\n",
        "0.123 toomanyrequests\\n",
        'ERROR: failed to solve: process "/bin/sh -c echo 429 Too Many Requests; false" did not '
        "complete successfully: exit code: 1\\n",
    ],
)
def test_a_base_cannot_say_that_a_registry_is_asked_too_often(said: str, machine: Machine) -> None:
    built = build(machine, Build(failing="loaded", said=said))
    assert said.removesuffix("\\n") in built.log
    assert built.status not in (0, 75)
    assert not [call for call in built.calls if call[0] == "sleep"]


def test_other_trouble_is_not_waited_for(machine: Machine) -> None:
    built = build(machine, Build(failing="loaded"))
    assert built.status not in (0, 75)
    assert not [call for call in built.calls if call[0] == "sleep"]


def test_without_a_login_at_the_public_registry_it_pulls_as_anybody(machine: Machine) -> None:
    built = build(machine, Build(anonymous=True))
    assert built.status == 0, built.log
    assert "no login at public.ecr.aws" in built.log


@pytest.mark.parametrize(
    ("base", "logins"),
    [
        (f"{REGISTRY}/team/base:1", []),
        (
            "210987654321.dkr.ecr.us-east-2.amazonaws.com/team/base:1",
            [("210987654321.dkr.ecr.us-east-2.amazonaws.com", "us-east-2")],
        ),
        ("ghcr.io/210987654321.dkr.ecr.us-east-2.amazonaws.com/base:1", []),
        # nobody else's host gets the password
        ("210987654321.dkr.ecr.us-east-2.amazonaws.com.example.com/team/base:1", []),
        ("210987654321.dkr.ecr.us-east-2.example.com/amazonaws.com/base:1", []),
    ],
)
def test_another_accounts_registry_gets_a_login_of_its_own(
    base: str, logins: list[tuple[str, str]], machine: Machine
) -> None:
    built = build(machine, Build(base=base))
    assert built.status == 0, built.log
    both = [(REGISTRY, "eu-west-1"), *logins, ("public.ecr.aws", "us-east-1")]
    assert built.logins == both


def test_whatever_bake_reads_is_set(machine: Machine) -> None:
    bake_file = (IMAGE / "docker-bake.hcl").read_text(encoding="utf-8")
    read = {line.split('"')[1] for line in bake_file.splitlines() if line.startswith("variable")}
    assert read - {"CACHE_TO"} == set(BAKED)
    built = build(machine, Build())
    assert "unset" not in built.baked.values()


def test_the_other_architecture_is_another_image(machine: Machine) -> None:
    built = build(machine, Build(architecture="ARM64"))
    assert built.status == 0, built.log
    assert built.baked["PLATFORM"] == "linux/arm64"
    assert built.exported["CONTENT_TAG"] == content_tag(architecture="ARM64")
    assert built.exported["CONTENT_TAG"] != content_tag()


def test_an_image_that_exists_is_not_built_again(machine: Machine) -> None:
    built = build(machine, Build(exists=True))
    assert built.status == 0, built.log
    assert built.done[-1] == "aws ecr describe-images"
    assert "bake loaded" not in built.done
    assert built.exported == {"CONTENT_TAG": content_tag(), "BASE_DIGEST": DIGEST}


def test_a_base_with_a_digest_of_its_own_keeps_it(machine: Machine) -> None:
    built = build(machine, Build(base=f"{BASE}@{DIGEST}"))
    assert built.baked["BASE_IMAGE"] == f"{BASE}@{DIGEST}"
    assert built.baked["BASE_NAME"] == f"{BASE}@{DIGEST}"


@pytest.mark.parametrize("manifest", ["", "no JSON", "{}", '{"digest": "latest; touch pwned"}'])
def test_a_base_without_a_digest_is_a_clear_error(manifest: str, machine: Machine) -> None:
    built = build(machine, Build(manifest=manifest))
    assert built.status != 0
    assert "fleet: the base image" in built.log
    assert built.exported == {"CONTENT_TAG": "", "BASE_DIGEST": ""}
    assert "docker buildx create" not in built.done


@pytest.mark.parametrize(
    "base",
    [
        'x"; touch pwned; $(touch pwned) `touch pwned` --push \n',
        "--help",
        "x${touch pwned}%{if true}' ; touch pwned #",
        "*",
    ],
)
def test_a_hostile_base_is_one_value(base: str, machine: Machine) -> None:
    built = build(machine, Build(base=base, recipe={"soci": True, "own": True}, layer_bytes=10**9))
    assert built.status == 0, built.log
    [asked] = [call for call in built.calls if call[:3] == ["docker", "buildx", "imagetools"]]
    assert asked[-2:] == ["--", base]
    assert built.baked["BASE_IMAGE"] == f"{base}@{DIGEST}"
    assert built.baked["BASE_NAME"] == base
    # nowhere else
    for call in built.calls:
        if call is not asked:
            assert not [word for word in call if base in word], call
    assert not list(built.home.rglob("pwned"))


def test_the_recipe_reaches_bake(machine: Machine) -> None:
    recipe = {
        "variant": "full",
        "apt_packages": ["jq", "libpq-dev"],
        "pip_packages": ["requests", "awscli>=1,<2"],
        "build_args": {"RUNNER_ARCHIVE_URL": "https://m/r=1"},
        "own_build_args": {"A": "x y"},
        "own": True,
    }
    built = build(machine, Build(recipe=recipe))
    assert built.status == 0, built.log
    assert (built.baked["VARIANT"], built.baked["OWN"]) == ("full", "on")
    assert built.baked["APT_PACKAGES"] == "jq libpq-dev"
    assert built.baked["PIP_PACKAGES"] == "requests\nawscli>=1,<2"
    bakes = [call for call in built.calls if call[1:3] == ["buildx", "bake"]]
    assert len(bakes) == 2
    for call in bakes:
        assert call[3:-1] == [
            "--file",
            "docker-bake.hcl",
            "--set",
            "*.args.RUNNER_ARCHIVE_URL=https://m/r=1",
            "--set",
            "*.args.A=x y",
        ]


@pytest.mark.parametrize(
    ("own_base", "is_for_own"),
    [
        (BASE, True),
        ("", True),  # for all bases
        ("public.ecr.aws/docker/library/ubuntu:24.04", False),
        (f"{BASE}@{DIGEST}", False),
    ],
)
def test_what_is_the_deployers_own_is_for_its_own_base(
    own_base: str, is_for_own: bool, machine: Machine
) -> None:
    recipe = {
        "own": True,
        "own_base": own_base,
        "build_args": {"HTTPS_PROXY": "https://proxy"},
        "own_build_args": {"HOUSE": "ours"},
    }
    built = build(machine, Build(recipe=recipe))
    assert built.status == 0, built.log
    assert built.baked["OWN"] == ("on" if is_for_own else "off")
    bakes = [call for call in built.calls if call[1:3] == ["buildx", "bake"]]
    assert len(bakes) == 2
    for call in bakes:
        assert "*.args.HTTPS_PROXY=https://proxy" in call
        assert ("*.args.HOUSE=ours" in call) is is_for_own


def test_bases_with_one_readable_name_have_caches_of_their_own(machine: Machine) -> None:
    evil = build(machine, Build(base=f"ghcr.io/evil/default@{DIGEST}"))
    of_base = hashlib.sha256(evil.baked["BASE_NAME"].encode()).hexdigest()[:24]
    # BuildKit takes tags of 128 characters, and the repository lets no other tag change
    assert evil.baked["CACHE"] == f"{REPOSITORY}:cache.{of_base}.X86_64"
    assert "node-20-bookworm" not in evil.baked["CACHE"]


@pytest.mark.parametrize("failing", ["loaded", "smoke"])
def test_an_image_that_does_not_build_or_run_is_not_pushed(failing: str, machine: Machine) -> None:
    built = build(machine, Build(failing=failing))
    assert built.status != 0
    assert "bake pushed" not in built.done
    if failing == "smoke":
        assert "does not pass its smoke run" in built.log


def test_a_push_that_fails_is_an_error(machine: Machine) -> None:
    built = build(machine, Build(failing="pushed"))
    assert built.status != 0
    assert "fleet: the image was not pushed" in built.log


def test_a_push_that_another_build_was_ahead_of_is_done(machine: Machine) -> None:
    built = build(machine, Build(failing="pushed", pushed_elsewhere=True))
    assert built.status == 0, built.log
    assert built.exported["CONTENT_TAG"] == content_tag()


def test_a_large_image_gets_a_soci_index(machine: Machine) -> None:
    built = build(machine, Build(recipe={"soci": True}, layer_bytes=250_000_000))
    assert built.status == 0, built.log
    assert built.done[-6:] == [
        "docker run --rm",
        "bake layout",
        "curl --fail --silent",
        "curl --fail --silent",
        "soci convert --standalone",
        "crane push soci-layout",
    ]
    assert built.calls[-2][1:] == [
        "convert",
        "--standalone",
        "--format",
        "oci-dir",
        "layout",
        "soci-layout",
    ]
    assert built.calls[-1][-1] == f"{REPOSITORY}:{content_tag()}"


@pytest.mark.parametrize(
    ("architecture", "soci", "crane"),
    [
        (
            "X86_64",
            ("8951d87d6d17", "soci-snapshotter-0.13.0-linux-amd64.tar.gz"),
            ("1a57bc98207f", "go-containerregistry_Linux_x86_64.tar.gz"),
        ),
        (
            "ARM64",
            ("dab5117cc50b", "soci-snapshotter-0.13.0-linux-arm64.tar.gz"),
            ("b6ee979d9411", "go-containerregistry_Linux_arm64.tar.gz"),
        ),
    ],
)
def test_the_tools_are_those_of_the_architecture_and_checked(
    architecture: str, soci: tuple[str, str], crane: tuple[str, str], machine: Machine
) -> None:
    what = Build(architecture=architecture, recipe={"soci": True}, layer_bytes=10**9)
    built = build(machine, what)
    # BuildKit is the first
    sums = _read(built.home / "checked").splitlines()[1:]
    loaded = [call[-1] for call in built.calls if call[0] == "curl"][1:]
    assert len(sums) == len(loaded) == 2
    for checked, url, (checksum, name) in zip(sums, loaded, (soci, crane), strict=True):
        assert checked.startswith(checksum)
        assert url.endswith("/" + name)


def test_a_tool_that_is_not_the_one_is_never_run(machine: Machine) -> None:
    what = Build(recipe={"soci": True}, layer_bytes=10**9, trusting=False)
    built = build(machine, what)
    assert built.status != 0
    assert not [call for call in built.calls if call[0] in ("soci", "crane")]


def test_a_small_image_gets_none(machine: Machine) -> None:
    built = build(machine, Build(recipe={"soci": True}, layer_bytes=249_999_999))
    assert built.status == 0, built.log
    assert built.done[-2:] == ["bake layout", "bake pushed"]
    assert "no SOCI index: the image has 249999999 bytes" in built.log


def test_a_push_of_the_index_that_fails_is_an_error(machine: Machine) -> None:
    what = Build(recipe={"soci": True}, layer_bytes=10**9, failing="crane")
    assert build(machine, what).status != 0


@pytest.mark.parametrize("missing", ["BASE_IMAGE", "RUNNER_SHA256", "RECIPE_DIGEST"])
def test_what_is_not_set_is_said(missing: str, machine: Machine) -> None:
    built = build(machine, Build(missing=missing))
    assert built.status != 0
    assert f"{missing} is not set" in built.log
    assert built.calls == []
