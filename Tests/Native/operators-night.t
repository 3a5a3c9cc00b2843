#!/usr/bin/env bash
# An operator's night: every command of a volume while things go wrong, before and after. What it prints and its exit status
# are compared with operators-night.txt, whose variable parts have names; how long it takes, with its deadline.
#
# UPDATE=1 writes operators-night.txt anew, to be read before it is kept.

. "$(dirname "$0")/volume.sh"

golden=$project/Tests/Native/operators-night.txt
night=$tap_folder/night.txt
patience=3
# What a command may take in all: the look at the members, the attach and the work with its patience each, and the detach.
deadline=$((10 + 3 * patience + 20))

# A small disk that fills up, and a daemon whose writes fail on request: they are cut off at a size.
trap '' XFSZ

say_section() { printf '\n## %s\n' "$*" >>"$night"; }

# normalised: what a command printed, with names for what differs from run to run.
normalised() {
  sed -E \
    -e "s#$address:$port/$nqn\.0/1#MEMBER0#g; s#$address:$((port + 1))/$nqn\.1/1#MEMBER1#g" \
    -e "s#$address:$((port + 2))/$nqn\.2/1#MEMBER2#g; s#$address:$((port + 3))/$nqn\.3/1#SPARE#g" \
    -e "s#$address:[0-9]+#ADDRESS#g; s#$tap_folder#FOLDER#g" \
    -e 's/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/UUID/g' \
    -e 's/record [0-9]+\.[0-9]+\/[0-9]+/record STAMP/g; s/under key [0-9a-f]+/under key KEY/g' \
    -e 's/as controller [0-9]+/as controller ID/g' \
    -e 's/[0-9]+ bytes were copied/N bytes were copied/g; s/lacks [0-9]+ regions/lacks N regions/g' \
    -e 's/with [0-9]+ regions left/with N regions left/g; s/epoch [0-9]+/epoch N/g' \
    -e 's/verified: [0-9]+ I\/Os in [0-9]+ regions; members lost: [0-9]+; copied: .*/verified: N I\/Os/' \
    -e 's/of unit [0-9]+/of unit N/g; s/^ *[0-9]+\.[0-9]{3} s  //'
}

# What happens on the way is told on the standard error, in an order that is chance: each line once, sorted. What a bench
# measures is no matter here.
events() {
  normalised | grep -vE '^(volume: |member [0-9]: (back|in sync)|.*lost \()' | sort -u | sed 's/^/! /'
}
measured_away() { grep -vE '^(second | +[0-9a-z]+ +[0-9]|read: |write: |longest |written: |writes at )'; }

# run LABEL COMMAND...: runs a command, and writes down what it printed and how it ended.
run() {
  local label=$1 status=0 began=$SECONDS
  shift
  timeout -k 5 $((deadline + 30)) "$tercet" volume "$@" >"$tap_folder/stdout" 2>"$tap_folder/stderr" </dev/null || status=$?
  local took=$((SECONDS - began))
  {
    echo
    echo "\$ tercet volume $label"
    measured_away <"$tap_folder/stdout" | normalised
    events <"$tap_folder/stderr"
    echo "exit status $status"
  } >>"$night"
  expect_at_most "$condition: $label ends in its time (s)" "$deadline" "$took" || diagnose <"$tap_folder/stderr"
}

# each LABEL OPTION...: a command on the three members.
each() { run "$*" "$1" "${members[@]}" "${@:2}" ${patient[$1]+--patience "$patience"}; }
declare -A patient=([read]=1 [write]=1 [heal]=1 [scrub]=1 [bench]=1 [exercise]=1 [grow]=1 [replace]=1 [detach]=1)

# all: every command that can be given at any time; what would change the volume for good is refused everywhere.
all() {
  each status
  each read --block-count 8 --output /dev/null
  each write --input "$tap_folder/input" --start-block 4096
  each heal --for 2
  each heal --scrub
  each scrub
  each bench --runtime 1 --size 1m --iodepth 4
  each grow
  run "replace --replace 2 --with SPARE" replace "${members[@]}" --replace 2 --with "$spare" --patience "$patience"
  each detach
  each create
}

