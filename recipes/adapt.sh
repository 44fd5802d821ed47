#!/usr/bin/env bash
# Adapt a base to a corpus and measure what it gains: the stages of every recipe, which egs/*/run.sh calls.
#
#   1 prepare    the corpus becomes Kaldi directories data/<corpus>/{train,dev,test}
#   2 validate   the directories and all their audio; what train, dev and the test sets have in common
#   3 check      can the base write these texts? The lists of terms, before anything is decoded
#   4 baseline   decode and score the test sets with the base alone
#   5 train      the adapters of plan/train.tsv, the epoch of each selected by dev WER
#   6 adapters   calibrate the confidences of the one that is shown, on dev; decode the test sets with each, as
#                plan/systems.tsv says; score against the baseline: WER, CER, term errors, with paired intervals
#   7 lm         a language model of train's texts; with it the base, the adapter, and the adapter with terms as hot words
#   8 report     results.json, RESULTS.md and report_<set>.html in exp/<corpus>
#   9 register   the adapter of the seed with the median dev WER, or the mean of the seeds, under its name
#  10 last       what the recipe adds
# ia3_speech/experiments/plan.py writes exp/<corpus>/plan/*.tsv from the options. Every command records what its output
# was made from (inputs.json): finished work is not repeated, a killed run is resumed, changes are noticed.
set -euo pipefail
. ./cmd.sh; . ./path.sh
# The options, as --help prints them.
corpus=""               # DIR: where the corpus is, in the layout that the recipe's README describes
corpus_name=""          # NAME: folder below data/ and exp/ (default: the corpus's); --size small appends _small
prepare="python -m ia3_speech.data.corpora.kaldi" # CMD: called as CMD CORPUS DATA_DIR --size SIZE
test_sets="test"        # 'A B': which sets of the data to test on
terms=""                # CMD: called as CMD DATA/test TERMS --train DATA/train; writes the list of terms
name=""                 # NAME: what the adapter is registered as (default: the recipe's folder)
base=mini               # BASE: mini, a folder, a hub id
train_config=ia3        # FILE: YAML of ia3-speech train, or ia3, which comes with the package
system=""               # NAME: what is trained, in tables and below exp/ (default: the name of --train-config)
train_opts=""           # OPTS: further options of train, such as '--learning-rate 5e-3'; name the --system too
small_opts="--epochs 2" # OPTS: options of train that --size small adds
precision=auto          # no|bf16|auto: the precision that decoding computes in; auto: bf16 where the processor has it
decode_opts=""          # OPTS: further options of decode
score_opts=""           # OPTS: further options of score
report_opts=""          # OPTS: further options of report, such as --embed-audio
init_adapter=""         # PATH: start from this adapter (name, folder or sum); it is tested too
init_name=start         # NAME: what that adapter is called in tables and below exp/
seeds=1                 # N: adapters to train, with seeds 1 to N
average=false           # true: test the mean of the seeds too, as SYSTEM_average, and register that
lm=own                  # own|none|'FILE FILE': a language model of train's texts and the base's own; none; and of FILEs
lm_texts=""             # CMD: called as CMD OUT --train DATA/train; writes further sentences for the language model
hotwords=own            # own|none|FILE: with the LM and the adapter, the terms that train holds; or those of a hot-word FILE
out_of_domain=shipped   # 'DIR DIR': other speech to test on: Kaldi directories (DIR:40: each 40th), LibriSpeech; or none
trade_off=""            # '0.5 1': the adapter scaled by these, on the first test set and --out-of-domain
decay_to_one=""         # '1 10': with --trade-off, further adapters, trained with these decays of l to 1
curve=""                # '1 5 20': further adapters, trained on so many minutes of train
size=full               # full|small: small takes little data and two epochs, to see that everything works
allow_pipes=false       # true: run the shell commands that wav.scp holds
last=""                 # CMD: the last stage
stage=1                 # N: start at this stage
stop_stage=100          # N: stop after this stage
work_dir=""             # DIR: where data/ and exp/ go (default: the recipe's folder)
data_dir="" exp_dir=""
. parse_options.sh
. shared_stages.sh

data=${data_dir:-$data} exp=${exp_dir:-$exp} train_config=$(from_start "$train_config")
system=${system:-$(basename "$train_config" .yaml)} name=${name:-$(basename "$PWD")}
[[ $size == full ]] || train_opts="$small_opts $train_opts"
lm=$(for file in $lm; do from_start "$file"; done | xargs) hotwords=$(from_start "$hotwords")
sets="$test_sets${out_of_domain:+ out_of_domain}"
calibrate="python -m ia3_speech.calibrate $data/dev --base $base --precision $precision --store --minimum-words 100 $pipes"
train="python -m ia3_speech.train --config $train_config --base $base --dev $data/dev $pipes $train_opts"

