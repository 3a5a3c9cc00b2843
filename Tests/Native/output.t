#!/usr/bin/env bash
# Where tercet writes what it has read: what is there is opened as it is, and never replaced. Devices are ones of this test's own.

. "$(dirname "$0")/volume.sh"

for number in 0 1 2; do require "target $number starts" start_member "$number"; done
require "a volume is created" volume create --region-size 64k
head -c 300000 /dev/urandom >"$tap_folder/input"
require "it is written" volume write --input "$tap_folder/input"

# The device numbers are those of Linux (Documentation/admin-guide/devices.txt).
require "a null device is made" mknod "$tap_folder/null" c 1 3
require "a full device is made" mknod "$tap_folder/full" c 1 7

kind() { stat -c '%F %t:%T' "$1"; }
identity() { stat -c '%d %i %a %u:%g %h' "$1"; }
# from_volume PATH [OPTION...], from_namespace PATH [OPTION...]: 586 blocks, which hold what was written.
from_volume() { volume read --block-count 586 --output "$@"; }
from_namespace() {
  timeout 60 "$tercet" read -a "$address" -s "$port" -n "$nqn.0" --block-count 586 --output "$@"
}

for source in from_volume from_namespace; do
  check "$source to a null device" "$source" "$tap_folder/null"
  expect_equal "... which is a device still" "character special file 1:3" "$(kind "$tap_folder/null")"
  expect_refusal "$source to a full device is refused with the reason" "cannot write to .*full: No space left" \
    "$source" "$tap_folder/full"
  expect_equal "... which is a device still" "character special file 1:7" "$(kind "$tap_folder/full")"

  # A file keeps its owner, its mode and its other name, and is emptied first.
  head -c 400000 /dev/zero >"$tap_folder/file"
  chown 1000:1001 "$tap_folder/file" && chmod 640 "$tap_folder/file" && ln -f "$tap_folder/file" "$tap_folder/other-name"
  before=$(identity "$tap_folder/file")
  check "$source to a file that is there" "$source" "$tap_folder/file"
  expect_equal "... it is the same file, with its owner, mode and names" "$before" "$(identity "$tap_folder/file")"
  expect_equal "... emptied before it is written" 300032 "$(stat -c %s "$tap_folder/file")"
  check "... and holds the data" cmp -n 300000 "$tap_folder/input" "$tap_folder/file"

  # A link leads to its file.
  mkdir -p "$tap_folder/elsewhere" && : >"$tap_folder/elsewhere/real" && ln -sf elsewhere/real "$tap_folder/link"
  check "$source through a symbolic link" "$source" "$tap_folder/link"
  expect_equal "... which is a link still" "symbolic link 0:0" "$(kind "$tap_folder/link")"
  check "... to the file that has the data" cmp -n 300000 "$tap_folder/input" "$tap_folder/elsewhere/real"
  ln -sf nowhere "$tap_folder/dangling"
  expect_refusal "$source through a link to nothing is refused" "is a link to something that is not there" \
    "$source" "$tap_folder/dangling"

  # A pipe with a reader.
  mkfifo "$tap_folder/pipe-$source"
  cat "$tap_folder/pipe-$source" >"$tap_folder/piped" &
  reader=$!
  check "$source to a pipe" "$source" "$tap_folder/pipe-$source"
  wait "$reader"
  expect_equal "... which is a pipe still" "fifo 0:0" "$(kind "$tap_folder/pipe-$source")"
  check "... and has brought the data" cmp -n 300000 "$tap_folder/input" "$tap_folder/piped"

  expect_refusal "$source to a folder is refused" "cannot write to .*: Is a directory" "$source" "$tap_folder"
  expect_refusal "$source does not make a file among the devices" "there is no device /dev/tercet-nothing" \
    "$source" /dev/tercet-nothing
  check "... and there is none" [ ! -e /dev/tercet-nothing ]

  # A command that has nothing to write leaves what is there alone.
  cp "$tap_folder/input" "$tap_folder/kept"
  check_fails "$source from beyond the end" "$source" "$tap_folder/kept" --start-block 131072
  check "... leaves the file as it was" cmp "$tap_folder/input" "$tap_folder/kept"
done

# A drive: as large as it is, and never a file.
truncate -s 1M "$tap_folder/drive.img"
if drive=$(losetup -f --show "$tap_folder/drive.img" 2>"$tap_folder/losetup"); then
  at_exit "losetup -d $drive"
  for source in from_volume from_namespace; do
    before=$(kind "$drive")
    check "$source to a drive" "$source" "$drive"
    expect_equal "... which is a drive still" "$before" "$(kind "$drive")"
    check "... and holds the data" cmp -n 300000 "$tap_folder/input" "$tap_folder/drive.img"
    : >"$tap_folder/empty" && truncate -s 1M "$tap_folder/empty" && dd if="$tap_folder/empty" of="$drive" status=none
    expect_refusal "$source of a block more than a drive holds is refused" \
      "has 1048576 bytes, and 1049088 are to be written" "$source" "$drive" --block-count 2049
    check "... and has written nothing" cmp "$tap_folder/empty" "$drive"
    if command -v mkfs.ext4 >/dev/null && mkdir -p "$tap_folder/mounted" && mkfs.ext4 -q -F "$drive" &&
      mount "$drive" "$tap_folder/mounted"; then
      expect_refusal "$source to a drive that is mounted is refused" "is in use on this host" "$source" "$drive"
      umount "$tap_folder/mounted"
    else
      skip "$source to a drive that is mounted" "no ext4 can be made and mounted here"
    fi
  done
else
  skip "a drive is written" "no loop device here: $(cat "$tap_folder/losetup")"
fi

# The record of exercise is a file and nothing else.
expect_refusal "a device is no record of exercise" "is not a record" \
  "$tercet" volume exercise "${members[@]}" --record "$tap_folder/null" --runtime 1
expect_equal "... and is a device still" "character special file 1:3" "$(kind "$tap_folder/null")"

stop_members
expect_refusal "without a member that can be read" "no member can be read" from_volume "$tap_folder/kept"
check "... the file is as it was" cmp "$tap_folder/input" "$tap_folder/kept"
done_testing