begin() {
  condition=$*
  say_section "$condition"
}

# calm: ends a condition: all members are there, in sync and clean.
calm() {
  check "$condition: afterwards the volume is healed" volume heal
  check "$condition: ... and well" volume status
}

dd if=/dev/urandom of="$tap_folder/input" bs=64k count=4 status=none
for number in 0 1 2; do truncate -s 16M "$tap_folder/disk$number"; done
for number in 0 1 2; do require "target $number starts" start_member "$number"; done
truncate -s 16M "$tap_folder/disk3"
target_pids+=(0)
require "a spare target starts" start_member 3
spare=$address:$((port + 3))/$nqn.3/1
: >"$night"

begin "before: all is well"
each status
run "create --region-size 64k" create "${members[@]}" --region-size 64k
each status
each read --block-count 8 --output /dev/null
each write --input "$tap_folder/input" --start-block 4096
each heal
each scrub
each bench --runtime 1 --size 1m --iodepth 4
run "exercise" exercise "${members[@]}" --record "$tap_folder/record" --start-block 8192 --size 1m --runtime 1 \
  --patience "$patience"
each grow
each detach
each create
each destroy
run "create --region-size 64k" create "${members[@]}" --region-size 64k

begin "a member is dead"
kill_member 2
each status
each read --block-count 8 --output /dev/null
each write --input "$tap_folder/input" --start-block 4096
each heal --for 2
each heal --scrub
each scrub
each bench --runtime 1 --size 1m --iodepth 4
each grow
each detach
each create
each destroy
require "the target starts again" start_member 2
calm

begin "a target is stopped"
kill -STOP "${target_pids[2]}"
each status
each read --block-count 8 --output /dev/null
each write --input "$tap_folder/input" --start-block 4096
each heal --for 2
each scrub
each detach
kill -CONT "${target_pids[2]}"
calm

begin "two members are away"
kill_member 1
kill_member 2
each status
each read --block-count 8 --output /dev/null
each write --input "$tap_folder/input" --start-block 4096
each heal --for 2
each scrub
each bench --runtime 1 --size 1m --iodepth 4
each detach
each destroy
require "a target starts again" start_member 1
require "the other target starts again" start_member 2
calm

begin "a disk fails its writes"
prlimit --pid "${target_pids[2]}" --fsize=1048576
each status
each write --input "$tap_folder/input" --start-block 4096
each heal --for 2
each scrub
each detach
prlimit --pid "${target_pids[2]}" --fsize=unlimited
calm

begin "another host has the volume"
"$tercet" volume bench "${members[@]}" --runtime 300 --size 1m --iodepth 4 >"$tap_folder/host" 2>&1 </dev/null &
host=$!
require "the other host has it" wait_until 30 grep -q "volume: serving" "$tap_folder/host"
all
each destroy
check "... it still has it" kill -0 "$host"

begin "a host was killed"
kill -KILL "$host" && wait "$host" 2>/dev/null
each status
each read --block-count 8 --output /dev/null
each heal
each status
calm

begin "a host is fenced"
"$tercet" volume bench "${members[@]}" --runtime 300 --size 1m --iodepth 4 >"$tap_folder/host" 2>&1 </dev/null &
host=$!
require "the other host has it" wait_until 30 grep -q "volume: serving" "$tap_folder/host"
each write --take-over --input "$tap_folder/input" --start-block 4096
status=0
wait "$host" || status=$?
{ echo; echo '$ tercet volume bench (the host that was fenced)'; measured_away <"$tap_folder/host" | events; echo "exit status $status"; } >>"$night"
each detach

begin "after: all is well"
each status
each heal --scrub
each destroy
each status

if [ -n "${UPDATE-}" ]; then
  cp "$night" "$golden"
  skip "what was printed is as written down" "it is written down anew"
else
  diff -u "$golden" "$night" >"$tap_folder/differences"
  report $? "what was printed is as written down" || diagnose <"$tap_folder/differences"
fi
stop_members
done_testing
