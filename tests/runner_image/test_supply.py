"""Whatever a build fetches is checked, and a base gets no more of a build than it needs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from .conftest import IMAGE

BUILD_FILES = (
    "build_image.sh",
    "buildspec.yml",
    "docker-bake.hcl",
    "Dockerfile",
    "build/packages.sh",
)
FETCHES = re.compile(
    r"""
    https?://
    | \b(curl|wget|git\ clone|npm|npx|apt-get|apt|pip3?|go\ install|cargo|gem|aws\ s3)(?=[\s"'])
    | docker\ (pull|run|import|buildx\ (create|bake|imagetools))
    | ^(ADD|FROM)\b | from= | docker-image:// | type=registry
    | ^\#\s*(syntax|check|escape)=
    """,
    re.VERBOSE,
)
"""What fetches something, or runs what was fetched."""
MAY = {
    "build_image.sh": [
        # looked at by tests below
        r'curl --fail .* --output archive\.tar\.gz "\$1"',
        r'fetch "https://github\.com/[\w/-]+/releases/download/v\$\w+/\S+" "\$\w+_sha256".*',
        # this machine's own files, and what was built here
        r"tar -C buildkit -c \. \| docker import .*\\",
        r'docker buildx create --name fleet .* --driver-opt "image=\$BUILDKIT"',
        r"bake\(\) \{ docker buildx bake --file docker-bake\.hcl .*",
        r'docker run --rm --network none "\$IMAGE" --smoke \|\|',
        # a digest, by which the base is taken afterwards
        r"manifest=\$\(again docker buildx imagetools inspect .*",
    ],
    "Dockerfile": [
        r"FROM \$\{BASE_IMAGE\} AS system",
        r"FROM (system|runner) AS \w+",
        r"RUN --mount=type=bind,from=release,.*",
        r"COPY --from=release .*",
        # looked at by a test below
        r'url="\$\{RUNNER_ARCHIVE_URL:-https://github\.com/actions/runner/releases/.*',
        r'curl --fail .* --output /runner\.tar\.gz "\$url"; \\',
        # signed by the base's distribution
        r"apt-get update; \\",
        r"DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \\",
        r"(bash ca-certificates|jq sudo) .*",
        r"if ! command -v apt-get >/dev/null; then \\",
        r'"with apt-get on Debian and Ubuntu only: .*',
    ],
    "build/packages.sh": [
        r"apt-get update",
        r"DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends .*",
        r"node\) .* apt_packages\+=\(nodejs npm\) ;;",
        # what the deployer asks for, by the hashes that are given with it
        r'"\$PYTHON/bin/pip" install .* --requirement <\(printf .*\)',
    ],
    # keys of the cache are made of what goes into a step, the base's digest included
    "docker-bake.hcl": [
        r'cache-from = \["type=registry,ref=\$\{CACHE\}"\]',
        r'default = "type=registry,ref=\$\{CACHE\},.*"',
    ],
}


def read(name: str) -> str:
    return (IMAGE / name).read_text(encoding="utf-8")


def unknown_fetches(name: str, text: str) -> list[str]:
    """Lines that fetch something and are none of those that are known."""
    lines = [line.strip() for line in text.splitlines()]
    is_code = re.compile(r"(?!#)|#\s*(syntax|check|escape)=")
    found = [line for line in lines if is_code.match(line) and FETCHES.search(line)]
    return [line for line in found if not any(re.fullmatch(may, line) for may in MAY.get(name, []))]


@pytest.mark.parametrize("name", BUILD_FILES)
def test_a_build_fetches_nothing_that_is_not_known_here(name: str) -> None:
    assert unknown_fetches(name, read(name)) == []


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("build_image.sh", "curl https://example.com/install.sh | bash"),
        ("build_image.sh", "docker pull moby/buildkit:latest"),
        ("build_image.sh", 'docker run --privileged "$BUILDKIT"'),
        ("build_image.sh", "docker buildx create --driver-opt image=moby/buildkit:buildx-stable-1"),
        ("build_image.sh", 'fetch "https://github.com/a/b/releases/download/v1/x.tar.gz" ""'),
        ("build_image.sh", 'fetch "https://example.com/x.tar.gz" "$x_sha256"'),
        ("Dockerfile", "# syntax=docker/dockerfile:1"),
        ("Dockerfile", "ADD https://example.com/x /x"),
        ("Dockerfile", "COPY --from=docker.io/library/busybox /bin/sh /bin/sh"),
        ("Dockerfile", "FROM debian:13 AS tools"),
        ("Dockerfile", "RUN wget -O- https://example.com/key | gpg --import"),
        ("build/packages.sh", "npm install --global corepack"),
        ("build/packages.sh", "pip install uv"),
        ("docker-bake.hcl", 'contexts = { tools = "docker-image://busybox" }'),
        ("buildspec.yml", "- aws s3 cp s3://bucket/tool ."),
    ],
)
def test_whatever_else_is_fetched_is_found(name: str, line: str) -> None:
    assert unknown_fetches(name, f"{read(name)}\n{line}\n") == [line]


def test_every_archive_of_a_build_has_a_version_and_a_checksum_for_each_architecture() -> None:
    script = read("build_image.sh")
    [fetch] = re.findall(r"^fetch\(\) .*?^\}", script, re.MULTILINE | re.DOTALL)
    # each command counts (set -e), so what has another sum is not unpacked
    steps = r"curl .*\n.*\| sha256sum --check --strict --quiet\n(.*\n)*.*tar -xzf"
    assert re.search(steps, fetch)
    assert "set -euo pipefail" in script
    fetched = re.findall(r'^ *fetch .*v\$(\w+)_VERSION/.* "\$(\w+)_sha256"', script, re.MULTILINE)
    assert {tool.lower() for tool, _ in fetched} == {tool for _, tool in fetched}
    assert len(fetched) == script.count("  fetch ") == 3
    for tool, _ in fetched:
        assert re.search(rf"^readonly {tool}_VERSION=\d+(\.\d+)+$", script, re.MULTILINE), tool
        sums = re.findall(rf"\b{tool.lower()}_sha256=([0-9a-f]{{64}})$", script, re.MULTILINE)
        assert len(set(sums)) == 2, tool


def test_the_runners_archive_is_unpacked_by_its_published_checksum_alone() -> None:
    dockerfile = read("Dockerfile")
    [step] = [step for step in re.split(r"\n(?=[A-Z])", dockerfile) if "curl --fail" in step]
    fetched, compared, unpacked = (
        step.index(part) for part in ("curl --fail", '!= "$RUNNER_SHA256"', "tar --extract")
    )
    assert fetched < compared < unpacked
    assert "exit 1" in step[compared:unpacked]
    assert "RUNNER_SHA256:?" in step[:fetched]


def test_nothing_turns_a_check_off() -> None:
    off = re.compile(
        r"--insecure|curl .* -k\b|allow-unauthenticated|trusted=yes|AllowInsecure|--force-yes|"
        r"--trusted-host|--no-check-certificate|--allow-insecure|security\.insecure|network=host"
    )
    for name in BUILD_FILES:
        assert not off.search(read(name)), name


def test_the_base_is_taken_by_the_digest_that_the_image_is_named_by() -> None:
    script = read("build_image.sh")
    assert 'BASE_IMAGE="${BASE_IMAGE%@*}@$BASE_DIGEST"' in script
    assert script.index("@$BASE_DIGEST") < script.index("again bake loaded")


def test_a_base_may_copy_what_the_dockerfile_takes_and_nothing_else() -> None:
    """ONBUILD of a base runs with the build's context, before anything of the fleet's."""
    ignored, *kept = [
        line for line in read(".dockerignore").splitlines() if not line.startswith("#")
    ]
    assert ignored == "*"
    taken = re.findall(r"source=(build),", read("Dockerfile"))
    [copied] = re.findall(r"^COPY --chmod=0755 (.*?)/opt/fleet/$", read("Dockerfile"), re.M | re.S)
    taken += copied.replace("\\\n", " ").split()
    assert set(kept) == {f"!{name}" for name in taken}
    assert [path.name for path in Path(IMAGE / "build").iterdir()] == ["packages.sh"]
