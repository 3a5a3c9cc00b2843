#!/usr/bin/env bash
# A volume in the steps of the Container Storage Interface, with real mounts: staged, published, taken away, each call twice; and no
# file system is ever made on a volume that holds something.

. "$(dirname "$0")/volume.sh"
. "$(dirname "$0")/volumed.sh"
. "$(dirname "$0")/node.sh"

mkdir "$tap_folder/plugins/raw"
uuid_of() { "$tercet" volume list --socket "$control" --json | python3 -c 'import json, sys; print([v["uuid"] for v in json.load(sys.stdin) if v["name"] == sys.argv[1]][0])' "$1"; }

# Members with two disks each: for a volume with a file system, and for one without.
xfs_bytes=340M
raw_members=()
start_two() {
  truncate -s $xfs_bytes "$tap_folder/disk$1"
  truncate -s $xfs_bytes "$tap_folder/raw$1"
  "$tercetd" --reactors 1 --listen "$address:$((port + $1))" --state-directory "$tap_folder/state$1" \
    --export "$nqn.$1=$tap_folder/disk$1,buffered" --export "$nqn.raw$1=$tap_folder/raw$1,buffered" \
    >>"$tap_folder/target$1.log" 2>&1 </dev/null &
  target_pids[$1]=$!
  wait_until 30 "$tercet" discover -a "$address" -s "$((port + $1))"
}
for number in 0 1 2; do
  require "target $number starts" start_two "$number"
  raw_members+=(--member "$address:$((port + number))/$nqn.raw$number/1")
done
require "a volume is created" volume create
require "another is" timeout 120 "$tercet" volume create "${raw_members[@]}"

expect_code "without the daemon nothing is staged" 14 "UNAVAILABLE: tercet-volumed: $control: nobody serves at this socket" \
  node stage db --staging "$staging" "${members[@]}"
require "the daemon starts" start_volumed --nbd "$nbd_socket" --control "$control" --device spare=ram:1M

# Bad input: the code that the specification names, and nothing changed.
expect_code "a name with a slash" 3 'INVALID_ARGUMENT: "a/b" is no volume' node stage a/b --staging "$staging"
expect_code "a name of 129 bytes" 3 "INVALID_ARGUMENT" node stage "$(printf 'n%.0s' {1..129})" --staging "$staging"
expect_code "a path with .." 3 'INVALID_ARGUMENT: the staging path .* without ".."' node stage db --staging "$staging/../x"
expect_code "a path that is not absolute" 3 "INVALID_ARGUMENT" node stage db --staging plugins/x
expect_code "a parent that is not there" 9 "FAILED_PRECONDITION: the folder in which .*/nowhere/x is to be is not there: make it first" node stage db --staging "$tap_folder/nowhere/x"
expect_code "a volume that is not there" 5 "NOT_FOUND: tercet-volumed has no volume db" node stage db --staging "$staging"
expect_code "a publish before its stage" 9 "FAILED_PRECONDITION: the volume db is not staged" \
  node publish db --staging "$staging" --target "$pods/a"
expect_code "two members" 3 "INVALID_ARGUMENT: .*volume has three" node stage db --staging "$staging" "${members[@]:0:4}"
expect_code "wrong usage" 2 "Usage" node stage db
expect_code "a failure in JSON" 5 '"name" : "NOT_FOUND"' node stage db --staging "$staging" --json
check "unstage of what is not staged" node unstage db --staging "$staging"
check "unpublish of what is not published" node unpublish db --target "$pods/a"
expect_equal "nothing was made" "0 0" "$(loops) $(servers)"

