#!/usr/bin/env bash
# Namespaces are made, attached, used, detached and deleted in a pool while the target runs; they outlive it, however it ends.
# POOL_ROUNDS: how often it is killed while a pool changes (5); SEED repeats a run's choices.
. "$(dirname "$0")/native.sh"

rounds=${POOL_ROUNDS:-5}
RANDOM=${SEED:=$((RANDOM + 1))}
diagnose "SEED=$SEED POOL_ROUNDS=$rounds"
control=$tap_folder/control.sock
configuration=$tap_folder/tercetd.json
folder=$tap_folder/pool
churn=$(dirname "$0")/pools/churn.py
mkdir "$folder"

# configure [MEMBER...]: the configuration, with members of the pool's object beside its folder.
configure() {
  cat >"$configuration" <<JSON
{
  "reactors": 2,
  "stateDirectory": "$tap_folder/state",
  "listeners": [ { "address": "$address", "port": $port } ],
  "subsystems": [ { "nqn": "$nqn", "allowAnyHost": true, "pool": { "folder": "$folder", $* } } ]
}
JSON
}
start() {
  start_tercetd --config "$configuration" --control "$control" --metrics "$tap_folder/metrics.sock"
  wait_until 20 target_listens
}
target() { timeout 60 "$tercet" target "$@" --socket "$control"; }
pool() { target pool "$@"; }
uuid_of() { pool list --json | python3 -c 'import json, sys; [print(n["uuid"]) for p in json.load(sys.stdin).values() for n in p["namespaces"] if n["nsid"] == int(sys.argv[1])]' "$1"; }
refusal() { expect_refusal "$1" "$2" pool "${@:3}"; }

configure '"capacity": "1G", "maxNamespaces": 4'
require "a target with an empty pool starts" start
expect_output "it is listed" "^$nqn: 0 of 4 namespaces, 1G of 1G not allocated, in $folder \([0-9]+M free\)\$" pool list

# A namespace, from its making to its end.
expect_output "a namespace is made" "^namespace 1: 256M in blocks of 4096, not attached, [0-9a-f-]{36}\$" pool create "$nqn" 256M
check_fails "hosts do not see it" tercet read --nsid 1 -o /dev/null
check "it is attached" pool attach "$nqn" 1
check "hosts read and write it" bench --nsid 1 --rw randrw --bs 4k --iodepth 16 --queues 2 --size 16m --runtime 1
room() { [ "$(du -s -B1M "$folder" | cut -f 1)" -lt 64 ]; }
check "it takes room where it was written to" room
head -c 65536 /dev/urandom >"$tap_folder/pattern"
check "a pattern is written to it" tercet write --nsid 1 --start-block 5000 --input "$tap_folder/pattern"
expect_output "another one is made and attached at once" ": 512M .*, attached, " pool create "$nqn" 512M --attach
expect_output "the pool has so much less" "^$nqn: 2 of 4 namespaces, 256M of 1G not allocated" pool list
first=$(uuid_of 1)
expect_output "hosts know it by its UUID" "$first" tercet identify --nsid 1

check "a namespace grows while hosts use it" pool grow "$nqn" 2 --size 640M
expect_output "... and hosts hear of it" "671088640|640M|163840" tercet identify --nsid 2
check "it is written to its end" tercet write --nsid 2 --start-block 163824 --input "$tap_folder/pattern"
refusal "it never shrinks" "namespace 2 has 163840 blocks already; allowed: as many or more" grow "$nqn" 2 --size 512M
check "the same size is no change" pool grow "$nqn" 2 --size 640M
refusal "it grows by what is left" "1073741824 bytes are needed, and 134217728 are not allocated" grow "$nqn" 2 --size 1664M

# What cannot be.
refusal "more than is left is refused" "134221824 bytes are needed, and 134217728 are not allocated; delete a namespace, or raise 'capacity'" \
  create "$nqn" 134221824
