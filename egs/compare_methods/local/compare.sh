#!/usr/bin/env bash
# Source this: the methods that are compared, and the stages that do it.
_option_files+=("${BASH_SOURCE[0]}")

qv="--placements query value" linear="--placements query key value attention_output ffn_inner ffn_output"
# The options of each method beside its configuration (ia3_speech/conf), and the three rates to choose from.
declare -A method_opts=(
  [ia3]="--config ia3_plus --placements key value ffn" [ia3_plus]="--config ia3_plus"
  [lora_r4]="--config lora $qv" [lora_r16]="--config conf/lora_r16.yaml $qv"
  [lora_r4_linear]="--config lora $linear"
  [lora_r16_linear]="--config conf/lora_r16.yaml $linear"
  [dora]="--config dora" [vera]="--config vera" [ln_tuning]="--config ln_tuning" [bitfit]="--config bitfit"
  [bottleneck]="--config bottleneck" [prompt]="--config prompt" [head]="--config head" [full]="--config full"
)
declare -A method_rates=(
  [ia3]="1e-2 2e-2 4e-2" [ia3_plus]="1e-2 2e-2 4e-2" [vera]="3e-3 1e-2 3e-2" [prompt]="1e-2 1e-1 3e-1"
  [full]="3e-5 1e-4 3e-4" [head]="1e-3 3e-3 1e-2" [ln_tuning]="3e-3 1e-2 3e-2" [bitfit]="3e-3 1e-2 3e-2"
)
few_rates="1e-3 3e-3 1e-2" # of all others (for LoRA on orders 3e-4 is worse than any of them)

check_options() {
  local method rate
  for method in $methods; do
    [[ -n ${method_opts[$method]-} ]] || fail "--methods: no method $method (there are $(tr ' ' '\n' <<<"${!method_opts[@]}" | sort | xargs))"
  done
  for rate in $rates; do
    [[ -n ${method_opts[${rate%%=*}]-} && $rate =~ ^[a-z0-9_]+=[0-9.]+(e-?[0-9]+)?$ ]] || fail "--rates takes METHOD=RATE, as 'full=1e-4', not '$rate'"
  done
  for rate in $curve; do
    [[ $rate =~ ^[0-9]+(\.[0-9]+)?$ ]] || fail "--curve takes numbers of minutes, as '1 5 20', not '$rate'"
  done
  [[ -n $out_of_domain ]] || fail "--out-of-domain none: the table shows what each method costs on other speech"
  [[ $task =~ ^(orders|accent|own)$ ]] || fail "--task must be orders, accent or own, not '$task'"
}

