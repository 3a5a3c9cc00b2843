#!/usr/bin/env bash
# Volumes that are made of namespaces in pools, in band: chosen by failure domain, grown, deleted; and what commands leave that die.
# POOLED_KILLS: how often one dies (4); SEED repeats a run's choices.

. "$(dirname "$0")/native.sh"
. "$(dirname "$0")/pools.sh"

RANDOM=${SEED:=$((RANDOM + 1))}
diagnose "SEED=$SEED"
export TERCET_REGISTRY=sqlite:$tap_folder/registry
by_name() { timeout 120 "$tercet" volume "$@" --hostnqn "$manager"; }
pool() { timeout 60 "$tercet" pool "$@"; }
settle() { timeout 60 "$tercet" registry check --hostnqn "$manager"; }
field() { timeout 20 "$tercet" volume show "$1" --json | python3 -c "import json, sys; print(json.load(sys.stdin)$2)"; }

for number in 0 1 2; do require "target $number starts" start_pool "$number"; done
expect_refusal "a pool is one that answers" "pool p9: .*nobody accepts" \
  pool add p9 --address "$address:$((port + 9))" --nqn "$nqn.9" --hostnqn "$manager"
expect_refusal "... to its manager" "name nqn.2026-11.io.tercet:other among the pool's 'managers'" \
  pool add p0 --address "$address:$port" --nqn "$nqn.0" --hostnqn nqn.2026-11.io.tercet:other
expect_output "nothing else was entered" "^0\$" eval 'pool list --hostnqn "$manager" | wc -l'
expect_output "a pool is entered" "^p0: domain a, 256M of 256M not allocated, $address:$port/$nqn.0\$" add_pool 0 a
check "... and another one" add_pool 1 b
expect_refusal "two pools are too few" "three failure domains with room for 33554432 bytes and metadata are needed; of 2 pools" \
  by_name create db --size 32M
check "a third one comes, in a domain that there is" add_pool 2 b
expect_refusal "... which does not do" "three failure domains .* are needed; of 3 pools" by_name create db --size 32M
expect_output "... unless it may" "^volume [0-9a-f-]+: 8192 blocks of 4096 bytes" by_name create db --size 32M --spread preferred
check "... and ends" by_name destroy db
expect_equal "... with nothing left" "0 0 0" "$(namespaces)"
check "its domain is another" add_pool 2 c
expect_refusal "a size is needed" "size is needed" by_name create db
expect_refusal "... that the pools have" "three have 256M at most" by_name create db --size 300M
expect_refusal "pools are chosen by their names" "pool p7: is not in the registry" by_name create db --size 32M --pool p7

# The life of a volume.
expect_output "a volume is made" "^volume [0-9a-f-]+: 8192 blocks of 4096 bytes" by_name create db --size 32M --label tier=1
expect_equal "... of a namespace in each pool" "1 1 1" "$(namespaces)"
expect_output "the registry has it" "^member [012]: $address:[0-9]+/$nqn.[012]/1, [0-9a-f-]{36}, in pool p[012]\$" timeout 20 "$tercet" volume show db
expect_equal "... as large as was asked for" 33554432 "$(field db '["size"]')"
expect_output "it is healthy" "^health: healthy\$" by_name status db
expect_refusal "another of its name is not made" "is in the registry already" by_name create db --size 32M
expect_equal "... and has taken nothing" "1 1 1" "$(namespaces)"
head -c 1000000 /dev/urandom >"$tap_folder/input"
check "it is written" by_name write db --input "$tap_folder/input"
expect_output "pools have so much less" "^p0: domain a, 22[0-9]{4}K of 256M not allocated" pool list --hostnqn "$manager"
expect_refusal "a pool in which it lies stays" "volume db lies in it" pool remove p1
check "it grows" by_name grow db --size 64M
expect_equal "... in the registry, too" 67108864 "$(field db '["size"]')"
check "... and is read" by_name read db --block-count 244 --output "$tap_folder/back"
check "... with what was written" cmp -n 999424 "$tap_folder/input" "$tap_folder/back"
check "... and scrubbed" by_name scrub db
expect_refusal "it does not shrink" "has 16384 blocks already" by_name grow db --size 32M

