#!/usr/bin/env bash
# A file system on a remote namespace keeps its files over reconnects and over the target's restart.
. "$(dirname "$0")/lab.sh"

mount_point=$tap_folder/mount
mkdir "$mount_point"

# Writes files of many sizes and their checksums; the contents come from this very machine's programs.
fill() {
  local size
  mkdir "$mount_point/sizes" && cp /bin/bash /bin/busybox "$mount_point/" || return
  for size in 0 1 511 512 4095 4096 4097 65537 1048577 3000000; do
    head -c "$size" /bin/busybox /bin/bash >"$mount_point/sizes/$size" || return
  done
  (cd "$mount_point" && find . -type f ! -name sums -print0 | xargs -0 sha256sum >sums) && sync
}

for backend in drive512 drive4096 file ram; do
  require "$backend: there is one" choose_backend "$backend"
  require "$backend: the target starts" start_target "$nqn=$path"
  require "$backend: connect" connect "$nqn"
  check "$backend: mkfs.ext4" mkfs.ext4 -q -F "$namespace"
  check "$backend: mount" mount "$namespace" "$mount_point"
  check "$backend: write files" fill
  check "$backend: trim what is free" fstrim "$mount_point"
  check "$backend: unmount" umount "$mount_point"
  check "$backend: disconnect" disconnect

  check "$backend: connect again, with one queue" connect "$nqn" --nr-io-queues=1
  check "$backend: the file system is whole" e2fsck -f -n "$namespace"
  check "$backend: mount" mount -o ro "$namespace" "$mount_point"
  check "$backend: every file is what was written" sh -c "cd '$mount_point' && sha256sum --quiet -c sums"
  check "$backend: unmount" umount "$mount_point"
  check "$backend: disconnect" disconnect
  check "$backend: the target ends in good order" stop_target
  [ "$backend" != ram ] || continue

  check "$backend: the file system is on the store itself" e2fsck -f -n "$path"
  check "$backend: the target starts again" start_target "$nqn=$path"
  check "$backend: connect" connect "$nqn"
  check "$backend: mount" mount -o ro "$namespace" "$mount_point"
  check "$backend: every file is what was written" sh -c "cd '$mount_point' && sha256sum --quiet -c sums"
  check "$backend: unmount" umount "$mount_point"
  check "$backend: disconnect" disconnect
  check "$backend: the target ends in good order" stop_target
done
check_kernel_log "the kernel has nothing to complain about"
done_testing
