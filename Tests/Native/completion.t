#!/usr/bin/env bash
# The scripts with which shells complete what is typed behind tercet.

. "$(dirname "$0")/native.sh"

# complete_words WORD...: prints what bash offers for the last of these words, one a line.
complete_words() {
  bash --norc --noprofile -c '
    . "$1" || exit
    shift
    COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMP_LINE="$*" COMP_TYPE=9 COMP_KEY=9
    COMP_POINT=${#COMP_LINE}
    function=$(complete -p tercet | sed -n "s/.* -F \([^ ]*\) tercet$/\1/p")
    "$function" tercet "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
    printf "%s\n" "${COMPREPLY[@]}"' bash "$tap_folder/tercet.bash" "$@"
}

# offers EXPECTED WORD...: for the last word exactly these are offered.
offers() {
  local expected=$1
  shift
  expect_equal "bash completes: $* -> $expected" "$expected" \
    "$(complete_words "$@" 2>&1 | sed 's/ *$//' | sort | paste -sd ' ')"
}

for shell in bash zsh fish; do
  require "there is a script for $shell" sh -c '"$1" --generate-completion-script "$2" >"$3"' sh "$tercet" "$shell" \
    "$tap_folder/tercet.$shell"
done
check "bash parses it" bash -n "$tap_folder/tercet.bash"
offers "bench" tercet ben
offers "read" tercet rea
offers "create" tercet volume cre
offers "--iodepth" tercet bench --iod
offers "randread randrw randwrite" tercet bench --rw rand

for shell in zsh fish; do check "$shell parses it" "$shell" -n "$tap_folder/tercet.$shell"; done
"$tercet" --help | sed -n '/^SUBCOMMANDS/,/^$/s/^  \([a-z-]*\) .*/\1/p' >"$tap_folder/subcommands"
check "the help names subcommands" grep -q . "$tap_folder/subcommands"
for shell in zsh fish; do
  missing=
  while read -r subcommand; do grep -q -- "\b$subcommand\b" "$tap_folder/tercet.$shell" || missing+=" $subcommand"; done \
    <"$tap_folder/subcommands"
  expect_equal "the script for $shell has every subcommand" "" "$missing"
done
done_testing
