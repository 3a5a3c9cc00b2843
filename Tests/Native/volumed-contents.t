#!/usr/bin/env bash
# What the volume daemon knows of a volume's contents, and how much of the volume its users may have.

. "$(dirname "$0")/volume.sh"
. "$(dirname "$0")/volumed.sh"

control=$tap_folder/control.sock
for number in 0 1 2; do require "target $number starts" start_member "$number"; done
require "a volume is created" volume create
serve() { start_volumed --nbd "$nbd_socket" --control "$control" --volume "db=$(volume_members)" "$@"; }
require "the daemon serves it" serve
tell() { "$tercet" volume "$@" --socket "$control"; }

# map [CONTEXT]: the extents as nbdinfo joins them: offset, length, type.
map() { nbdinfo --map${1:+=$1} "$(uri db)" | awk '{print $1, $2, $3}'; }
size=$(nbdinfo --size "$(uri db)")
expect_output "a new volume is blank" "contents: blank" tell explain db
expect_output "... and all of it is a hole of zeroes" "^0 $size 3$" map
expect_output "... of which nothing has changed" "^0 $size 0$" map tercet:dirty
check "zeroes are written" qemu-io -f raw -c 'write -z 0 4M' "$(uri db)"
expect_output "... which leaves it blank" "contents: blank" tell explain db
check "something is written" qemu-io -f raw -c 'write -P 7 1M 4k' "$(uri db)"
check_fails "... which marks it" eval 'tell explain db | grep "contents:"'
expect_output "... and shows in the map" "^1048576 1048576 0$" map
expect_output "... with zeroes before" "^0 1048576 3$" map
# 4 MiB were zeroed, which counts as changed.
expect_output "... and in the changes" "^0 4194304 1$" map tercet:dirty
expect_output "nbdinfo lists both contexts" "tercet:dirty" nbdinfo --list "$(uri db)"
expect_output "qemu-img map" '"start": 1048576, "length": 1048576, .*"zero": false, "data": true' \
  qemu-img map --output=json -f raw "$(uri db)"
check "nbdcopy of a map of holes" nbdcopy "$(uri db)" "$tap_folder/copy"
expect_output "... has the size" "$(nbdinfo --size "$(uri db)")" stat -c %s "$tap_folder/copy"
expect_output "... has the data" "Images are identical" qemu-img compare -f raw -F raw "$tap_folder/copy" "$(uri db)"
check "a trim" qemu-io -f raw -c 'discard 1M 1M' "$(uri db)"
expect_output "... makes a hole again" "^0 $size 3$" map
expect_refusal "a mark is never taken back" "the volume is marked as written, and cannot become blank again" tell mark db blank

check "SIGTERM detaches it" stop_volumed
expect_output "status tells the mark" '"contents" : "written"' volume status --json
require "it is served again" serve
expect_output "... nothing has changed since the clean detach" "^0 $size 0$" map tercet:dirty
expect_output "... and what it holds is not known" "^0 $size 0$" map
check "something is written" qemu-io -f raw -c 'write -P 7 2M 4k' "$(uri db)"
stop_volumed KILL
require "after a crash" serve --take-over
expect_output "... all may have changed" "^0 $size 1$" map tercet:dirty

expect_output "there is no limit" "I/Os a second: no limit, bytes a second: no limit, weight: 100" tell limit db
expect_output "I/Os are limited" "I/Os a second: 500" tell limit db --ios 500
# ios SECONDS: I/Os a second of a reader.
ios() {
  fio --name=l --ioengine=nbd --uri="$(uri db)" --rw=randread --bs=4k --iodepth=16 --size=16M --time_based --runtime="$1" \
    --output-format=json --output="$tap_folder/fio.json" >/dev/null 2>&1
  python3 -c 'import json, sys; print(int(json.load(open(sys.argv[1]))["jobs"][0]["read"]["iops"]))' "$tap_folder/fio.json"
}
found=$(ios 3)
diagnose "limited to 500: $found"
expect_at_most "... to what was said" 520 "$found"
[ "$found" -ge 400 ]
report $? "... and not to less"
expect_output "the limit is lifted" "I/Os a second: no limit, bytes a second: 4194304" tell limit db --ios 0 --bytes 4M
found=$(ios 3)
diagnose "limited to 4 MiB a second: $found"
expect_at_most "... and bytes are limited" 1070 "$found"
expect_refusal "a weight is no wish" "weight 1 to 10000" tell limit db --weight 0
expect_output "limits go" "bytes a second: no limit" tell limit db --bytes 0

check "SIGTERM ends it" stop_volumed
check "the targets end in good order" stop_members
done_testing
