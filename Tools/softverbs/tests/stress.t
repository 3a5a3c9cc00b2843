#!/usr/bin/env bash
. "$(dirname "$0")/tap.sh"
with 100 build/tests/stress 5 ${SEED:-}
