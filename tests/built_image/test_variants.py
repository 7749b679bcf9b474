"""What is in each variant, and what is not."""

from __future__ import annotations

import json
import tarfile
import zipfile
from pathlib import Path

import pytest

from .conftest import BASE, VARIANTS, VERSION, Workshop, buildah, figure


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_variant_passes_its_smoke_run(
    workshop: Workshop, images: dict[str, str], variant: str
) -> None:
    said = workshop.run(images[variant], "/opt/fleet/entrypoint.sh", "--smoke")
    assert said.splitlines() == [f"runner {VERSION}", f"capabilities {VARIANTS[variant]}"]


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_variant_is_told_by_its_configuration(
    workshop: Workshop, images: dict[str, str], variant: str
) -> None:
    found = workshop.config(images[variant])["config"]
    assert found["User"] == "1000"
    assert found["WorkingDir"] == "/home/runner"
    assert found["Entrypoint"] == ["/opt/fleet/entrypoint.sh"]
    assert not found.get("Cmd")
    assert found["StopSignal"] == "SIGTERM"
    labels = found["Labels"]
    assert labels["io.github.cdk-runner-fleet.runner-version"] == VERSION
    expected = "localhost/fleet-test/node:1" if variant == "node" else BASE
    assert labels["org.opencontainers.image.base.name"] == expected
    environment = dict(entry.split("=", 1) for entry in found["Env"])
    path = environment.pop("PATH")
    assert path == "/opt/python/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    assert environment == {
        "HOME": "/home/runner",
        "LANG": "C.UTF-8",
        "RUNNER_HOME": "/home/runner",
        "RUNNER_VERSION": VERSION,
        "ACTIONS_RUNNER_HOOK_JOB_STARTED": "/opt/fleet/job_started.sh",
        "ACTIONS_RUNNER_HOOK_JOB_COMPLETED": "/opt/fleet/job_completed.sh",
    }


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_jobs_user_owns_its_home_and_may_become_root(
    workshop: Workshop, images: dict[str, str], variant: str
) -> None:
    said = workshop.run(
        images[variant],
        *(
            "bash",
            "-c",
            "id -un; id -u; sudo -n id -u; stat -c '%U %a' ~ ~/run.sh ~/externals/node24",
        ),
    )
    assert said.split() == ["runner", "1000", "0", *("runner", "755") * 3]


@pytest.mark.parametrize("variant", VARIANTS)
def test_nothing_is_left_of_the_build(
    workshop: Workshop, images: dict[str, str], variant: str
) -> None:
    left = workshop.run(
        images[variant],
        *(
            "bash",
            "-c",
            "sudo find /var/lib/apt/lists /var/cache/apt /var/log/apt /mnt /tmp -type f",
        ),
    )
    assert left == ""
    names = workshop.run(images[variant], "bash", "-c", "ls ~/externals; ls /opt/fleet")
    assert names.split() == [
        *("node20", "node24"),
        *("capabilities.sh", "entrypoint.sh", "heartbeat.sh", "job_completed.sh"),
        *("job_started.sh", "report_event.sh"),
    ]


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_job_reads_and_writes_utf_8(
    workshop: Workshop, images: dict[str, str], variant: str
) -> None:
    said = workshop.run(images[variant], "bash", "-c", "locale charmap; x=äß; echo ${#x}")
    assert said.split() == ["UTF-8", "2"]


def test_a_base_keeps_its_own_language(workshop: Workshop, images: dict[str, str]) -> None:
    container = workshop.container(images["base"])
    buildah("config", "--env", "LANG=C", container)
    buildah("commit", "--quiet", container, "localhost/fleet-test/language:1")
    built = workshop.build("base", base="localhost/fleet-test/language:1")
    assert "LANG=C" in workshop.config(built)["config"]["Env"]


@pytest.mark.parametrize("variant", VARIANTS)
def test_what_actions_ask_for_is_there(
    workshop: Workshop, images: dict[str, str], variant: str
) -> None:
    tools = ("git lfs version", "gpg-agent --version", "gpg --version", "wget --version", "zip -v")
    script = "; ".join((*tools, "lsb_release -si"))
    said = workshop.run(images[variant], "bash", "-euc", script)
    assert "Debian" in said.splitlines()


Layers = list[tuple[int, list[str]]]


@pytest.fixture(scope="module")
def layers(images: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Layers]:
    """Compressed bytes and file names of each variant's layers."""
    folder = tmp_path_factory.mktemp("layers")
    return {variant: layers_of(image, variant, folder) for variant, image in images.items()}