refusal "a part of a block too" "size: 5000 is no multiple of the block size; allowed: multiples of 4096" create "$nqn" 5000
refusal "... and nothing" "the size is 0" create "$nqn" 0
refusal "what is attached cannot be attached" "namespace 1 is attached already" attach "$nqn" 1
refusal "what is not there cannot be" "there is no namespace 9" attach "$nqn" 9
refusal "... in a pool that there is" "there is no pool 'nqn.2026-01.io.tercet:x'; there are: $nqn" delete nqn.2026-01.io.tercet:x 1
refusal "a UUID is one" "uuid: 'x' is no UUID" create "$nqn" 1M --uuid x
expect_refusal "a pool has no namespaces of the configuration" "a pool makes its namespaces itself" \
  target add namespace "$nqn" 7 ram:1M
named=6ba7b811-9dad-41d1-80b4-00c04fd430c8
expect_output "a namespace has the UUID that was asked for" "^namespace 3: 1M .*, not attached, $named\$" pool create "$nqn" 1M --uuid "$named"
expect_output "the same call again finds it" "^namespace 3: 1M .*, attached, $named\$" pool create "$nqn" 1M --uuid "$named" --attach
refusal "... unless the size is another" "a namespace of another size has the UUID $named" create "$nqn" 2M --uuid "$named"