expect_output "the node says what it is" "^volumes become devices by: nbdfuse$" node info
expect_output "a stage can be told before" "^would format db as ext4" node stage db --staging "$staging" "${members[@]}" --dry-run
check_fails "... and does nothing" test -e "$staging"
check "a blank volume is staged" node stage db --staging "$staging" "${members[@]}"
output_has "... formatted" "tercet-node: format db as ext4"
expect_equal "... and counts as written" written "$(contents db)"
expect_output "... as ext4" "^ext4$" findmnt -n -o FSTYPE "$staging"
check "the same again" node stage db --staging "$staging" "${members[@]}"
expect_equal "... does nothing" "" "$(cat "$tap_folder/output")"
expect_code "... but not as xfs" 6 "ALREADY_EXISTS: the volume db is staged at .* as ext4, not as xfs" \
  node stage db --staging "$staging" --fs xfs
expect_code "... nor as another volume of its name" 6 "ALREADY_EXISTS: tercet-volumed has another volume by the name db" \
  node stage db --staging "$staging" "${raw_members[@]}"
mkdir "$tap_folder/plugins/other"
expect_code "... and not at another path" 6 "ALREADY_EXISTS: the volume db is staged at $staging already" \
  node stage db --staging "$tap_folder/plugins/other/globalmount"
expect_output "it is listed" "^db: serving, [0-9]+ bytes, /dev/loop[0-9]+ by nbdfuse, at: $staging, " node list

check "it is published" node publish db --staging "$staging" --target "$pods/a"
check "... twice" node publish db --staging "$staging" --target "$pods/a"
expect_equal "... which mounts it once" 1 "$(grep -c " $pods/a " /proc/self/mountinfo)"
check "... and read-only for another pod" node publish db --staging "$staging" --target "$pods/b" --read-only
expect_code "... which it is not at the place of one that writes" 6 "ALREADY_EXISTS" \
  node publish db --staging "$staging" --target "$pods/a" --read-only
mkdir "$pods/full" && touch "$pods/full/x"
expect_code "... or over other files" 3 "not an empty folder" node publish db --staging "$staging" --target "$pods/full"
expect_code "... which stays so" 6 "ALREADY_EXISTS: .*mounted at $pods/b read-only" node publish db --staging "$staging" --target "$pods/b"
expect_output "a publish with a group can be told before" "^would make all files those of the group 4711" \
  node publish db --staging "$staging" --target "$pods/g" --group 4711 --dry-run
mkdir "$staging/folder" && echo own >"$staging/folder/own" && chmod 600 "$staging/folder/own"
check "... and done" node publish db --staging "$staging" --target "$pods/g" --group 4711
expect_equal "... whose the files are" "4711 660, 4711 2775" \
  "$(stat -c '%g %a' "$pods/g/folder/own"), $(stat -c '%g %a' "$pods/g/folder")"
check "... and is gone" node unpublish db --target "$pods/g"
cp "$program" "$pods/a/data" && sync -f "$pods/a"
check "one pod reads what another wrote" cmp "$program" "$pods/b/data"
check_fails "... and cannot write" touch "$pods/b/x"
expect_output "the usage is told" "^inodes: [0-9]+, used: 1[0-9], available" node stats db --path "$pods/a"
output_has "... and the condition" "^condition: the volume is whole"
expect_code "of no other path" 5 "NOT_FOUND" node stats db --path "$pods/c"
expect_output "expand has nothing to do" "^db: [0-9]+ bytes" node expand db --path "$staging"
expect_output "... which can be told before" "^would enlarge the ext4 at $staging, where it is smaller than [0-9]+ bytes" \
  node expand db --path "$staging" --dry-run
expect_code "... or too much" 11 "OUT_OF_RANGE: .*grow it first" node expand db --path "$staging" --bytes 1000000000000
echo precious >"$tap_folder/precious"
expect_code "a file of somebody's is left alone" 9 "left alone" node unpublish db --target "$tap_folder/precious"
expect_equal "... with what is in it" precious "$(cat "$tap_folder/precious")"
mkdir "$tap_folder/foreign" && mount -t tmpfs foreign "$tap_folder/foreign"
expect_code "... and a mount" 9 "foreign is mounted at .* and is not the volume db: it was left alone" \
  node unpublish db --target "$tap_folder/foreign"
