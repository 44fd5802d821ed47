#!/usr/bin/env bash
# Adapt a base to a corpus and measure what it gains: the options and stages of every recipe for a corpus. egs/*/run.sh sources
# this, sets its own values, sources parse_options.sh, and then calls locate, adapt, study (of study.sh), finish and summary.
#
#   1 prepare    the corpus becomes Kaldi directories data/<corpus>/{train,dev,test}; without dev, as of less than five
#                minutes of speech, training divides train into folds; where test is train, the folds' adapters decode it
#   2 validate   the directories and all their audio; overlap of train, dev and the test sets
#   3 check      can the base write these texts? The lists of terms, before anything is decoded
#   4 baseline   decode and score the test sets with the base alone
#   5 train      an adapter a seed, the epoch of each selected by dev WER
#   6 adapters   the seed with the median dev WER is selected, and its confidences are calibrated on dev; decode the
#                test sets with each; score against the baseline: WER, CER, term errors, with paired intervals
#   7 lm         a language model of train's texts; with it the base, the adapter, and the adapter with terms as hot words;
#                dev too with the adapter, to choose between these searches
#   8 report     results.json, RESULTS.md and report_<set>.html in exp/<corpus>
#   9 register   the selected adapter, under its name, with the search that is the best on dev; where it does not help, it says so instead
#
# Each command records what its output was made from, itself (inputs.json) or by $once: finished work is not repeated, a killed
# run is resumed, and changes are noticed. Long commands are jobs of $train_cmd or $decode_cmd, each with a log of its own.
_option_files+=("${BASH_SOURCE[0]}")
. stages.sh

# The options of a corpus; stages.sh has those of every recipe.
prepare="python -m ia3_speech.data.corpora.kaldi"
test_sets="test"        # 'A B': which sets of the data to test on
terms=""                # FILE|CMD: file with one term per line, optionally a TAB and a category; or a command, called as CMD DATA/test TERMS --train DATA/train
name=${PWD##*/}         # NAME: name under which the adapter is registered
train_config=ia3_plus        # FILE: YAML file for ia3-speech train, or ia3_plus (without dev: few), which come with the package
system=""               # NAME: name of the trained system, in tables and below exp/ (default: the name of --train-config)
replay=shipped          # shipped|none|DIR: other speech, without texts, on which training penalises divergence from the base, so that the adapter forgets less
train_opts=""           # OPTS: further options of train, such as '--learning-rate 5e-3'; give a --system name too
lm=own                  # own|none|'FILE FILE': language model of train's texts (own: mixed with the base's own; FILEs: with these too; none: no language model)
lm_texts=""             # CMD: command that writes further sentences for the language model, called as CMD OUT --train DATA/train
lm_sets=""              # 'A B': sets to decode with the language model too, beside dev (default: --test-sets and out_of_domain)
hotwords=own            # own|none|FILE: hot words to decode with, beside the language model (own: the terms in train's texts; FILE: a hot-word file)

# Stages 1 to 6; afterwards $selected is the folder of the adapter that is shown, and $trained where it was trained.
adapt() {
  expand_grid "$system" 5
  name_seeds $systems
  lock "$exp"
  local folder set small="" dev=dev config=$train_config
  [[ $size == full ]] || small=$small_opts
  sets="$test_sets${out_of_domain:+ out_of_domain}"

  if [ $stage -le 1 ] && [ $stop_stage -ge 1 ]; then step "stage 1, prepare $corpus_name" prepare_corpus; fi
  plain_speakers "$data"/*/utt2spk
  notice_changed_data
  ! declare -F check_few >/dev/null || check_few
  if is_few; then
    [[ $lm$hotwords =~ ^(own|none){2}$ ]] || fail "--lm and --hotwords take no FILE without a dev, on which they are weighted"
    dev="" config=${config/#ia3_plus/few} lm_sets=$test_sets
  fi
  train="python -m ia3_speech train --config $config --base $base ${dev:+--dev $data/dev} --replay $replay
    $pipes $small $train_opts"

  if [ $stage -le 2 ] && [ $stop_stage -ge 2 ]; then step "stage 2, validate ${data##*/}" validate train $dev $sets; fi

  if [ $stage -le 3 ] && [ $stop_stage -ge 3 ]; then
    step "stage 3, check that the base can write the texts" \
      $once "$exp/checked" "$data/train" ${dev:+"$data/dev"} $(printf "$data/%s " $sets) "$config" "$base" -- \
      $train --check --train "$data/train" --out "$exp" --tests $(printf "$data/%s " $sets)
    for set in ${terms:+$test_sets}; do
      step "stage 3, list the terms of $set" \
        $once "$exp/terms_$set" local "${terms%% *}" "$data/train" "$data/$set" -- $(list_terms "$set" "$exp/terms_$set")
    done
  fi

  if [ $stage -le 4 ] && [ $stop_stage -ge 4 ]; then
    for set in $sets; do decode_and_score 4 base greedy $set; done
  fi

  if [ $stage -le 5 ] && [ $stop_stage -ge 5 ]; then
    rm -rf $outdated ${outdated:+"$exp/curve"}
    for system in $systems; do train_seeds "$system" "$seeds" ${grid_opts[$system]} --train "$data/train"; done
    [[ -z $grid ]] || python -m ia3_speech results show "$exp" --parts training
  fi

  if [ $stop_stage -ge 6 ]; then
    trained=$(conclude.py select "$exp" "$systems" --seeds "$seeds") selected=$trained system=${system_of[$trained]}
  fi
  if [ $stage -le 6 ] && [ $stop_stage -ge 6 ]; then
    calibrate_adapter 6 greedy --search greedy
    for folder in ${init_adapter:+$init_name} $(for system in $systems; do seq -f "${system}_seed%g" "$seeds"; done); do
      for set in $sets; do decode_and_score 6 $folder greedy $set; done
    done
  fi
}

