#!/usr/bin/env bash
# Volumes by name: a registry in a SQLite file, its entries through every change, and commands that die on the way.

. "$(dirname "$0")/volume.sh"

export TERCET_REGISTRY=sqlite:$tap_folder/registry

# by_name COMMAND OPTION...: runs tercet volume.
by_name() { timeout 120 "$tercet" volume "$@"; }
registry() { timeout 60 "$tercet" registry "$@"; }
# field KEY [NAME]: a value of an entry.
field() { by_name show "${2:-db}" --json | python3 -c "import json, sys; print(json.load(sys.stdin)$1)"; }

for number in 0 1 2; do require "target $number starts" start_member "$number"; done
truncate -s 64M "$tap_folder/disk3"
target_pids+=(0)
require "a fourth target starts" start_member 3
spare=$address:$((port + 3))/$nqn.3/1

# Names, and no registry.
expect_refusal "no registry is made by a look at it" "there is no registry" by_name list
check "... it is not there" [ ! -e "$tap_folder/registry" ]
expect_refusal "a name needs a registry" "TERCET_REGISTRY" env -u TERCET_REGISTRY "$tercet" volume status db
expect_refusal "a registry has a kind" "allowed: sqlite:PATH" by_name list --registry "$tap_folder/registry"
expect_refusal "a name has no slashes" "is no name of a volume" by_name create a/b "${members[@]}"
check "without a name everything is as before" volume create --region-size 64k
check "... and in no registry" [ ! -e "$tap_folder/registry" ]
check "... to the end" volume destroy

# The whole path.
expect_output "a volume is created by its name" "volume [0-9a-f-]+: [0-9]+ blocks" \
  by_name create db "${members[@]}" --region-size 64k --label tier=1
expect_equal "the registry is its owner's alone" 600 "$(stat -c %a "$tap_folder/registry")"
expect_output "it is listed" "^db: ready, [0-9]+ bytes, [0-9a-f-]{36}, $address:$port/" by_name list
expect_output "it is shown" "label tier: 1" by_name show db
output_has "... with its members" "member 2: $address:$((port + 2))/$nqn.2/1, [0-9a-f-]{36}"
expect_refusal "a name is used once" "is in the registry already" by_name create db "${members[@]}" --overwrite
head -c 1000000 /dev/urandom >"$tap_folder/input"
check "it is written by its name" by_name write db --input "$tap_folder/input"
check "... and read by its members" volume read --block-count 1953 --output "$tap_folder/back"
check "... the same" cmp -n 999936 "$tap_folder/input" "$tap_folder/back"
expect_output "its members are asked" "health: healthy" by_name status db
for command in heal scrub detach; do check "it is used by its name: $command" by_name "$command" db; done
check "... bench" by_name bench db --runtime 1 --size 4m
check "... exercise" by_name exercise db --record "$tap_folder/record" --runtime 0.2 --start-block 60000
expect_refusal "a name and members contradict each other" "one of them" by_name status db "${members[@]}"
expect_refusal "another name is not there" "there is none in the registry" by_name status other

# Replacement and growth.
check "a member is replaced by its volume's name" by_name replace db --replace 1 --with "$spare"
expect_equal "... in the registry, too" "$spare" "$(field '["members"][1]["address"]')"
check "... and the volume goes on" by_name heal db
for number in 0 2 3; do truncate -s 96M "$tap_folder/disk$number"; done
before=$(field '["size"]')
grows() { by_name grow db --old-size 64m; }
check "it grows by its name" wait_until 30 grows
check "... in the registry, too" [ "$(field '["size"]')" -gt "$before" ]
check "... and goes on" by_name heal db

# Export and import.
registry export >"$tap_folder/export"
check "an export is JSON" python3 -m json.tool "$tap_folder/export"
there() { registry "$@" --registry "sqlite:$tap_folder/second"; }
expect_output "it goes into another registry" "1 volumes entered" there import --input "$tap_folder/export"
expect_output "... once" "0 volumes entered, 1 were there" there import --input "$tap_folder/export"
there export >"$tap_folder/again"
check "... and comes out as it went in" cmp <(grep -v '"revision"' "$tap_folder/export") <(grep -v '"revision"' "$tap_folder/again")
sed 's/"tier" : "1"/"tier" : "2"/' "$tap_folder/export" >"$tap_folder/changed"
expect_refusal "an entry that is there is not replaced by mistake" "say --replace" there import --input "$tap_folder/changed"
check "... unless that is asked for" there import --input "$tap_folder/changed" --replace
expect_refusal "garbage is no import" "cannot be read" there import --input "$tap_folder/input"

# A registry that is wrong.
# wrong SED: changes the registry as if by mistake.
wrong() { sed "$1" "$tap_folder/export" >"$tap_folder/wrong" && registry import --replace --input "$tap_folder/wrong"; }
uuid=$(field '["uuid"]')
check "the registry gets another UUID" wrong "s/$uuid/12345678-9abc-4ef0-8123-456789abcdef/"
expect_refusal "what all members deny is the registry's mistake" "no member holds the registry's volume, so correct the registry" \
  by_name read db
expect_refusal "... also for a status" "so correct the registry" by_name status db
expect_refusal "... and nothing is wiped" "so correct the registry" by_name destroy db
check "the registry gets another size" wrong "s/\"size\" : [0-9]*/\"size\" : 4096/"
expect_refusal "a size that members deny is the registry's mistake, too" "has 4096 bytes, and its members say" by_name heal db
current=(--member "${members[1]}" --member "$spare" --member "${members[5]}")
check "it is corrected from the members" registry add db --replace "${current[@]}"
expect_equal "... and keeps its labels" 1 "$(field '["labels"]["tier"]')"
check "... and can be used" by_name heal db
target_pids+=(0 0)
for number in 4 5; do
  truncate -s 64M "$tap_folder/disk$number"
  require "target $number starts" start_member "$number"
done
require "another volume is made of the former member" "$tercet" volume create --region-size 64k --overwrite --size 4m \
  "${members[@]:2:2}" --member "$address:$((port + 4))/$nqn.4/1" --member "$address:$((port + 5))/$nqn.5/1"
check "the registry names the former member" wrong "s#$spare#${members[3]}#"
expect_refusal "a member that alone denies it is the one to correct" "so correct member 1" by_name heal db
check "the former entry is put back" registry import --replace --input "$tap_folder/export"
check "... and can be used" by_name heal db
expect_output "nothing is half done" "0 half done and settled, 0 left" registry check

check "the volume is destroyed by its name" by_name destroy db
expect_equal "... and has left the registry" "" "$(by_name list)"
expect_refusal "... and its members" "not formatted|no superblock|nothing is formatted|unavailable" volume status

check "the targets end in good order" stop_members
done_testing
