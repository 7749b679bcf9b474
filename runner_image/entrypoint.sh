#!/usr/bin/env bash
# The runner's first process: claims its registration, then becomes actions/runner.
#
# In:  FLEET_URL, RUNNER_ID, RUNNER_TICKET (container overrides of the lifecycle's LaunchTask),
#      RUNNER_HOME (the folder that holds run.sh; default: this script's own).
# Out: 0 when the job is gone (410), 1 when the claim is refused or never answered,
#      143 on SIGTERM; otherwise run.sh takes this process over and its status counts.
#
# Kept to what bash 3.2 and curl 7.81 (Ubuntu 22.04) know, and without jq: it must run on any base.
set -euo pipefail

# As PID 1 a process without a handler ignores SIGTERM; ECS would then wait for its whole stopTimeout.
trap 'kill $(jobs -p) 2>/dev/null; exit 143' TERM INT

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export RUNNER_HOME="${RUNNER_HOME:-$here}"

readonly CLAIM_SECONDS=120       # stop asking after this; the lifecycle's boot timeout is longer
readonly ANSWER_SECONDS=30       # API Gateway's own limit: giving up earlier could lose a claim made
readonly FIRST_PAUSE_MS=200
readonly LONGEST_PAUSE_MS=5000

say() { printf 'fleet: %s\n' "$*" >&2; }

die() {
  say "$*"
  exit 1
}

for name in FLEET_URL RUNNER_ID RUNNER_TICKET; do
  [[ -n "${!name:-}" ]] || die "$name is not set; this image is started by the fleet's lifecycle"
done
# Both go into a curl configuration, where a quote or a newline would start another option.
[[ "$RUNNER_ID" =~ ^[A-Za-z0-9._-]+$ ]] || die "RUNNER_ID has characters other than A-Z a-z 0-9 . _ -"
[[ "$RUNNER_TICKET" =~ ^[A-Za-z0-9._~+/=-]+$ ]] || die "RUNNER_TICKET is not a bearer token"

# The ticket goes to curl through stdin: arguments can be read by every process of the machine.
claim() {
  curl --silent --show-error --include --http1.1 --max-time "$ANSWER_SECONDS" --connect-timeout 5 \
    --request POST --header 'Content-Type: application/json' --data '{}' \
    --config - "$FLEET_URL/runners/$RUNNER_ID/claim" <<<"header = \"Authorization: Bearer $RUNNER_TICKET\""
}

# `sleep` in the background, so that SIGTERM ends the pause instead of waiting for it.
pause_ms() {
  sleep "$(printf '%d.%03d' $(($1 / 1000)) $(($1 % 1000)))" &
  wait $!
}

field() { # field NAME: the string of that name in $response; both fields are base64 or URL-safe
  local pattern="\"$1\"[[:space:]]*:[[:space:]]*\"([A-Za-z0-9+/=._~-]+)\""
  [[ "$response" =~ $pattern ]] || die "the fleet's answer has no $1; is FLEET_URL the fleet's RunnerApiUrl?"
  printf '%s' "${BASH_REMATCH[1]}"
}

ceiling_ms=$FIRST_PAUSE_MS
while :; do
  response=$(claim) || response=""
  status=000
  [[ "$response" =~ ^HTTP/[0-9.]+[[:space:]]([0-9]{3}) ]] && status=${BASH_REMATCH[1]}
  case "$status" in
    200) break ;;
    410) say "nothing to do: the job is gone" && exit 0 ;;
    403) die "the claim was refused (403): the ticket does not belong to $RUNNER_ID" ;;
    404) die "the claim was refused (404): the fleet knows no runner $RUNNER_ID" ;;
    409) die "the claim was refused (409): $RUNNER_ID was claimed before" ;;
    000 | 429 | 5??) ;; # no answer, or not now
    *) die "the claim was answered with an unexpected status $status" ;;
  esac
  [[ $SECONDS -lt $CLAIM_SECONDS ]] || die "no claim within ${CLAIM_SECONDS} s; last status $status"
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

# For the hooks. The job runs as the same user and could read it: it may report this runner's own
# events, which it decides anyway, and nothing else.
(
  umask 077
  printf 'url = "%s/runners/%s/events"\nheader = "Authorization: Bearer %s"\n' \
    "$FLEET_URL" "$RUNNER_ID" "$events_token" >"$RUNNER_HOME/.fleet-events"
)
unset FLEET_URL RUNNER_ID RUNNER_TICKET RUNNER_LABELS response events_token

export ACTIONS_RUNNER_HOOK_JOB_STARTED="${ACTIONS_RUNNER_HOOK_JOB_STARTED:-$here/job_started.sh}"
export ACTIONS_RUNNER_HOOK_JOB_COMPLETED="${ACTIONS_RUNNER_HOOK_JOB_COMPLETED:-$here/job_completed.sh}"
# Without it run.sh, being PID 1, would not pass SIGTERM on to the runner (actions/runner run.sh).
export RUNNER_MANUALLY_TRAP_SIG=1
# Otherwise run.sh exits 0 when GitHub no longer serves this version of the runner.
export ACTIONS_RUNNER_RETURN_VERSION_DEPRECATED_EXIT_CODE=1

# The configuration goes by environment, not as --jitconfig: arguments are readable by every user of
# the machine, /proc/1/environ only by the runner's own, and actions/runner unsets the variable before
# the job starts. The job, being that user, can still read /proc/1/environ; what it finds is the
# identity of the runner it already runs on, good for this one job.
export ACTIONS_RUNNER_INPUT_JITCONFIG="$jit_config"
cd "$RUNNER_HOME"
exec "$RUNNER_HOME/run.sh"