# Members are replaced: what the former ones had in pools goes with them.
check "another volume is made" by_name create r --size 4M
# place POOL: which member lies in a pool.
place() { timeout 20 "$tercet" volume show r | sed -n "s/^member \([012]\): .*in pool $1\$/\1/p"; }
# spare: makes a namespace in the first target, and prints its identifier.
spare() { timeout 20 "$tercet" target pool create "$nqn.0" 8M --attach --socket "$tap_folder/target0.sock" | sed -n 's/^namespace \([0-9]*\):.*/\1/p'; }
one=$(spare) two=$(spare)
expect_equal "... and two namespaces that are nobody's" "4 2 2" "$(namespaces)"
replaced=$(place p1)
check "a member is replaced" by_name replace r --replace "$replaced" --with "$address:$port/$nqn.0/$one"
expect_equal "... and its namespace is deleted" "4 1 2" "$(namespaces)"
expect_equal "... and forgotten" "" "$(timeout 20 "$tercet" volume show r | grep former)"
replaced=$(place p2)
kill_pool 2
expect_output "a member whose target is away is replaced" "the former member .* is left: pool p2: .*; tercet registry check deletes it" \
  by_name replace r --replace "$replaced" --with "$address:$port/$nqn.0/$two" --patience 5
expect_output "... and the registry knows what is left" "^former member: .*/$nqn.2/[0-9]*, to be deleted in pool p2\$" timeout 20 "$tercet" volume show r
expect_equal "... which is there" "4 1 2" "$(namespaces)"
expect_refusal "a check cannot delete it" "volume r: the former member .* is left: pool p2" timeout 60 "$tercet" registry check --hostnqn "$manager" --patience 2
require "the target is back" start_pool 2
expect_output "... and a check deletes it" "volume r: what former members had in pools is deleted" settle
expect_equal "... from its pool" "4 1 1" "$(namespaces)"
expect_output "the volume is healthy" "^health: healthy\$" by_name status r
check "it ends" by_name destroy r
for nsid in "$one" "$two"; do check "... and a namespace" timeout 20 "$tercet" target pool delete "$nqn.0" "$nsid" --socket "$tap_folder/target0.sock"; done
expect_equal "... with nothing left" "1 1 1" "$(namespaces)"

# A target that is away.
kill_pool 1
expect_refusal "without a target no volume is made" "of 2 pools that can be used, three have none for all three members; pool p1: " \
  by_name create other --size 32M --patience 2
expect_refusal "... or ended" "." by_name destroy db --patience 2
expect_output "its pool is shown as last seen" "^p1: domain b, .* when last seen" eval 'pool list --hostnqn "$manager" --patience 1 || :'
require "it is back" start_pool 1
check "the volume ends" by_name destroy db
expect_equal "... with its namespaces" "0 0 0" "$(namespaces)"
expect_output "... and its entry" "^0\$" eval 'timeout 20 "$tercet" volume list | wc -l'

# Commands that die. What they leave is settled by a check, or by the next command.
outlast() { wait_until 5 eval "[ \"\${EPOCHREALTIME/[.,]/}\" -ge $((${EPOCHREALTIME/[.,]/} + $1 * 1000)) ]"; }
# dies MILLISECONDS COMMAND...: kills a command after a time.
dies() {
  local milliseconds=$1
  shift
  "$@" >/dev/null 2>&1 </dev/null &
  local pid=$!
  outlast "$milliseconds"
  kill -KILL "$pid" 2>/dev/null
  wait "$pid" 2>/dev/null
  return 0
}
for round in $(seq "${POOLED_KILLS:-4}"); do
  dies $((RANDOM % 200)) "$tercet" volume create k --size 16M --hostnqn "$manager"
  check "round $round: a creation that died is settled" settle
  present=$(timeout 20 "$tercet" volume list | wc -l)
  expect_equal "... to a volume, or to nothing" "$present $present $present" "$(namespaces)"
  [ "$present" -eq 1 ] || check "... and another one is made" by_name create k --size 16M
  expect_output "... which is healthy" "^health: healthy\$" by_name status k
  dies $((RANDOM % 150)) "$tercet" volume destroy k --hostnqn "$manager"
  check "an end that died is settled" settle
  [ "$(timeout 20 "$tercet" volume list | wc -l)" -eq 0 ] || check "... and another one goes on" by_name destroy k
  expect_equal "... with nothing left" "0 0 0" "$(namespaces)"
done
check "a pool leaves the registry" pool remove p0
check "the targets end in good order" stop_pools
done_testing
