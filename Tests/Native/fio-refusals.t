#!/usr/bin/env bash
# What tercet-fio and its engine are told wrongly ends in a message of fio's kind, a status other than 0, nothing written, and
# nothing left running.

. "$(dirname "$0")/fio.sh"

truncate -s 16M "$tap_folder/disk"
require "a target with a namespace starts" start_namespace "$tap_folder/disk,buffered"
for number in 0 1 2; do require "target $number starts" start_member "$number"; done
before=$(cat "$tap_folder/disk" "$tap_folder"/disk[012] | md5sum)

# fio_with OPTION...: stock fio with the engine, on softverbs.
fio_with() { (cd "$work" && timeout 60 "$stock" --name=job --rw=write --bs=4k --size=64k --ioengine="external:$engine" "$@"); }
stock=$(on_softverbs "$(command -v fio)")
there=(--traddr="$address" --trsvcid="$((port + 3))" --subnqn="$nqn")
expect_output "the engine runs in stock fio" "err= 0" fio_with "${there[@]}" --rw=read
for kind in --thread ""; do
  name=${kind:-processes}
  expect_refusal "$name: a wrong NQN" "tercet: job: $nqn.none at .*Connect" fio_with $kind "${there[@]}" --subnqn="$nqn.none"
  output_has "... in fio's form" "err=71/.*func=tercet"
  expect_refusal "$name: a dead address" "nobody accepts" fio_with $kind "${there[@]}" --trsvcid=$((port + 7))
  expect_refusal "$name: no address at all" "not an IPv4 or IPv6 address" fio_with $kind "${there[@]}" --traddr=nowhere
  expect_refusal "$name: no such namespace" "no namespace 9" fio_with $kind "${there[@]}" --nsid=9
  expect_refusal "$name: a volume that is none" "tercet: job: volume: " \
    fio_with $kind --attach_timeout_ms=3000 --volume="$(printf "$address:%s/$nqn.%s/1," $port 0 $((port + 1)) 1 $((port + 2)) 2 | sed 's/,$//')"
done
expect_refusal "a volume of two" "tercet: job: volume: " fio_with --volume="$address:$port/$nqn.0/1,$address:$port/$nqn.1/1"
expect_refusal "no target" "no target: give traddr= and subnqn=, or volume=" fio_with
expect_refusal "a target and a volume" "either volume=, or" fio_with "${there[@]}" --volume=x
expect_refusal "another transport" "there is only rdma" fio_with "${there[@]}" --transport=tcp
expect_refusal "a block size that does not fit" "bs=1000 does not fit the target's block size 512" fio_with "${there[@]}" --bs=1000
expect_refusal "two files" "2 files; a namespace or a volume is one" fio_with "${there[@]}" --nrfiles=2
expect_refusal "threads and processes together" "do not go together" fio_with "${there[@]}" --rw=read --thread --name=two --thread=0 \
  --rw=read --bs=4k --size=64k --ioengine="external:$engine" "${there[@]}"
expect_refusal "processes on one volume" "need thread=1" fio_with --volume="$(printf "$address:$port/$nqn.0/1%.0s," 1 2 3 | sed 's/,$//')" \
  --numjobs=2
expect_refusal "an option that the engine does not have" "unrecognized option .*--subnqm" fio_with "${there[@]}" --subnqm=x

# An engine that was built for another fio says so, and does nothing.
other=$tap_folder/other
make -C "$project/Tools/fio/engine" BUILD="$other" FIO_VERSION=fio-3.99 LIBRARY="$project/.build/release" >"$tap_folder/make.log" 2>&1
expect_refusal "an engine for another fio" "built for fio-3.99 and cannot run in fio-.*Tools/setup" \
  env "LD_LIBRARY_PATH=$project/.build/release" "$stock" --name=job --rw=write --size=64k --ioengine="external:$other/tercet-fio-engine.so" "${there[@]}"

truncate -s 16M "$tap_folder/protected"
# A device's error is the job's, as fio has it.
expect_refusal "a write to a namespace that is write protected" "io_u error on file tercet: Read-only file system: write offset=0" \
  fio_on 1 --backing "$tap_folder/protected,buffered,readonly" --name=x --filename=tercet --rw=write --bs=4k --size=64k
output_has "... with its errno" "err=30"

