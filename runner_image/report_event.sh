#!/usr/bin/env bash
# report_event.sh EVENT: tells the fleet that this runner's job started or ended, and which job it is.
#
# Called by the two job hooks. A report is a hint (what happens is by GitHub's word and ECS's), so nothing
# here may fail or hold up the user's job: always 0, at most 5 seconds.
set -u

credentials="${RUNNER_HOME:-/home/runner}/.fleet-events"
[[ -r "$credentials" ]] || exit 0

# A JSON string of one line; names are chosen by whoever can edit a workflow.
quoted() {
  local text=${1//\\/\\\\}
  text=${text//\"/\\\"}
  printf '"%s"' "${text//[[:cntrl:]]/ }"
}

number() { # the number, or null
  [[ "$1" =~ ^[1-9][0-9]*$ ]] && printf '%s' "$1" || printf null
}

body="{\"event\":$(quoted "$1"),\"job_name\":$(quoted "${GITHUB_JOB:-}")"
body+=",\"run_id\":$(number "${GITHUB_RUN_ID:-}"),\"run_attempt\":$(number "${GITHUB_RUN_ATTEMPT:-}")"
body+=",\"repository\":$(quoted "${GITHUB_REPOSITORY:-}"),\"workflow\":$(quoted "${GITHUB_WORKFLOW:-}")"
body+=",\"runner_name\":$(quoted "${RUNNER_NAME:-}"),\"runner_version\":$(quoted "${RUNNER_VERSION:-}")}"

curl --silent --show-error --output /dev/null --max-time 5 --connect-timeout 2 --request POST \
  --header 'Content-Type: application/json' --data "$body" --config "$credentials" ||
  printf 'fleet: could not report %s; the job goes on\n' "$1" >&2
exit 0
