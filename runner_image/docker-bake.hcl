# What a build makes: the fleet's runner, on top of the deployer's own Dockerfile if there is one.
# build_image.sh sets the variables through the environment, where a value is never
# read as HCL.

variable "BASE_IMAGE" {}      # pinned: name@digest
variable "BASE_NAME" {}       # as it was asked for
variable "BASE_DIGEST" {}
variable "RUNNER_VERSION" {}
variable "RUNNER_SHA256" {}
variable "PLATFORM" {}
variable "VARIANT" {}
variable "APT_PACKAGES" {}
variable "PIP_PACKAGES" {}
variable "OWN" {}             # on: ./own has a Dockerfile
variable "IMAGE" {}           # what it is pushed as
variable "CACHE" {}           # where its cache is

target "own" {
  context   = "own"
  args      = { BASE_IMAGE = BASE_IMAGE }
  platforms = [PLATFORM]
}

target "runner" {
  context    = "."
  target     = VARIANT
  platforms  = [PLATFORM]
  contexts   = OWN == "on" ? { own = "target:own" } : {}
  tags       = [IMAGE]
  cache-from = ["type=registry,ref=${CACHE}"]
  args = {
    BASE_IMAGE     = OWN == "on" ? "own" : BASE_IMAGE
    RUNNER_RELEASE = RUNNER_VERSION
    RUNNER_SHA256  = RUNNER_SHA256
    APT_PACKAGES   = APT_PACKAGES
    PIP_PACKAGES   = PIP_PACKAGES
  }
  labels = {
    "org.opencontainers.image.base.name"   = BASE_NAME
    "org.opencontainers.image.base.digest" = BASE_DIGEST
  }
  # an attestation would make the image an index with children that nothing tags
  attest = ["type=provenance,disabled=true", "type=sbom,disabled=true"]
}

# For the machine's own Docker, to be tried.
target "loaded" {
  inherits = ["runner"]
  output   = ["type=docker"]
}

# The same for the registry, from the builder's own cache.
target "pushed" {
  inherits = ["runner"]
  output   = ["type=image,push=true,oci-mediatypes=true,compression=zstd,force-compression=true"]
  cache-to = [CACHE_TO]
}

# The same on disk, with the layers that a SOCI index can be made for.
target "layout" {
  inherits = ["runner"]
  output   = ["type=oci,dest=layout,tar=false,compression=gzip,force-compression=true"]
  cache-to = [CACHE_TO]
}

variable "CACHE_TO" {
  # an error here is none of the image's: an existing repository may have no mutable tags
  default = "type=registry,ref=${CACHE},mode=max,image-manifest=true,oci-mediatypes=true,ignore-error=true"
}
