#!/usr/bin/env bash
# Builds the documentation site into site/; the first time it makes the clone's environment. Any broken link is an error.
# Arguments go to mkdocs: `bash scripts/docs.sh serve` shows the site while you write.
set -euo pipefail
CDPATH="" cd "$(dirname "$0")/.."
. scripts/environment.sh
use_environment ia3_speech torch mkdocs material mkdocstrings mkdocs_jupyter
[[ $# -gt 0 ]] || set -- build
export NO_MKDOCS_2_WARNING=1
PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH} exec python -m mkdocs "$@" --strict --config-file scripts/mkdocs.yml
