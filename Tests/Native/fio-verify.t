#!/usr/bin/env bash
# Every verify mode through the engine; what one writes the other verifies, stock fio on a file and tercet-fio on the
# namespace or the volume that the file belongs to; starts and stops without a leak.

. "$(dirname "$0")/fio.sh"

# job NAME RW OPTION...: the options of a job that is the same wherever it runs.
job() {
  local name=$1 rw=$2
  shift 2
  words=(--name="$name" --rw="$rw" --bs=8k --size=4m --iodepth=8 --verify_state_save=0 "$@")
}

require "three targets start, with a volume on them" start_volume
truncate -s 64M "$tap_folder/disk"
require "a target with a namespace starts" start_namespace "$tap_folder/disk,buffered"

for mode in md5 crc16 crc32 crc32c crc32c-intel crc64 crc7 sha1 sha256 sha512 sha3-224 sha3-256 sha3-384 sha3-512 xxhash \
  "pattern --verify_pattern=0x5a" "meta --verify_interval=4k" null; do
  read -r name option <<<"$mode"
  job "$name" randwrite --verify="$name" $option
  check "verify=$name on a namespace" fio_at namespace "${words[@]}" --filename=tercet
done
for mode in md5 crc32c sha256 xxhash "pattern --verify_pattern=0x5a"; do
  read -r name option <<<"$mode"
  job "$name" randwrite --verify="$name" $option
  check "verify=$name on a volume" fio_at volume "${words[@]}" --filename=tercet
done

job process randwrite --verify=crc32c
check "a volume, by a job that is a process" fio_at volume "${words[@]}" --filename=tercet --thread=0
job jobs randwrite --verify=crc32c --offset_increment=4m --numjobs=4
check "a volume, by four jobs that share it" fio_at volume "${words[@]}" --filename=tercet
job trim trimwrite --trim_verify_zero=1
check "a volume, trimmed and written" fio_at volume "${words[@]}" --filename=tercet

# A job file that includes another, with comments behind options, and a job that is not on the target.
printf 'bs=8k ; eight\nverify=crc32c\n' >"$tap_folder/inner.inc"
printf '[global]\nsize=1m\ninclude inner.inc\n[ours]\nfilename=tercet # the target\nrw=randwrite\nioengine=sync\n[own]\nfilename=%s\nrw=write\nioengine=psync\n' \
  "$tap_folder/own" >"$tap_folder/outer.fio"
expect_output "a job file that includes another, with a job that is not on the target" 'own: .*ioengine=psync' \
  fio_at namespace "$tap_folder/outer.fio"
output_has "... beside one that is" 'ours: .*bs=\(R\) 8192B.*ioengine=tercet'
check "... whose file is there" test -s "$tap_folder/own"
check "... and the target's is not" eval '! test -e "$work/tercet"'

# stock OPTION...: fio as it is.
stock() (cd "$work" && timeout 60 fio "$@")

job exchange randwrite --verify=crc32c
written=("${words[@]}" --do_verify=0)
verified=("${words[@]}" --verify_only)
check "the engine writes a namespace" fio_at namespace "${written[@]}" --filename=tercet --end_fsync=1
check "... stock fio verifies its file" stock "${verified[@]}" --filename="$tap_folder/disk"
job exchange randwrite --verify=sha256 --randseed=7
written=("${words[@]}" --do_verify=0)
verified=("${words[@]}" --verify_only)
expect_refusal "... and finds that it holds nothing else" "verify" stock "${verified[@]}" --filename="$tap_folder/disk"
check "stock fio writes the file" stock "${written[@]}" --filename="$tap_folder/disk" --end_fsync=1
check "... the engine verifies the namespace" fio_at namespace "${verified[@]}" --filename=tercet

check "the engine writes a volume" fio_at volume "${written[@]}" --filename=tercet --end_fsync=1
for number in 0 1 2; do
  check "... stock fio verifies member $number" stock "${verified[@]}" --filename="$tap_folder/disk$number"
done
job exchange randwrite --verify=md5 --randseed=11
written=("${words[@]}" --do_verify=0)
verified=("${words[@]}" --verify_only)
check "stock fio writes all members" eval 'for n in 0 1 2; do stock "${written[@]}" --filename="$tap_folder/disk$n" --end_fsync=1 || exit; done'
check "... the engine verifies the volume" fio_at volume "${verified[@]}" --filename=tercet
printf 'damage' | dd of="$tap_folder/disk" bs=1 seek=20000 conv=notrunc status=none
job damage randread --verify=sha256 --randseed=7
expect_refusal "what somebody has changed is found" "verify" \
  fio_at namespace "${words[@]}" --filename=tercet --rw=randwrite --verify_only

descriptors() { find "/proc/$namespace_pid/fd" -mindepth 1 | wc -l; }
mappings() { wc -l <"/proc/$namespace_pid/maps"; }
resident() { awk '/^VmRSS/ {print $2}' "/proc/$namespace_pid/status"; }
settled() { [ "$(descriptors)" -le "$1" ]; }
# come_and_go TIMES [OPTION]: eight jobs connect, do their I/O and go.
come_and_go() {
  local round
  for round in $(seq "$1"); do
    fio_at namespace --name=leak --filename=tercet --numjobs=8 --rw=randrw --bs=4k --iodepth=4 --size=512k "${@:2}" || return
  done
}
require "eight jobs come and go" come_and_go 2 --thread
wait_until 5 settled 0
first=("$(descriptors)" "$(own_threads "$namespace_pid")" "$(mappings)" "$(resident)")
check "eight jobs, as threads, come and go 10 times" come_and_go 10 --thread
check "eight jobs, as processes, come and go 10 times" come_and_go 10
wait_until 10 settled "${first[0]}"
expect_at_most "no descriptor is left in the target" "${first[0]}" "$(descriptors)"
expect_threads "no thread is left" 10 "$namespace_pid" "${first[1]}"
expect_at_most "no mapping is left, but for the allocator's own few" $((first[2] + 16)) "$(mappings)"
expect_at_most "resident memory (KiB) has grown by 4 MiB at most" $((first[3] + 4096)) "$(resident)"
check "the targets end in good order" eval 'stop_members && stop_namespace'
namespace_pid=
check "nothing is left" nothing_left
done_testing
