#!/usr/bin/env bash
# Adapt a base to a corpus and measure what it gains: the options and stages of every recipe for a corpus. egs/*/run.sh sources
# this, sets what is its own, sources parse_options.sh, and then calls locate, adapt, study (of study.sh), finish and summary.
#
#   1 prepare    the corpus becomes Kaldi directories data/<corpus>/{train,dev,test}
#   2 validate   the directories and all their audio; what train, dev and the test sets have in common
#   3 check      can the base write these texts? The lists of terms, before anything is decoded
#   4 baseline   decode and score the test sets with the base alone
#   5 train      an adapter a seed, the epoch of each selected by dev WER
#   6 adapters   the seed with the median dev WER is selected, and its confidences are calibrated on dev; decode the
#                test sets with each; score against the baseline: WER, CER, term errors, with paired intervals
#   7 lm         a language model of train's texts; with it the base, the adapter, and the adapter with terms as hot words
#   8 report     results.json, RESULTS.md and report_<set>.html in exp/<corpus>
#   9 register   the selected adapter, under its name, with the best measured search; where it does not help, it says so instead
#
# A command of ia3-speech that makes something records what it was made from (inputs.json), and is a job of $train_cmd or
# $decode_cmd, with a log of its own; every other command stands behind $once, which records that for it. So
# finished work is not repeated, a killed run is resumed, and changes are noticed.
_option_files+=("${BASH_SOURCE[0]}")
. stages.sh; . language_model.sh

