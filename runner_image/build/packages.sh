#!/usr/bin/env bash
# packages.sh [python] [node] [native]: installs what a variant has, and the packages of the user's choice.
#
# Runs while the image is built, as root. In: APT_PACKAGES (space-separated), PIP_PACKAGES (one
# requirement a line; asks for Python by itself). What the base has already is not installed again.
set -euo pipefail

# The jobs' Python: the base's or Debian's, as a virtual environment that the jobs' user owns. Debian's
# own refuses pip (PEP 668), and a job's `pip install` is neither to need sudo nor to break apt.
readonly PYTHON=/opt/python

# As in cdk_runner_fleet/_recipe.py, which refuses the same before there is a build.
readonly APT_PACKAGE='[a-z0-9][a-z0-9+.-]+(=[A-Za-z0-9.+:~-]+)?'

has() { command -v "$1" >/dev/null; }
fail() {
  printf '%s\n' "$*" >&2
  exit 1
}

capabilities=("$@")
[[ -z "${PIP_PACKAGES:-}" ]] || capabilities+=(python)
# a list of words, chosen by who deploys the fleet
read -r -a apt_packages -d '' <<<"${APT_PACKAGES:-}" || true
for package in "${apt_packages[@]}"; do
  [[ "$package" =~ ^$APT_PACKAGE$ ]] ||
    fail "APT_PACKAGES has '$package', which is no package: NAME, or NAME=VERSION"
done

for capability in "${capabilities[@]}"; do
  case "$capability" in
    python) python3 -c 'import ensurepip, venv' 2>/dev/null || apt_packages+=(python3 python3-venv) ;;
    node) { has node && has npm; } || apt_packages+=(nodejs npm) ;;
    native) apt_packages+=(gcc g++ make libc6-dev pkg-config) ;;
    *) fail "packages.sh knows no '$capability', but python, node and native" ;;
  esac
done

if [[ ${#apt_packages[@]} -gt 0 ]]; then
  apt-get update
  DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${apt_packages[@]}"
  rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/apt/* /var/log/dpkg.log
fi

if [[ " ${capabilities[*]} " == *" python "* ]]; then
  python3 -m venv --system-site-packages "$PYTHON"
  if [[ -n "${PIP_PACKAGES:-}" ]]; then
    # with --requirement a line is one requirement, also if it has spaces or begins with a dash
    "$PYTHON/bin/pip" install --no-cache-dir --disable-pip-version-check --requirement <(printf '%s\n' "$PIP_PACKAGES")
  fi
  chown -R runner: "$PYTHON"
fi