# train_seeds SYSTEM N OPTION…: train a system with seeds 1 to N.
train_seeds() {
  step "stage 5, train $1, seeds 1 to $2" $train_cmd JOB=1:"$2" "$exp/log/train_${1//\//_}_seedJOB.log" \
    $train "${@:3}" ${init_adapter:+--init-adapter "$init_adapter"} --out "$exp/$1_seedJOB" --seed JOB
}

# Stages 7 to 9, for the adapter in $selected.
finish() {
  local folder set search best
  if [ $stage -le 7 ] && [ $stop_stage -ge 7 ] && [ "$lm" != none ]; then
    if is_few; then
      for folder in base "$selected"; do echo "search: beam" >"$exp/$folder/lm_search.yaml"; done # the base's own, if it has one
    else
      step "stage 7, language model of train's texts${lm_texts:+ and of further ones}" language_model
      for folder in base "$selected"; do
        step "stage 7, choose the search weights of $folder on dev" choose_search_weights $folder
      done
      calibrate_adapter 7 lm --config "$exp/$selected/lm_search.yaml"
    fi
    for folder in base "$selected"; do
      for set in $lm_sets; do decode_and_score 7 $folder lm $set; done
    done
    is_few || for search in greedy lm; do decode_and_score 7 "$selected" $search dev; done # which search is the best?
    if [[ $hotwords != none && $hotwords$terms != own ]] && ! is_few; then
      step "stage 7, hot words: how $selected recognises them on dev" learn_hotwords
      calibrate_adapter 7 hotwords --config "$exp/$selected/lm_search.yaml" --hotwords "$exp/$selected/hotwords.txt"
      for set in $lm_sets dev; do decode_and_score 7 "$selected" hotwords $set; done
    fi
  fi

  if [ $stage -le 8 ] && [ $stop_stage -ge 8 ]; then
    step "stage 8, collect the results" python -m ia3_speech results collect "$exp"
    for set in $test_sets; do
      best=$(conclude.py best "$exp/$selected" "$set")
      step "stage 8, report on $set" python -m ia3_speech report "$data/$set" "$exp/$selected/$best" \
        $report_opts $(is_few || echo "--training $exp/$trained/metrics.jsonl") --out "$exp/report_$set.html"
    done
  fi

  if [ $stage -le 9 ] && [ $stop_stage -ge 9 ]; then
    step "stage 9, register $name" register "$exp/$selected/adapter" "$name" \
      $(printf "$exp/$selected/decode_greedy_%s/score.json " $sets)
    finished+=("$exp")
  fi
}

# language_model: estimate it on train's texts; mix it with the base's, if it has one, --lm-texts and --lm. Test sets are never
# read. The weights of the mixture are chosen on dev, by perplexity.
language_model() {
  local mix=${lm/#own/}
  if [[ -n $lm_texts ]]; then
    $once "$exp/lm_texts" local "$data/train" -- $lm_texts "$exp/lm_texts" --train "$data/train"
    mix+=" $exp/lm_texts"
  fi
  $decode_cmd "$exp/log/lm.log" python -m ia3_speech lm "$data/train" ${mix:+--mix $mix} --base "$base" \
    --dev "$data/dev" --out "$exp/lm.arpa.gz" --summary "$exp/lm.json"
}

# choose_search_weights SYSTEM: choose the weights of the language model and of a word by the WER on dev.
choose_search_weights() {
  local try
  try=$([[ $size == full ]] || echo "--lm-weights 0.35 0.8 --word-scores 0 1.5") # four pairs in place of thirty
  $decode_cmd "$exp/log/tune_lm_$1.log" python -m ia3_speech tune-lm "$data/dev" --lm "$exp/lm.arpa.gz" --base "$base" \
    --precision "$precision" $try $([[ $1 == base ]] || echo "--adapter $exp/$1/adapter") $pipes --out "$exp/$1/lm_search.yaml"
}

# learn_hotwords: list train's terms, or --hotwords, with the forms in which the adapter recognises them on dev.
learn_hotwords() {
  local list=$hotwords dev=$exp/$selected/decode_greedy_dev
  if [[ $hotwords == own ]]; then
    list=$exp/terms_train
    $once "$list.tsv" local ${terms:+"${terms%% *}"} "$data/train" -- $(list_terms train "$list.tsv")
    $once "$list" "$list.tsv" -- bash -c "cut -f 1 $list.tsv >$list" # without the categories
  fi
  $once "$exp/$selected/hotwords.txt" "$list" "$data/dev" "$dev/text" -- \
    python -m ia3_speech hotwords learn "$data/dev" "$dev" --terms "$list" --out "$exp/$selected/hotwords.txt"
}