metrics() { curl --silent --unix-socket "$tap_folder/metrics.sock" http://localhost/metrics; }
expect_output "metrics tell what the pool has" "^tercet_target_pool_unallocated_bytes\{subsystem=\"$nqn\"\} 133169152\$" metrics
output_has "... and how much room there is" "^tercet_target_pool_free_bytes\{subsystem=\"$nqn\"\} [0-9]+"

# Restarts and reloads.
check "the daemon ends" stop_tercetd
require "it starts again" start
expect_output "the namespaces are there" "^$nqn: 3 of 4 namespaces, 127M of 1G not allocated" pool list
expect_equal "... with their UUIDs" "$first $named" "$(uuid_of 1) $(uuid_of 3)"
check "... and their data" tercet read --nsid 1 --start-block 5000 --block-count 16 -o "$tap_folder/read"
expect_equal "... which is what was written" "$(sha256sum <"$tap_folder/pattern")" "$(sha256sum <"$tap_folder/read")"
configure '"capacity": "512M", "maxNamespaces": 8, "blockSize": 512'
expect_output "a reload makes the pool smaller" "limits or managers of the pool differ" target reload
expect_output "... which takes nothing from it" "^$nqn: 3 of 8 namespaces, 0 of 512M not allocated" pool list
check "... and hosts go on" bench --nsid 2 --rw randrw --bs 4k --iodepth 8 --size 4m --runtime 1
check "a namespace is detached" pool detach "$nqn" 1
check_fails "hosts do not see it" tercet read --nsid 1 -o /dev/null
check "namespaces are deleted" eval 'pool delete "$nqn" 1 && pool delete "$nqn" 2 && pool delete "$nqn" 3'
expect_equal "nothing is left of them" "pool.json pool.reserve" "$(cd "$folder" && echo *)"
expect_output "a new one has the first identifier, and the pool's block size" "^namespace 1: 1M in blocks of 512," \
  pool create "$nqn" 1M --attach
report "$([ "$(uuid_of 1)" != "$first" ]; echo $?)" "... and another UUID"
check "its blocks are zeroes" tercet read --nsid 1 --block-count 2048 -o "$tap_folder/read"
expect_equal "... all of them" "$(head -c 1M /dev/zero | sha256sum)" "$(sha256sum <"$tap_folder/read")"

# A folder is one pool's.
second() { timeout 20 "$tercetd" --config "$tap_folder/second.json" --control none --require-all 2>&1; }
sed "s/\"port\": $port/\"port\": $((port + 1))/; s|$tap_folder/state|$tap_folder/state2|" "$configuration" >"$tap_folder/second.json"
expect_refusal "another daemon does not get it" "$folder is in use by another pool or another tercetd" second
check "the daemon ends" stop_tercetd
mv "$folder" "$folder.away"
require "it starts without the folder" start
expect_output "... and names what is missing" "missing: subsystem $nqn: the folder of the pool cannot be used \\(make it first" \
  eval 'target list || :'
mv "$folder.away" "$folder"
expect_output "the folder comes back, and the pool with it" "subsystem $nqn added" target reload
expect_output "... with its namespace" "^$nqn: 1 of 8" pool list
check "another namespace is made" pool create "$nqn" 2M
rm "$folder/$(uuid_of 2).namespace"
refusal "one whose file has gone is not attached" "there is no such file" attach "$nqn" 2
expect_output "... and says so" "^  namespace 2: 2M .*, not attached" pool list
check "... and the other one is used" bench --nsid 1 --rw randwrite --bs 4k --iodepth 4 --size 1m --runtime 1
check "both are deleted" eval 'pool delete "$nqn" 1 && pool delete "$nqn" 2'

# A volume on namespaces of a pool.
members=()
for nsid in 1 2 3; do
  check "namespace $nsid is made for a volume" pool create "$nqn" 32M --attach
  members+=(--member "$address:$port/$nqn/$nsid")
done
check "a volume is made of them" timeout 60 "$tercet" volume create "${members[@]}"
expect_output "... which is healthy" "^health: healthy\$" timeout 60 "$tercet" volume status "${members[@]}"
check "they are deleted" eval 'pool delete "$nqn" 1 && pool delete "$nqn" 2 && pool delete "$nqn" 3'

# Killed at any step.
pause() { read -r -t "$(printf '%d.%03d' $(($1 / 1000)) $(($1 % 1000)))" <> <(:) || :; }
state=$tap_folder/churn.json
for round in $(seq "$rounds"); do
  python3 "$churn" change "$control" "$folder" "$nqn" "$state" $((SEED * 100 + round)) >"$tap_folder/churn.txt" 2>&1 &
  churn_pid=$!
  wait_until 20 grep -q answered "$tap_folder/churn.txt"
  pause $((RANDOM % 600))
  stop_tercetd KILL
  check "round $round: the changes have gone on until the daemon was killed" wait "$churn_pid"
  grep -v answered "$tap_folder/churn.txt" | diagnose
  require "... it starts again" start
  check "... and the pool is what was answered" python3 "$churn" judge "$control" "$folder" "$nqn" "$state"
  diagnose <"$tap_folder/output"
done
check "the daemon ends in good order" stop_tercetd

# A file system that is full: the pool has promised more than there is.
if ! mount -t tmpfs -o size=8m,mode=700 none "$folder" 2>/dev/null; then
  skip "a pool whose file system is full" "this needs root, and mount"
  done_testing
fi
at_exit "umount -l $folder"
configure '"capacity": "1G"'
require "it starts with another file system" start
check "a namespace is made that is larger than it" pool create "$nqn" 64M --attach
head -c 33554432 /dev/urandom >"$tap_folder/large"
expect_refusal "writes fill it, and are told that it is full" "Capacity Exceeded" \
  tercet write --nsid 1 --input "$tap_folder/large"
# Every block is the one that was written, or has never been: none is half.
check "what is there is read" tercet read --nsid 1 --block-count 8192 -o "$tap_folder/read"
whole() {
  python3 - "$tap_folder/large" "$tap_folder/read" <<'PYTHON'
import sys
wanted, found = (open(name, "rb").read() for name in sys.argv[1:])
zeroes = bytes(4096)
kinds = ["new" if found[p:p + 4096] == wanted[p:p + 4096] else "old" if found[p:p + 4096] == zeroes else "torn"
         for p in range(0, len(wanted), 4096)]
count = kinds.count("new")
print(count, "blocks are there,", kinds.count("torn"), "are torn")
sys.exit(not (1000 < count < 2100 and "torn" not in kinds and "old" not in kinds[:count]))
PYTHON
}
check "... and no block is half" whole
diagnose <"$tap_folder/output"
refusal "no further namespace can be written down" "is not stored: .*No space left" create "$nqn" 1M
check "room is made" pool delete "$nqn" 1
check "... and a namespace too" pool create "$nqn" 4M --attach
check "... which is written" bench --nsid 1 --rw write --bs 4k --iodepth 4 --size 1m --runtime 1
check "the daemon ends in good order" stop_tercetd
done_testing
