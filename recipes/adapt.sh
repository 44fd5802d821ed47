#!/usr/bin/env bash
# Adapt a base to a corpus, and show what it gains: the stages of every recipe. A recipe is a short run.sh in
# egs/ that calls this with its corpus and its preparation; see egs/medical_dictation/run.sh.
#
#   1  prepare   the corpus → Kaldi directories data/<corpus>/{train,dev,test}
#   2  validate  the directories, all the audio, and what train and test have in common
#   3  coverage  can the base write these texts? Then the term list is fixed, before anything is decoded
#   4  baseline  decode and score the test sets with the base alone
#   5  train     one adapter a seed, chosen by the WER of dev
#   6  decode    the test sets with each adapter
#   7  score     against the baseline: WER, CER, term errors, with paired intervals
#   8  report    exp/<corpus>/results.json, RESULTS.md and report_<set>.html
#   9  register  the adapter (of the seed whose dev WER is the median) under its name
#  10  last      what the recipe adds
#
# Each stage leaves a marker with a hash of what went in: done work is not done again, killed work resumes. A
# change of our own code is not what goes in: delete exp/<corpus> to measure again.

set -euo pipefail

. ./cmd.sh
. ./path.sh

name=$(basename "$PWD")
recipe_id=${PWD#"$IA3_SPEECH_ROOT"/} # who writes into the store of adapters
corpus=""
corpus_name=""
prepare="kaldi_corpus.py"
test_sets="test"
terms=""
base=mini
system=""
train_config=$IA3_SPEECH_ROOT/recipes/conf/ia3.yaml
train_opts=""
decode_opts=""
score_opts=""
report_opts=""
init_adapter=""
init_name=start
seeds=1
size=full
small_opts="--epochs 2"
allow_pipes=false
stage=1
stop_stage=100
last=""
work_dir=""
data_dir=""
exp_dir=""

# shellcheck disable=SC2034  # parse_options.sh prints it
help_message="Usage: bash run.sh [options]        (in any egs/ folder; the stages are described in recipes/adapt.sh)

  --corpus DIR          where the corpus is, in the layout that the recipe's README describes
  --corpus-name NAME    folder below data/ and exp/ [its last part; with --size small, _small is appended]
  --prepare CMD         called as CMD CORPUS DATA_DIR --size SIZE [$prepare: Kaldi directories train, test, dev]
  --test-sets 'A B'     which sets of the data to test on [$test_sets]
  --terms CMD           called as CMD DATA/test TERMS --train DATA/train; writes the term list [none]
  --name NAME           the name that the adapter is registered under [$name]
  --base BASE           mini, a folder, a hub id [$base]
  --train-config FILE   YAML of python -m ia3_speech.train [recipes/conf/ia3.yaml]
  --system NAME         the name of what is trained, in tables and below exp/ [the config's file name]
  --train-opts OPTS     further options of train, such as '--learning-rate 5e-3'; give the --system a name too
  --small-opts OPTS     options of train that --size small adds [$small_opts]
  --decode-opts OPTS    further options of decode
  --score-opts OPTS     further options of score
  --report-opts OPTS    further options of report, such as --embed-audio
  --init-adapter PATH   start from this adapter instead of from ones; it is tested too, as --init-name [$init_name]
  --seeds N             adapters to train, with seeds 1 to N; the one with the median dev WER is registered [$seeds]
  --size full|small     small: a little data and a few epochs, to see that everything works [$size]
  --allow-pipes true    run the shell commands that wav.scp holds [$allow_pipes]
  --stage N             start at this stage [$stage]
  --stop-stage N        stop after this stage
  --work-dir DIR        where data/ and exp/ go [the recipe's folder]
  --config FILE         shell file that sets any of these (weaker than the line)"

# shellcheck source=utils/parse_options.sh
. parse_options.sh
# shellcheck source=utils/stage.sh
. stage.sh

fail() { echo "adapt.sh: $*" >&2; exit 1; }

# Paths on the command line are relative to where the user stood, or else to the recipe.
place() { if [[ -e $IA3_SPEECH_START_DIR/$1 ]]; then realpath "$IA3_SPEECH_START_DIR/$1"; else echo "$1"; fi; }

[[ $# -eq 0 ]] || fail "unexpected argument '$1' (--help lists the options)"
[[ -n $corpus ]] || fail "no corpus: give --corpus DIR"
[[ $seeds =~ ^[1-9][0-9]*$ ]] || fail "--seeds must be a number from 1 on, not '$seeds'"
[[ $size == full || $size == small ]] || fail "--size must be full or small, not '$size'"
corpus=$(place "$corpus")
base=$(place "$base")
train_config=$(place "$train_config")
[[ -z $init_adapter ]] || init_adapter=$(place "$init_adapter")
[[ -z $work_dir || $work_dir == /* ]] || work_dir=$IA3_SPEECH_START_DIR/$work_dir
[[ -r $train_config ]] || fail "there is no training configuration $train_config"
system=${system:-$(basename "$train_config" .yaml)}
corpus_name=${corpus_name:-$(basename "$corpus")}
[[ $size == full ]] || { corpus_name+=_small; train_opts="$small_opts $train_opts"; }
pipes=""; [[ $allow_pipes == false ]] || pipes=--allow-pipes
data=${data_dir:-${work_dir:+$work_dir/}data/$corpus_name}
exp=${exp_dir:-${work_dir:+$work_dir/}exp/$corpus_name}

# One run at a time works in a folder; after a kill, the jobs that are left hold it until they end.
mkdir -p "$data" "$exp/log"
if command -v flock >/dev/null; then
  exec 9>>"$exp/.lock"
  flock -n 9 || { echo "waiting for another run that is still at work in $exp"; flock 9; }
fi

IA3_SPEECH_COMMIT=$(git -C "$IA3_SPEECH_ROOT" rev-parse --short HEAD 2>/dev/null || true)
IA3_SPEECH_DIRTY=$([[ -z $(git -C "$IA3_SPEECH_ROOT" status --porcelain 2>/dev/null) ]] && echo false || echo true)
export IA3_SPEECH_COMMIT IA3_SPEECH_DIRTY

adapted() { echo "$exp/${system}_seed$1"; } # of a seed; also of the word JOB

# ---- 1: the corpus becomes Kaldi directories
if begin 1 "prepare $corpus_name" "$data/.done/prepare" "$corpus" "size=$size" "$prepare" ./local; then
  # shellcheck disable=SC2086
  $prepare "$corpus" "$data" --size "$size" $pipes
  finish
fi

# ---- 2: what is wrong with the data is found here, not in the middle of training
sets=(); for set in train dev $test_sets; do sets+=("$data/$set"); done
if begin 2 "validate $corpus_name" "$data/.done/validate" "${sets[@]}"; then
  # shellcheck disable=SC2086
  for set in "${sets[@]}"; do python -m ia3_speech.datadir validate --check-audio $pipes "$set"; done
  for set in $test_sets; do overlap.py "$data/train" "$data/dev" "$data/$set"; done
  finish
fi

# ---- 3: characters that the base can't write; texts too long for their audio; the terms
learn=(--config "$train_config" --base "$base" --train "$data/train" --dev "$data/dev")
# shellcheck disable=SC2206
learn+=($pipes $train_opts)
if begin 3 "coverage" "$exp/.done/coverage" "$data/train" "$data/dev" "base=$base" "$train_config" "$train_opts"; then
  coverage.py "${learn[@]}" --out "$exp"
  finish
fi
for set in $test_sets; do
  [[ -n $terms ]] || break
  if begin 3 "terms of $set" "$exp/.done/terms_$set" "$terms" ./local "$data/train" "$data/$set"; then
    # shellcheck disable=SC2086
    $terms "$data/$set" "$exp/terms_$set" --train "$data/train"
    finish
  fi
done

# ---- 4 to 7: the base, then the adapters
if [[ $base == mini ]]; then base_files=$IA3_SPEECH_ROOT/ia3_speech/mini; else base_files=$base/; fi
base_key=$(key.py "base=$base" "$base_files")
train_key=$(key.py "$base_key" "$train_config" "train_opts=$train_opts" "$data/train" "$data/dev" "init=$init_adapter" \
  ${init_adapter:+"$init_adapter/"})

# decode_all STAGE WHO FOLDER N KEY OPTION…: decode the test sets into FOLDER/decode_greedy_SET, for JOB=1:N
decode_all() {
  local number=$1 who=$2 folder=$3 n=$4 made_from=$5 set
  shift 5
  for set in $test_sets; do
    # shellcheck disable=SC2086
    every "$number" "decode $set with $who" "$decode_cmd" "$exp/log/decode_${set}_$(basename "$folder").log" \
      "$folder/decode_greedy_$set" "$n" "$(key.py "$made_from" "$data/$set" "opts=$decode_opts")" \
      python -m ia3_speech.decode --base "$base" "$@" $pipes $decode_opts "$data/$set" "$folder/decode_greedy_$set"
  done
}

# score_all STAGE WHO FOLDER N KEY [--baseline]: score them, with --baseline against the base alone
score_all() {
  local number=$1 who=$2 folder=$3 n=$4 made_from=$5 against=${6-} set decoded inputs
  for set in $test_sets; do
    decoded=$folder/decode_greedy_$set
    inputs=("$made_from" "$base_key" "$data/$set" "$exp/terms_$set" "opts=$decode_opts" "opts=$score_opts")
    # shellcheck disable=SC2086
    every "$number" "score $set with $who" "$decode_cmd" "$exp/log/score_${set}_$(basename "$folder").log" \
      "$decoded/scoring_kaldi" "$n" "$(key.py "${inputs[@]}")" \
      python -m ia3_speech.score ${terms:+--terms "$exp/terms_$set"} \
      ${against:+--baseline "$exp/base/decode_greedy_$set"} $score_opts "$data/$set" "$decoded"
  done
}

decode_all 4 "the base" "$exp/base" 1 "$base_key"
score_all 4 "the base" "$exp/base" 1 "$base_key"
if [[ -n $init_adapter ]]; then
  init_key=$(key.py "$base_key" "$init_adapter/")
  decode_all 4 "$init_name" "$exp/$init_name" 1 "$init_key" --adapter "$init_adapter"
  score_all 4 "$init_name" "$exp/$init_name" 1 "$init_key" --baseline
fi

every 5 "train $system" "$train_cmd" "$exp/log/train_${system}_seedJOB.log" "$(adapted JOB)" "$seeds" "$train_key" \
  python -m ia3_speech.train "${learn[@]}" ${init_adapter:+--init-adapter "$init_adapter"} \
  --out "$(adapted JOB)" --seed JOB

decode_all 6 "$system" "$(adapted JOB)" "$seeds" "$train_key" --adapter "$(adapted JOB)/adapter"
score_all 7 "$system" "$(adapted JOB)" "$seeds" "$train_key" --baseline

# ---- 8: what a sceptic wants to see
if begin 8 "report in $exp/RESULTS.md" "$exp/.done/report" "$exp"/*/train.json "$exp"/*/decode_greedy_*/score.json; then
  results.py collect "$exp" --sets "$test_sets" --command "$IA3_SPEECH_COMMAND"
  shown=$(results.py median "$exp" "$system" "$seeds")
  # shellcheck disable=SC2086
  for set in $test_sets; do
    python -m ia3_speech.report "$data/$set" "$shown/decode_greedy_$set" $report_opts --out "$exp/report_$set.html"
  done
  finish
fi

# ---- 9: from here on `--adapter NAME` finds it. Another corpus may have taken the name meanwhile, so no marker.
[[ $stop_stage -ge 9 ]] || exit 0
adapter=$(results.py median "$exp" "$system" "$seeds")/adapter
if [[ $stage -le 9 ]]; then
  scores=()
  for set in $test_sets; do scores+=("$(dirname "$adapter")/decode_greedy_$set/score.json"); done
  python -m ia3_speech.adapters card --score "${scores[@]}" --name "$name" "$adapter" >/dev/null
  registered=$(python -m ia3_speech.adapters register "$adapter" "$name" --writer "$recipe_id")
  echo "stage 9, $registered"
fi

# ---- 10: the recipe's own
if [[ -n $last && $stop_stage -ge 10 ]]; then
  echo "stage 10, $last"
  export data exp base name size small_opts adapter
  $last
fi
