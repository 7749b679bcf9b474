#!/usr/bin/env bash
# Gets what `make test-image` needs: Debian's tools, and a base image without any registry.
#
# Prints the folder that all of it is kept in, for the next run. Ends with 3 and says why if this
# machine cannot do it; whatever else goes wrong is an error of its own.
set -euo pipefail

readonly PACKAGES=(buildah debootstrap uidmap debian-archive-keyring)
readonly SUITE=bookworm
readonly BASE=localhost/fleet-test/debian:$SUITE

cannot() {
  printf '\n*** The runner image cannot be tested here: %s.\n' "$*" >&2
  printf '*** It takes root on a machine with apt-get, and %s from its packages.\n\n' "${PACKAGES[*]}" >&2
  exit 3
}

[[ "$(uname -s)" == Linux ]] || cannot "this is $(uname -s)"
[[ $EUID -eq 0 ]] || cannot "the user is not root, and debootstrap and chroot want it"
if ! command -v buildah >/dev/null || ! command -v debootstrap >/dev/null; then
  command -v apt-get >/dev/null || cannot "there is no apt-get to install ${PACKAGES[*]} with"
  {
    apt-get update &&
      DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${PACKAGES[@]}"
  } >&2 || cannot "apt-get does not get ${PACKAGES[*]}"
fi

folder="${XDG_CACHE_HOME:-$HOME/.cache}/cdk-runner-fleet/test-image"
mkdir -p "$folder"
export CONTAINERS_STORAGE_CONF="$folder/storage.conf"

use() { # use DRIVER
  printf '[storage]\ndriver = "%s"\ngraphroot = "%s"\nrunroot = "%s"\n' "$1" "$folder/storage-$1" \
    "$folder/run-$1" >"$CONTAINERS_STORAGE_CONF"
  buildah info >/dev/null 2>&1
}
# overlay shares layers, vfs copies all of them each time and works everywhere
use overlay || use vfs || cannot "buildah starts with neither overlay nor vfs: $(buildah info 2>&1 | tail -1)"

if ! buildah inspect --type image "$BASE" >/dev/null 2>&1; then
  printf 'making a %s base image with debootstrap (once)\n' "$SUITE" >&2
  root=$(mktemp -d "$folder/debootstrap.XXXXXX")
  trap 'rm -rf "$root"' EXIT
  debootstrap --variant=minbase --include=ca-certificates "$SUITE" "$root" >"$folder/debootstrap.log" 2>&1 ||
    cannot "debootstrap of $SUITE fails: $(tail -1 "$folder/debootstrap.log")"
  rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/*
  chmod 0755 "$root"
  container=$(buildah from scratch)
  buildah add --quiet "$container" "$root" / >/dev/null
  buildah config --cmd bash --env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$container"
  buildah commit --quiet --rm "$container" "$BASE" >/dev/null
fi
printf '%s\n' "$folder"
