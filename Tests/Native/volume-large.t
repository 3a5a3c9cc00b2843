#!/usr/bin/env bash
# A volume of 1 TiB on thin files, attached after its initiator was killed: how much memory that takes. How long the attach
# took is said, and not judged.

. "$(dirname "$0")/volume.sh"

for number in 0 1 2; do
  truncate -s 1T "$tap_folder/disk$number"
  require "target $number starts" start_member "$number"
done
volume_create() { timeout 600 "$tercet" volume create "${members[@]}"; }
require "a volume of 1 TiB is created" volume_create
# Before anything is written: a volume that is not thin would fill the disk.
allocated=$(du -ck "$tap_folder"/disk? | sed -n 's/\ttotal$//p')
require "the files are thin still ($allocated KiB allocated)" [ "$allocated" -lt 100000 ]

# exercise OPTION...: at the volume's far end, which the last pages of the bitmaps are for.
exercise() {
  exec "$tercet" volume exercise "${members[@]}" --record "$tap_folder/record" --start-block 2147000000 "$@"
}
: >"$tap_folder/exercise.txt"
exercise --runtime 600 >"$tap_folder/exercise.txt" 2>&1 </dev/null &
load=$!
require "a load runs" wait_until 60 grep -q serving "$tap_folder/exercise.txt"
# Its record is mapped, and holds more than nothing as soon as something has been written.
has_written() { LC_ALL=C grep -qa '[^[:cntrl:]]' <(tail -c +4097 "$tap_folder/record"); }
require "it has written" wait_until 60 has_written
kill -KILL "$load"
wait "$load" 2>/dev/null
expect_output "its initiator is killed; the volume is in use" "in use" volume status

# measured COMMAND...: the greatest resident set of a command that is waited for, in KiB, goes to $tap_folder/resident.
measured() {
  python3 -c 'import resource, subprocess, sys
status = subprocess.run(sys.argv[2:]).returncode
open(sys.argv[1], "w").write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))
sys.exit(status)' "$tap_folder/resident" "$@"
}
check "the next one attaches it, checks and loads it" measured "$tercet" volume exercise "${members[@]}" \
  --record "$tap_folder/record" --start-block 2147000000 --runtime 1
diagnose "attached after $(sed -n 's/^ *\([0-9.]* s\) *volume: serving/\1/p' "$tap_folder/output")"
grep verified "$tap_folder/output" | diagnose
expect_at_most "... with less than 64 MiB of memory, this command and softverbs included (KiB)" 65536 "$(cat "$tap_folder/resident")"
expect_output "... and leaves it clean" "clean, members: in sync, in sync, in sync" volume status
check "the targets end in good order" stop_members
done_testing
