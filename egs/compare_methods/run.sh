#!/usr/bin/env bash
# IA³ against its rivals, on one trainer, the same data and the same base: LoRA, DoRA, VeRA, layer norms, BitFit, bottleneck
# adapters, prompt tuning, the head alone, and full fine-tuning.
#
#   bash run.sh --corpus speech-to-intent-benchmark              coffee orders, whole: a domain
#   bash run.sh --corpus DIR/speechocean762 --task accent        twenty minutes of adults: an accent
#   bash run.sh --corpus DIR                                     any other corpus, as egs/TEMPLATE takes it
#   bash run.sh --corpus DIR --methods 'ia3_plus lora_r4 full'        some of them; what is done stays, so the rest may follow later
#   bash run.sh --corpus DIR --size small                        a little of it, to see that everything works
set -euo pipefail
. "$(dirname "$0")/path.sh" # relative paths on the line are meant from where the user stands
cd "$(dirname "$0")"; . ./cmd.sh; . stages.sh; . local/compare.sh

task=""      # TASK: orders (barista_orders), accent (speechocean762) or own (as egs/TEMPLATE takes it) (default: own, unless DIR is that of the orders)
minutes=20   # N: minutes of the accent's train set to use
methods="ia3 ia3_plus lora_r4 lora_r16 lora_r4_linear lora_r16_linear dora vera ln_tuning bitfit bottleneck prompt head full" # NAMES: methods to compare, by their names in local/compare.sh
rates=""     # 'full=1e-4 ia3_plus=2e-2': learning rates that are known; for each other method one of three is chosen on dev
curve=""     # '1 5 20': train ia3_plus, lora_r4 and full on this many minutes of train too
seeds=3      # of each method at its best rate
epochs=8     # N: epochs of each seed; the learning rates are chosen with one seed and half as many
unset corpus_name prepare init_adapter init_name grid report_opts score_opts register_anyway
ALL_METHODS=$methods

. parse_options.sh
init_adapter="" init_name="" grid=""
compare "$@"
