#!/usr/bin/env bash
# The texts of the operator's nights: each command is in one of them, and no word in them is out of the source.
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

# Two words in one are a name out of the source, unless operators write it: a key of a configuration, a term, or a unit.
keys=$(sed -n 's/^\.It Ic //p' "$project"/Deploy/man/*.conf.5 | tr -d ',' | tr -s ' ' '\n' | sort -u)
check "there are keys" test "$(wc -l <<<"$keys")" -ge 40
terms="NVMe-oF rMiB wMiB"
names=$(cat "${texts[@]}" | grep -oE '[A-Za-z0-9-]*[a-z][A-Z][A-Za-z0-9]*' | sort -u |
  grep -vxF -f <(printf '%s\n' "$keys" $terms))
expect_equal "no word is out of the source" "" "$names"

done_testing
