#!/usr/bin/env bash
# What conf/speakers.yaml and conf/from_adapter.yaml stand on: learning rates and epochs, tried on speakers whom nothing
# is tested on: those of speechocean762's published train speakers who are held out. Nothing of the test speakers is read.
#
#   bash local/tune.sh --corpus DIR                            from the base
#   bash local/tune.sh --corpus DIR --init-adapter mandarin    from the accent's adapter as well
#
# Each pair says first how long it takes; what is done is not done again. The table at the end has the best first; put
# its values into the two files. Other options: --rates '2e-3 5e-3', --epochs '4 8', --k, --opts (further ones of
# ia3-speech speakers for all of them, such as '--precision bf16'), and --size, --base, --nj, --work-dir as
# run.sh has them.
set -euo pipefail
export IA3_SPEECH_START_DIR=$PWD
cd "$(dirname "$0")"
. ../path.sh
cd ..

corpus="" init_adapter="" rates="2e-3 5e-3 1e-2 2e-2" epochs="3 6 10" k=15 size=full base=mini nj=1 work_dir="" opts=""
help_message="Usage: bash local/tune.sh --corpus DIR [options, see the head of the file]"
# shellcheck source=../../../recipes/utils/parse_options.sh
. parse_options.sh
[[ -n $corpus ]] || { echo "$help_message" >&2; exit 1; }

[[ -z $work_dir || $work_dir == /* ]] || work_dir=$IA3_SPEECH_START_DIR/$work_dir
left=$(wc -w <<<"$rates") left=$((left * $(wc -w <<<"$epochs")))
for rate in $rates; do
  for count in $epochs; do
    echo "learning rate $rate, $count epochs ($left pairs left)"
    bash run.sh --corpus "$corpus" --speakers train --k "$k" --size "$size" --base "$base" \
      --nj "$nj" ${init_adapter:+--init-adapter "$init_adapter"} ${work_dir:+--work-dir "$work_dir"} \
      --adapt-opts "--learning-rate $rate --epochs $count $opts" --variant "rate${rate}_epochs$count" --stop-stage 7
    left=$((left - 1))
  done
done
python -m ia3_speech.experiments show "${work_dir:-.}/exp/speechocean762_train$([[ $size == full ]] || echo _small)" --parts tuning
if [[ -z $work_dir && $size == full ]]; then python -m ia3_speech.experiments fill RESULTS.md; fi
