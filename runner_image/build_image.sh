#!/usr/bin/env bash
# Builds one runner image, tries it and pushes it. CodeBuild runs this in this folder (buildspec.yml).
#
# In:  BASE_IMAGE, IMAGE_TAG, RECIPE_DIGEST, RUNNER_VERSION, RUNNER_SHA256 of the build;
#      RUNNER_REPOSITORY_URL, ARCHITECTURE of the project, and IMAGES_OF where other fleets push to its
#      repository; recipes/ beside this file, a folder for each digest.
# Out: ./exported, to be sourced: CONTENT_TAG and BASE_DIGEST. Ends with 75 if a registry's limit on
#      pulls was in the way for minutes (codebuild.py reads that), with another status otherwise.
#
# BASE_IMAGE comes from a job's label: it is only ever the value of a variable or one quoted argument.
set -euo pipefail

readonly BUILDKIT_VERSION=0.33.1
readonly BUILDKIT=localhost/fleet-buildkit # made below; no registry but this machine's has such a name
readonly CERTIFICATES="${SSL_CERT_FILE:-/etc/pki/tls/certs/ca-bundle.crt}" # Amazon Linux's place
readonly SOCI_VERSION=0.13.0
readonly CRANE_VERSION=0.21.7
# Of compressed layers. Below it, loading an image lazily costs more time than it saves
# (AWS Fargate user guide, "Lazy loading container images using Seekable OCI").
readonly SOCI_PAYS_BYTES=250000000
readonly THROTTLED=75 # EX_TEMPFAIL of sysexits.h
readonly PAUSES='5 20 60'

say() { printf 'fleet: %s\n' "$*" >&2; }

die() {
  say "$*"
  exit 1
}

for name in BASE_IMAGE IMAGE_TAG RUNNER_VERSION RUNNER_SHA256 RUNNER_REPOSITORY_URL RECIPE_DIGEST \
  ARCHITECTURE; do
  [[ -n "${!name:-}" ]] || die "$name is not set; builds are started by the fleet's build_image function"
done

# The archives' SHA-256, from the checksums of their releases at GitHub; BuildKit's as containerd/nerdctl
# pins it too (Dockerfile.d/SHA256SUMS.d/buildkit-v0.33.1).
case "$ARCHITECTURE" in
  X86_64)
    PLATFORM=linux/amd64
    buildkit_name=amd64 buildkit_sha256=4e044bcd62a0c0bbe6a8c94d73989de2bfe4c04dbc0f9d6021cf96b72cd1d965
    soci_name=amd64 soci_sha256=8951d87d6d17d719f7155d89f25ce08e139c3b48ef3323ee8e347de2d8c2d555
    crane_name=x86_64 crane_sha256=1a57bc98207fa1c0d04bf760699099e26f8383499bfd55b99c1b919a928a7230
    ;;
  ARM64)
    PLATFORM=linux/arm64
    buildkit_name=arm64 buildkit_sha256=4e1ba91f139761f249a1fa6c71e632dfdbdafeda416176ecadefbb95225e56c4
    soci_name=arm64 soci_sha256=dab5117cc50b0343521ae9f6dc691b4d3ab5f7eb19404d1f7c35524b48bcdad5
    crane_name=arm64 crane_sha256=b6ee979d9411dfb05ce35ab9e156fe5de7def11a230764a7856ffa2eb971fa88
    ;;
  *) die "ARCHITECTURE is $ARCHITECTURE, use X86_64 or ARM64" ;;
esac

# What is in the other folders are other images' settings and files: none of this build's.
[[ "$RECIPE_DIGEST" =~ ^[0-9a-f]{64}$ && -d "recipes/$RECIPE_DIGEST" ]] ||
  die "there is no recipe $RECIPE_DIGEST: a deployment has come since this build was started, the next one has it"
mv "recipes/$RECIPE_DIGEST"/* .
rm -r recipes

registry="${RUNNER_REPOSITORY_URL%%/*}"
repository="${RUNNER_REPOSITORY_URL#*/}"
IFS=. read -r account _ _ region domain <<<"$registry"
readable="${IMAGE_TAG%-*}"

recipe() { # recipe EXPRESSION: a value of recipe.json, in Python
  python3 -c "import json, os; recipe = json.load(open('recipe.json')); print($1)"
}