# compare "$@": check the options, then the stages
#   1 prepare   2 validate   3 plan: time a step of each method, and print the hours   4 the base   5 choose each method's rate
#   by dev, train its seeds   6 decode and score   7 time forward passes   8 tables and figures
compare() {
  local method rate best half=$(((epochs + 1) / 2)) prepared set row earlier=""
  declare -A chosen
  task=${task:-$([[ -d $(from_start "$corpus")/data/speech/clean ]] && echo orders || echo own)}
  corpus_name=${task#own} terms="" score_opts=$([[ $task != orders ]] || echo --cluster utterance)
  locate "$@"
  lock "$exp"
  sets="test${out_of_domain:+ out_of_domain}"
  [[ $size == full ]] || epochs=2 half=1

  if [ $stage -le 1 ] && [ $stop_stage -ge 1 ]; then step "stage 1, prepare $corpus_name" prepare_task; fi
  ! is_few || fail "$data has no dev set, on which rates are chosen (with five minutes of train there is one)"
  if [ $stage -le 2 ] && [ $stop_stage -ge 2 ]; then step "stage 2, validate ${data##*/}" validate train dev $sets; fi
  train="python -m ia3_speech.train --base $base --dev $data/dev $pipes"
  if [ $stage -le 3 ] && [ $stop_stage -ge 3 ]; then
    step "stage 3, three minutes of train" $once "$data/timed" "$data/train" -- \
      python -m ia3_speech.datadir subset "$data/train" "$data/timed" --minutes "$([[ $size == full ]] && echo 3 || echo 1)"
    for method in $methods; do
      step "stage 3, time $method" $train_cmd "$exp/log/timed_$method.log" \
        $train ${method_opts[$method]} --epochs 3 --train "$data/timed" --out "$exp/timed/$method"
    done
    local/methods.py plan "$exp" "$methods" "$data/train" --epochs "$epochs" --half "$half" --seeds "$seeds"
  fi
  if [ $stage -le 4 ] && [ $stop_stage -ge 4 ]; then
    for set in $sets; do decode_and_score 4 base greedy $set; done
  fi
  if [ $stage -le 5 ] && [ $stop_stage -ge 5 ]; then
    for method in $methods; do
      if [[ " $rates " =~ " $method="([^ ]+) ]]; then
        best=_rate${BASH_REMATCH[1]}
      else
        for rate in ${method_rates[$method]-$few_rates}; do
          train_method "rates/${method}_rate$rate" "$method" "$rate" "$half" 1 "$data/train"
        done
        best=$(python -m ia3_speech.results select "$exp/rates" "$(printf "${method}_rate%s " ${method_rates[$method]-$few_rates})")
      fi
      rate=${best#*_rate}
      train_method "$method" "$method" "${rate%_seed*}" "$epochs" "$seeds" "$data/train"
    done
  fi
  if [ $stage -le 6 ] && [ $stop_stage -ge 6 ]; then
    for method in $methods; do
      for row in $(seq "$seeds"); do
        for set in $sets; do decode_and_score 6 "${method}_seed$row" greedy $set; done
      done
    done
  fi
  if [ $stage -le 7 ] && [ $stop_stage -ge 7 ]; then
    for method in $methods; do
      step "stage 7, time forward passes of $method" $once "$exp/forward/$method.json" "$exp/${method}_seed1/adapter" -- \
        local/methods.py forward "$exp/forward/$method.json" "$exp/${method}_seed1/adapter" --base "$base"
    done
    for minutes in $curve; do learning_curve "$minutes"; done
  fi
  if [ $stage -le 8 ] && [ $stop_stage -ge 8 ]; then
    # What was measured earlier, perhaps on another machine: methods that this run left out.
    [[ $size != full || ! -f measured_$task.json ]] || earlier="--measured measured_$task.json"
    step "stage 8, tables and figures" local/methods.py table "$exp" "$ALL_METHODS" $earlier
    echo "The table is in $exp/methods.md, the figure in $exp/figures."
  fi
}

# prepare_task: the task's recipe prepares its data; of the accent the adults, and some minutes of them to train on.
prepare_task() {
  local set
  if [[ $task == orders ]]; then
    prepare="../barista_orders/local/prepare.py --base $base"
  elif [[ $task == accent ]]; then
    prepare="local/methods.py accent --minutes $minutes"
  else
    prepare="../TEMPLATE/local/prepare.py --base $base"
  fi
  prepare_corpus
}

# train_method FOLDER METHOD RATE EPOCHS SEEDS TRAIN
train_method() {
  step "stage 5, train ${1##*/}, seeds 1 to $5" $train_cmd JOB=1:"$5" "$exp/log/train_${1//\//_}_seedJOB.log" \
    $train ${method_opts[$2]} --patience 99 --learning-rate "$3" --epochs "$4" --train "$6" --out "$exp/$1_seedJOB" --seed JOB
}

# learning_curve MINUTES: ia3_plus, LoRA and full on so many minutes, at the rates that were chosen on all of train. Below twenty
# minutes there are more epochs (after one minute 36 for 8), since eight would be a handful of steps; dev selects one.
learning_curve() {
  local method rate longer part=$data/curve/minutes_$1
  longer=$(python -c "import sys; print(round($epochs * max(1, 20 / float(sys.argv[1])) ** 0.5))" "$1")
  step "stage 7, $1 minutes of train" $once "$part" "$data/train" -- \
    python -m ia3_speech.datadir subset "$data/train" "$part" --minutes "$1"
  for method in ia3_plus lora_r4 full; do
    if [[ " $rates " =~ " $method="([^ ]+) ]]; then
      rate=${BASH_REMATCH[1]}
    else
      rate=$(python -c "import sys, yaml; print(yaml.safe_load(open(sys.argv[1]))['learning_rate'])" "$exp/${method}_seed1/config.yaml")
    fi
    train_method "curve/${method}_$1" $method "$rate" "$longer" "$seeds" "$part"
    for row in $(seq "$seeds"); do decode_and_score 7 "curve/${method}_$1_seed$row" greedy test; done
  done
}