# The options are checked here.
python -m ia3_speech.experiments.plan --exp="$exp" --data="$data" --base="$base" --corpus="$corpus" --size="$size" \
  --system="$system" --seeds="$seeds" --average="$average" --test-sets="$test_sets" --terms="$terms" \
  --out-of-domain="$out_of_domain" --trade-off="$trade_off" --decay-to-one="$decay_to_one" --curve="$curve" --lm="$lm" \
  --hotwords="$hotwords" --train-config="$train_config" --init-adapter="$init_adapter" --init-name="$init_name"
. lock.sh "$exp"

if [ $stage -le 1 ] && [ $stop_stage -ge 1 ]; then
  echo "stage 1, prepare $corpus_name"
  prepare_corpus
fi

if [ $stage -le 2 ] && [ $stop_stage -ge 2 ]; then
  echo "stage 2, validate $corpus_name"
  validate_sets train dev $sets
  for set in $sets; do python -m ia3_speech.datadir overlap "$data/train" "$data/dev" "$data/$set"; done
  for m in $curve; do
    $once "$data/curve/minutes_$m" "$data/train" -- \
      python -m ia3_speech.datadir subset "$data/train" "$data/curve/minutes_$m" --minutes "$m"
  done
fi

if [ $stage -le 3 ] && [ $stop_stage -ge 3 ]; then
  echo "stage 3, check the texts"
  $once "$exp/checked" "$data/train" "$data/dev" $(printf "$data/%s " $sets) "$train_config" "$base" -- \
    $train --check --train "$data/train" --out "$exp" --tests $(printf "$data/%s " $sets)
  for set in ${terms:+$test_sets}; do
    $once "$exp/terms_$set" local "$data/train" "$data/$set" -- $terms $data/$set "$exp/terms_$set" --train $data/train
  done
fi

if [ $stage -le 4 ] && [ $stop_stage -ge 4 ]; then
  decode_score 4 greedy <"$exp/plan/baseline.tsv"
fi

if [ $stage -le 5 ] && [ $stop_stage -ge 5 ]; then
  while IFS=$'\t' read -r one jobs options; do
    python -m ia3_speech.experiments remaining "$exp"
    echo "stage 5, train ${one/_seedJOB/}, seeds: $jobs"
    $train_cmd JOB=1:"$jobs" "$exp/log/train_${one//\//_}.log" $train $options --out "$exp/$one" --seed JOB
  done <"$exp/plan/train.tsv"
  sum=$(seq -s + -f "$exp/${system}_seed%g/adapter" "$seeds") mean=$exp/${system}_average
  [ $average = false ] || $once "$mean" ${sum//+/ } -- \
    python -m ia3_speech.adapters combine "$sum" --average --base "$base" --out "$mean/adapter" --force
fi

[ $stop_stage -ge 6 ] || exit 0
selected=$(python -m ia3_speech.experiments select "$exp")
if [ $stage -le 6 ] && [ $stop_stage -ge 6 ]; then
  $once "$exp/$selected/calibrated" "$data/dev" "$exp/$selected"/adapter/*.safetensors -- \
    $calibrate --adapter "$exp/$selected/adapter" --search greedy
  decode_score 6 greedy < <(sed "s:SELECTED:$selected:g" "$exp/plan/systems.tsv")
  python -m ia3_speech.experiments disabled "$exp"
fi

if [ $stage -le 7 ] && [ $stop_stage -ge 7 ] && [ "$lm" != none ]; then . language_model.sh; fi

if [ $stage -le 8 ] && [ $stop_stage -ge 8 ]; then
  echo "stage 8, report in $exp"
  python -m ia3_speech.experiments collect "$exp"
  trained=$(python -m ia3_speech.experiments select "$exp" --trained) # of a mean too: it was not trained itself
  for set in $test_sets; do
    python -m ia3_speech.report "$data/$set" "$exp/$selected/decode_greedy_$set" $report_opts \
      --training "$exp/$trained/metrics.jsonl" --out "$exp/report_$set.html"
  done
fi

if [ $stage -le 9 ] && [ $stop_stage -ge 9 ]; then
  scores=$(printf "$exp/$selected/decode_greedy_%s/score.json " $sets)
  echo "stage 9, $(register.sh "$exp/$selected/adapter" "$name" "$size" "$exp/name" --score $scores)"
fi

if [[ -n $last && $stop_stage -ge 10 ]]; then
  echo "stage 10, $last"
  [[ ! -f $exp/name ]] || name=$(<"$exp/name") # a small run takes no full run's name
  export data exp base name size small_opts allow_pipes adapter=$exp/$selected/adapter
  $last
fi
