#!/usr/bin/env bash
# Builds one runner image, tries it and pushes it. CodeBuild runs this in this folder (buildspec.yml).
#
# In:  BASE_IMAGE, IMAGE_TAG, RUNNER_VERSION, RUNNER_SHA256 of the build; RUNNER_REPOSITORY_URL,
#      RECIPE_DIGEST, ARCHITECTURE of the project; AWS_REGION; recipe.json beside this file.
# Out: ./exported, to be sourced: CONTENT_TAG and BASE_DIGEST.
#
# BASE_IMAGE comes from a job's label: it is only ever the value of a variable or one quoted argument.
set -euo pipefail

readonly BUILDKIT=public.ecr.aws/vend/moby/buildkit:buildx-stable-1 # AWS's mirror: Docker Hub has a limit
readonly SOCI_VERSION=0.13.0
readonly CRANE_VERSION=0.21.7
# Of compressed layers. Below it, loading an image lazily costs more time than it saves
# (AWS Fargate user guide, "Lazy loading container images using Seekable OCI").
readonly SOCI_PAYS_BYTES=250000000

say() { printf 'fleet: %s\n' "$*" >&2; }

die() {
  say "$*"
  exit 1
}

for name in BASE_IMAGE IMAGE_TAG RUNNER_VERSION RUNNER_SHA256 RUNNER_REPOSITORY_URL RECIPE_DIGEST \
  ARCHITECTURE AWS_REGION; do
  [[ -n "${!name:-}" ]] || die "$name is not set; builds are started by the fleet's build_image function"
done

# The archives' SHA-256, from the checksums of their releases at GitHub.
case "$ARCHITECTURE" in
  X86_64)
    PLATFORM=linux/amd64
    soci_name=amd64 soci_sha256=8951d87d6d17d719f7155d89f25ce08e139c3b48ef3323ee8e347de2d8c2d555
    crane_name=x86_64 crane_sha256=1a57bc98207fa1c0d04bf760699099e26f8383499bfd55b99c1b919a928a7230
    ;;
  ARM64)
    PLATFORM=linux/arm64
    soci_name=arm64 soci_sha256=dab5117cc50b0343521ae9f6dc691b4d3ab5f7eb19404d1f7c35524b48bcdad5
    crane_name=arm64 crane_sha256=b6ee979d9411dfb05ce35ab9e156fe5de7def11a230764a7856ffa2eb971fa88
    ;;
  *) die "ARCHITECTURE is $ARCHITECTURE, use X86_64 or ARM64" ;;
esac

registry="${RUNNER_REPOSITORY_URL%%/*}"
repository="${RUNNER_REPOSITORY_URL#*/}"
readable="${IMAGE_TAG%-*}"

recipe() { # recipe EXPRESSION: a value of recipe.json, in Python
  python3 -c "import json; recipe = json.load(open('recipe.json')); print($1)"
}

is_in_ecr() {
  aws ecr describe-images --region "$AWS_REGION" --repository-name "$repository" \
    --image-ids "imageTag=$1" >/dev/null 2>&1
}

fetch() { # fetch URL SHA256: unpacks an archive into ./tools
  curl --fail --silent --show-error --location --retry 5 --output archive.tar.gz "$1"
  printf '%s  archive.tar.gz\n' "$2" | sha256sum --check --strict --quiet
  mkdir -p tools
  tar -xzf archive.tar.gz -C tools
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
    bake pushed
    return
  fi
  bake layout
  local bytes
  bytes=$(layer_bytes)
  if ((bytes < SOCI_PAYS_BYTES)); then
    say "no SOCI index: the image has $bytes bytes, it pays from $SOCI_PAYS_BYTES"
    bake pushed
    return
  fi
  fetch "https://github.com/awslabs/soci-snapshotter/releases/download/v$SOCI_VERSION/soci-snapshotter-$SOCI_VERSION-linux-$soci_name.tar.gz" "$soci_sha256"
  fetch "https://github.com/google/go-containerregistry/releases/download/v$CRANE_VERSION/go-containerregistry_Linux_$crane_name.tar.gz" "$crane_sha256"
  tools/soci convert --standalone --format oci-dir layout soci-layout
  tools/crane push soci-layout "$IMAGE"
}

aws ecr get-login-password --region "$AWS_REGION" |
  docker login --username AWS --password-stdin "$registry"

# The digest of all the base's architectures, as in its registry now.
BASE_DIGEST=$(docker buildx imagetools inspect --format '{{json .Manifest}}' -- "$BASE_IMAGE" |
  python3 -c 'import json, sys; print(json.load(sys.stdin)["digest"])') ||
  die "the base image cannot be read: is there such an image, and may this account pull it?"
[[ "$BASE_DIGEST" =~ ^sha256:[0-9a-f]{64}$ ]] || die "the base image's registry names no digest of it"

# The tag is made of all that goes into the image: the same tag is the same image.
content=$(printf '%s\n%s\n%s\n%s\n%s' \
  "$BASE_IMAGE" "$BASE_DIGEST" "$RECIPE_DIGEST" "$RUNNER_VERSION" "$ARCHITECTURE" | sha256sum)
# 96 bits: a base's name is free text, and must not be found so that another's tag comes out.
CONTENT_TAG="$readable-${content:0:24}"
printf 'export CONTENT_TAG=%q BASE_DIGEST=%q\n' "$CONTENT_TAG" "$BASE_DIGEST" >exported

if is_in_ecr "$CONTENT_TAG"; then
  say "$CONTENT_TAG exists already"
  exit
fi

BASE_NAME=$BASE_IMAGE
BASE_IMAGE="${BASE_IMAGE%@*}@$BASE_DIGEST"
IMAGE="$RUNNER_REPOSITORY_URL:$CONTENT_TAG"
# No tag of an image has a dot, so the repository can tell the two apart.
CACHE="$RUNNER_REPOSITORY_URL:cache.$readable.$ARCHITECTURE"
VARIANT=$(recipe 'recipe["variant"]')
APT_PACKAGES=$(recipe '" ".join(recipe["apt_packages"])')
PIP_PACKAGES=$(recipe '"\n".join(recipe["pip_packages"])')
OWN=$(recipe '"on" if recipe["own"] else "off"')
export BASE_IMAGE BASE_NAME BASE_DIGEST IMAGE CACHE PLATFORM VARIANT APT_PACKAGES PIP_PACKAGES OWN

build_args=$(recipe '"\n".join(f"*.args.{name}={value}" for name, value in recipe["build_args"].items())')
settings=()
while IFS= read -r build_arg; do
  [[ -z "$build_arg" ]] || settings+=(--set "$build_arg")
done <<<"$build_args"

docker buildx create --name fleet --use --driver docker-container --driver-opt "image=$BUILDKIT"
bake loaded
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
  is_in_ecr "$CONTENT_TAG" || die "the image was not pushed"
  say "$CONTENT_TAG was pushed by another build meanwhile"
fi
