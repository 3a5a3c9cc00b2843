#!/usr/bin/env bash
# fio writes, reads back and checks every block, from 512 B to 1 MiB, at queue depths 1 and 64.
. "$(dirname "$0")/lab.sh"

# verify BLOCKSIZE DEPTH BYTES
verify() {
  fio --name=verify --filename="$namespace" --ioengine=libaio --direct=1 --rw=randwrite --bs="$1" --iodepth="$2" --size="$3" \
    --verify=crc32c --verify_fatal=1 --verify_state_save=0 --do_verify=1 --randseed="$seed" --thread \
    --output-format=terse --terse-version=3
}

seed=${SEED:-$(($(date +%s%N) / 1000 % 1000000000))}
diagnose "SEED=$seed"
for backend in drive512 drive4096 file ram; do
  require "$backend: there is one" choose_backend "$backend"
  require "$backend: the target starts" start_target "$nqn=$path"
  require "$backend: connect" connect "$nqn"
  for depth in 1 64; do
    [ "$(blockdev --getss "$namespace")" != 512 ] || check "$backend: 512 B at depth $depth" verify 512 "$depth" 256K
    check "$backend: 4 KiB at depth $depth" verify 4k "$depth" 2M
    check "$backend: 64 KiB at depth $depth" verify 64k "$depth" 8M
    check "$backend: 1 MiB at depth $depth" verify 1M "$depth" $((depth < 16 ? 16 : depth))M
  done
  check "$backend: disconnect" disconnect
  check "$backend: the target ends in good order" stop_target
done
check_kernel_log "the kernel has nothing to complain about"
done_testing