def layers_of(image: str, name: str, folder: Path) -> Layers:
    # into one layout, where a layer that several have is compressed once
    buildah("push", "--quiet", "--compression-format", "gzip", image, f"oci:{folder}:{name}")
    index = json.loads((folder / "index.json").read_text())
    [entry] = [
        each
        for each in index["manifests"]
        if each["annotations"]["org.opencontainers.image.ref.name"] == name
    ]
    blobs = folder / "blobs" / "sha256"
    manifest = json.loads((blobs / entry["digest"].split(":")[1]).read_text())
    found = []
    for layer in manifest["layers"]:
        with tarfile.open(blobs / layer["digest"].split(":")[1]) as tar:
            found.append((layer["size"], [name.removeprefix("./") for name in tar.getnames()]))
    return found


def test_no_layer_has_the_archive_or_a_secret(
    workshop: Workshop, images: dict[str, str], layers: dict[str, Layers]
) -> None:
    listing = [name for _, names in layers["full"] for name in names]
    assert "home/runner/run.sh" in listing
    for unwanted in ("runner.tar.gz", "_alpine", ".credentials", ".fleet-events", "packages.sh"):
        assert not [name for name in listing if unwanted in name], unwanted
    history = json.dumps(workshop.config(images["full"]))
    for secret in ("TOKEN", "PASSWORD", "AWS_SECRET"):
        assert secret not in history


def test_sizes(layers: dict[str, Layers]) -> None:
    figure("compressed size (gzip) of the layers, with a stand-in for actions/runner's archive:")
    total: dict[str, float] = {}
    for variant, found in layers.items():
        sizes = [size / 1e6 for size, names in found if names]
        total[variant] = sum(sizes)
        shown = " + ".join(f"{size:.1f}" for size in sizes if size >= 0.05)
        figure(f"{variant:7}{total[variant]:7.1f} MB = {shown}")
    assert total["base"] < total["python"] < total["full"]


def test_a_job_installs_python_packages_without_root(
    workshop: Workshop, images: dict[str, str]
) -> None:
    script = """
    mkdir -p probe && cd probe
    printf '[project]\\nname="probe"\\nversion="1"\\n' > pyproject.toml
    python -c 'import sys; print(sys.prefix)'
    test -w "$(dirname "$(command -v pip)")" && pip --version >/dev/null && echo writable
    """
    assert workshop.run(images["python"], "bash", "-euc", script).split() == [
        "/opt/python",
        "writable",
    ]


def test_packages_of_the_users_choice(workshop: Workshop, images: dict[str, str]) -> None:
    wheel = workshop.folder / "fleet_probe-1.0-py3-none-any.whl"
    info = "fleet_probe-1.0.dist-info"
    with zipfile.ZipFile(wheel, "w") as packed:
        packed.writestr("fleet_probe.py", "print('probed')")
        packed.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: fleet-probe\nVersion: 1.0\n"
        )
        tag = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        packed.writestr(f"{info}/WHEEL", tag)
        packed.writestr(f"{info}/RECORD", "")
    # an image of ours is a base too, and one that has the system's packages already
    container = workshop.container(images["base"])
    former = ("--env", "RUNNER_VERSION=2.300.0", "--env", "RUNNER_CAPABILITIES=python,probe")
    buildah("config", *former, container)
    buildah("copy", "--quiet", container, str(wheel), "/srv/wheels/")
    buildah("commit", "--quiet", container, "localhost/fleet-test/wheels:1")
    image = workshop.build(
        "base",
        base="localhost/fleet-test/wheels:1",
        APT_PACKAGES="file  less",
        PIP_PACKAGES="--no-index\n--find-links=/srv/wheels\nfleet-probe >= 1.0",
    )
    said = workshop.run(
        image, "bash", "-c", "python -m fleet_probe; command -v file less; stat -c %U /opt/python"
    )
    assert said.split() == ["probed", "/usr/bin/file", "/usr/bin/less", "runner"]
    smoke = workshop.run(image, "/opt/fleet/entrypoint.sh", "--smoke")
    assert smoke.splitlines()[-1] == "capabilities python,probe"


def test_a_base_keeps_its_own_node_and_its_user_becomes_ours(
    workshop: Workshop, images: dict[str, str]
) -> None:
    script = "node; id -un; cat ~/.kept; stat -c %U ~/.kept; dpkg -l nodejs 2>&1 || true"
    said = workshop.run(images["node"], "bash", "-c", script)
    assert said.splitlines()[:4] == ["its own node", "runner", "kept", "runner"]
    assert "no packages found" in said


