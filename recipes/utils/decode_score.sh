#!/usr/bin/env bash
# Source this, then `decode_score STAGE SEARCH [WITH]` decodes and scores what stands in the lines of its stdin, which are
# those of a table of exp/<corpus>/plan: system, seeds, set, options of decode, options of score. WITH is what the
# message says of the search. The log of a line is exp/<corpus>/log/{decode,score}_[<search>_]<set>_<system>.log.

# shellcheck disable=SC2154  # adapt.sh and speakers.sh have the options
decode_score() {
  local stage=$1 search=$2 with=${3-} one jobs set decode_as score_as log
  while IFS=$'\t' read -r one jobs set decode_as score_as; do
    echo "stage $stage, decode and score $set with ${one/_seedJOB/}$with"
    log=${set}_${one//\//_}.log
    [[ $search == greedy ]] || log=${search}_$log
    $decode_cmd JOB=1:"$jobs" "$exp/log/decode_$log" python -m ia3_speech.decode \
      $decode_as $pipes --precision $precision $decode_opts "$data/$set" "$exp/$one/decode_${search}_$set"
    # With the adapter disabled the hypotheses are the base's, which `experiments disabled` compares.
    [[ $one == */off ]] || $decode_cmd JOB=1:"$jobs" "$exp/log/score_$log" \
      python -m ia3_speech.score "$data/$set" "$exp/$one/decode_${search}_$set" $score_opts $score_as
  done
}