is_in_ecr() {
  aws ecr describe-images --region "$region" --registry-id "$account" --repository-name "$repository" \
    --image-ids "imageTag=$1" >/dev/null 2>&1
}

# Whether a registry has said so, and not a base: what its steps print has a number before it, and what they
# are is quoted when they fail.
is_throttled() {
  grep -iE '^(#[0-9]+ )?ERROR:' trouble | grep -v 'did not complete successfully' |
    grep -iE '429 Too Many Requests|toomanyrequests|rate exceeded' >/dev/null # all of it: see pipefail
}

# again COMMAND…: once more after each pause while a registry says that it is asked too often
again() {
  local pause status
  for pause in $PAUSES ''; do
    status=0
    { "$@" 2>&1 1>&3 | tee trouble >&2; } 3>&1 || status=$?
    ((status)) || return 0
    is_throttled || return "$status"
    [[ -n "$pause" ]] || break
    say "a registry is asked too often, once more in $pause seconds"
    sleep "$pause"
  done
  say "a registry is asked too often, for minutes: the next build may have more luck"
  exit "$THROTTLED"
}

# ecr_region HOST: of a private ECR, whosever it is. Fails for any other host, above all for one that only
# looks like it: a password of ECR's may push here.
ecr_region() {
  [[ "$1" =~ ^[0-9]{12}\.dkr\.ecr(-fips)?\.([a-z0-9-]+)\.(.+)$ && "${BASH_REMATCH[3]}" == "$domain" ]] &&
    printf '%s' "${BASH_REMATCH[2]}"
}

login() { # login HOST REGION: at a private ECR
  aws ecr get-login-password --region "$2" | docker login --username AWS --password-stdin "$1"
}

fetch() { # fetch URL SHA256 [FOLDER]: unpacks an archive into ./tools or ./FOLDER
  local folder="${3:-tools}"
  curl --fail --silent --show-error --location --retry 5 --output archive.tar.gz "$1"
  printf '%s  archive.tar.gz\n' "$2" | sha256sum --check --strict --quiet
  mkdir -p "$folder"
  tar -xzf archive.tar.gz -C "$folder"
}

# BuildKit as its project has released it. It runs privileged, beside a role that can push: an image that a
# registry has under some tag would be whatever its owner makes of it.
make_buildkit() {
  fetch "https://github.com/moby/buildkit/releases/download/v$BUILDKIT_VERSION/buildkit-v$BUILDKIT_VERSION.linux-$buildkit_name.tar.gz" "$buildkit_sha256" buildkit
  mkdir -p buildkit/etc/ssl/certs buildkit/tmp
  cp -L "$CERTIFICATES" buildkit/etc/ssl/certs/ca-certificates.crt
  tar -C buildkit -c . | docker import --change 'ENV PATH=/bin' --change 'ENV BUILDKIT_SETUP_CGROUPV2_ROOT=1' \
    --change 'ENTRYPOINT ["buildkitd"]' - "$BUILDKIT"
}

bake() { docker buildx bake --file docker-bake.hcl "${settings[@]}" "$@"; }

layer_bytes() { # of the image in ./layout
  python3 -c '
import json
manifest = json.load(open("layout/index.json"))["manifests"][0]["digest"].replace(":", "/")
print(sum(layer["size"] for layer in json.load(open("layout/blobs/" + manifest))["layers"]))'
}

push() {
  if [[ "$(recipe 'recipe["soci"]')" != True ]]; then
    again bake pushed
    return
  fi
  again bake layout
  local bytes
  bytes=$(layer_bytes)
  if ((bytes < SOCI_PAYS_BYTES)); then
    say "no SOCI index: the image has $bytes bytes, it pays from $SOCI_PAYS_BYTES"
    again bake pushed
    return
  fi
  fetch "https://github.com/awslabs/soci-snapshotter/releases/download/v$SOCI_VERSION/soci-snapshotter-$SOCI_VERSION-linux-$soci_name.tar.gz" "$soci_sha256"
  fetch "https://github.com/google/go-containerregistry/releases/download/v$CRANE_VERSION/go-containerregistry_Linux_$crane_name.tar.gz" "$crane_sha256"
  tools/soci convert --standalone --format oci-dir layout soci-layout
  tools/crane push soci-layout "$IMAGE"
}

