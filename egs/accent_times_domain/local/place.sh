#!/usr/bin/env bash
# Source this in run.sh: are the options right, and where does everything lie?

# shellcheck disable=SC2154,SC2034  # run.sh has the options; the other files use what is set here
fail() { echo "run.sh: $*" >&2; exit 1; }
place() { if [[ $1 == /* ]]; then echo "$1"; else echo "$IA3_SPEECH_START_DIR/$1"; fi; }

[[ $# -eq 0 ]] || fail "unexpected argument '$1' (--help lists the options)"
[[ $seeds =~ ^[1-9][0-9]*$ ]] || fail "--seeds must be a number from 1 on, not '$seeds'"
[[ $size == full || $size == small ]] || fail "--size must be full or small, not '$size'"
if [[ -n $accent_corpus$domain_corpus ]]; then
  [[ -n $accent_corpus && -n $domain_corpus ]] || fail "give both --accent-corpus DIR and --domain-corpus DIR"
  [[ -z $sentences ]] || fail "--sentences has no meaning with corpora"
  accent_corpus=$(place "$accent_corpus") domain_corpus=$(place "$domain_corpus")
fi
[[ -z $sentences ]] || sentences=$(place "$sentences")
base=$(from_start "$base")
out_of_domain=$(for dir in ${out_of_domain/#none/}; do from_start "$dir"; done)
[[ -z $work_dir ]] || work_dir=$(place "$work_dir")

suffix="" own_train_opts=$train_opts
[[ $size == full ]] || { suffix=_small; train_opts="$small_opts $train_opts"; }
part=$([[ -n $accent_corpus ]] && echo real || echo espeak)$suffix
data=${work_dir:+$work_dir/}data/$part
exp=${work_dir:+$work_dir/}exp/$part
. lock.sh "$exp"
