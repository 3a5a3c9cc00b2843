#!/usr/bin/env bash
# Records that are damaged, or that claim what their namespaces have no room for: named, and believed no further.

. "$(dirname "$0")/volume.sh"

for number in 0 1 2; do require "target $number starts" start_member "$number"; done
require "a volume is created" volume create --region-size 64k
check "it is attached and left clean" volume detach

# rot MEMBER SLOT: changes a byte in a slot of a member's record. The slots are the last two pages of 4 KiB.
rot() {
  printf '\xa5' | dd of="$tap_folder/disk$1" bs=1 seek=$((64 * 1024 * 1024 - 8192 + 4096 * $2 + 1000)) conv=notrunc status=none
}

# damaged_slots: what status says of the three members.
damaged_slots() {
  volume status --json | python3 -c '
import json, sys
print([member.get("damaged_slot") for member in json.load(sys.stdin)["members"]])'
}

expect_equal "no slot of a volume that was left clean is damaged" "[None, None, None]" "$(damaged_slots)"
rot 0 0
rot 1 1
expect_equal "status counts slots that rot" "[0, 1, None]" "$(damaged_slots)"
expect_refusal "... and says so" "member 1: slot 1 of its record is damaged" volume status
expect_output "an attach goes on with the others, and says so" "member 0: slot 0 of its record is damaged" volume heal
expect_equal "... and has written them anew" "[None, None, None]" "$(damaged_slots)"
expect_output "nothing else is wrong" "0 differ" volume scrub

# claim MEMBER OFFSET BYTES VALUE: changes a number in both slots of a member's record, and seals them with their CRC32C.
claim() {
  python3 - "$tap_folder/disk$1" "$2" "$3" "$4" <<'PYTHON'
import sys

def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF

path, offset, length, value = sys.argv[1], *map(int, sys.argv[2:])
with open(path, "r+b") as disk:
    for slot in range(2):
        disk.seek((64 << 20) - 8192 + 4096 * slot)
        page = bytearray(disk.read(4096))
        page[offset:offset + length] = value.to_bytes(length, "little")
        page[12:16] = bytes(4)
        page[12:16] = crc32c(page).to_bytes(4, "little")
        disk.seek((64 << 20) - 8192 + 4096 * slot)
        disk.write(page)
PYTHON
}

# measured COMMAND...: the greatest resident set of a command, in KiB, goes to $tap_folder/resident.
measured() {
  python3 -c 'import resource, subprocess, sys
status = subprocess.run(sys.argv[2:]).returncode
open(sys.argv[1], "w").write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))
sys.exit(status)' "$tap_folder/resident" "$@"
}

claim 1 56 8 $((1 << 32))
expect_refusal "status names a size that a member has no room for" \
  "member 1 \(.*\): the superblock's number of data blocks is 4294967296, and the namespace has room for 1[0-9]{5}" volume status
expect_refusal "an attach names it" "member 1: the superblock's number of data blocks is 4294967296" \
  measured timeout 30 "$tercet" volume heal "${members[@]}"
expect_at_most "... and allocates nothing for it (KiB)" 65536 "$(cat "$tap_folder/resident")"
claim 1 56 8 $((1 << 50))
expect_refusal "a number of regions that no volume has is named" "member 1 \(.*\): the superblock's geometry .* is impossible" volume status
check "the targets end in good order" stop_members
done_testing