login "$registry" "$region"
base_host="${BASE_IMAGE%%/*}"
if [[ "$base_host" != "$registry" ]] && base_region=$(ecr_region "$base_host"); then
  login "$base_host" "$base_region" || die "no login at the base image's registry $base_host"
fi
# Whoever is not logged in may pull once a second, by an address that CodeBuild has for many accounts. The
# login is in us-east-1 alone (Amazon ECR Public user guide), and in no other partition than aws.
aws ecr-public get-login-password --region us-east-1 |
  docker login --username AWS --password-stdin public.ecr.aws ||
  say "no login at public.ecr.aws: its images are pulled as by anybody"

# The digest of all the base's architectures, as in its registry now.
status=0
manifest=$(again docker buildx imagetools inspect --format '{{json .Manifest}}' -- "$BASE_IMAGE") || status=$?
((status != THROTTLED)) || exit "$THROTTLED"
BASE_DIGEST=$(python3 -c 'import json, sys; print(json.load(sys.stdin)["digest"])' <<<"$manifest") ||
  die "the base image cannot be read: is there such an image, and may this account pull it?"
[[ "$BASE_DIGEST" =~ ^sha256:[0-9a-f]{64}$ ]] || die "the base image's registry names no digest of it"

# The tag is made of all that goes into the image: the same tag is the same image.
content=$(printf '%s\n%s\n%s\n%s\n%s' \
  "$BASE_IMAGE" "$BASE_DIGEST" "$RECIPE_DIGEST${IMAGES_OF:+/$IMAGES_OF}" "$RUNNER_VERSION" "$ARCHITECTURE" | sha256sum)
# 96 bits: a base's name is free text, and must not be found so that another's tag comes out.
CONTENT_TAG="$readable-${content:0:24}"
printf 'export CONTENT_TAG=%q BASE_DIGEST=%q\n' "$CONTENT_TAG" "$BASE_DIGEST" >exported

if is_in_ecr "$CONTENT_TAG"; then
  say "$CONTENT_TAG exists already"
  exit
fi

build_args=$(recipe '"\n".join(f"*.args.{name}={value}" for name, value in recipe["build_args"].items())')
# What is the deployer's own is for the base that it was written for: with another's, whatever that brings
# (its ONBUILD, its shell) would run beside it, with a network.
OWN=off
is_for_own=$(recipe 'recipe["own_base"] in ("", os.environ["BASE_IMAGE"])')
if [[ "$is_for_own" == True ]]; then
  OWN=$(recipe '"on" if recipe["own"] else "off"')
  build_args+=$'\n'$(recipe '"\n".join(f"*.args.{name}={value}" for name, value in recipe["own_build_args"].items())')
fi
BASE_NAME=$BASE_IMAGE
BASE_IMAGE="${BASE_IMAGE%@*}@$BASE_DIGEST"
IMAGE="$RUNNER_REPOSITORY_URL:$CONTENT_TAG"
# A cache for each base, whose readable name is its author's to choose. No tag of an image has a dot, so the
# repository can tell the two apart.
cached=$(printf '%s' "$BASE_NAME" | sha256sum)
CACHE="$RUNNER_REPOSITORY_URL:cache.${cached:0:24}.$ARCHITECTURE"
VARIANT=$(recipe 'recipe["variant"]')
APT_PACKAGES=$(recipe '" ".join(recipe["apt_packages"])')
PIP_PACKAGES=$(recipe '"\n".join(recipe["pip_packages"])')
export BASE_IMAGE BASE_NAME BASE_DIGEST IMAGE CACHE PLATFORM VARIANT APT_PACKAGES PIP_PACKAGES OWN

settings=()
while IFS= read -r build_arg; do
  [[ -z "$build_arg" ]] || settings+=(--set "$build_arg")
done <<<"$build_args"

make_buildkit
docker buildx create --name fleet --use --driver docker-container --driver-opt "image=$BUILDKIT"
again bake loaded
docker run --rm --network none "$IMAGE" --smoke ||
  die "the image does not pass its smoke run, so it is not pushed"

# not `push || …`, in which a command that fails would not end it
set +e
(
  set -e
  push
)
pushed=$?
set -e
if ((pushed != 0)); then
  if ! is_in_ecr "$CONTENT_TAG"; then
    ((pushed != THROTTLED)) || exit "$THROTTLED"
    die "the image was not pushed"
  fi
  say "$CONTENT_TAG was pushed by another build meanwhile"
fi
