#!/usr/bin/env bash
. "$(dirname "$0")/tap.sh"
with 100 build/tests/cm
