#!/usr/bin/env bash
# Spoken keywords in noise, or a bank's intents: a classifier's head alone, IA³, LoRA and full fine-tuning.
#
#   bash run.sh --corpus DIR --speech-train DIR --speech-test 'DIR DIR' --noises DIR      README.md says which
#   bash run.sh --corpus DIR --task intents       MInDS-14's 14 intents; --size small: few clips, one epoch
. "$(dirname "$0")/../../recipes/start_study.sh"
