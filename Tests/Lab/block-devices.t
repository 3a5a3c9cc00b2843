#!/usr/bin/env bash
# Drives, files with and without O_DIRECT, and a drive that is removed: what AIOBlock promises of them holds.
cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/../.." || exit 1
program=$(ls -t .build/release/block-device-laws .build/debug/block-device-laws 2>/dev/null | head -n 1)
[ -n "$program" ] || { echo "Bail out! block-device-laws is not built"; exit 1; }

folder=$(mktemp -d)
# A drive that was removed is there again for the tests that follow.
trap 'umount "$folder/store" 2>/dev/null; rm -rf "$folder"; [ "${LAB:-}" != 1 ] || echo 1 >/sys/bus/pci/rescan' EXIT
mkdir "$folder/store"
truncate -s 32M "$folder/file" "$folder/image"
paths=("$folder/file")
if [ "${LAB:-}" != 1 ] && [ "$(id -u)" -eq 0 ] && mkfs.ext4 -q -F -b 4096 "$folder/image" && mount -o loop "$folder/image" "$folder/store"; then
  truncate -s 8M "$folder/store/file"
  paths+=("$folder/store/file")
fi

# Only in the lab are there drives that nobody needs.
remove=()
if [ "${LAB:-}" = 1 ]; then
  for device in /sys/block/nvme*n1; do
    grep -q '^QEMU NVMe' "$device/device/model" 2>/dev/null || continue
    paths+=("/dev/$(basename "$device")")
    remove=(--remove)
  done
fi
"$program" "${remove[@]}" "${paths[@]}"
