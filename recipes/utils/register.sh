#!/usr/bin/env bash
# register.sh ADAPTER NAME full|small [FILE]: register a recipe's adapter, print `NAME: registered in FOLDER`, and write
# the name into FILE. The recipe replaces what it registered before; a small run takes no full run's name, but NAME_small.
set -euo pipefail

register() { python -m ia3_speech.adapters register "$1" "$2" --writer "${PWD#"$IA3_SPEECH_ROOT"/}$3"; }
if [[ $3 == full ]]; then
  registered=$(register "$1" "$2" "")
else
  registered=$(register "$1" "$2" ", small" 2>/dev/null || register "$1" "$2_small" ", small")
fi
echo "$registered"
[[ -z ${4-} ]] || grep -qsxF "${registered%%:*}" "$4" || echo "${registered%%:*}" >"$4"
