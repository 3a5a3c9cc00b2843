#!/usr/bin/env bash
# The registry's file under programs that write to it and are killed.

. "$(dirname "$0")/../tap.sh"

# More on request.
kills=${TERCET_REGISTRY_KILLS:-100}
expect_output "what a writer was told is there after it was killed, $kills times" \
  "$kills writers killed, [0-9]+ before their first change; nothing that was told is lost" \
  timeout 300 "$project/.build/release/registry-writer" "$tap_folder" "$kills" "$RANDOM"
diagnose <"$tap_folder/output"
done_testing
