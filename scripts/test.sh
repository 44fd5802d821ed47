#!/usr/bin/env bash
# Runs the tests of this clone; the first time it makes their environment. Arguments go to pytest, which runs in the
# clone's folder with two workers:
#
#   bash scripts/test.sh
#   bash scripts/test.sh -n 0 tests/scoring -k wer      one part, in one process
set -euo pipefail
CDPATH="" cd "$(dirname "$0")/.."
. scripts/environment.sh
use_environment ia3_speech torch pytest xdist pytest_timeout hypothesis peft mkdocs nbclient
PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH} exec python -m pytest "$@"
