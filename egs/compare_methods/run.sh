#!/usr/bin/env bash
# IA³ and other methods on one trainer, the same data and the same base: LoRA, DoRA, VeRA, RoAd, SHiRA, layer norms, BitFit,
# bottleneck adapters, prompt tuning, the head alone, and full fine-tuning; what each gains, and costs on other speech.
#
#   bash run.sh --corpus DIR             its task is found; --size small: a little of it; --help lists the options
. "$(dirname "$0")/../../recipes/start_study.sh"