# The options, as --help prints them; a recipe's own values, which it sets after this, are the defaults there.
corpus=""               # DIR: where the corpus is, in the layout that the recipe's README describes
corpus_name=""          # NAME: folder below data/ and exp/ (default: the corpus's); --size small appends _small
prepare="python -m ia3_speech.data.corpora.kaldi" # CMD: called as CMD CORPUS DATA_DIR --size SIZE
test_sets="test"        # 'A B': which sets of the data to test on
terms=""                # CMD: called as CMD DATA/test TERMS --train DATA/train; writes the list of terms
name=${PWD##*/}         # NAME: what the adapter is registered as
register_anyway=false   # true: register it even where it is not known to be better than the base
base=mini               # BASE: mini, a folder, a hub id
train_config=ia3        # FILE: YAML of ia3-speech train, or ia3, which comes with the package
system=""               # NAME: what is trained, in tables and below exp/ (default: the name of --train-config)
train_opts=""           # OPTS: further options of train, such as '--learning-rate 5e-3'; name the --system too
small_opts="--epochs 2" # OPTS: options of train that --size small adds
precision=auto          # no|bf16|auto: the precision that decoding computes in; auto: bf16 where the processor has it
decode_opts=""          # OPTS: further options of decode
score_opts=""           # OPTS: further options of score
report_opts=""          # OPTS: further options of report, such as --embed-audio
init_adapter=""         # PATH: start from this adapter (a name, a path with a slash, or a sum); it is tested too
init_name=start         # NAME: what that adapter is called in tables and below exp/
seeds=1                 # N: adapters to train, with seeds 1 to N
lm=own                  # own|none|'FILE FILE': a language model of train's texts and the base's own; none; and of FILEs
lm_texts=""             # CMD: called as CMD OUT --train DATA/train; writes further sentences for the language model
lm_sets=""              # 'A B': what is decoded with the language model too (default: --test-sets and out_of_domain)
hotwords=own            # own|none|FILE: with the LM and the adapter, the terms that train holds; or those of a hot-word FILE
out_of_domain=shipped   # 'DIR DIR': other speech to test on: Kaldi directories (DIR:40: each 40th), LibriSpeech; or none
size=full               # full|small: small takes little data and two epochs, to see that everything works
allow_pipes=false       # true: run the shell commands that wav.scp holds
stage=1                 # N: start at this stage
stop_stage=100          # N: stop after this stage
work_dir=""             # DIR: where data/ and exp/ go (default: the recipe's folder)

# Stages 1 to 6; afterwards $selected is the folder of the adapter that is shown, and $trained where it was trained.
adapt() {
  lock "$exp"
  local seeded folder set small=""
  [[ $size == full ]] || small=$small_opts
  train="python -m ia3_speech.train --config $train_config --base $base --dev $data/dev $pipes $small $train_opts"
  sets="$test_sets${out_of_domain:+ out_of_domain}" seeded=$(seq -s ' ' -f "${system}_seed%g" "$seeds")

  if [ $stage -le 1 ] && [ $stop_stage -ge 1 ]; then
    step "stage 1, prepare $corpus_name" prepare_corpus
  fi

  if [ $stage -le 2 ] && [ $stop_stage -ge 2 ]; then
    step "stage 2, validate ${data##*/}" validate train dev $sets
  fi

  if [ $stage -le 3 ] && [ $stop_stage -ge 3 ]; then
    step "stage 3, check that the base can write the texts" \
      $once "$exp/checked" "$data/train" "$data/dev" $(printf "$data/%s " $sets) "$train_config" "$base" -- \
      $train --check --train "$data/train" --out "$exp" --tests $(printf "$data/%s " $sets)
    for set in ${terms:+$test_sets}; do
      step "stage 3, list the terms of $set" \
        $once "$exp/terms_$set" local "$data/train" "$data/$set" -- $terms "$data/$set" "$exp/terms_$set" --train "$data/train"
    done
  fi

  if [ $stage -le 4 ] && [ $stop_stage -ge 4 ]; then
    for set in $sets; do decode_and_score 4 base greedy $set; done
  fi

  if [ $stage -le 5 ] && [ $stop_stage -ge 5 ]; then
    step "stage 5, train $system, seeds 1 to $seeds" $train_cmd JOB=1:"$seeds" "$exp/log/train_${system}_seedJOB.log" \
      $train --train "$data/train" ${init_adapter:+--init-adapter "$init_adapter"} --out "$exp/${system}_seedJOB" --seed JOB
  fi

  if [ $stop_stage -ge 6 ]; then trained=$(python -m ia3_speech.experiments select "$exp" "$system") selected=$trained; fi
  if [ $stage -le 6 ] && [ $stop_stage -ge 6 ]; then
    calibrate_adapter 6 greedy --search greedy
    for folder in ${init_adapter:+$init_name} $seeded; do
      for set in $sets; do decode_and_score 6 $folder greedy $set; done
    done
  fi
}

# Stages 7 to 9, for the adapter in $selected.
finish() {
  local folder set best
  if [ $stage -le 7 ] && [ $stop_stage -ge 7 ] && [ "$lm" != none ]; then
    step "stage 7, language model of train's texts${lm_texts:+ and of further ones}" language_model
    for folder in base "$selected"; do
      step "stage 7, choose the search weights of $folder on dev" choose_search_weights $folder
    done
    calibrate_adapter 7 lm --config "$exp/$selected/lm_search.yaml"
    for folder in base "$selected"; do
      for set in $lm_sets; do decode_and_score 7 $folder lm $set; done
    done
    if [[ $hotwords != none && $hotwords$terms != own ]]; then
      step "stage 7, hot words: how $selected hears them on dev" learn_hotwords
      for set in $lm_sets; do decode_and_score 7 "$selected" hotwords $set; done
    fi
  fi

  if [ $stage -le 8 ] && [ $stop_stage -ge 8 ]; then
    step "stage 8, collect the results" python -m ia3_speech.experiments collect "$exp"
    for set in $test_sets; do
      best=$(python -m ia3_speech.experiments best "$exp/$selected" "$set")
      step "stage 8, report on $set" python -m ia3_speech.report "$data/$set" "$exp/$selected/$best" \
        $report_opts --training "$exp/$trained/metrics.jsonl" --out "$exp/report_$set.html"
    done
  fi

  if [ $stage -le 9 ] && [ $stop_stage -ge 9 ]; then
    step "stage 9, register $name" register "$exp/$selected/adapter" "$name" \
      $(printf "$exp/$selected/decode_greedy_%s/score.json " $sets)
    finished+=("$exp")
  fi
}
