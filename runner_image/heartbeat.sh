#!/usr/bin/env bash
# heartbeat.sh SECONDS PID: tells the fleet every SECONDS that this runner lives, while process PID does.
#
# Started by entrypoint.sh, whose process becomes actions/runner. Each beat keeps the lifecycle waiting
# for the job; a machine that hangs or is lost stops beating, and is found within minutes. A fleet that
# cannot be reached is no reason to stop: the job goes on, and so does this. Ends by itself with PID, and
# when the fleet no longer wants to hear from it.
set -u

every=$1
runner=$2
credentials="${RUNNER_HOME:-/home/runner}/.fleet-events"
complained=""

# A pipe that nobody writes to: `read -t` on it pauses without starting a process every second.
exec 3<> <(:)

beat() {
  local load body answer trouble
  read -r load _ </proc/loadavg
  body="{\"event\":\"heartbeat\",\"load\":$load}"
  answer=$(curl --silent --show-error --include --suppress-connect-headers --http1.1 --max-time 10 \
    --connect-timeout 5 --request POST --header 'Content-Type: application/json' --data "$body" \
    --config "$credentials" 2>&1)
  trouble=${answer%%$'\r'*}
  if [[ "$answer" =~ ^HTTP/[0-9.]+[[:space:]]([0-9]{3}) ]]; then
    case "${BASH_REMATCH[1]}" in
      2??) trouble="" ;;
      403 | 404 | 410) exit 0 ;; # the runner has ended, as far as the fleet is concerned
    esac
  fi
  [[ -z "$trouble" || -n "$complained" ]] ||
    printf 'fleet: no heartbeat gets through (%s); the job goes on\n' "$trouble" >&2
  complained=$trouble
}

due=$((SECONDS + every))
while read -r -t 1 -u 3; kill -0 "$runner" 2>/dev/null; do
  [[ $SECONDS -lt $due ]] && continue
  due=$((SECONDS + every))
  beat
done