printf '[global]\nfilename=tercet\n[job]\nrw=wrong\nsize=1m\n' >"$tap_folder/wrong.fio"
printf 'filename=tercet\nsize=\n' >"$tap_folder/none.fio"
expect_refusal "a job file with an error" "value wrong.* not valid|fio: failed parsing rw=wrong" fio_at namespace "$tap_folder/wrong.fio"
expect_refusal "a job file without a job" "outside of .* job section" fio_at namespace "$tap_folder/none.fio"
expect_refusal "a job file that is not there" "unable to open" fio_at namespace "$tap_folder/absent.fio"
expect_refusal "an option that fio does not have" "unrecognized option" fio_at namespace --name=x --filename=tercet --bogus=1
expect_refusal "a volume that was never made" "tercet: x: volume: " fio_at volume --name=x --filename=tercet --rw=write --size=64k
expect_equal "nothing was written" "$before" "$(cat "$tap_folder/disk" "$tap_folder"/disk[012] | md5sum)"

# says NAME STATUS PATTERN COMMAND...: passes if it ends with the status and says so.
says() {
  local name=$1 status=$2 pattern=$3 actual=0
  shift 3
  "$@" >"$tap_folder/output" 2>&1 </dev/null || actual=$?
  { [ "$actual" = "$status" ] && grep -qE -- "$pattern" "$tap_folder/output"; }
  report $? "$name" && return
  diagnose "exit status $actual; expected $status and: $pattern"
  tap_explain "$@"
}
job=(--name=x --filename=tercet --rw=write --size=64k)
says "a fault in no known words" 2 "expected at TIME kill target" fio_on 1 --fault 'now and then' "${job[@]}"
says "a fault at no time" 2 "expected at TIME" fio_on 1 --fault 'at noon kill target 1' "${job[@]}"
says "a fault of a target that is not there" 2 "no target 4; there are 1 to 3" fio_on 3 --fault 'at 1s kill target 4' "${job[@]}"
says "a fault of a target that runs elsewhere" 2 "none is started here" fio_at namespace --fault 'at 1s kill target 1' "${job[@]}"
says "a kill where the memory goes with the target" 2 "forgets its memory" fio_on 3 --backing ram --fault 'at 1s kill target 1' "${job[@]}"
says "a run that ends before its fault" 3 "ended before" fio_on 1 --fault 'at 1m kill initiator' "${job[@]}"
says "two targets" 2 "1 or 3" fio_on 2 "${job[@]}"
says "a check of one" 2 "one target has none" fio_on 1 --check "${job[@]}"
says "too few paths" 2 "1 given for 3 targets" fio_on 3 --backing "$tap_folder/disk" "${job[@]}"
says "a backing that is not there" 1 "target 1 did not start" fio_on 1 --backing "$tap_folder/absent" "${job[@]}"
says "help" 0 "filename=tercet" "$tercet_fio" --help
says "jobs that need no target start none" 0 "err= 0" fio_on 3 --name=x --filename="$tap_folder/own" --rw=write --size=64k

# The exit status is the number of jobs that failed, as fio has it.
says "fio's exit status" 2 "err=22" fio_at namespace "${job[@]}" --bs=1000 --numjobs=2

# interrupted SIGNAL: fio ends its job and prints what it has; nothing is left.
interrupted() {
  TMPDIR=$tap_folder "$tercet_fio" --substrate softverbs --engine "$engine" --targets 3 --name=x --filename=tercet --rw=randwrite \
    --time_based --runtime=60 >"$tap_folder/interrupted" 2>&1 </dev/null &
  local pid=$! status=0
  wait_until 30 eval 'ls "$tap_folder"/tercet-fio.*/report' || return
  kill "-$1" "$pid"
  wait "$pid" || status=$?
  cat "$tap_folder/interrupted"
  [ "$status" -ge 128 ] && grep -q 'Run status group 0' "$tap_folder/interrupted"
}
check "an interrupt ends the run in good order" interrupted INT
check "... and leaves nothing" nothing_left
check "so does SIGTERM" interrupted TERM
check "... and leaves nothing" nothing_left
killed() {
  TMPDIR=$tap_folder "$tercet_fio" --substrate softverbs --engine "$engine" --targets 3 --name=x --filename=tercet --rw=randwrite \
    --time_based --runtime=60 >"$tap_folder/interrupted" 2>&1 </dev/null &
  local pid=$!
  wait_until 30 eval 'ls "$tap_folder"/tercet-fio.*/report' || return
  kill -KILL "$pid"
  wait "$pid"
  wait_until 10 nothing_runs
}
check "even SIGKILL leaves no process" killed
rm -rf "$tap_folder"/tercet-fio.*
check "the targets end in good order" eval 'stop_members && stop_namespace'
namespace_pid=
check "nothing is left" nothing_left
done_testing
