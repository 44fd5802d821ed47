#!/usr/bin/env bash
# Source this after parse_options.sh: what adapt.sh and speakers.sh have in common. First where things lie, from the
# options that both have; then what both do in a stage, as functions.

# shellcheck disable=SC2154,SC2034  # adapt.sh and speakers.sh have the options, and use what is set here
[[ $# -eq 0 ]] || { echo "$(basename "$0"): unexpected argument '$1' (--help lists the options)" >&2; exit 1; }
corpus=$(from_start "$corpus") base=$(from_start "$base")
[[ -z $work_dir || $work_dir == /* ]] || work_dir=$IA3_SPEECH_START_DIR/$work_dir
corpus_name=${corpus_name:-$(basename "$(realpath -m "${corpus:-.}")")}
[[ $size == full ]] || corpus_name+=_small
data=${work_dir:+$work_dir/}data/$corpus_name exp=${work_dir:+$work_dir/}exp/$corpus_name
out_of_domain=$(for dir in ${out_of_domain/#none/}; do from_start "$dir"; done)
pipes=$([[ $allow_pipes == false ]] || echo --allow-pipes)
once="python -m ia3_speech.inputs" # OUT INPUT … -- COMMAND: run it unless OUT was made from these inputs

# prepare_corpus: the corpus becomes Kaldi directories below $data, out-of-domain speech $data/out_of_domain.
prepare_corpus() {
  $once "$data" "$corpus" local -- $prepare "$corpus" "$data" --size "$size" $pipes
  [[ -z $out_of_domain ]] || $once "$data/out_of_domain" $(sed 's/:[0-9]*$//' <<<"$out_of_domain") -- \
    python -m ia3_speech.data.corpora.out_of_domain "$out_of_domain" "$data/out_of_domain" --size "$size" $pipes
}

# validate_sets SET …: each of these directories below $data, and all its audio.
validate_sets() {
  local set
  for set; do
    $once "$data/valid/$set" "$data/$set" -- python -m ia3_speech.datadir validate --check-audio $pipes "$data/$set"
  done
}

# decode_score STAGE SEARCH [WITH]: decode and score what stands in the lines of stdin, which are those of a table of
# exp/<corpus>/plan: system, seeds, set, options of decode, options of score. WITH is what the message says of the search.
# The log of a line is exp/<corpus>/log/{decode,score}_[<search>_]<set>_<system>.log.
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
