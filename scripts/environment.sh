#!/usr/bin/env bash
# Source this, then `use_environment MODULE…` puts a Python that has these modules first on PATH: that of the active
# environment, or of the clone's .venv, which uv, or `python3 -m venv` and pip, make on first use. .venv/ia3_speech_setup
# holds "unfinished" while packages are being installed, and afterwards the checksum of pyproject.toml: an interrupted
# set-up is made again, and an environment that pyproject.toml has outgrown is brought up to date.

_ia3_root=$(CDPATH="" cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
_ia3_venv=$_ia3_root/.venv
_ia3_state_file=$_ia3_venv/ia3_speech_setup

use_environment() {
  if ! has_modules python "$@" || { [[ $(command -v python) == "$_ia3_venv/bin/python" ]] && is_unfinished; }; then
    (set_up_environment "$@") >&2 || return 1
    PATH=$_ia3_venv/bin:$PATH
    export PATH
  fi
}

# has_modules PYTHON MODULE…: this Python finds all of them, and not in the current folder
has_modules() {
  local find='import sys; from importlib.util import find_spec; sys.exit(not all(map(find_spec, sys.argv[1:])))'
  (cd / && "$1" -c "$find" "${@:2}") 2>/dev/null
}

setup_state() { cat "$_ia3_state_file" 2>/dev/null; }
is_unfinished() { [[ $(setup_state) == unfinished ]]; }
is_current() { [[ -x $_ia3_venv/bin/python && $(setup_state) == "$(cksum <"$_ia3_root/pyproject.toml")" ]]; }

# is_foreign: another program made .venv, and it contains more than pip, setuptools and wheel
is_foreign() {
  local package
  [[ ! -e $_ia3_state_file ]] || return 1
  for package in "$_ia3_venv"/lib/python*/site-packages/*.dist-info; do
    [[ ! -e $package || $package =~ /(pip|setuptools|wheel)-[^/]*$ ]] || return 0
  done
  return 1
}

# set_up_environment MODULE…: makes .venv, makes it again or brings it up to date, in a subshell of its own
set_up_environment() {
  cd "$_ia3_root" || return 1
  if command -v flock >/dev/null; then # one set-up at a time
    exec 8<pyproject.toml
    flock -n 8 || { echo "waiting for another command that sets up $_ia3_venv" && flock 8; }
  fi
  is_current && return
  local installer=pip python="" quiet=--quiet
  [[ ! -t 2 ]] || quiet=""
  if command -v uv >/dev/null; then installer=uv; else python=$(find_python) || return 1; fi
  if [[ -e $_ia3_venv || -L $_ia3_venv ]] &&
    { is_unfinished || ! has_modules "$_ia3_venv/bin/python" ia3_speech torch; }; then
    if is_foreign; then
      echo "$_ia3_venv holds other packages: move it away, or activate an environment that has ia3_speech"
      return 1
    fi
    echo "$_ia3_venv is unfinished and is made again"
    rm -rf "$_ia3_venv"
  fi
  if [[ -e $_ia3_venv ]]; then
    echo "bringing $_ia3_venv up to date with pyproject.toml, with $installer"
  else
    echo "first use: making $_ia3_venv with $installer; up to 6 GB of packages are downloaded, which takes some minutes"
    if [[ $installer == uv ]]; then uv venv --quiet "$_ia3_venv"; else "$python" -m venv --without-pip "$_ia3_venv"; fi ||
      return 1
  fi
  echo unfinished >"$_ia3_state_file"
  if ! "install_with_$installer" "$python" $quiet; then
    echo "$_ia3_venv could not be set up for the reason above; the next run tries again"
    return 1
  fi
  cksum <pyproject.toml >"$_ia3_state_file.new" && mv "$_ia3_state_file.new" "$_ia3_state_file"
}

# uv compiles the packages, on all cores. pip would take half a minute for that, of 20,000 files; Python compiles what it loads.
install_with_uv() {
  UV_PROJECT_ENVIRONMENT=$_ia3_venv uv sync --inexact --compile-bytecode "${@:2}"
}

install_with_pip() {
  local python=$1 pip=("$_ia3_venv/bin/python" -m pip)
  shift
  "${pip[@]}" --version >/dev/null 2>&1 || "$_ia3_venv/bin/python" -m ensurepip >/dev/null 2>&1 ||
    "$python" -m pip --python "$_ia3_venv/bin/python" install "$@" "pip>=25.1" || return 1 # as in Debian's Python
  "${pip[@]}" install --upgrade "$@" "pip>=25.1" && # the first that knows --group
    "${pip[@]}" install "$@" --no-compile --editable . --group demo --group dev || return 1
  # PyPI's torchaudio needs the libraries of PyPI's torch. A machine's pip settings can have put a CPU build in its place.
  "$_ia3_venv/bin/python" -c "import torchaudio" 2>/dev/null || {
    echo "torchaudio does not load beside this torch: installing PyPI's build of torch, without this machine's pip settings"
    "${pip[@]}" uninstall --yes --quiet torch &&
      env -u PIP_FIND_LINKS -u PIP_CONSTRAINT -u PIP_EXTRA_INDEX_URL PIP_CONFIG_FILE=/dev/null \
        "${pip[@]}" install "$@" --no-compile --editable . --group demo --group dev &&
      "$_ia3_venv/bin/python" -c "import torchaudio"
  }
}

# find_python: prints the first Python on PATH that is 3.11 or later
find_python() {
  local name version old=""
  for name in python3 python python3.14 python3.13 python3.12 python3.11; do
    version=$("$name" -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])' 2>/dev/null) || continue
    case $version in
      2.* | 3.[0-9].* | 3.10.*) old+="${old:+, }$name is Python $version" ;;
      *) command -v "$name" && return ;;
    esac
  done
  echo "Python 3.11 or later is needed, and PATH has none (${old:-there is no python3}): install one, or install uv" \
    "('pip install uv'), which brings its own" >&2
  return 1
}