check "... which stays" umount "$tap_folder/foreign"
check "paths with dots and slashes are the same paths" node publish db --staging "$staging/." --target "$pods//a/."
expect_equal "... mounted once" 1 "$(grep -c " $pods/a " /proc/self/mountinfo)"
expect_code "a published volume stays staged" 9 "still published at $pods/[ab]: unpublish it there first" node unstage db --staging "$staging"
uuid=$(findmnt -n -o UUID "$staging")
for pod in a b; do
  check "pod $pod is gone" node unpublish db --target "$pods/$pod"
  check "... twice" node unpublish db --target "$pods/$pod"
done
check_fails "... with its folder" test -e "$pods/a"
check "it is unstaged" node unstage db --staging "$staging"
check "... twice" node unstage db --staging "$staging"
expect_equal "... and nothing is left" "0 0 0 0" \
  "$(loops) $(servers) $(grep -c "$tap_folder" /proc/self/mountinfo) $(find "$tap_folder/plugins/db" -mindepth 1 | wc -l)"
check_fails "... at the daemon" eval '"$tercet" volume list --socket "$control" | grep "^db:"'

# Mount options may be secret.
expect_code "a mount option that is not known" 13 "INTERNAL: mount -t ext4 -o \.\.\. /dev/loop" \
  node stage db --staging "$staging" "${members[@]}" -o password=sturgeon
check_fails "... is not told" grep -q sturgeon "$tap_folder/output"
expect_code "a stage with other options" 6 "as ext4 with mount options, not with others" \
  node stage db --staging "$staging" "${members[@]}" -o noatime
check_fails "... does not tell them either" grep -q sturgeon "$tap_folder/output"
require "that is undone" node unstage db --staging "$staging"

# A stage that has got no further than the attach: it takes away what it has attached, and no other path's stage may use that.
node stage db --staging "$staging" "${members[@]}" --device kernel-nbd --block >"$tap_folder/output" 2>&1
expect_code "a stage elsewhere waits for the end of one that was begun" 6 "db is staged at $staging already" \
  node stage db --staging "$tap_folder/plugins/other/globalmount" "${members[@]}"
require "that is undone" node unstage db --staging "$staging"

# It is found again with what it holds, by an agent that knows nothing of the one before.
check "it is staged again" node stage db --staging "$staging" "${members[@]}" -o noatime
expect_equal "... with the same file system" "$uuid" "$(findmnt -n -o UUID "$staging")"
check "... and what was written" cmp "$program" "$staging/data"
expect_output "... with the mount's options" "noatime" findmnt -n -o OPTIONS "$staging"
# Somebody else's mount over the stage.
mount -t tmpfs foreign "$staging"
expect_code "a foreign mount over it is not taken away" 6 "foreign is mounted at $staging, and is not this volume" \
  node stage db --staging "$staging" "${members[@]}" -o noatime
expect_code "... by an unstage neither" 9 "foreign is mounted at $staging, and is not this volume" node unstage db --staging "$staging"
umount "$staging"
# The server of the device dies: the mount is taken away, and a stage makes all anew.
check "it is published" node publish db --staging "$staging" --target "$pods/a"
pkill -KILL -f "nbdfuse $tap_folder/real"
wait_until 10 eval '[ "$(servers)" -eq 0 ]'
check_fails "the server of the device dies" cat "$tap_folder/real/$(uuid_of db)/db"
expect_code "a pod that has it yet holds the unstage off" 9 "still published at $pods/a" node unstage db --staging "$staging"
check "the pod is gone" node unpublish db --target "$pods/a"
check "a dead device is made anew" node stage db --staging "$staging" "${members[@]}" -o noatime
check "... with a server" test "$(servers)" -eq 1
check "... with what was written" cmp "$program" "$staging/data"
stop_volumed KILL
# Requests to connect of this one are lost while the file says so.
lost=$tap_folder/lost
echo lose=0 >"$lost"
SOFTVERBS_FAULT_FILE=$lost SOFTVERBS_CM_TIMEOUT_MS=3000 require "the daemon dies, and another one begins" start_volumed --nbd "$nbd_socket" --control "$control" --device spare=ram:1M
check "a stage makes all anew" wait_until 40 node stage db --staging "$staging" "${members[@]}" -o noatime --take-over
check "... with what was written" cmp "$program" "$staging/data"
expect_equal "... on one device" "1 1" "$(loops) $(servers)"
require "it is unstaged" node unstage db --staging "$staging"
expect_equal "... and nothing is left" "0 0" "$(loops) $(servers)"
check "an unstage of a path whose folder is gone" node unstage db --staging "$tap_folder/gone/mount"
check "... and an unpublish" node unpublish db --target "$tap_folder/gone/pod"
touch "$tap_folder/plugins/other/file"
expect_code "a staging path that is a file" 3 "is not a folder" node stage db --staging "$tap_folder/plugins/other/file" "${members[@]}"

