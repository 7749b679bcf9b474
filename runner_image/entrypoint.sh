#!/usr/bin/env bash
# The runner's first process: claims its registration, then becomes actions/runner.
#
#   entrypoint.sh           run the one job this container was started for
#   entrypoint.sh --smoke   check the image itself, without a fleet: 0, or 1 and what is wrong with it
#
# In:  FLEET_URL, RUNNER_ID, RUNNER_TICKET, RUNNER_CLASS_CAPABILITIES (container overrides of the
#      lifecycle's LaunchTask); RUNNER_VERSION, RUNNER_CAPABILITIES (the image's own, both optional);
#      RUNNER_HOME (the folder that holds run.sh; default: this script's own).
# Out: 0 when the job is gone (410); 1 when the claim is refused (403, 404, 409, anything unexpected)
#      or not answered in time (429, 5xx, no answer); 143 on SIGTERM. Otherwise run.sh takes this
#      process over and its status counts: 7 says that GitHub no longer serves this runner's version.
#
# Kept to what bash 3.2 and curl 7.81 (Ubuntu 22.04) know, and without jq: it must run on any base.
# Up to the claim it starts curl and nothing else, unless capabilities have to be looked for.
set -euo pipefail

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
  [[ -n "$given" ]] || given=$(bash "$here/capabilities.sh") || say "capabilities.sh failed"
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

# Asked of every image before it is pushed: is all there that a job needs at boot?
smoke() {
  local faults=0 tool file version
  fault() {
    say "smoke: $*"
    faults=1
  }
  [[ "$EUID" -eq 1000 ]] || fault "the user's id is $EUID, and must be 1000: end the image with 'USER runner'"
  for tool in bash curl git sudo tar; do
    command -v "$tool" >/dev/null || fault "$tool is not on PATH ($PATH)"
  done
  sudo -n true 2>/dev/null || fault "'sudo -n true' fails: the user needs a NOPASSWD line in /etc/sudoers.d"
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

for name in FLEET_URL RUNNER_ID RUNNER_TICKET; do
  [[ -n "${!name:-}" ]] || die "$name is not set; this image is started by the fleet's lifecycle"
done
# Both go into a curl configuration, where a quote or a newline would start another option.
[[ "$RUNNER_ID" =~ ^[A-Za-z0-9._-]+$ ]] || die "RUNNER_ID has characters other than A-Z a-z 0-9 . _ -"
[[ "$RUNNER_TICKET" =~ ^[A-Za-z0-9._~+/=-]+$ ]] || die "RUNNER_TICKET is not a bearer token"

find_capabilities
about="{\"capabilities\":[\"${capabilities//,/\",\"}\"],\"heartbeat_seconds\":$HEARTBEAT_SECONDS"
[[ ! "${RUNNER_VERSION:-}" =~ ^[0-9][0-9A-Za-z.+-]*$ ]] || about+=",\"runner_version\":\"$RUNNER_VERSION\""
about+="}"

# The ticket goes to curl through stdin: arguments can be read by every process of the machine.
claim() {
  exec curl --silent --show-error --include --http1.1 --max-time "$ANSWER_SECONDS" --connect-timeout 5 \
    --request POST --header 'Content-Type: application/json' --data "$about" \
    --config - "$FLEET_URL/runners/$RUNNER_ID/claim" <<<"header = \"Authorization: Bearer $RUNNER_TICKET\""
}

# `sleep` in the background, so that SIGTERM ends the pause instead of waiting for it.
pause_ms() {
  local seconds
  printf -v seconds '%d.%03d' $(($1 / 1000)) $(($1 % 1000))
  sleep "$seconds" &
  wait $!
}

field() { # field NAME: the string of that name in $response; both fields are base64 or URL-safe
  local pattern="\"$1\"[[:space:]]*:[[:space:]]*\"([A-Za-z0-9+/=._~-]+)\""
  [[ "$response" =~ $pattern ]] || die "the fleet's answer has no $1; is FLEET_URL the fleet's RunnerApiUrl?"
  printf '%s' "${BASH_REMATCH[1]}"
}

ceiling_ms=$FIRST_PAUSE_MS
while :; do
  response=""
  # `read` and not $(): SIGTERM ends it at once instead of waiting for the answer.
  IFS= read -r -d '' response < <(claim) || true
  status=000
  [[ "$response" =~ ^HTTP/[0-9.]+[[:space:]]([0-9]{3}) ]] && status=${BASH_REMATCH[1]}
  case "$status" in
    200) break ;;
    410) say "nothing to do: the job is gone" && exit 0 ;;
    403) die "the claim was refused (403): the ticket does not belong to $RUNNER_ID" ;;
    404) die "the claim was refused (404): the fleet knows no runner $RUNNER_ID" ;;
    409) die "the claim was refused (409): $RUNNER_ID was claimed before" ;;
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

jit_config=$(field encoded_jit_config)
events_token=$(field events_token)

# For the hooks and the heartbeat. The job runs as the same user and could read it: it may report this
# runner's own events, which it decides anyway, and nothing else.
(
  umask 077
  printf 'url = "%s/runners/%s/events"\nheader = "Authorization: Bearer %s"\n' \
    "$FLEET_URL" "$RUNNER_ID" "$events_token" >"$RUNNER_HOME/.fleet-events"
)
unset FLEET_URL RUNNER_ID RUNNER_TICKET RUNNER_LABELS RUNNER_CLASS_CAPABILITIES response events_token

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
export ACTIONS_RUNNER_INPUT_JITCONFIG="$jit_config"
# run.sh is bash too, and with RUNNER_MANUALLY_TRAP_SIG it waits for its child: as PID 1 it reaps
# orphans and passes SIGTERM on, so no init stands above it.
exec "$RUNNER_HOME/run.sh"
