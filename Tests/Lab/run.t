#!/usr/bin/env bash
# What Tools/run --lab does once it has set up, built and booted: the main job over Soft-RoCE.
. "$(dirname "$0")/lab.sh"

export TMPDIR=$tap_folder
check "three targets, a volume, a target killed and back, everything verified" \
  timeout 600 "$project/Tools/run" --inside "$address4" --seconds 15
diagnose <"$tap_folder/output"
output_has "... on Soft-RoCE" "Three targets on Soft-RoCE"
output_has "... the image reads back" "the image reads back as it was written"
output_has "... its file system is clean" "its file system is clean"
output_has "... the load verified what it read" "verified: every read had what was written last; all members are in sync"
output_has "... the members are equal" "the data of all three members is equal"
check_kernel_log "the kernel has nothing to complain about"
done_testing
