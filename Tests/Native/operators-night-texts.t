#!/usr/bin/env bash
# The texts of the operator's nights: each command is in one of them.
. "$(dirname "$0")/native.sh"

texts=("$project/Tests/Native/operators-night.txt" "$project/Tests/Native/operators-night-control.txt")
node=${NODE:-$project/.build/release/tercet-node}

# leaves NAME PROGRAM [WORD...]: the commands that have no further ones.
leaves() {
  local name=$1 inner word
  shift
  inner=$(commands "$@")
  [ -n "$inner" ] || { echo "$name"; return; }
  for word in $inner; do leaves "$name $word" "$@" "$word"; done
}
{ leaves tercet "$tercet"; leaves tercet-node "$node"; } >"$tap_folder/leaves"
check "there are commands" test "$(wc -l <"$tap_folder/leaves")" -ge 60

# Those that are in no text, with the reason.
declare -A elsewhere=(
  ["tercet-node serve"]="it serves until it is ended; csi.t"
)
# is_in_text COMMAND: whether a night runs it.
is_in_text() { cat "${texts[@]}" | grep -qE "^\\$ $1( |\$)"; }
missing=() both=()
while read -r leaf; do
  if is_in_text "$leaf"; then
    [ -z "${elsewhere[$leaf]-}" ] || both+=("$leaf")
  else
    [ -n "${elsewhere[$leaf]-}" ] || missing+=("$leaf")
  fi
done <"$tap_folder/leaves"
expect_equal "each command is in a night, or in the list of those that are elsewhere" "" "$(printf '%s\n' "${missing[@]}")"
expect_equal "... and in one of them only" "" "$(printf '%s\n' "${both[@]}")"

done_testing
