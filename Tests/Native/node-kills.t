#!/usr/bin/env bash
# The node agent is killed before each of the steps of a stage, a publish, an unpublish and an unstage: a step changes a file, starts a
# program, or reaches a socket. The call that is made again finds what there is, and leaves the host as if nothing had happened.
# NODE_KILLS: lives of a volume, each with a kill in each of its four calls (4; 48 have all steps killed, in three minutes). SEED
# repeats a run's choices.

. "$(dirname "$0")/volume.sh"
. "$(dirname "$0")/volumed.sh"
. "$(dirname "$0")/node.sh"

RANDOM=${SEED:=$((RANDOM + 1))}
diagnose "SEED=$SEED"
require "faults can be made" compile_faults
for number in 0 1 2; do require "target $number starts" start_member "$number"; done
require "the daemon starts" start_volumed --nbd "$nbd_socket" --control "$control" --device spare=ram:1M

pod=$pods/a
stage() { node stage db --staging "$staging" "${members[@]}" "$@"; }
publish() { node publish db --staging "$staging" --target "$pod" --read-only; }
unpublish() { node unpublish db --target "$pod"; }
unstage() { node unstage db --staging "$staging"; }
mounts() { grep -c " $1 " /proc/self/mountinfo; }

# What a host looks like behind each call: devices, their servers, mounts, state.
is_staged() {
  expect_equal "... as ext4, once, on one device with one server" "ext4 1 1 1" \
    "$(findmnt -n -o FSTYPE "$staging") $(mounts "$staging") $(loops) $(servers)"
  expect_equal "... which the volume says, too" written "$(contents db)"
}
is_published() { expect_output "... once, and read-only" "^ro\b" eval '[ "$(mounts "$pod")" -eq 1 ] && findmnt -n -o VFS-OPTIONS "$pod"'; }
is_unpublished() { expect_equal "... with its folder" "0 " "$(mounts "$pod") $(ls "$pods")"; }
is_unstaged() {
  expect_equal "... with all that it had made: devices, servers, mounts, files" "0 0 0 " \
    "$(loops) $(servers) $(grep -c "$tap_folder" /proc/self/mountinfo) $(find "$tap_folder/plugins/db" "$tap_folder/real/stages" -mindepth 1)"
  check_fails "... and the daemon has no volume of it" eval '"$tercet" volume list --socket "$control" | grep "^db:"'
}

# The steps of each call, in a life without a death.
declare -A steps is=([stage]=is_staged [publish]=is_published [unpublish]=is_unpublished [unstage]=is_unstaged)
require "a blank volume" volume create
for call in stage publish unpublish unstage; do
  FAULT_PROGRAMS=tercet-node FAULT_STEPS=$tap_folder/steps LD_PRELOAD=$faults require "$call" "$call"
  steps[$call]=$(<"$tap_folder/steps")
  "${is[$call]}"
done
diagnose "steps: $(for call in stage publish unpublish unstage; do printf '%s %d, ' "$call" "${steps[$call]}"; done)"
lives=${NODE_KILLS:-4} offset=$RANDOM

# killed CALL: the call, killed before one of its steps.
killed() {
  local step=$((1 + (offset + (life * steps[$1] + lives - 1) / lives) % steps[$1]))
  diagnose "life $life: $1 is killed before step $step of ${steps[$1]}"
  FAULT_PROGRAMS=tercet-node FAULT_KILL=$step LD_PRELOAD=$faults "$1" >"$tap_folder/output" 2>&1
  expect_equal "$1 is killed" 137 $?
}
points=0
for life in $(seq "$lives"); do
  require "a blank volume" volume create --overwrite
  killed stage
  if [ $((life % 2)) -eq 0 ]; then
    # The volume is not wanted any more.
    check "... and undone by an unstage" wait_until 30 unstage
    is_unstaged
    # A format that has not ended is told of, and is ended by those alone who are told to.
    tap_run stage
    if [ "$tap_status" -eq 9 ]; then expect_code "... after which it is formatted on demand" 0 "." stage --continue-format; fi
  fi
  check "... and done by the next one" wait_until 30 stage
  is_staged
  killed publish
  check "... and done by the next one" wait_until 30 publish
  is_published
  killed unpublish
  check "... and done by the next one" wait_until 30 unpublish
  is_unpublished
  killed unstage
  check "... and done by the next one" wait_until 30 unstage
  is_unstaged
  points=$((points + 4))
done
diagnose "killed at $points points"

check "SIGTERM ends the daemon" stop_volumed
check "the targets end in good order" stop_members
done_testing
