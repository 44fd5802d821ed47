#!/usr/bin/env bash
# The last stage: how far to trust the texts that the preparation finds without transcripts.tsv. Called by
# recipes/adapt.sh, which exports data and exp.
set -euo pipefail
. ./path.sh
# shellcheck source=../../../recipes/utils/stage.sh
. stage.sh

# shellcheck disable=SC2154  # what adapt.sh exports
if [[ -f $data/heard ]]; then
  echo "the texts come from the base's own decoding: there is no transcripts.tsv to compare them with"
  exit
fi
# shellcheck disable=SC2034  # begin looks at them
stage=10 stop_stage=10
if begin 10 "agreement" "$exp/.done/agreement" "$data/test" ./local "$exp/base/decode_greedy_test/text"; then
  local/agreement.py "$data/test" "$exp/base/decode_greedy_test" "$exp/agreement"
  finish
fi