raw_staging=$tap_folder/plugins/raw/globalmount
raw() { local verb=$1; shift; node "$verb" raw --staging "$raw_staging" "$@"; }
# Two volumes at one path at once: one of them comes there.
both=$tap_folder/plugins/other/both
node stage raw --staging "$both" "${raw_members[@]}" --fs xfs >"$tap_folder/output" 2>&1 &
first=$!
node stage db --staging "$both" "${members[@]}" >"$tap_folder/output2" 2>&1
codes=$?
wait $first
codes="$? $codes"
report "$(grep -qxE '0 (6|10)|(6|10) 0' <<<"$codes"; echo $?)" "of two volumes at one path one is staged, and the other one refused" || diagnose "$codes"
expect_equal "... mounted once" 1 "$(grep -c " $both " /proc/self/mountinfo)"
winner=raw
[ "${codes% *}" -eq 0 ] || winner=db
require "it is unstaged" node unstage "$winner" --staging "$both"
expect_equal "... and nothing is left" "0 0" "$(loops) $(servers)"

# A device whose number has become another one's.
require "a volume is staged" node stage db --staging "$staging" "${members[@]}"
umount "$staging" && losetup -d "$(device)"
check "it is staged as a block device" raw stage "${raw_members[@]}" --block
check "... and published on a file" raw publish --target "$pods/block"
check "... which holds off no unstage of the volume whose device is gone" node unstage db --staging "$staging"
check "the pod is gone" node unpublish raw --target "$pods/block"
require "it is unstaged" raw unstage
expect_equal "... and nothing is left" "0 0" "$(loops) $(servers)"

# A file system that is broken is neither mounted nor repaired.
require "it is staged as a block device" node stage db --staging "$staging" "${members[@]}" --block
device=$(device)
check "its root folder is lost" debugfs -w -R "clri <2>" "$device"
check "... and it says so" debugfs -w -R "ssv state 2" "$device"
sum() { dd if="$device" iflag=direct bs=1M count=64 status=none | sha256sum; }
before=$(sum)
require "it is unstaged" node unstage db --staging "$staging"
expect_code "a broken file system is not mounted" 9 'FAILED_PRECONDITION: the file system on .* has errors, and was not mounted' \
  node stage db --staging "$staging" "${members[@]}"
device=$(device)
expect_equal "... nor changed" "$before" "$(sum)"
check "a stage that failed is undone" node unstage db --staging "$staging"
expect_equal "... and nothing is left" "0 0" "$(loops) $(servers)"

# A block device in a pod, on a volume that holds something else.
check "another volume is staged as xfs" raw stage "${raw_members[@]}" --fs xfs
expect_output "... and is" "^xfs$" findmnt -n -o FSTYPE "$raw_staging"
require "it is unstaged" raw unstage
expect_code "a file system of another kind is not formatted" 9 "there is xfs on the volume raw, not ext4: it was neither" \
  raw stage "${raw_members[@]}"
