#!/usr/bin/env bash
# The last stage: how far to trust the texts that the preparation finds without transcripts.tsv. Called by
# recipes/adapt.sh, which exports data and exp.
set -euo pipefail
. ./path.sh

# shellcheck disable=SC2154  # what adapt.sh exports
if [[ -f $data/heard ]]; then
  echo "the texts come from the base's own decoding: there is no transcripts.tsv to compare them with"
  exit
fi
python -m ia3_speech.inputs "$exp/agreement" "$data/test" local "$exp/base/decode_greedy_test/text" -- \
  local/agreement.py "$data/test" "$exp/base/decode_greedy_test" "$exp/agreement"
