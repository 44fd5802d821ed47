#!/usr/bin/env bash
# Study an adaptation by adapt.sh: the mean of its seeds, its cost on other speech, the effect of options, a learning curve. A
# recipe sources this before parse_options.sh and calls `study` between adapt and finish; without an option it does nothing.
# Training here belongs to stage 5, decoding and scoring to stage 6.
_option_files+=("${BASH_SOURCE[0]}")

average=false           # true: test the mean of the seeds' adapters too, as SYSTEM_average, and show and register that one
trade_off=""            # '0.5 1': test the adapter scaled by these factors, on the first test set and on --out-of-domain
variants=""             # 'replay-weight=1,3 layers=3-5': train further adapters, each with one option changed, and test them on the same two sets
curve=""                # '1 5 20': train further adapters on this many minutes of train

# check_study: fails where options contradict each other, before anything is made.
check_study() {
  local option value decimal='^[0-9]+(\.[0-9]+)?(e-?[0-9]+)?$' choice='^[a-z][a-z-]*=[0-9][0-9a-z.-]*(,[0-9][0-9a-z.-]*)*$'
  for option in trade_off curve; do
    for value in ${!option}; do
      [[ $value =~ $decimal ]] || fail "--${option//_/-} takes numbers such as 0.5, not '$value'"
    done
  done
  [[ $average == false || $seeds -gt 1 ]] || fail "--average takes the mean of several seeds: give --seeds 3"
  for option in $variants; do
    [[ $option =~ $choice ]] || fail "--variants takes OPTION=NUMBER,NUMBER, as 'replay-weight=1,3 layers=3-5', not '$option'"
  done
  [[ -z $trade_off$variants || -n $out_of_domain ]] ||
    fail "--trade-off and --variants need out-of-domain speech: give --out-of-domain 'DIR DIR', not none"
  [[ -z $grid || $average$trade_off$variants$curve == false ]] || fail "--grid goes alone: study what it finds best in another run"
}

# check_few: these need a dev set.
check_few() {
  [[ $average$trade_off$variants$curve == false ]] || ! is_few ||
    fail "--average, --trade-off, --variants and --curve need a dev set (five minutes of train)"
}

study() {
  [[ $average$trade_off$variants$curve != false ]] || return 0
  local minutes most option value seed set sum first=${test_sets%% *} changed=()
  for option in $variants; do
    for value in $(tr , ' ' <<<"${option#*=}"); do
      changed+=("${option%%=*} $value"); name_seeds "${system}_${option%%=*}$value"
    done
  done
  for minutes in $curve; do name_seeds "curve/minutes_$minutes"; done

  # An epoch on a part of train goes over as much audio as the most minutes asked for, so that all take equally many steps.
  most=$(tr ' ' '\n' <<<"$curve" | sort -g | tail -n 1)
  if [ $stage -le 5 ] && [ $stop_stage -ge 5 ]; then
    for option in "${changed[@]}"; do train_seeds "${system}_${option/ /}" "$seeds" --train "$data/train" --$option; done
    for minutes in $curve; do
      step "stage 5, $minutes minutes of train" $once "$data/curve/minutes_$minutes" "$data/train" -- \
        subset.py "$data/train" "$data/curve/minutes_$minutes" --minutes "$minutes"
      train_seeds "curve/minutes_$minutes" "$seeds" --train "$data/curve/minutes_$minutes" --epoch-minutes "$most"
    done
    if [[ $average == true ]]; then
      sum=$(seq -s + -f "$exp/${system}_seed%g/adapter" "$seeds")
      step "stage 5, the mean of $seeds seeds" $once "$exp/${system}_average" ${sum//+/ } -- python -m ia3_speech adapters \
        combine "$sum" --average --base "$base" --out "$exp/${system}_average/adapter" --force
    fi
  fi

  [[ $average == false ]] || selected=${system}_average
  [ $stage -le 6 ] && [ $stop_stage -ge 6 ] || return 0
  if [[ $average == true ]]; then
    calibrate_adapter 6 greedy --search greedy
    for set in $sets dev; do decode_and_score 6 "$selected" greedy "$set"; done # dev, since it selected nothing there
  fi
  for option in "${changed[@]}"; do
    for seed in $(seq "$seeds"); do
      for set in $first out_of_domain; do decode_and_score 6 "${system}_${option/ /}_seed$seed" greedy "$set"; done
    done
  done
  for minutes in $curve; do
    for seed in $(seq "$seeds"); do decode_and_score 6 "curve/minutes_${minutes}_seed$seed" greedy "$first"; done
  done
  for value in $trade_off; do
    [[ $value =~ ^(0|1)(\.0*)?$ ]] || # the base, and the adapter itself
      for set in $first out_of_domain; do decode_and_score 6 "$selected/scale_$value" greedy "$set"; done
  done
}