require "that is undone" raw unstage
check "it is staged as a block device" raw stage "${raw_members[@]}" --block
check "... and published on a file" raw publish --target "$pods/block"
check "... twice" raw publish --target "$pods/block"
expect_code "... but not read-only" 3 "cannot be published read-only" raw publish --target "$pods/block" --read-only
expect_code "it is staged at one path" 6 "staged at $raw_staging already" \
  node stage raw --staging "$tap_folder/plugins/other/raw" --block
expect_code "... for one use" 6 "as a block device, not as ext4" raw stage
check "the pod writes" dd if="$program" of="$pods/block" bs=1M count=8 oflag=direct conv=notrunc status=none
expect_output "its size is told" "^bytes: [0-9]+$" node stats raw --path "$pods/block"
expect_code "it is not unstaged meanwhile" 9 "still published at $pods/block" raw unstage
check "the pod is gone" node unpublish raw --target "$pods/block"
check_fails "... with its file" test -e "$pods/block"
require "it is unstaged" raw unstage
expect_code "data that nobody knows is not formatted" 9 "has been written, and no file system is found on it: it was not formatted" \
  raw stage "${raw_members[@]}"
require "that is undone" raw unstage
check "it is a block device again" raw stage "${raw_members[@]}" --block
device=$(device)
check "... with all of it" cmp -n 8388608 "$program" "$device"

# Two members do not answer: the call ends with its time, and formats nothing.
kill -STOP "${target_pids[0]}" "${target_pids[1]}"
require_gone() { raw unstage; }
expect_code "a call ends with its time" 4 "DEADLINE_EXCEEDED" \
  timeout 40 "$program" stage db --staging "$staging" "${members[@]}" --socket "$control" --nbd-socket "$nbd_socket" \
  --run-folder "$run" --device nbdfuse --timeout 4
kill -CONT "${target_pids[0]}" "${target_pids[1]}"
check "what it began is undone" wait_until 40 node unstage db --staging "$staging"
check "the other volume too" wait_until 40 require_gone
expect_equal "... and nothing is left" "0 0" "$(loops) $(servers)"

# A format that has not ended: nobody may write there before it has.
check "a blank volume" timeout 120 "$tercet" volume create "${raw_members[@]}" --overwrite
check "... is staged as a block device" raw stage "${raw_members[@]}" --block
check "... and somebody begins to format it" "$tercet" volume mark raw "being formatted" --socket "$control"
require "it is unstaged, and detached" raw unstage
expect_code "it is no block device for a pod meanwhile" 9 "being formatted by a call that has not ended" raw stage "${raw_members[@]}" --block
require "that is undone" raw unstage
expect_code "... nor formatted by a call that knows nothing of it" 9 "with --continue-format" raw stage "${raw_members[@]}"
check "... but by one that is told to" raw stage "${raw_members[@]}" --continue-format
expect_output "... as ext4" "^ext4$" findmnt -n -o FSTYPE "$raw_staging"
require "it is unstaged" raw unstage

# An attach that is given up goes on until its members have answered, or will not. Another one of the volume waits for its end.
echo lose=1000000 >"$lost"
expect_code "members that answer nobody end a call with its time" 4 "DEADLINE_EXCEEDED" raw stage "${raw_members[@]}" --timeout 1
check "it is undone" raw unstage
expect_code "... and what goes on is told" 14 'UNAVAILABLE: tercet-volumed: an attach of "raw" that was given up has not ended' \
  raw stage "${raw_members[@]}"
echo lose=0 >"$lost"
check "they answer again, and the volume is staged" wait_until 30 raw stage "${raw_members[@]}"
expect_output "... and is explained" '"serving"' "$tercet" volume explain raw --socket "$control" --json
require "it is unstaged" raw unstage
expect_equal "... and nothing is left" "0 0" "$(loops) $(servers)"
check_fails "... at the daemon" eval '"$tercet" volume list --socket "$control" | grep "^raw:"'

check "SIGTERM ends the daemon" stop_volumed
check "the targets end in good order" stop_members
done_testing
