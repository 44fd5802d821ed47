#!/usr/bin/env bash
# What the defaults of ia3_speech/conf/ia3.yaml stand on. Some hours of training; what is done is not done again, and
# after a kill it goes on where it was. Each training says first about how long it takes (exp/<corpus>/log).
#
#   bash local/sweep.sh rates --corpus DIR        learning rates, one seed, by dev alone: no test set is decoded
#   bash local/sweep.sh placements --corpus DIR   key and value with ffn, with ffn_output, both or neither, and with
#                                                 attention_output as well; three seeds
#   bash local/sweep.sh more --corpus DIR         twice the epochs, three seeds; conv, the head too, one seed
#   bash local/sweep.sh seeds --corpus DIR        the default with five seeds, through all stages of the recipe
#
# In this order: what the first finds goes into ia3.yaml, which is what the next starts from. Options after the first word
# are those of run.sh. `python -m ia3_speech.experiments fill RESULTS.md` writes the blocks of RESULTS.md afterwards.
set -euo pipefail
part=${1-}
[[ $# -eq 0 ]] || shift

# variant NAME SEEDS OPTIONS [LAST STAGE]: one system beside the default, in the same tables.
variant() {
  bash "$(dirname "${BASH_SOURCE[0]}")/../run.sh" "${@:5}" --lm none --system "$1" --seeds "$2" --train-opts "$3" --stop-stage "$4"
}

case $part in
  rates) for rate in 1e-3 2e-3 5e-3 1e-2 2e-2 5e-2; do variant "ia3_rate$rate" 1 "--learning-rate $rate" 5 "$@"; done ;;
  placements)
    variant ia3_kv 3 "--placements key value" 8 "$@"
    variant ia3_kv_ffn 3 "--placements key value ffn" 8 "$@"
    variant ia3_kv_ffn_output 3 "--placements key value ffn_output" 8 "$@"
    variant ia3_kv_both 3 "--placements key value ffn ffn_output" 8 "$@"
    variant ia3_kv_ffn_attention 3 "--placements key value ffn attention_output" 8 "$@"
    variant ia3_kv_both_attention 3 "--placements key value ffn ffn_output attention_output" 8 "$@" ;;
  more)
    variant ia3_long 3 "--epochs 16 --patience 16" 8 "$@"
    variant ia3_conv 1 "--placements key value ffn ffn_output attention_output conv" 8 "$@"
    variant ia3_head 1 "--train-head true" 8 "$@" ;;
  seeds) bash "$(dirname "${BASH_SOURCE[0]}")/../run.sh" "$@" --system ia3 --seeds 5 ;;
  *) echo "Usage: bash local/sweep.sh rates|placements|more|seeds --corpus DIR [options of run.sh]" >&2; exit 1 ;;
esac
