#!/usr/bin/env bash
# Adapt a base to many speakers, an adapter for each from a few utterances, and show what it gains: the stages of a
# recipe for speakers, as adapt.sh has those for a corpus. egs/speaker_adaptation/run.sh calls it.
#
#   1  prepare   the corpus → one Kaldi directory, data/<corpus>/test; and --general, speech of other people
#   2  validate  the directory and all its audio
#   3  coverage  can the base write these texts, and is there time enough for them?
#   4  baseline  decode and score with the base alone, and with the adapter to start from, if there is one
#   5  adapt     from the base and from that adapter, with each --k: of every speaker each utterance is tested once,
#                by an adapter that never heard it
#   6  score     against the base: WER and CER, with paired intervals from a bootstrap over speakers; general speech
#                is decoded first, an utterance with each speaker's adapter in turn
#   7  report    exp/<corpus>/results.json, RESULTS.md, scatter_*.svg, curve.json, report_*.html
#   8  register  for each speaker the adapter of the first fold, under --prefix and the speaker's id
#
# Each stage leaves a marker with a hash of what went in: done work is not done again, killed work resumes. A
# change of our own code is not what goes in: delete exp/<corpus> to measure again.

set -euo pipefail

. ./cmd.sh
. ./path.sh

recipe_id=${PWD#"$IA3_SPEECH_ROOT"/} # who writes into the store of adapters
corpus=""
corpus_name=""
prepare="local/prepare.py"
base=mini
init_adapter=""
init_name=""
init_config=""
folds=4
k=15
seeds=1
nj=1
adapt_config=conf/speakers.yaml
adapt_opts=""
text_opts=""
variant=""
general=""
decode_opts=""
score_opts=""
report_opts=""
prefix=speaker
size=full
small_opts="--epochs 2"
allow_pipes=false
stage=1
stop_stage=100
work_dir=""

# shellcheck disable=SC2034  # parse_options.sh prints it
help_message="Usage: bash run.sh [options]        (in egs/speaker_adaptation; the stages are described in recipes/speakers.sh)

  --corpus DIR          where the corpus is, in one of the layouts that the recipe's README describes
  --corpus-name NAME    folder below data/ and exp/ [its last part; with --size small, _small is appended]
  --prepare CMD         called as CMD CORPUS DATA_DIR --size SIZE; writes DATA_DIR/test [$prepare]
  --base BASE           mini, a folder, a hub id [$base]
  --init-adapter NAME   start from this adapter too (a name, a path, a sum), and not from the base alone
  --init-name NAME      what it is called in tables and below exp/ [a registered name itself, else start]
  --k 'A B'             utterances to adapt on; several make a learning curve [$k]
  --folds N             parts into which a speaker's utterances are dealt; each is tested once [$folds]
  --seeds N             adaptations of each kind, with seeds 1 to N [$seeds]
  --nj N                jobs, each with a share of the speakers [$nj]
  --adapt-config FILE   YAML of python -m ia3_speech.speakers [$adapt_config]
  --init-config FILE    the same for the start from --init-adapter [what --adapt-config says]
  --adapt-opts OPTS     further options of it, such as '--epochs 5'; give the --variant a name too
  --text-opts OPTS      '--drop-chars', '--on-error skip', for texts that the base can't write or has no time for
  --variant NAME        appended to the systems' names, in tables and below exp/
  --general 'DIR DIR'   general speech, to see what is forgotten: Kaldi directories (DIR:40: every 40th utterance), or
                        LibriSpeech's layout [none]
  --small-opts OPTS     options of adaptation that --size small adds [$small_opts]
  --decode-opts OPTS    further options of decode
  --score-opts OPTS     further options of score
  --report-opts OPTS    further options of report, such as --embed-audio
  --prefix NAME         the adapter of speaker 0024 is registered as NAME0024 [$prefix]
  --size full|small     small: three speakers and two passes, to see that everything works [$size]
  --allow-pipes true    run the shell commands that wav.scp holds [$allow_pipes]
  --stage N             start at this stage [$stage]
  --stop-stage N        stop after this stage
  --work-dir DIR        where data/ and exp/ go [the recipe's folder]
  --config FILE         shell file that sets any of these (weaker than the line)"

# shellcheck source=utils/parse_options.sh
. parse_options.sh
# shellcheck source=utils/stage.sh
. stage.sh

fail() { echo "speakers.sh: $*" >&2; exit 1; }

[[ $# -eq 0 ]] || fail "unexpected argument '$1' (--help lists the options)"
[[ -n $corpus ]] || fail "no corpus: give --corpus DIR"
for count in seeds nj; do
  [[ ${!count} =~ ^[1-9][0-9]*$ ]] || fail "--$count must be a number from 1 on, not '${!count}'"
done
[[ $folds =~ ^[1-9][0-9]*$ && $folds -ge 2 ]] || fail "--folds must be a number from 2 on, not '$folds'"
mapfile -t sizes < <(tr -s ' ' '\n' <<<"$k" | sort -rnu) # the largest first
for n in "${sizes[@]}"; do
  [[ $n =~ ^[1-9][0-9]*$ && $n -ge 2 ]] || fail "--k must be numbers from 2 on, not '$k'"
done
[[ $size == full || $size == small ]] || fail "--size must be full or small, not '$size'"
corpus=$(place "$corpus")
place_general "$general"
base=$(place_base "$base")
adapt_config=$(place "$adapt_config")
[[ -z $work_dir || $work_dir == /* ]] || work_dir=$IA3_SPEECH_START_DIR/$work_dir
init_config=$(place "${init_config:-$adapt_config}")
for file in "$adapt_config" "$init_config"; do
  [[ -r $file ]] || fail "there is no configuration $file"
done
corpus_name=${corpus_name:-$(basename "$corpus")}
check_corpus_name "$corpus_name"
[[ $size == full ]] || { corpus_name+=_small; adapt_opts="$small_opts $adapt_opts"; }
pipes=""; [[ $allow_pipes == false ]] || pipes=--allow-pipes
data=${work_dir:+$work_dir/}data/$corpus_name
exp=${work_dir:+$work_dir/}exp/$corpus_name

starts=(base) init_files=()
if [[ -n $init_adapter ]]; then
  [[ -n $init_name || $init_adapter == *[!A-Za-z0-9_-]* ]] || init_name=$init_adapter
  init_name=${init_name:-start}
  check_init_name "$init_name" base log
  take_adapter "$init_adapter"
  starts+=("$init_name")
fi
main_start=${starts[-1]} # whose adapters are registered

mkdir -p "$data" "$exp/log"
alone_in "$exp"
say_where

# ---- 1: the corpus becomes one Kaldi directory
if begin 1 "prepare $corpus_name" "$data/.done/prepare" "$corpus" "size=$size" "$prepare" ./local; then
  # shellcheck disable=SC2086
  $prepare "$corpus" "$data" --size "$size" $pipes
  finish
fi
prepare_general

# ---- 2: what is wrong with the data is found here, not in the middle of training
sets=("$data/test" ${general:+"$data/general"})
if begin 2 "validate $corpus_name" "$data/.done/validate" "${sets[@]}"; then
  # shellcheck disable=SC2086
  for set in "${sets[@]}"; do python -m ia3_speech.datadir validate --check-audio $pipes "$set"; done
  [[ -z $general ]] || python -m ia3_speech.datadir overlap "$data/test" "$data/test" "$data/general" | uniq
  finish
fi

most=$(wc -l <"$data/test/spk2utt" 2>/dev/null || echo 1)
[[ $nj -le $most ]] || { echo "--nj $nj: there are $most speakers, so $most jobs"; nj=$most; }

# ---- 3: characters that the base can't write; texts too long for their audio
if begin 3 "coverage" "$exp/.done/coverage" "$data/test" "base=$base" "$text_opts"; then
  # shellcheck disable=SC2086  # one set stands for both that the check wants
  python -m ia3_speech.train --check --base "$base" --train "$data/test" --dev "$data/test" --out "$exp" $pipes $text_opts
  finish
fi

# ---- 4: where the speakers start from
if [[ $base == mini ]]; then base_files=$IA3_SPEECH_ROOT/ia3_speech/mini; else base_files=$base/; fi
base_key=$(key.py "base=$base" "$base_files")

# key_of START: what it is made of
key_of() { if [[ $1 == base ]]; then echo "$base_key"; else key.py "$base_key" "init=$init_adapter" "${init_files[@]}"; fi; }

# decode_one STAGE SET FOLDER KEY COMMAND…: decode SET into FOLDER/decode_greedy_SET
decode_one() {
  local number=$1 set=$2 out=$3/decode_greedy_$2 who made_from=$4
  who=$(basename "$3")
  shift 4
  # shellcheck disable=SC2086
  every "$number" "decode $set with $who" "$decode_cmd" "$exp/log/decode_${set}_$who.log" "$out" 1 \
    "$(key.py "$made_from" "$data/$set" "opts=$decode_opts")" "$@" --base "$base" $pipes $decode_opts "$out"
}

# score_one STAGE SET FOLDER KEY [--baseline]: score FOLDER/decode_greedy_SET, with --baseline against the base alone
score_one() {
  local number=$1 set=$2 decoded=$3/decode_greedy_$2 who made_from=$4 against=${5-}
  who=$(basename "$3")
  # shellcheck disable=SC2086
  every "$number" "score $set with $who" "$decode_cmd" "$exp/log/score_${set}_$who.log" "$decoded/scoring_kaldi" 1 \
    "$(key.py "$made_from" "$base_key" "$data/$set" "opts=$decode_opts" "opts=$score_opts" "$against" $(hooks))" \
    python -m ia3_speech.score ${against:+--baseline "$exp/base/decode_greedy_$set"} --cluster speaker $score_opts \
    "$data/$set" "$decoded"
}

for start in "${starts[@]}"; do
  from=() against=""
  [[ $start == base ]] || { from=(--adapter "$init_adapter"); against=--baseline; }
  for set in test ${general:+general}; do
    decode_one 4 "$set" "$exp/$start" "$(key_of "$start")" python -m ia3_speech.decode ${from[@]+"${from[@]}"} "$data/$set"
    score_one 4 "$set" "$exp/$start" "$(key_of "$start")" $against
  done
done

# ---- 5: the adapters
system() { echo "from_$1_k$2${variant:+_$variant}"; } # START K
adapted() { echo "$exp/$(system "$1" "$2")_seed$3"; } # START K SEED
config_of() { if [[ $1 == base ]]; then echo "$adapt_config"; else echo "$init_config"; fi; } # START
adapt_key() { # START K; not of the seed, so that seeds of other inputs can be told
  key.py "$(key_of "$1")" "k=$2" "folds=$folds" "$data/test" "$(config_of "$1")" "opts=$adapt_opts" "$text_opts"
}

# adapt START K SEED: in nj jobs, each with its share of the speakers, which goes on where it was after a kill; then
# one more gathers what they decoded. What was made from other inputs moves aside first, as `once` does it.
adapt() {
  local out who log command
  out=$(adapted "$@")
  who=$(basename "$out") log=$exp/log/adapt_$(basename "$out")
  begin 5 "adapt $who (log: $log.1.log)" "$out/.done" "$(adapt_key "$1" "$2")" || return 0
  set_aside "$out" "$stage_key"
  mkdir -p "$out"
  echo "$stage_key" >"$out/.key"
  command=(python -m ia3_speech.speakers)
  command+=(--config "$(config_of "$1")" --base "$base" --data "$data/test" --out "$out")
  command+=(--decode-dir "$out/decode_greedy_test" --folds "$folds" --k "$2" --seed "$3")
  [[ $1 == base ]] || command+=(--init-adapter "$init_adapter")
  # shellcheck disable=SC2206
  command+=($pipes $text_opts $adapt_opts)
  local part=()
  [[ $nj == 1 ]] || part=(--part "JOB/$nj")
  follow 1 "$nj" "$log.JOB.log"
  # shellcheck disable=SC2086  # $train_cmd carries its options
  $train_cmd JOB=1:"$nj" "$log.JOB.log" "${command[@]}" ${part[@]+"${part[@]}"} ||
    { unfollow; tail_of 1 "$nj" "$log.JOB.log"; exit 1; }
  unfollow
  # shellcheck disable=SC2086
  [[ $nj == 1 ]] || $decode_cmd "$log.gather.log" "${command[@]}" || { tail_of 1 1 "$log.gather.log"; exit 1; }
  finish
}

# Each run says first how long it will take; what that means for all of them is said here.
utterances=0
for n in "${sizes[@]}"; do utterances=$((utterances + n * ${#starts[@]} * seeds)); done
if [[ $stage -le 5 && $stop_stage -ge 5 && $utterances -gt ${sizes[0]} ]]; then
  times=$((10 * utterances / sizes[0]))
  echo "stage 5, $((${#starts[@]} * ${#sizes[@]} * seeds)) runs: together about $((times / 10)).$((times % 10)) times" \
    "what the first takes"
fi
for n in "${sizes[@]}"; do
  for start in "${starts[@]}"; do
    for ((seed = 1; seed <= seeds; seed++)); do
      adapt "$start" "$n" "$seed"
    done
  done
done

# ---- 6: against the base; the report compares with the start as well
for n in "${sizes[@]}"; do
  for start in "${starts[@]}"; do
    for ((seed = 1; seed <= seeds; seed++)); do
      out=$(adapted "$start" "$n" "$seed") made=$(adapt_key "$start" "$n")
      score_one 6 test "$out" "$made" --baseline
      [[ -n $general ]] || continue
      decode_one 6 general "$out" "$made" python -m ia3_speech.decode --adapter-per-speaker "$out" --in-turn "$data/general"
      score_one 6 general "$out" "$made" --baseline
    done
  done
done

# ---- 7: what a sceptic wants to see
if begin 7 "report in $exp/RESULTS.md" "$exp/.done/report" "$exp"/*/train.json "$exp"/*/decode_greedy_*/score.json \
  "main=$main_start" "variant=$variant" "seeds=$seeds" "k=$k" "opts=$report_opts"; then
  made="" like="from_.+_k[0-9]+${variant:+_$variant}_seed[0-9]+"
  for n in "${sizes[@]}"; do
    for start in "${starts[@]}"; do
      for ((seed = 1; seed <= seeds; seed++)); do made+=" $(basename "$(adapted "$start" "$n" "$seed")")"; done
    done
  done
  exp_speakers.py "$exp" --main-start "$main_start" ${variant:+--variant "$variant"} --made "$made" --instead-of "$like"
  results.py collect "$exp" --sets "test${general:+ general}" --command "$IA3_SPEECH_COMMAND" --made "$made" --instead-of "$like"
  for start in "${starts[@]}"; do
    curve=$exp/curve.json
    [[ $start == "$main_start" ]] || curve=$exp/curve_from_$start.json
    [[ ${#sizes[@]} -gt 1 ]] || curve=""
    for n in "${sizes[@]}"; do
      name=$(system "$start" "$n")
      # shellcheck disable=SC2086
      python -m ia3_speech.report "$data/test" "$(results.py median "$exp" "$name" "$seeds")/decode_greedy_test" \
        ${curve:+--curve "$curve"} $report_opts --out "$exp/report_$name.html"
    done
  done
  finish
fi

# ---- 8: from here on `--adapter NAME` finds them. Another corpus may have taken a name meanwhile, so no marker.
[[ $stage -le 8 && $stop_stage -ge 8 ]] || exit 0
shown=$(results.py median "$exp" "$(system "$main_start" "${sizes[0]}")" "$seeds")
first="" count=0
while read -r speaker _; do
  adapter=$shown/$speaker/fold1/adapter
  [[ -d $adapter ]] || continue # no utterance of theirs could be learnt from, see the log
  name=$prefix${speaker#"$prefix"}
  registered=$(register "$adapter" "$name")
  name=${registered%%:*}
  first=${first:-$name} count=$((count + 1))
done <"$data/test/spk2utt"
[[ $count -gt 0 ]] || fail "$shown holds no adapter"
echo "stage 8, ${registered/#"$name:"/"$first … $name, $count adapters:"}"
echo
echo "  $IA3_SPEECH_PYTHON -m ia3_speech.transcribe --adapter $first FILE"
