#!/usr/bin/env bash
# Source this in the run.sh of a study: it starts local/study.py there with the options of the line.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/path.sh"
. "$(dirname "${BASH_SOURCE[0]}")/cmd.sh"
exec python "$(dirname "$0")/local/study.py" "$@"
