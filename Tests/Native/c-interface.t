#!/usr/bin/env bash
# A program in C, compiled against tercet.h alone, on libtercet and softverbs.

. "$(dirname "$0")/native.sh"

library=${LIBTERCET:-$project/.build/release/libTercet.so}
mkdir "$tap_folder/bin"
require "the target starts" export_target ram:64M
require "a C program compiles against the header and links to the library" \
  cc -Wall -Wextra -Werror -pedantic -std=gnu11 -I"$project/Sources/CTercet/include" -o "$tap_folder/bin/roundtrip" \
  "$project/Tests/Native/c/roundtrip.c" "$library" -Wl,-rpath,"$(dirname "$library")"
check "its round trips" timeout 120 "$(on_softverbs "$tap_folder/bin/roundtrip")" "$address" "$port" "$nqn"
grep -E '^(not )?ok' "$tap_folder/output" | diagnose
check "the target ends in good order" stop_tercetd
done_testing
