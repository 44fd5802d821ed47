#!/usr/bin/env bash
# Adapt a base to many speakers, each with an adapter from a few utterances, and measure the gain: the options and stages of a
# recipe for speakers, like adapt.sh for a corpus. egs/speaker_adaptation/run.sh sources this, and calls locate,
# adapt_speakers and summary.
#
#   1 prepare    the corpus becomes one Kaldi directory, data/<corpus>/test
#   2 validate   the directory and all its audio
#   3 check      can the base write these texts, and is the audio long enough for them?
#   4 baseline   decode and score with the base alone, and with the adapter to start from, if there is one
#   5 adapt      from the base and from that adapter, with each --k: of every speaker each utterance is tested once, by
#                an adapter that was not trained on it
#   6 cost       out-of-domain speech, decoded with the adapters of a random fifth of the speakers, one after the other
#   7 score      against the base: WER and CER, with paired intervals from a bootstrap over speakers; sentences that the
#                same speaker's adapter was trained on are a warning, and the others are scored separately too
#   8 report     results.json, RESULTS.md, scatter_*.svg, curve.json and report_*.html in exp/<corpus>
#   9 register   for each speaker the adapter of the first fold, as --prefix and the speaker's id
_option_files+=("${BASH_SOURCE[0]}")
. stages.sh

# The options of speakers; stages.sh has those of every recipe.
prepare="local/prepare.py" # writes DATA_DIR/test
k=15                    # 'A B': number of utterances to adapt on; several numbers give a learning curve
folds=4                 # N: number of parts into which a speaker's utterances are divided; each is tested once
adapt_config=few        # FILE: YAML file for ia3-speech speakers, or few, which comes with the package
adapt_opts=""           # OPTS: further options of ia3-speech speakers, such as '--epochs 5' (with --grid, systems are named by their options)
text_opts=""            # OPTS: what to do with texts that the base can't write, or too long for their audio: '--drop-chars', '--on-error skip'
prefix=speaker          # NAME: the adapter of speaker 0024 is registered as NAME0024

# The systems are from_START_kN_seedS: from the base or from --init-adapter, with N utterances a speaker.
adapt_speakers() {
  expand_grid from 7
  lock "$exp"
  local start n seed set variant folder kinds="" small="" starts="base ${init_adapter:+$init_name}"
  local -A kind_opts
  [[ $size == full ]] || small=$small_opts
  score_opts="--cluster speaker $score_opts" sets="test${out_of_domain:+ out_of_domain}"
  k=$(tr ' ' '\n' <<<"$k" | sort -gr | xargs) # the most utterances first
  for n in $k; do
    for start in $starts; do
      for variant in $systems; do
        kinds+=" from_${start}_k$n${variant#from}"
        kind_opts[${kinds##* }]="--config $adapt_config $([[ $start == base ]] || echo "--init-adapter $init_adapter")
          ${grid_opts[$variant]} --k $n"
      done
    done
  done

  name_seeds $kinds

  if [ $stage -le 1 ] && [ $stop_stage -ge 1 ]; then step "stage 1, prepare $corpus_name" prepare_corpus; fi
  plain_speakers "$data"/*/utt2spk
  notice_changed_data

  if [ $stage -le 2 ] && [ $stop_stage -ge 2 ]; then step "stage 2, validate ${data##*/}" validate $sets; fi

  if [ $stage -le 3 ] && [ $stop_stage -ge 3 ]; then
    step "stage 3, check that the base can write the texts" $once "$exp/checked" "$data/test" "$base" -- \
      python -m ia3_speech train --check --base "$base" --train "$data/test" --dev "$data/test" --out "$exp" $pipes $text_opts
  fi

  if [ $stage -le 4 ] && [ $stop_stage -ge 4 ]; then
    for start in $starts; do
      for set in $sets; do decode_and_score 4 $start greedy $set; done
    done
  fi

  rm -rf $outdated
  for kind in $kinds; do
    for seed in $(seq "$seeds"); do adapt_and_score "${kind}_seed$seed" ${kind_opts[$kind]} --seed "$seed"; done
  done
  [[ -z $grid || $stop_stage -lt 7 ]] || python -m ia3_speech results show "$exp" --parts "systems speakers"

  if [ $stage -le 8 ] && [ $stop_stage -ge 8 ]; then
    step "stage 8, collect the results" python -m ia3_speech results collect "$exp"
    for kind in $kinds; do # the report on its median seed, with the learning curve where there are several --k
      folder=$(conclude.py select "$exp" "$kind" --seeds "$seeds")
      step "stage 8, report on $kind" python -m ia3_speech report "$data/test" "$exp/$folder/decode_greedy_test" $report_opts \
        --out "$exp/report_$kind.html"
    done
  fi

  if [ $stage -le 9 ] && [ $stop_stage -ge 9 ]; then
    selected=$(conclude.py select "$exp" "from_${start_shown}_k${k%% *}${systems#from}" --seeds "$seeds")
    step "stage 9, register the adapters of the speakers as $prefix…" register_speakers
    finished+=("$exp")
  fi
}

# adapt_and_score SYSTEM OPTION…: stages 5 to 7 of one system.
adapt_and_score() {
  local system=$1 adapter adapters adapt log=$exp/log/adapt_$1 out=$exp/$1
  adapt="python -m ia3_speech speakers --base $base --data $data/test --folds $folds ${*:2} --out $out
    --decode-dir $out/decode_greedy_test $pipes $text_opts $small $adapt_opts"
  if [ $stage -le 5 ] && [ $stop_stage -ge 5 ]; then
    step "stage 5, adapt $system" $train_cmd JOB=1:"$nj" "$log.JOB.log" $adapt $([[ $nj == 1 ]] || echo "--part JOB/$nj")
    [[ $nj == 1 ]] || step "stage 5, gather the parts of $system" $decode_cmd "$log.gather.log" $adapt
  fi
  if [ $stage -le 6 ] && [ $stop_stage -ge 6 ] && [[ -n $out_of_domain ]]; then
    adapters=("$out"/*/fold1/adapter) # of which a fifth decodes it, at least one, always the same ones
    for adapter in $(printf '%s\n' "${adapters[@]}" | shuf -n $(((${#adapters[@]} + 4) / 5)) --random-source=<(yes) | sort); do
      adapter=${adapter#"$exp"/}
      decode_and_score 6 "${adapter%/adapter}" greedy out_of_domain
    done
  fi
  if [ $stage -le 7 ] && [ $stop_stage -ge 7 ]; then
    step "stage 7, score test with $system" $score_cmd "$exp/log/score_test_$system.log" python -m ia3_speech score \
      "$data/test" "$out/decode_greedy_test" $score_opts $(name_system "$system") --training-per-speaker "$out" --baseline "$exp/base/decode_greedy_test"
  fi
}

register_speakers() {
  local adapter speaker
  for adapter in "$exp/$selected"/*/fold1/adapter; do
    speaker=$(basename "${adapter%/fold1/adapter}")
    register "$adapter" "$prefix${speaker#"$prefix"}" "$exp/$selected/decode_greedy_test/score.json"
  done
}

check_options() {
  local n
  adapt_config=$(from_start "$adapt_config")
  configuration "$adapt_config"; plain "rename it, or start elsewhere" "$adapt_config"
  number folds "$folds" 2; check_name prefix "$prefix"
  for n in $k; do number k "$n" 2; done
  start_shown=$([[ -z $init_adapter ]] && echo base || echo "$init_name")
  free_init_name base log
  [[ -z $grid || $stop_stage -lt 9 || $stop_stage -eq 100 ]] || fail "--grid compares adapters and registers none: give --stop-stage 8"
}
