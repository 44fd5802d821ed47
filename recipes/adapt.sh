#!/usr/bin/env bash
# Adapt a base to a corpus, and show what it gains: the stages of every recipe. A recipe is a short run.sh in
# egs/ that calls this with its corpus and its preparation; see egs/medical_dictation/run.sh.
#
#   1  prepare   the corpus → Kaldi directories data/<corpus>/{train,dev,test}
#   2  validate  the directories, all the audio, and what train and test have in common
#   3  coverage  can the base write these texts? Then the term list is fixed, before anything is decoded
#   4  baseline  decode and score the test sets with the base alone
#   5  train     one adapter a seed, its epoch chosen by the WER of dev; perhaps their mean
#   6  decode    the test sets with each adapter
#   7  score     against the baseline: WER, CER, term errors, with paired intervals
#   8  report    exp/<corpus>/results.json, RESULTS.md and report_<set>.html
#   9  register  the adapter (of the seed whose dev WER is the median, or the mean of all) under its name
#  10  last      what the recipe adds
#
# Where they are asked for, these go along from stage to stage:
#
#   --general     general speech, to see what is forgotten: a test set for every system, apart from the others; with
#                 the adapter off its hypotheses must be the base's, byte for byte
#   --trade-off   the adapter shown, scaled, on the first test set and on general speech; --pulls: adapters trained
#                 with a pull of l towards 1 beside it
#   --curve       adapters trained on so many minutes of train. An epoch of each hears as much as the most minutes
#                 asked for, so that all of them take equally many steps; the one of all of train takes more
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
prepare="python -m ia3_speech.data.corpora.kaldi"
test_sets="test"
terms=""
base=mini
system=""
train_config=$IA3_SPEECH_ROOT/ia3_speech/conf/ia3.yaml
train_opts=""
decode_opts=""
score_opts=""
report_opts=""
init_adapter=""
init_name=start
seeds=1
average=false
size=full
small_opts="--epochs 2"
general=""
trade_off=""
pulls=""
curve=""
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
  --train-config FILE   YAML of python -m ia3_speech.train [ia3_speech/conf/ia3.yaml]
  --system NAME         the name of what is trained, in tables and below exp/ [the config's file name]
  --train-opts OPTS     further options of train, such as '--learning-rate 5e-3'; give the --system a name too
  --small-opts OPTS     options of train that --size small adds [$small_opts]
  --decode-opts OPTS    further options of decode
  --score-opts OPTS     further options of score
  --report-opts OPTS    further options of report, such as --embed-audio
  --init-adapter PATH   start from this adapter and not from the base alone; it is tested too, as --init-name [$init_name]
  --seeds N             adapters to train, with seeds 1 to N; the one with the median dev WER is registered [$seeds]
  --average true        test the mean of the seeds' vectors too, as SYSTEM_average, and register that [$average]
  --general 'DIR DIR'   general speech: Kaldi directories (DIR:40: every 40th utterance), or LibriSpeech's layout [none]
  --trade-off '0.5 1'   the adapter scaled by these numbers, on the first test set and on --general [none]
  --pulls '1 10'        with --trade-off: further adapters, trained with these pulls of l towards 1 [none]
  --curve '1 5 20'      further adapters, trained on so many minutes of train: a learning curve [none]
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

[[ $# -eq 0 ]] || fail "unexpected argument '$1' (--help lists the options)"
if [[ -z $corpus && -f local/published.txt ]]; then cat local/published.txt >&2; exit 1; fi
[[ -n $corpus ]] || fail "no corpus: give --corpus DIR"
[[ $seeds =~ ^[1-9][0-9]*$ ]] || fail "--seeds must be a number from 1 on, not '$seeds'"
[[ $average == false || $seeds -gt 1 ]] || fail "--average takes the mean of several seeds: give --seeds 3"
decimal='^[0-9]+(\.[0-9]+)?$'
for number in $trade_off $curve; do
  [[ $number =~ $decimal ]] || fail "--trade-off and --curve take numbers such as 0.5, not '$number'"
done
for number in $pulls; do
  [[ $number =~ ^[0-9]+(\.[0-9]+)?(e-?[0-9]+)?$ ]] || fail "--pulls takes numbers such as 0.5 or 1e-2, not '$number'"
done
[[ -z $trade_off || -n $general ]] || fail "--trade-off needs general speech: give --general 'DIR DIR'"
[[ -z $pulls || -n $trade_off ]] || fail "--pulls needs --trade-off '0.25 0.5 0.75'"
[[ " $test_sets " != *" general "* ]] || fail "--test-sets: no set can be called general, --general is"
[[ $size == full || $size == small ]] || fail "--size must be full or small, not '$size'"
corpus=$(place "$corpus")
base=$(place_base "$base")
train_config=$(place "$train_config")
init_files=()
[[ -z $init_adapter ]] || take_adapter "$init_adapter"
read -ra words <<<"$train_opts"
train_opts=${words[*]-} # with single blanks: they go into keys
place_general "$general"
[[ -z $work_dir || $work_dir == /* ]] || work_dir=$IA3_SPEECH_START_DIR/$work_dir
[[ -r $train_config ]] || fail "there is no training configuration $train_config"
system=${system:-$(basename "$train_config" .yaml)}
corpus_name=${corpus_name:-$(basename "$corpus")}
check_corpus_name "$corpus_name"
[[ -z $init_adapter ]] || check_init_name "$init_name" base log curve "$system" "${system}_average"
[[ $size == full ]] || { corpus_name+=_small; train_opts="$small_opts $train_opts"; }
pipes=""; [[ $allow_pipes == false ]] || pipes=--allow-pipes
data=${data_dir:-${work_dir:+$work_dir/}data/$corpus_name}
exp=${exp_dir:-${work_dir:+$work_dir/}exp/$corpus_name}

mkdir -p "$data" "$exp/log"
alone_in "$exp"
say_where

adapted() { echo "$exp/${system}_seed$1"; } # of a seed; also of the word JOB
mean=$exp/${system}_average                 # of all seeds
shown() { if [[ $average == true ]]; then echo "$mean"; else results.py median "$exp" "$system" "$seeds"; fi; }
read -r first_set _ <<<"$test_sets"         # which stands for the corpus in trade-off and curve
all_sets=$test_sets${general:+ general}
most_minutes=$(tr ' ' '\n' <<<"$curve" | sort -g | tail -n 1)
part() { echo "$data/curve/minutes_$1"; } # of train

# ---- 1: the corpus becomes Kaldi directories
if begin 1 "prepare $corpus_name" "$data/.done/prepare" "$corpus" "size=$size" "$prepare" ./local; then
  # shellcheck disable=SC2086
  $prepare "$corpus" "$data" --size "$size" $pipes
  finish
fi
prepare_general

# ---- 2: what is wrong with the data is found here, not in the middle of training
sets=(); for set in train dev $all_sets; do sets+=("$data/$set"); done
if begin 2 "validate $corpus_name" "$data/.done/validate" "${sets[@]}"; then
  # shellcheck disable=SC2086
  for set in "${sets[@]}"; do python -m ia3_speech.datadir validate --check-audio $pipes "$set"; done
  for set in $all_sets; do python -m ia3_speech.datadir overlap "$data/train" "$data/dev" "$data/$set"; done
  finish
fi
if [[ -n $curve ]] && begin 2 "parts of train" "$data/.done/curve" "$data/train" "minutes=$curve"; then
  for minutes in $curve; do
    python -m ia3_speech.datadir subset "$data/train" "$(part "$minutes")" --minutes "$minutes"
  done
  finish
fi

# ---- 3: characters that the base can't write, of all sets; texts too long for their audio; the terms
learn=(--config "$train_config" --base "$base" --dev "$data/dev")
# shellcheck disable=SC2206
learn+=($pipes $train_opts)
tests=(); for set in $all_sets; do tests+=("$data/$set"); done
if begin 3 "coverage" "$exp/.done/coverage" "$data/train" "$data/dev" "${tests[@]}" "base=$base" "$train_config" \
  "$train_opts"; then
  python -m ia3_speech.train --check "${learn[@]}" --train "$data/train" --tests "$(printf '%s\n' "${tests[@]}")" --out "$exp"
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

# ---- 4 to 7: the base, then the adapters; and what goes along with them
if [[ $base == mini ]]; then base_files=$IA3_SPEECH_ROOT/ia3_speech/mini; else base_files=$base/; fi
base_key=$(key.py "base=$base" "$base_files")
train_key=$(key.py "$base_key" "$train_config" "train_opts=$train_opts" "$data/train" "$data/dev" "init=$init_adapter" \
  ${init_files[@]+"${init_files[@]}"})

# log_of WORK FOLDER: exp/NAME/ia3_seed1/off → exp/NAME/log/WORK_ia3_seed1_off.log
log_of() { local what=${2#"$exp/"}; echo "$exp/log/$1_${what//\//_}.log"; }

# decode_all STAGE WHO FOLDER N KEY SETS OPTION…: decode the sets into FOLDER/decode_greedy_SET, for JOB=1:N
decode_all() {
  local number=$1 who=$2 folder=$3 n=$4 made_from=$5 wanted=$6 set
  shift 6
  for set in $wanted; do
    # shellcheck disable=SC2086
    every "$number" "decode $set with $who" "$decode_cmd" "$(log_of "decode_$set" "$folder")" \
      "$folder/decode_greedy_$set" "$n" "$(key.py "$made_from" "$data/$set" "opts=$decode_opts")" \
      python -m ia3_speech.decode --base "$base" "$@" $pipes $decode_opts "$data/$set" "$folder/decode_greedy_$set"
  done
}

# score_all STAGE WHO FOLDER N KEY SETS [--baseline]: score them, with --baseline against the base alone. General
# speech has no terms, and speakers of its own; dev has no terms either, but where it is tested on.
score_all() {
  local number=$1 who=$2 folder=$3 n=$4 made_from=$5 wanted=$6 against=${7-} set decoded made own
  for set in $wanted; do
    decoded=$folder/decode_greedy_$set
    # shellcheck disable=SC2207  # names without spaces
    made=("$made_from" "$base_key" "$data/$set" "$exp/terms_$set" "opts=$decode_opts" "opts=$score_opts" "$against" $(hooks))
    own=()
    [[ " $test_sets " != *" $set "* ]] || own=(${terms:+--terms "$exp/terms_$set"})
    [[ $set != general ]] || own=(--cluster speaker)
    # shellcheck disable=SC2086
    every "$number" "score $set with $who" "$decode_cmd" "$(log_of "score_$set" "$folder")" \
      "$decoded/scoring_kaldi" "$n" "$(key.py "${made[@]}")" \
      python -m ia3_speech.score ${against:+--baseline "$exp/base/decode_greedy_$set"} $score_opts \
      ${own[@]+"${own[@]}"} "$data/$set" "$decoded"
  done
}

# What is trained: each calls WORK WHO FOLDER N KEY SETS TRAIN OPTION… for seeds JOB=1:N in FOLDER.
for_system() { "$1" "$system" "$(adapted JOB)" "$seeds" "$train_key" "$all_sets" "$data/train"; }
for_pulls() {
  local pull
  for pull in $pulls; do
    "$1" "$system with pull $pull" "$exp/${system}_pull${pull}_seedJOB" 1 "$(key.py "$train_key" "pull=$pull")" \
      "$first_set general" "$data/train" --decay-to-one "$pull"
  done
}
for_parts() {
  local minutes
  for minutes in $curve; do
    "$1" "$system on $minutes min" "$exp/curve/minutes_${minutes}_seedJOB" "$seeds" \
      "$(key.py "$train_key" "$(part "$minutes")" "epoch_minutes=$most_minutes")" \
      "$first_set" "$(part "$minutes")" --epoch-minutes "$most_minutes"
  done
}

# The WORKs.
train_all() {
  every 5 "train $1" "$train_cmd" "$(log_of train "$2")" "$2" "$3" "$4" \
    python -m ia3_speech.train "${learn[@]}" --train "$6" ${init_adapter:+--init-adapter "$init_adapter"} "${@:7}" \
    --out "$2" --seed JOB
}
test_all() {
  decode_all 6 "$1" "$2" "$3" "$4" "$5" --adapter "$2/adapter"
  score_all 7 "$1" "$2" "$3" "$4" "$5" --baseline
}
count_left() {
  local job
  for ((job = 1; job <= $3; job++)); do is_done "${2//JOB/$job}/.done" "$4" || left=$((left + 1)); done
}

# project LIST OPTION…: say how long what is left of for_pulls or for_parts will take
project() {
  local left=0
  [[ $stage -le 5 && $stop_stage -ge 5 ]] || return 0
  "$1" count_left
  [[ $left == 0 ]] || results.py project "$exp" "$left" "${@:2}"
}

decode_all 4 "the base" "$exp/base" 1 "$base_key" "$all_sets"
score_all 4 "the base" "$exp/base" 1 "$base_key" "$all_sets"
if [[ -n $init_adapter ]]; then
  init_key=$(key.py "$base_key" "init=$init_adapter" "${init_files[@]}")
  decode_all 4 "$init_name" "$exp/$init_name" 1 "$init_key" "$all_sets" --adapter "$init_adapter"
  score_all 4 "$init_name" "$exp/$init_name" 1 "$init_key" "$all_sets" --baseline
fi

for_system train_all
mean_key=$(key.py "$train_key" "mean of $seeds")
if [[ $average == true ]]; then
  seed_adapters=() # each seed's adapter
  for ((seed = 1; seed <= seeds; seed++)); do seed_adapters+=("$(adapted "$seed")/adapter"); done
  every 5 "the mean of $seeds seeds" "$decode_cmd" "$(log_of average "$mean")" "$mean" 1 "$mean_key" \
    python -m ia3_speech.adapters combine --average --force --base "$base" --out "$mean/adapter" "${seed_adapters[@]}"
fi
project for_pulls --decodes "$first_set general"
for_pulls train_all
project for_parts --decodes "$first_set" --minutes "$most_minutes"
for_parts train_all

for_system test_all
if [[ $average == true ]]; then
  test_all "the mean" "$mean" 1 "$mean_key" "$all_sets"
  decode_all 6 "the mean" "$mean" 1 "$mean_key" dev --adapter "$mean/adapter" # for the record, it chooses nothing
  score_all 7 "the mean" "$mean" 1 "$mean_key" dev
fi
for_pulls test_all
for_parts test_all

# same_as_base FOLDER: fails where general speech was decoded otherwise than by the base
same_as_base() {
  local off=$1/decode_greedy_general/text
  cmp "$exp/base/decode_greedy_general/text" "$off" ||
    fail "$off: with the adapter off these must be the base's hypotheses, byte for byte (delete $exp and measure" \
      "again; if they still differ it is our fault)"
}

# Off is the base, to the byte; times something is on the way.
if [[ -n $general && $stage -le 6 && $stop_stage -ge 6 ]]; then
  decode_all 6 "$system off" "$(adapted JOB)/off" "$seeds" "$train_key" general --adapter "$(adapted JOB)/adapter:0"
  for ((seed = 1; seed <= seeds; seed++)); do
    same_as_base "$(adapted "$seed")/off"
  done
  if [[ $average == true ]]; then
    decode_all 6 "the mean off" "$mean/off" 1 "$mean_key" general --adapter "$mean/adapter:0"
    same_as_base "$mean/off"
  fi
  echo "stage 6, with $system off the hypotheses on general speech are the base's, byte for byte"
fi
if [[ -n $trade_off && $stop_stage -ge 6 ]]; then
  scaled_from=$(shown)
  for scale in $trade_off; do
    [[ ! $scale =~ ^[01](\.0*)?$ ]] || continue # the base, and the adapter itself
    scaled=("$system times $scale" "$scaled_from/scale_$scale" 1 "$([[ $average == true ]] && echo "$mean_key" || echo "$train_key")"
      "$first_set general")
    decode_all 6 "${scaled[@]}" --adapter "$scaled_from/adapter:$scale"
    score_all 7 "${scaled[@]}" --baseline
  done
fi

# ---- 8: what a sceptic wants to see
scored=("$exp"/*/train.json "$exp"/*/decode_greedy_*/score.json)
[[ -z $trade_off ]] || scored+=("$exp"/*/scale_*/decode_greedy_*/score.json)
[[ -z $curve ]] || scored+=("$exp"/curve/*/decode_greedy_*/score.json)
if begin 8 "report in $exp/RESULTS.md" "$exp/.done/report" "${scored[@]}" "system=$system" "seeds=$seeds" \
  "sets=$all_sets" "pulls=$pulls" "curve=$curve" "average=$average" "opts=$report_opts"; then
  folder=$(shown)
  results.py points "$exp" "$system" "$seeds" "$first_set" "$folder" --pulls "$pulls" --curve "$curve"
  made=$(for ((seed = 1; seed <= seeds; seed++)); do basename "$(adapted "$seed")"; done)
  [[ $average == false ]] || made+=" $(basename "$mean")"
  made+=$(for pull in $pulls; do echo " ${system}_pull${pull}_seed1"; done)
  results.py collect "$exp" --sets "$all_sets" --command "$IA3_SPEECH_COMMAND" --made "$made" \
    --instead-of "$system(_pull[^_]+)?_seed[0-9]+|${system}_average"
  trained=$(results.py median "$exp" "$system" "$seeds") # of a mean too: it was not trained itself
  # shellcheck disable=SC2086
  for set in $test_sets; do
    python -m ia3_speech.report "$data/$set" "$folder/decode_greedy_$set" $report_opts --out "$exp/report_$set.html" \
      --training "$trained/metrics.jsonl"
  done
  finish
fi

# ---- 9: from here on `--adapter NAME` finds it. Another corpus may have taken the name meanwhile, so no marker.
[[ $stop_stage -ge 9 ]] || exit 0
adapter=$(shown)/adapter
if [[ $stage -le 9 ]]; then
  scores=()
  for set in $all_sets; do scores+=("$(dirname "$adapter")/decode_greedy_$set/score.json"); done
  python -m ia3_speech.adapters card --score "${scores[@]}" --name "$name" "$adapter" >/dev/null
  registered=$(register "$adapter" "$name")
  echo "stage 9, $registered"
  name=${registered%%:*}
  grep -qsxF "$name" "$exp/name" || echo "$name" >"$exp/name"
fi

# ---- 10: the recipe's own
[[ ! -f $exp/name ]] || name=$(<"$exp/name") # which a small run may have had to change
if [[ -n $last && $stop_stage -ge 10 ]]; then
  echo "stage 10, $last"
  export data exp base name size small_opts adapter allow_pipes
  $last
fi
