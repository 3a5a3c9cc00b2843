#!/usr/bin/env bash
# A volume that holds data is staged again and again, while the reads of those who look at it fail, end early, come late or give
# zeroes, and its members are cut: never is a file system made on it.
# NODE_STAGES: how many stages (50; 1000 take a quarter of an hour). NODE_UNMARKED=1 takes the volume's own mark away, without which
# this fails. SEED repeats a run's choices.

. "$(dirname "$0")/volume.sh"
. "$(dirname "$0")/volumed.sh"
. "$(dirname "$0")/node.sh"

RANDOM=${SEED:=$((RANDOM + 1))}
diagnose "SEED=$SEED"
require "faults can be made" compile_faults
for number in 0 1 2; do require "target $number starts" start_member "$number"; done
require "a volume is created" volume create
cat >"$tap_folder/volumed.json" <<JSON
{ "controlSocket": "$control", "nbd": { "socket": "$nbd_socket" }, "laterVolumes": 1, "volumes": [] }
JSON
require "the daemon starts, with room for a volume" start_volumed --config "$tap_folder/volumed.json"
# The same daemon, which says of each volume that it is blank.
unmarked=$tap_folder/unmarked.sock
python3 "$project/Tests/Native/node/unmarked.py" "$unmarked" "$control" 2>"$tap_folder/unmarked.log" &
unmarked_pid=$!
at_exit 'kill -KILL "$unmarked_pid"'
tap_logs+=("$tap_folder/unmarked.log")
require "... and one that knows no mark" wait_until 10 test -S "$unmarked"

asked=$control patience=60
# stage: a stage at the daemon that is asked, without faults.
stage() {
  timeout 70 "$program" stage db --staging "$staging" "${members[@]}" --socket "$asked" --nbd-socket "$nbd_socket" --run-folder "$run" \
    --device nbdfuse --timeout "$patience"
}
# faulty "PROGRAM..." "KIND SKIP COUNT LEAST PLACE" [MILLISECONDS]: a stage whose programs read what the fault makes of the device.
faulty() { LD_PRELOAD=$faults FAULT_PROGRAMS=$1 FAULT_READS=$2 FAULT_MILLISECONDS=${3:-0} stage; }

# A look that reads wrong, at a blank volume.
expect_code "a blank volume that cannot be read is not formatted" 14 "UNAVAILABLE: /dev/loop[0-9]+ cannot be read at 0" faulty dd "fail 0 99 65536 0"
expect_code "... nor one whose end cannot" 14 "cannot be read at [1-9]" faulty dd "fail 0 99 65536 8388608"
expect_code "... nor one that ends early" 14 "cannot be read at 0 .0 bytes came of 4194304" faulty dd "short 0 99 65536 0"
expect_code "... nor one whose device answers nothing" 14 "does not answer, though it was made" faulty dd "fail 0 99 512 0"
patience=1
expect_code "... or late" 4 "DEADLINE_EXCEEDED" faulty dd "late 0 99 65536 0" 1500
patience=60
expect_equal "it is still blank" blank "$(contents db)"
check "with reads that are late, but come, it is formatted" wait_until 20 faulty dd "late 0 99 65536 0" 50
head -c 1000000 /dev/urandom >"$tap_folder/data"
check "data is written" cp "$tap_folder/data" "$staging/data"
uuid=$(findmnt -n -o UUID "$staging")
require "it is unstaged" node unstage db --staging "$staging"
# The place of the file system's UUID (ext4: in the superblock) on the members.
place=$(python3 - "$tap_folder/disk0" "$uuid" <<'PYTHON'
import sys, uuid
print(open(sys.argv[1], "rb").read().index(uuid.UUID(sys.argv[2]).bytes))
PYTHON
)
dd if="$tap_folder/disk0" of="$tap_folder/uuid" bs=1 skip="$place" count=16 status=none
# The file system is the one that was made: asked of the members' own files.
is_there() {
  local number
  for number in 0 1 2; do cmp -n 16 -i "$place:0" "$tap_folder/disk$number" "$tap_folder/uuid" || return; done
}
require "the members have the file system" is_there

# ... and at one that holds data.
expect_code "a volume with data that cannot be read is not mounted" 14 "cannot be read at 0" faulty dd "fail 0 99 65536 0"
expect_code "... nor one that ends early" 14 "0 bytes came of 4194304" faulty dd "short 0 99 65536 0"
expect_code "... and with zeroes for data, it is not formatted" 9 "has been written, and no file system is found on it: it was not formatted" \
  faulty "dd blkid" "zero 0 99 512 0"
expect_code "... or with zeroes for what blkid(8) looks at" 9 "it was not formatted" faulty blkid "zero 0 99 512 0"
expect_code "... or with reads of blkid(8) that fail" 9 "it was not formatted" faulty blkid "fail 0 99 512 0"
expect_code "... or end early" 9 "it was not formatted" faulty blkid "short 0 99 512 0"
check "... and what was there is there" is_there

