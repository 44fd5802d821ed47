#!/usr/bin/env bash
# A page that recognises speech in the browser, and switches one voice for another: nothing leaves the device.
#
#   bash page.sh --out site --adapters 'clinic anna'        writes the folder; any web server shows it:
#   python -m http.server --bind 127.0.0.1 --directory site 8000
#
# onnxruntime-web comes from the npm registry (npm, tar), the graph from `ia3-speech export`.
set -euo pipefail
here=$(CDPATH="" cd "$(dirname "$0")" && pwd)
out=site base=mini dtype=float32 adapters= version=1.30.0
while [ $# -gt 0 ]; do
  case $1 in
    --out | --base | --dtype | --adapters | --version) declare "${1#--}=${2?$1 needs a value}"; shift 2 ;;
    *) sed -n '2,/^set/{/^#/p;}' "$0" | cut -c3-; exit "$([ "$1" = --help ] && echo 0 || echo 2)" ;;
  esac
done
. "$here/../../recipes/path.sh" # finds the Python that has ia3_speech

mkdir -p "$out/vendor"
cp "$here/index.html" "$here/page.js" "$out"
if [ "$(cat "$out/vendor/version" 2>/dev/null)" != "$version" ]; then
  packed=$(mktemp -d)
  trap 'rm -rf "$packed"' EXIT
  (cd "$packed" && npm pack --silent "onnxruntime-web@$version" >/dev/null && tar -xzf onnxruntime-web-*.tgz)
  cp "$packed"/package/dist/{ort.wasm.min.mjs,ort-wasm-simd-threaded.mjs,ort-wasm-simd-threaded.wasm} "$out/vendor"
  echo "$version" >"$out/vendor/version"
fi
exported=$(printf '%s %s' "$base" "$dtype" | sha256sum)
if [ "$(cat "$out/graph/.exported" 2>/dev/null)" != "$exported" ]; then
  python -m ia3_speech export --base "$base" --dtype "$dtype" --out "$out/graph" --force
  echo "$exported" >"$out/graph/.exported"
fi
# shellcheck disable=SC2086  # names are words
python "$here/local/voices.py" "$out" $adapters
