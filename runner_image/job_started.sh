#!/usr/bin/env bash
# ACTIONS_RUNNER_HOOK_JOB_STARTED. Always 0: a hook that fails would fail the user's job.
bash "$(dirname "${BASH_SOURCE[0]}")/report_event.sh" job_started || true
exit 0