# one_of WORD...: one of them, by chance, into chosen.
one_of() { local words=("$@"); chosen=${words[RANDOM % $#]}; }
outlast_milliseconds() { wait_until 5 eval "[ \"\${EPOCHREALTIME/[.,]/}\" -ge $((${EPOCHREALTIME/[.,]/} + $1 * 1000)) ]"; }
away=()
come_back() {
  local number
  for number in "${away[@]}"; do start_member "$number" || return; done
  away=()
}
# cut COUNT: cuts so many more members.
cut() {
  local number=$((RANDOM % 3))
  for ((; ${#away[@]} < $1; number = (number + 1) % 3)); do
    [[ " ${away[*]} " != *" $number "* ]] || continue
    kill_member "$number"
    away+=("$number")
  done
}
declare -A tally
[ -z "${NODE_UNMARKED:-}" ] || asked=$unmarked
for round in $(seq "${NODE_STAGES:-50}"); do
  one_of fail short late zero zero; kind=$chosen
  one_of dd dd "dd blkid" "dd blkid" "dd blkid e2fsck dumpe2fs" "e2fsck dumpe2fs"; programs=$chosen
  one_of 0 0 1 2; skip=$chosen
  one_of 1 99 99; count=$chosen
  one_of 512 65536 65536; least=$chosen
  one_of 0 0 8388608; first=$chosen
  one_of 0 0 0 0 0 1 1 2; cuts=$chosen
  patience=20 milliseconds=$((RANDOM % 100))
  [ "$cuts" -lt 2 ] || patience=2
  [ "$kind" != late ] || [ $((RANDOM % 4)) -gt 0 ] || patience=1 milliseconds=1500
  faulty "$programs" "$kind $skip $count $least $first" "$milliseconds" >"$tap_folder/output" 2>&1 &
  call=$!
  outlast_milliseconds $((RANDOM % 400))
  cut "$cuts"
  code=0
  wait "$call" || code=$?
  cut_members=${#away[@]}
  # Without two members nothing is read.
  [ "$cut_members" -lt 2 ] || require "the members are back" come_back
  # It is done, or it may be made again, or it says what is wrong with the volume.
  case $code in
    0) tap_run cmp "$tap_folder/data" "$staging/data" ;;
    4 | 9 | 10 | 13 | 14) tap_run true ;;
    *) tap_run false ;;
  esac
  [ "$tap_status" -eq 0 ] && tap_run is_there
  words="stage $round: $kind, $programs ($skip, $count, $least, $first, $milliseconds ms), $cut_members away: code $code"
  if ! report "$tap_status" "$words, and what was there is there"; then diagnose <"$tap_folder/output"; break; fi
  tally[$code]=$((${tally[$code]:-0} + 1))
  [ $((RANDOM % 3)) -gt 0 ] || require "the members are back" come_back
  # A program that a call has left waits for its device, and no other call is let in before it has ended.
  [ "$code" -eq 0 ] || [ "$code" -eq 4 ] || [ "$code" -eq 10 ] || continue
  wait_until 30 node unstage db --staging "$staging" || require "it is unstaged" node unstage db --staging "$staging"
done
for code in "${!tally[@]}"; do diagnose "stages that ended with $code: ${tally[$code]}"; done
patience=60
require "the members are back" come_back
check "a stage without faults succeeds" wait_until 30 stage
check "... with what was written" cmp "$tap_folder/data" "$staging/data"
expect_equal "... and the same file system" "$uuid" "$(findmnt -n -o UUID "$staging")"
mkdir "$tap_folder/plugins/other"
expect_code "there is no room for another volume" 8 "RESOURCE_EXHAUSTED: tercet-volumed: the daemon has room for 1 volumes" \
  node stage other --staging "$tap_folder/plugins/other/globalmount" "${members[@]}"
check "... and nothing of it to be undone" node unstage other --staging "$tap_folder/plugins/other/globalmount"
require "it is unstaged" wait_until 30 node unstage db --staging "$staging"
expect_equal "... and nothing is left" "0 0" "$(loops) $(servers)"

# Without the mark, reads that fail are noticed yet. Zeroes are not: only the mark keeps the data then, and this test sees it.
asked=$unmarked
expect_code "without the mark a file system that is found is not formatted" 9 "marked as blank, but there is something on it" stage
expect_code "... nor where it cannot be read" 14 "cannot be read at 0" faulty "dd blkid" "fail 0 99 65536 0"
expect_code "... or ends early" 14 "0 bytes came of 4194304" faulty "dd blkid" "short 0 99 65536 0"
expect_code "... or where only one of two looks finds nothing" 9 "marked as blank, but there is something on it" faulty blkid "zero 0 99 512 0"
check "... and what was there is there" is_there
check "where both find nothing, it is formatted" faulty "dd blkid" "zero 0 99 512 0"
require "it is unstaged" node unstage db --staging "$staging"
check_fails "... which this test notices" is_there

check "SIGTERM ends the daemon" stop_volumed
check "the targets end in good order" stop_members
done_testing
