#!/usr/bin/env bash
# Source this: the stage of adapt.sh that makes a language model, and decodes and scores with it. The model is of train's
# texts, mixed with the base's own, if it has one, with that of --lm-texts, and with --lm; test sets are never read for
# it. Weights are chosen on dev: those of the mixture by perplexity, those of the search by WER, for base and adapter each.
# Then the adapter with hot words too: the terms that train's texts hold, and how the adapter hears them on dev.

# shellcheck disable=SC2154  # adapt.sh has the options
echo "stage 7, language model of train's texts${lm_texts:+ and of those of $lm_texts}"
mix=""; [[ $lm == own ]] || mix=$lm
if [[ -n $lm_texts ]]; then
  $once "$exp/lm_texts" local "$data/train" -- $lm_texts "$exp/lm_texts" --train "$data/train"
  mix+=" $exp/lm_texts"
fi
$decode_cmd "$exp/log/lm.log" python -m ia3_speech.lm "$data/train" ${mix:+--mix $mix} --base "$base" \
  --dev "$data/dev" --out "$exp/lm.arpa.gz" --summary "$exp/lm.json"
pairs=$([[ $size == full ]] || echo "--lm-weights 0.35 0.8 --word-scores 0 1.5") # four to try in place of thirty
for one in base "$selected"; do
  echo "stage 7, choose the search weights of $one on dev"
  $decode_cmd "$exp/log/tune_lm_$one.log" python -m ia3_speech.tune_lm "$data/dev" --lm "$exp/lm.arpa.gz" --base "$base" \
    --precision $precision $pairs $([[ $one == base ]] || echo "--adapter $exp/$one/adapter") $pipes \
    --out "$exp/$one/lm_search.yaml"
done
own=$exp/$selected
$once "$own/calibrated_lm" "$data/dev" "$own/lm_search.yaml" "$own"/adapter/*.safetensors -- \
  $calibrate --adapter "$own/adapter" --config "$own/lm_search.yaml"
if [[ -s $exp/plan/hotwords.tsv ]]; then
  echo "stage 7, hot words: how $selected hears them on dev"
  list=$hotwords
  if [[ $hotwords == own ]]; then
    list=$exp/terms_train
    $once "$list.tsv" local "$data/train" -- $terms "$data/train" "$list.tsv"
    $once "$list" "$list.tsv" -- bash -c "cut -f 1 $list.tsv >$list" # without the categories
  fi
  $decode_cmd "$exp/log/decode_dev_$selected.log" python -m ia3_speech.decode --search greedy --base "$base" \
    --adapter "$exp/$selected/adapter" $pipes --precision $precision $decode_opts "$data/dev" "$exp/$selected/decode_greedy_dev"
  $once "$exp/$selected/hotwords.txt" "$list" "$data/dev" "$exp/$selected/decode_greedy_dev/text" -- python -m \
    ia3_speech.hotwords learn "$data/dev" "$exp/$selected/decode_greedy_dev" --terms "$list" --out "$exp/$selected/hotwords.txt"
fi
decode_score 7 lm " and the language model" < <(sed "s:SELECTED:$selected:g" "$exp/plan/lm.tsv")
decode_score 7 hotwords ", the language model and hot words" < <(sed "s:SELECTED:$selected:g" "$exp/plan/hotwords.tsv")
