#!/usr/bin/env bash
# product.sh A B OUT: OUT/adapter is A × B, number by number. The logarithm by which this is computed wants positive
# numbers; where one isn't, that is a result and no error: OUT/refused says which.
set -euo pipefail

code=0
said=$(python -m ia3_speech.adapters combine "$1+$2" --method log --out "$3/adapter" --force 2>&1) || code=$?
echo "$said"
if [[ $code -ne 0 && $said == *"needs positive numbers"* ]]; then
  mkdir -p "$3"
  echo "${said##*error: }" >"$3/refused"
  code=0
fi
exit $code