@pytest.fixture(scope="module")
def system(workshop: Workshop) -> str:
    """The test base with all of the system's packages, which then are not installed once a user."""
    return workshop.build("system")


@pytest.mark.parametrize(
    ("script", "left"),
    [
        pytest.param(
            "useradd --uid 1000 -m node; mkdir /home/runner; echo kept >/home/runner/.kept",
            "/home/node",
            id="a home that is there",
        ),
        pytest.param(
            "useradd --uid 1001 -m runner; echo kept >/home/runner/.kept",
            "/home/runner",
            id="another id, as in ghcr.io/actions/actions-runner",
        ),
        pytest.param(
            "useradd --uid 1000 -m --home-dir /srv/app app",
            "/srv/app",
            id="a home of the base's software",
        ),
    ],
)
def test_a_bases_user_becomes_ours(workshop: Workshop, system: str, script: str, left: str) -> None:
    base = workshop.base("user", f"userdel --remove runner; {script}", of=system)
    built = workshop.build("system", base=base)
    said = workshop.run(
        built,
        *("bash", "-euc"),
        f"""
        getent passwd runner 1000 | cut -d: -f1,3,6,7
        find /home/runner ! -user 1000
        test ! -e /home/runner/.kept || sudo -u runner cat /home/runner/.kept
        test -d {left}
        """,
    )
    kept = ["kept"] if ".kept" in script else []
    assert said.splitlines() == [*["runner:1000:/home/runner:/bin/bash"] * 2, *kept]


def test_a_base_with_two_users_that_could_be_ours_is_refused_by_their_names(
    workshop: Workshop, system: str
) -> None:
    script = "userdel --remove runner; useradd --uid 1000 ubuntu; useradd --uid 1001 runner"
    base = workshop.base("users", script, of=system)
    done = workshop.try_build("system", name="none", base=base)
    assert done.returncode != 0
    said = done.stdout + done.stderr
    assert "BASE_IMAGE has both a user 'ubuntu' with the id 1000 and a user 'runner'" in said
    assert "(RUN userdel ubuntu)" in said


@pytest.mark.parametrize(
    ("release", "named"), [("ID=alpine\nNAME=Alpine\n", "'alpine'"), (None, "'unknown'")]
)
def test_another_distribution_is_refused_by_its_name(
    workshop: Workshop, release: str | None, named: str
) -> None:
    name = f"foreign-{named.strip(chr(39))}"
    container = buildah("from", "scratch").stdout.strip()
    shell = workshop.run(BASE, "bash", "-c", "readlink -f /bin/sh; ldd $(readlink -f /bin/sh)")
    source = workshop.container(BASE)
    root = Path(buildah("mount", source).stdout.strip())
    files = [word for word in shell.split() if word.startswith("/")]
    for file in files:
        buildah("copy", "--quiet", container, str(root / file.lstrip("/")), file)
    buildah("copy", "--quiet", container, str(root / files[0].lstrip("/")), "/bin/sh")
    if release:
        (workshop.folder / "os-release").write_text(release)
        buildah("copy", "--quiet", container, f"{workshop.folder}/os-release", "/etc/os-release")
    buildah("umount", source)
    buildah("config", "--env", "PATH=/usr/bin:/bin", container)
    buildah("commit", "--quiet", "--rm", container, f"localhost/fleet-test/{name}:1")
    done = workshop.try_build("base", name="none", base=f"localhost/fleet-test/{name}:1")
    assert done.returncode != 0
    assert f"BASE_IMAGE is based on {named}" in done.stdout + done.stderr
    assert "choose a Debian or Ubuntu variant" in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"RUNNER_SHA256": "0" * 64}, f"and RUNNER_SHA256 is {'0' * 64}"),
        ({"RUNNER_SHA256": ""}, "RUNNER_SHA256: is a build argument without a default"),
        ({"RUNNER_RELEASE": ""}, "RUNNER_RELEASE: is a build argument without a default"),
    ],
)
def test_an_archive_that_is_not_the_pinned_one_is_refused(
    workshop: Workshop, images: dict[str, str], arguments: dict[str, str], said: str
) -> None:
    done = workshop.try_build("base", name="none", **arguments)
    assert done.returncode != 0
    assert said in done.stdout + done.stderr


def test_what_is_no_package_reaches_no_command(workshop: Workshop, images: dict[str, str]) -> None:
    done = workshop.try_build("base", name="none", APT_PACKAGES="file -o=x;touch")
    assert done.returncode != 0
    assert "APT_PACKAGES has '-o=x;touch', which is no package" in done.stdout + done.stderr
