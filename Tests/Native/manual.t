#!/usr/bin/env bash
# The manual pages: there is one for each program and command, they are well formed, and say what the programs do.
. "$(dirname "$0")/native.sh"

pages=$tap_folder/man
require "the pages are written" "$project/Tools/manual" "$pages" "$project/.build/release"
cat "$pages"/man?/*.? >"$tap_folder/all"

check "mandoc finds nothing wrong" mandoc -T lint -W warning "$pages"/man?/*.?
typeset_all() { local page; for page in "$pages"/man?/*.?; do groff -ww -mdoc -Tutf8 -z "$page" 2>&1 || return; done; }
check "groff reads them" typeset_all
expect_equal "... and has nothing to remark on" "" "$(cat "$tap_folder/output")"

export MANPATH=$pages MANWIDTH=200
# missing_options SECTION PAGE PROGRAM [WORD...]: the long options that the help names and the page does not.
missing_options() {
  local section=$1 page=$2 option
  shift 2
  man "$section" "$page" 2>/dev/null | col -bx | sed 's/−/-/g; s/‐$/-/' >"$tap_folder/page"
  "$@" --help | sed -n '/^OPTIONS/,/^SUBCOMMANDS/p' | grep -oE '^ +(-[a-zA-Z], )?--[a-z-]+' | grep -oE -- '--[a-z-]+' |
    grep -v '^--help$' >"$tap_folder/options"
  [ -s "$tap_folder/options" ] || echo "the help has no options"
  while read -r option; do grep -q -- "$option" "$tap_folder/page" || echo "$option"; done <"$tap_folder/options"
}

expect_equal "tercetd(8) has each option" "" "$(missing_options 8 tercetd "$tercetd")"
expect_equal "tercet-volumed(8) too" "" "$(missing_options 8 tercet-volumed "$project/.build/release/tercet-volumed")"
node=$project/.build/release/tercet-node
expect_equal "tercet-node-stage(8) too" "" "$(missing_options 8 tercet-node-stage "$node" stage)"
expect_equal "tercet-fio(1) too" "" "$(missing_options 1 tercet-fio "$project/.build/release/tercet-fio")"
without=() count=0
for command in $(commands "$tercet"); do
  [ -s "$pages/man1/tercet-$command.1" ] || without+=("$command")
  for inner in $(commands "$tercet" "$command"); do
    count=$((count + 1))
    [ -s "$pages/man1/tercet-$command-$inner.1" ] || without+=("$command $inner")
  done
done
for command in $(commands "$node"); do
  [ -s "$pages/man8/tercet-node-$command.8" ] || without+=("node $command")
done
check "there are commands of commands" test "$count" -ge 20
expect_equal "each command of tercet and tercet-node has a page" "" "${without[*]}"
expect_equal "tercet-volume-create(1) has each option" "" "$(missing_options 1 tercet-volume-create "$tercet" volume create)"
expect_equal "... and tercet-target-add-namespace(1)" "" \
  "$(missing_options 1 tercet-target-add-namespace "$tercet" target add namespace)"
astray=$(sed -n 's/^\.Xr \([^ ]*\) \([0-9]\).*/man\2\/\1.\2/p' "$tap_folder/all" | sort -u |
  while read -r page; do [ "$page" = man1/fio.1 ] || [ -s "$pages/$page" ] || echo "$page"; done)
expect_equal "they refer to pages that there are" "" "$astray"

# keys PROGRAM TEXT: the keys that are allowed where the text has one that is unknown.
keys() {
  echo "$2" >"$tap_folder/configuration"
  timeout 20 "$1" --config "$tap_folder/configuration" 2>&1 | sed -n "s/.*unknown key;.*allowed: //p" | tr ',' '\n' | tr -d ' '
}
# untold PAGE PROGRAM TEXT: those of them that the page does not explain.
untold() {
  local key found
  found=$(keys "$2" "$3")
  [ -n "$found" ] || echo "no keys are allowed in $3"
  for key in $found; do grep -qE "^\.It Ic ([a-zA-Z0-9]+ , )*$key( |$)" "$project/Deploy/man/$1.5" || echo "$key"; done
}
listeners='"listeners": [{ "address": "127.0.0.1" }]'
subsystem='"nqn": "nqn.2026-11.io.tercet:a", "allowAnyHost": true'
for text in '{ "zz": 1 }' '{ "listeners": [{ "zz": 1 }], "subsystems": [] }' "{ $listeners, \"subsystems\": [{ \"zz\": 1 }] }" \
  "{ $listeners, \"subsystems\": [{ $subsystem, \"namespaces\": [{ \"zz\": 1 }] }] }" \
  "{ $listeners, \"subsystems\": [{ $subsystem, \"anaGroups\": [{ \"zz\": 1 }] }] }" \
  "{ $listeners, \"subsystems\": [{ $subsystem, \"controllerIDs\": { \"zz\": 1 } }] }" \
  "{ $listeners, \"subsystems\": [{ $subsystem, \"pool\": { \"zz\": 1 } }] }" \
  "{ $listeners, \"subsystems\": [], \"keepAlive\": { \"zz\": 1 } }" \
  "{ $listeners, \"subsystems\": [], \"discovery\": { \"zz\": 1 } }"; do
  # The keys of a range are explained with it.
  expect_equal "tercetd.conf(5) has the keys of $text" "" \
    "$(untold tercetd.conf "$tercetd" "$text" | grep -vxE 'first|last')"
done
volumed=$(on_softverbs "$project/.build/release/tercet-volumed")
member='"127.0.0.1:4420/nqn.2026-11.io.tercet:a/1"'
for text in '{ "zz": 1 }' '{ "nbd": { "zz": 1 } }' '{ "nvme": { "zz": 1 } }' '{ "kernelNBD": { "zz": 1 } }' '{ "succession": { "zz": 1 } }' \
  '{ "volumes": [{ "zz": 1 }] }' '{ "devices": [{ "zz": 1 }] }' \
  "{ \"volumes\": [{ \"name\": \"a\", \"members\": [$member, $member, $member], \"limits\": { \"zz\": 1 } }] }"; do
  expect_equal "tercet-volumed.conf(5) has the keys of $text" "" "$(untold tercet-volumed.conf "$volumed" "$text")"
done

done_testing
