#!/usr/bin/env bash
# The I/O commands of nvme-cli, on each kind of store.
. "$(dirname "$0")/lab.sh"

# bytes COUNT SEED: writes so many bytes that are the same for the same seed.
bytes() { yes "$2" | head -c "$1"; }

for backend in drive512 drive4096 file ram; do
  require "$backend: there is one" choose_backend "$backend"
  require "$backend: the target starts" start_target "$nqn=$path"
  require "$backend: connect" connect "$nqn"
  # A file has the block size that the target likes.
  [ "$backend" != file ] || block_size=$(blockdev --getpbsz "$namespace")
  expect_equal "$backend: the block size" "$block_size" "$(blockdev --getss "$namespace")"
  expect_equal "$backend: the size" $((256 << 20)) "$(blockdev --getsize64 "$namespace")"
  blocks=$(((256 << 20) / block_size))

  rm -f "$tap_folder/read"
  bytes $((4 * block_size)) "$backend" >"$tap_folder/data"
  write=(nvme write "$namespace" --block-count=3 --data-size=$((4 * block_size)) --data="$tap_folder/data")
  read=(nvme read "$namespace" --block-count=3 --data-size=$((4 * block_size)) --data="$tap_folder/read")
  check "$backend: write 4 blocks" "${write[@]}" --start-block=8
  check "$backend: read them" "${read[@]}" --start-block=8
  check "$backend: they are the same" cmp "$tap_folder/data" "$tap_folder/read"
  check "$backend: write them with FUA" "${write[@]}" --start-block=16 --force-unit-access
  check "$backend: read them with FUA" "${read[@]}" --start-block=16 --force-unit-access
  check "$backend: they are the same" cmp "$tap_folder/data" "$tap_folder/read"
  check "$backend: flush" nvme flush "$namespace"

  compare=(nvme compare "$namespace" --block-count=3 --data-size=$((4 * block_size)) --start-block=8)
  unless_nvmet "no Compare" check "$backend: compare with the same" "${compare[@]}" --data="$tap_folder/data"
  tr a-z A-Z <"$tap_folder/data" >"$tap_folder/other"
  unless_nvmet "no Compare" expect_refusal "$backend: compare with something else fails" "[Cc]ompare [Ff]ailure|COMPARE_FAILED|0x4?285" \
    "${compare[@]}" --data="$tap_folder/other"
  unless_nvmet "no Verify" check "$backend: verify" nvme verify "$namespace" --start-block=8 --block-count=3

  check "$backend: write zeroes over the middle two" nvme write-zeroes "$namespace" --start-block=9 --block-count=1
  check "$backend: read" "${read[@]}" --start-block=8
  { head -c "$block_size" "$tap_folder/data"; head -c $((2 * block_size)) /dev/zero
    tail -c "$block_size" "$tap_folder/data"; } >"$tap_folder/expected"
  check "$backend: only those are zero" cmp "$tap_folder/expected" "$tap_folder/read"
  check "$backend: deallocate" nvme dsm "$namespace" --ad --slbs=16 --blocks=4
  check "$backend: what is deallocated can be read" "${read[@]}" --start-block=16
  check "$backend: ... and its neighbour has kept its data" "${read[@]}" --start-block=8
  check "$backend: ... to the byte" cmp "$tap_folder/expected" "$tap_folder/read"
  check "$backend: blkdiscard of the second half" blkdiscard --offset $((128 << 20)) "$namespace"
  check "$backend: blkdiscard --zeroout of 1 MiB" blkdiscard --zeroout --length 1M "$namespace"
  check "$backend: ... which reads as zero" cmp --bytes=1048576 "$namespace" /dev/zero

  check "$backend: the last blocks are written" "${write[@]}" --start-block=$((blocks - 4))
  check "$backend: ... and read" "${read[@]}" --start-block=$((blocks - 4))
  check "$backend: ... the same" cmp "$tap_folder/data" "$tap_folder/read"
  range='LBA.*[Rr]ange|[Oo]ut of [Rr]ange|0x4?080'
  [ "$target" != nvmet ] || range="$range|Internal Error|Capacity Exceeded"
  expect_refusal "$backend: a read across the end is refused" "$range" "${read[@]}" --start-block=$((blocks - 3))
  expect_refusal "$backend: a write across the end is refused" "$range" "${write[@]}" --start-block=$((blocks - 3))
  expect_refusal "$backend: a read at the last address there is is refused" "$range" \
    "${read[@]}" --start-block=0xffffffffffffffff
  unless_nvmet "wraps around" expect_refusal "$backend: a write far beyond the end is refused" "$range" "${write[@]}" --start-block=0x8000000000000000
  expect_refusal "$backend: write zeroes across the end is refused" "$range" \
    nvme write-zeroes "$namespace" --start-block=$((blocks - 1)) --block-count=7
  check_fails "$backend: an opcode that nobody has is refused" nvme io-passthru "$namespace" --opcode=0x83 --namespace-id=1
  check "$backend: the last blocks are untouched" "${read[@]}" --start-block=$((blocks - 4))
  check "$backend: ... the same" cmp "$tap_folder/data" "$tap_folder/read"
  check "$backend: disconnect" disconnect
  check "$backend: the target ends in good order" stop_target
done

# The commands that are refused on purpose are logged by the host.
check_kernel_log "the kernel has nothing to complain about" 'I/O [Cc]md|[Ii]/[Oo] error|invalid (sector|opcode)|op 0x|handle_bad'
done_testing
