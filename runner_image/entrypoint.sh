#!/usr/bin/env bash
# The runner's first process: claims its registration, then becomes actions/runner.
#
#   entrypoint.sh           run the one job this container was started for
#   entrypoint.sh --smoke   check the image itself, without a fleet: 0, or 1 and what is wrong with it
#
# In:  FLEET_URL, FLEET_REGION, RUNNER_ID, RUNNER_CLASS_CAPABILITIES (container overrides of the
#      lifecycle's LaunchTask); AWS_CONTAINER_CREDENTIALS_… (ECS: where the task's role is had from);
#      JOBS_HOLD_TASK_ROLE (task definition: `on` if jobs may find that too); RUNNER_VERSION,
#      RUNNER_CAPABILITIES (the image's own, both optional); RUNNER_HOME (the folder that holds run.sh;
#      default: this script's own).
# Out: 0 when the job is gone (410); 1 when the claim is refused (403, 404, 409, anything unexpected)
#      or not answered in time (429, 5xx, no answer); 143 on SIGTERM. Otherwise run.sh takes this
#      process over and its status counts: 7 says that GitHub no longer serves this runner's version.
#
# Kept to what bash 3.2 and curl 7.81 (Ubuntu 22.04) know, and without jq: it must run on any base.
# Up to the claim it starts curl, date and sha256sum and nothing else, unless capabilities have to be
# looked for.
set -euo pipefail
# Where an image's environment has bash trace (SHELLOPTS), the log would have each secret in it, and the
# runner's scripts this one's options.
set +x
export -n SHELLOPTS

# As PID 1 a process without a handler ignores SIGTERM; ECS would then wait for its whole stopTimeout.
trap 'kill $(jobs -p) 2>/dev/null || true; exit 143' TERM INT

