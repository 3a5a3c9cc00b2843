#!/usr/bin/env bash
# Commands that cannot do what they are asked: they end with 1 within their patience, name the member and the reason, and call
# nothing in sync that is not.

. "$(dirname "$0")/volume.sh"

patience=2
# ends_within SECONDS COMMAND...: runs a command of the volume; it fails, and not later than that.
ends_within() {
  local limit=$1 status=0 began=$SECONDS
  shift
  timeout $((limit + 60)) "$tercet" volume "$1" "${members[@]}" --patience "$patience" "${@:2}" || status=$?
  echo "# it took $((SECONDS - began)) s, and ended with $status"
  # 124 is what timeout ends with: no refusal.
  [ $((SECONDS - began)) -le "$limit" ] && return "$status"
  return 124
}
# refused NAME PATTERN COMMAND OPTION...
refused() { expect_refusal "$1" "$2" ends_within 30 "${@:3}"; }

# The volume once the spare is in member 1's place.
volume_with_spare() {
  timeout 120 "$tercet" volume "$1" "${members[@]:0:2}" --member "$spare" "${members[@]:4}" "${@:2}"
}

for number in 0 1 2; do require "target $number starts" start_member "$number"; done
require "a volume is created" volume create --region-size 64k
head -c 1000000 /dev/urandom >"$tap_folder/input"
check "it is written, and clean" volume write --input "$tap_folder/input"

# One member is dead, and nothing is dirty.
kill_member 2
gone="member 2 \\($address:$((port + 2))/.*\\) is not in sync: nobody accepts"
refused "heal does not call a volume in sync whose member is dead" "not healed: $gone" heal --for 2
refused "... nor without a time" "not healed: $gone" heal
refused "... nor with a comparison of those that are there" "not healed: $gone" heal --scrub
check "nor does it say so on the way" eval "! grep -qE 'all members are in sync|regions differ|0 differ' $tap_folder/output"
refused "its JSON says so too" '"in_sync" : false' heal --for 2 --json
refused "scrub names the member" "not all members are in sync, and nothing came any further for 2 s: $gone" scrub
refused "so does a bench, when it has done its work" "not all members are in sync.*$gone" bench --runtime 1 --size 4m --start-block 32768
refused "... and exercise" "not all members are in sync.*$gone" exercise --record "$tap_folder/record" --start-block 65536 \
  --size 4m --runtime 1
refused "... and grow" "member 2 .*: nobody accepts" grow
check "it is read meanwhile" volume read --block-count 1953 --output "$tap_folder/back"
check "... and holds what was written" cmp -n 999936 "$tap_folder/input" "$tap_folder/back"
expect_output "detach says who is behind" "detached; behind: members 2" volume detach
refused "status ends with 1 for it" "health: degraded" status
require "target 2 starts again" start_member 2
expect_output "heal brings it into sync" "all members are in sync" volume heal --for 60

# Two members are dead: nothing can be done.
kill_member 1
kill_member 2
cannot="the volume cannot be served yet, and nothing came any further for 2 s: member 1 .* is not there: nobody accepts"
for command in "read" "heal --for 2" "detach"; do
  refused "two members are dead: ${command%% *} ends" "$cannot.*; member 2 .* is not there: nobody accepts" $command
done
refused "... and status says that it cannot be served" "health: unavailable" status
require "target 1 starts again" start_member 1
require "target 2 starts again" start_member 2

# A target stands still.
kill -STOP "${target_pids[2]}"
refused "a target is stopped: heal names it" "not healed: member 2 .* is not in sync" heal --for 2
refused "... status too" "member 2 \\(.*\\): no answer in time" status
kill -CONT "${target_pids[2]}"
expect_output "it goes on, and is healed" "all members are in sync" volume heal

# Two members die under a load, and one comes back too late.
"$tercet" volume bench "${members[@]}" --patience "$patience" --runtime 60 --size 4m >"$tap_folder/bench" 2>&1 </dev/null &
bench=$!
require "a load runs" wait_until 30 grep -q "volume: serving" "$tap_folder/bench"
kill_member 1
kill_member 2
ended() { ! kill -0 "$bench" 2>/dev/null; }
check "members die under it: it ends" wait_until 40 ended
status=0
wait "$bench" || status=$?
expect_equal "... with 1" 1 "$status"
check "... and says what it waited for" grep -qE "nothing came any further for 2 s: member 1 .* is not there" "$tap_folder/bench"
require "target 1 starts again" start_member 1
require "target 2 starts again" start_member 2
expect_output "the volume is healed" "all members are in sync" volume heal
expect_output "... and well" "health: healthy" volume status
# The newer slot of member 0's record rots, and member 1 is gone for good: the other slot holds the same record.
check "it is written again, and left clean" volume write --input "$tap_folder/input"
sequence_of() { od -An -tu8 -j $((64 * 1024 * 1024 - 8192 + 4096 * $1 + 16)) -N 8 "$tap_folder/disk0" | tr -d ' '; }
newest=$(($(sequence_of 1) > $(sequence_of 0)))
printf '\xa5' |
  dd of="$tap_folder/disk0" bs=1 seek=$((64 * 1024 * 1024 - 8192 + 4096 * newest + 1000)) conv=notrunc status=none
kill_member 1
truncate -s 64M "$tap_folder/disk3"
require "a spare target starts" start_member 3
spare=$address:$((port + 3))/$nqn.3/1
refused "a slot of its record is damaged: status says so" "slot $newest of its record is damaged" status
expect_output "... and the other member is replaced all the same" "member 1 is now $spare" \
  volume replace --replace 1 --with "$spare"
check "it holds what was written" volume_with_spare read --block-count 1953 --output "$tap_folder/back"
check "... byte for byte" cmp -n 999936 "$tap_folder/input" "$tap_folder/back"
check "the targets end in good order" stop_members
done_testing
