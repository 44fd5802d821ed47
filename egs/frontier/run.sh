#!/usr/bin/env bash
# Gain against forgetting: IA³ with replay, scale and guard, beside LoRA, RoAd, SHiRA, a gated vector and full fine-tuning.
#
#   bash run.sh --accent-corpus DIR --orders-corpus DIR --telephone-corpus DIR --notes-corpus DIR --general 'DIR DIR'
#   bash run.sh … --size small           a little of it, to see that everything works; --help lists the options
. "$(dirname "$0")/../../recipes/start_study.sh"