[[ "${BASH_SOURCE[0]}" != */* ]] || cd "${BASH_SOURCE[0]%/*}/"
here=$PWD
export RUNNER_HOME="${RUNNER_HOME:-$here}"
export ACTIONS_RUNNER_HOOK_JOB_STARTED="${ACTIONS_RUNNER_HOOK_JOB_STARTED:-$here/job_started.sh}"
export ACTIONS_RUNNER_HOOK_JOB_COMPLETED="${ACTIONS_RUNNER_HOOK_JOB_COMPLETED:-$here/job_completed.sh}"

readonly CLAIM_SECONDS=120       # stop asking after this; the lifecycle's boot timeout is longer
readonly ANSWER_SECONDS=30       # API Gateway's own limit: giving up earlier could lose a claim made
readonly FIRST_PAUSE_MS=200
readonly LONGEST_PAUSE_MS=5000
readonly HEARTBEAT_SECONDS=120   # the lifecycle asks GitHub after two and a half: a hang is found in five minutes

say() { printf 'fleet: %s\n' "$*" >&2; }

die() {
  say "$*"
  exit 1
}

# What this runner declares: the image's word, else its class's, else what is found in the image.
# Words only, in lower case, comma-joined: they are labels, and they go into JSON as they are.
find_capabilities() {
  local given=${RUNNER_CAPABILITIES:-${RUNNER_CLASS_CAPABILITIES:-}} word IFS=$', \t\n'
  # who looks around in the image needs no role for it
  [[ -n "$given" ]] || given=$(
    unset AWS_CONTAINER_CREDENTIALS_RELATIVE_URI AWS_CONTAINER_CREDENTIALS_FULL_URI \
      AWS_CONTAINER_AUTHORIZATION_TOKEN
    bash "$here/capabilities.sh"
  ) || say "capabilities.sh failed"
  [[ "$given" != *[[:upper:]]* ]] || given=$(tr '[:upper:]' '[:lower:]' <<<"$given")
  capabilities=""
  set -f
  for word in $given; do
    if [[ "$word" =~ ^[a-z0-9][a-z0-9._+-]{0,62}$ ]]; then
      capabilities+=",$word"
    else
      say "'$word' is left out of the capabilities: at most 63 of a-z 0-9 . _ + -"
    fi
  done
  set +f
  capabilities=${capabilities#,}
  capabilities=${capabilities:-shell}
}

# What signatures are made of. No key is an argument of a process: printf is bash's own, and sha256sum
# reads a pipe.
sha256() { # sha256 BYTES TEXT: of both, the first written as \xNN; sets $digest, hexadecimal
  digest=$(printf '%b%s' "$1" "$2" | sha256sum)
  digest=${digest%% *}
}

hmac() { # hmac KEY TEXT: HMAC-SHA256 (RFC 2104), the key in hexadecimal; sets $digest
  local i code key=$1 inner="" outer="" escaped=""
  while [[ ${#key} -lt 128 ]]; do key+="00"; done
  for ((i = 0; i < 128; i += 2)); do
    printf -v code '\\x%02x' $((16#${key:i:2} ^ 0x36))
    inner+=$code
    printf -v code '\\x%02x' $((16#${key:i:2} ^ 0x5c))
    outer+=$code
  done
  sha256 "$inner" "$2"
  for ((i = 0; i < 64; i += 2)); do escaped+="\\x${digest:i:2}"; done
  sha256 "$outer$escaped" ""
}

# Asked of every image before it is pushed: is all there that a job needs at boot?
smoke() {
  local faults=0 tool file version
  fault() {
    say "smoke: $*"
    faults=1
  }
  [[ "$EUID" -eq 1000 ]] || fault "the user's id is $EUID, and must be 1000: end the image with 'USER runner'"
  for tool in bash curl date git sha256sum sudo tar; do
    command -v "$tool" >/dev/null || fault "$tool is not on PATH ($PATH)"
  done
  sudo -n true 2>/dev/null || fault "'sudo -n true' fails: the user needs a NOPASSWD line in /etc/sudoers.d"
  if command -v sha256sum >/dev/null; then
    hmac 0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b "Hi There" # RFC 4231, test case 1
    [[ "$digest" == b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7 ]] ||
      fault "no claim can be signed here: bash's printf and sha256sum make '$digest' of RFC 4231's first case"
  fi
  [[ -w "$RUNNER_HOME" ]] || fault "the user cannot write to RUNNER_HOME ($RUNNER_HOME)"
  for file in "$RUNNER_HOME/run.sh" "$RUNNER_HOME/bin/Runner.Listener" "$here/capabilities.sh" \
    "$here/heartbeat.sh" "$here/report_event.sh" "$ACTIONS_RUNNER_HOOK_JOB_STARTED" \
    "$ACTIONS_RUNNER_HOOK_JOB_COMPLETED"; do
    [[ -f "$file" && -x "$file" ]] || fault "$file is missing or not executable"
  done
  if ! version=$("$RUNNER_HOME/bin/Runner.Listener" --version 2>&1); then
    fault "Runner.Listener does not start: ${version:-it says nothing}"
  elif [[ "$version" != "${RUNNER_VERSION:-}" ]]; then
    fault "Runner.Listener is version '$version', and RUNNER_VERSION says '${RUNNER_VERSION:-}'"
  fi
  find_capabilities
  printf 'runner %s\ncapabilities %s\n' "$version" "$capabilities"
  exit "$faults"
}

[[ "${1:-}" != --smoke ]] || smoke

for name in FLEET_URL FLEET_REGION RUNNER_ID; do
  [[ -n "${!name:-}" ]] || die "$name is not set; this image is started by the fleet's lifecycle"
done
[[ -n "${AWS_CONTAINER_CREDENTIALS_RELATIVE_URI:-}${AWS_CONTAINER_CREDENTIALS_FULL_URI:-}" ]] ||
  die "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI is not set: the task definition names no task role"
# It goes into a curl configuration, where a quote or a newline would start another option, and into a
# signed path, where it would have to be encoded.
[[ "$RUNNER_ID" =~ ^[A-Za-z0-9._-]+$ ]] || die "RUNNER_ID has characters other than A-Z a-z 0-9 . _ -"

find_capabilities
about="{\"capabilities\":[\"${capabilities//,/\",\"}\"],\"heartbeat_seconds\":$HEARTBEAT_SECONDS"
[[ ! "${RUNNER_VERSION:-}" =~ ^[0-9][0-9A-Za-z.+-]*$ ]] || about+=",\"runner_version\":\"$RUNNER_VERSION\""
about+="}"

# The task proves by a signature who it is: its role's session is named after it, and nobody but the task
# gets this session's credentials. Where from is the rule of AWS's SDKs; anew each time, for they expire.
# Secrets go to curl through a pipe: arguments can be read by every process of the machine.
credentials() {
  local url=${AWS_CONTAINER_CREDENTIALS_FULL_URI:-}
  [[ -z "${AWS_CONTAINER_CREDENTIALS_RELATIVE_URI:-}" ]] ||
    url=http://169.254.170.2$AWS_CONTAINER_CREDENTIALS_RELATIVE_URI
  {
    printf 'url = "%s"\n' "$url"
    [[ -z "${AWS_CONTAINER_AUTHORIZATION_TOKEN:-}" ]] ||
      printf 'header = "Authorization: %s"\n' "$AWS_CONTAINER_AUTHORIZATION_TOKEN"
  } | curl --silent --show-error --fail --noproxy '*' --max-time 5 --config -
}

# Signature Version 4 (IAM user guide, "Create a signed AWS API request"), in bash: not each curl can do
# it. `--aws-sigv4` is in 7.75, signs the security token and the host's port since 7.87, and was mended
# often after that.
sign() { # of a POST of $about: sets $signature, the headers that prove who sends it
  local address=${FLEET_URL#*://} now host scope signed request text part code i digest
  host=${address%%/*}
  now=$(date -u +%Y%m%dT%H%M%SZ)
  scope="${now%T*}/$FLEET_REGION/execute-api/aws4_request"
  signed="content-type;host;x-amz-date;x-amz-security-token"
  sha256 "" "$about"
  printf -v request 'POST\n%s\n\n%s\n%s\n%s\n%s\n\n%s\n%s' \
    "${address#"$host"}/runners/$RUNNER_ID/claim" 'content-type:application/json' "host:$host" \
    "x-amz-date:$now" "x-amz-security-token:$session_token" "$signed" "$digest"
  sha256 "" "$request"
  printf -v text 'AWS4-HMAC-SHA256\n%s\n%s\n%s' "$now" "$scope" "$digest"
  digest=41575334 # "AWS4", and the secret key: 40 characters of ASCII, so that none is longer than a block
  for ((i = 0; i < ${#secret_key}; i++)); do
    printf -v code '%02x' "'${secret_key:i:1}"
    digest+=$code
  done
  for part in "${now%T*}" "$FLEET_REGION" execute-api aws4_request "$text"; do
    hmac "$digest" "$part"
  done
  printf -v signature 'header = "%s"\nheader = "%s"\nheader = "%s"\n' \
    "Authorization: AWS4-HMAC-SHA256 Credential=$access_key/$scope, SignedHeaders=$signed, Signature=$digest" \
    "X-Amz-Date: $now" "X-Amz-Security-Token: $session_token"
}

claim() {
  printf '%s' "$signature" |
    curl --silent --show-error --include --suppress-connect-headers --http1.1 \
      --max-time "$ANSWER_SECONDS" --connect-timeout 5 \
      --request POST --header 'Content-Type: application/json' --data "$about" \
      --config - "$FLEET_URL/runners/$RUNNER_ID/claim"
}

# `sleep` in the background, so that SIGTERM ends the pause instead of waiting for it.
pause_ms() {
  local seconds
  printf -v seconds '%d.%03d' $(($1 / 1000)) $(($1 % 1000))
  sleep "$seconds" &
  wait $!
}

field() { # field NAME VARIABLE: the string of that name in $response; all of them are base64 or URL-safe
  local pattern="\"$1\"[[:space:]]*:[[:space:]]*\"([A-Za-z0-9+/=._~-]+)\""
  [[ "$response" =~ $pattern ]] && printf -v "$2" '%s' "${BASH_REMATCH[1]}"
}

access_key="" secret_key="" session_token="" signature="" # once more for each claim
encoded_jit_config="" events_token=""                     # what the claim is answered with
ceiling_ms=$FIRST_PAUSE_MS
while :; do
  response="" status=none
  # `read` and not $(): SIGTERM ends it at once instead of waiting for the answer.
  IFS= read -r -d '' response < <(credentials) || true
  if field AccessKeyId access_key && field SecretAccessKey secret_key && field Token session_token; then
    sign
    response="" status=000
    IFS= read -r -d '' response < <(claim) || true
    [[ "$response" =~ ^HTTP/[0-9.]+[[:space:]]([0-9]{3}) ]] && status=${BASH_REMATCH[1]}
    # all else is API Gateway's: IAM may not know a role yet that has just been made
    [[ "$status" != 403 || "$response" == *'"not_the_task"'* ]] || status=forbidden
  fi
  case "$status" in
    200) break ;;
    410) say "nothing to do: the job is gone" && exit 0 ;;
    403) die "the claim was refused (403): this is not the task that $RUNNER_ID runs in" ;;
    404) die "the claim was refused (404): the fleet knows no runner $RUNNER_ID" ;;
    409) die "the claim was refused (409): $RUNNER_ID was claimed before" ;;
    none) trouble="no credentials of the task's role where AWS_CONTAINER_CREDENTIALS_… leads" ;;
    forbidden)
      trouble="403 by API Gateway; may the task's role invoke it, is this clock right, and has the VPC an"
      trouble+=" endpoint for execute-api, whose private DNS hides public APIs?"
      ;;
    000) trouble="no answer at all; does this subnet have a way to FLEET_URL?" ;;
    429 | 5??) trouble="status $status; see the logs of the fleet's runner API" ;;
    *) die "the claim was answered with an unexpected status $status; is FLEET_URL the fleet's RunnerApiUrl?" ;;
  esac
  [[ $SECONDS -lt $CLAIM_SECONDS ]] || die "no claim within ${CLAIM_SECONDS} s; last: $trouble"
  # Full jitter (a queue of jobs boots at once), on top of what the server asks for.
  delay_ms=$((RANDOM % ceiling_ms + 1))
  if [[ "$response" =~ [Rr]etry-[Aa]fter:[[:space:]]*([0-9]{1,3})[[:space:]] ]]; then
    delay_ms=$((delay_ms + 10#${BASH_REMATCH[1]} * 1000))
  fi
  pause_ms "$delay_ms"
  ceiling_ms=$((ceiling_ms * 2 < LONGEST_PAUSE_MS ? ceiling_ms * 2 : LONGEST_PAUSE_MS))
done

for name in encoded_jit_config events_token; do
  field "$name" "$name" || die "the fleet's answer has no $name; is FLEET_URL the fleet's RunnerApiUrl?"
done

# For the hooks and the heartbeat. The job runs as the same user and could read it: it may report this
# runner's own events, which it decides anyway, and nothing else.
(
  umask 077
  printf 'url = "%s/runners/%s/events"\nheader = "Authorization: Bearer %s"\n' \
    "$FLEET_URL" "$RUNNER_ID" "$events_token" >"$RUNNER_HOME/.fleet-events"
)
# All by name: what a base's environment has already stays exported, whatever it is set to here.
unset FLEET_URL FLEET_REGION RUNNER_ID RUNNER_LABELS RUNNER_CLASS_CAPABILITIES \
  access_key secret_key session_token signature response events_token
# Where the credentials are had from is not guessable, and stands nowhere else in the container. The
# metadata's address stays: it tells a job what task it is in, and no credential.
[[ "${JOBS_HOLD_TASK_ROLE:-}" == on ]] || unset AWS_CONTAINER_CREDENTIALS_RELATIVE_URI \
  AWS_CONTAINER_CREDENTIALS_FULL_URI AWS_CONTAINER_AUTHORIZATION_TOKEN
unset JOBS_HOLD_TASK_ROLE

# Without it run.sh, being PID 1, would not pass SIGTERM on to the runner (actions/runner run.sh).
export RUNNER_MANUALLY_TRAP_SIG=1
# Otherwise run.sh exits 0 when GitHub no longer serves this version of the runner.
export ACTIONS_RUNNER_RETURN_VERSION_DEPRECATED_EXIT_CODE=1

# As GitHub's hosted runners have it, for actions that choose their downloads by it. Of these two alone:
# elsewhere it would not be true.
if [[ -z "${ImageOS:-}" && -r /etc/os-release ]]; then
  # shellcheck source=/dev/null
  case "$(. /etc/os-release; printf '%s' "${ID:-} ${VERSION_ID:-}")" in
    'ubuntu 22.04') export ImageOS=ubuntu22 ;;
    'ubuntu 24.04') export ImageOS=ubuntu24 ;;
  esac
fi

cd "$RUNNER_HOME"
# Before the configuration is in the environment. It watches this process ID, which run.sh takes over.
bash "$here/heartbeat.sh" "$HEARTBEAT_SECONDS" $$ &

# The configuration goes by environment, not as --jitconfig: arguments are readable by every user of
# the machine, /proc/1/environ only by the runner's own, and actions/runner unsets the variable before
# the job starts. The job, being that user, can still read /proc/1/environ; what it finds is the
# identity of the runner it already runs on, good for this one job.
export ACTIONS_RUNNER_INPUT_JITCONFIG="$encoded_jit_config"
# run.sh is bash too, and with RUNNER_MANUALLY_TRAP_SIG it waits for its child: as PID 1 it reaps
# orphans and passes SIGTERM on, so no init stands above it.
exec "$RUNNER_HOME/run.sh"
