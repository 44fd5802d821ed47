#!/usr/bin/env bash
. "$(dirname "${BASH_SOURCE[0]}")/../../recipes/path.sh"
