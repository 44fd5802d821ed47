#!/usr/bin/env bash
# register.sh ADAPTER NAME full|small: register a recipe's adapter, and print `NAME: registered in FOLDER`. The recipe
# replaces what it registered before. A small run takes no full run's name, but becomes NAME_small.
set -euo pipefail

register() { python -m ia3_speech.adapters register "$1" "$2" --writer "${PWD#"$IA3_SPEECH_ROOT"/}$3"; }
if [[ $3 == full ]]; then register "$1" "$2" ""; exit; fi
register "$1" "$2" ", small" 2>/dev/null || register "$1" "$2_small" ", small"
