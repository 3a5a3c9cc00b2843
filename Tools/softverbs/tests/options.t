#!/usr/bin/env bash
. "$(dirname "$0")/tap.sh"
with 60 build/tests/options
