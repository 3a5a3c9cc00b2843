# What the tests of processes on softverbs share: programs that run on it, and a target. Sourced, not run.

. "$(dirname "${BASH_SOURCE[0]}")/../tap.sh"
. "$(dirname "${BASH_SOURCE[0]}")/../daemons.sh"

softverbs=${SOFTVERBS:-$project/Tools/softverbs/build/libsoftverbs.so}
tercet=${TERCET:-$project/.build/release/tercet}
address=127.0.0.1
# A hundred ports from here on are this file's alone: other files may run beside it.
port_slot=$(($$ % 250))
until exec {port_lock}>"/tmp/tercet-ports.$UID.$port_slot" && flock -n "$port_lock"; do port_slot=$(((port_slot + 1) % 250)); done
port=$((20000 + port_slot * 100))
nqn=nqn.2026-11.io.tercet:native

# on_softverbs PROGRAM: prints a command that runs the program on softverbs.
on_softverbs() {
  local script=$tap_folder/$(basename "$1")
  printf '#!/bin/sh\nLD_PRELOAD=%s exec %s "$@"\n' "$softverbs" "$1" >"$script" && chmod +x "$script" && echo "$script"
}

tercetd=$(on_softverbs "$tercetd")
tercet=$(on_softverbs "$tercet")

# export_target STORE [OPTION...]: starts a target and waits until it listens.
export_target() {
  local store=$1
  shift
  start_tercetd --listen "$address:$port" --export "$nqn=$store" "$@"
  wait_until 20 target_listens
}

target_listens() { "$tercet" discover -a "$address" -s "$port"; }

# Whether I/O on the file $tap_folder/store is under way: it has holes until it is written.
is_written() { [ "$(stat -c %b "$tap_folder/store")" -gt 1000 ]; }

# bench OPTION...: a verified measurement of the target.
bench() { timeout 120 "$tercet" bench -a "$address" -s "$port" -n "$nqn" --verify "$@"; }

# commands PROGRAM [WORD...]: the commands that the help names.
commands() { "$@" --help | sed -n '/^SUBCOMMANDS/,/^$/s/^  \([a-z-]*\)\( .*\|$\)/\1/p' | grep -v '^help$'; }

# Runs tercet against the target: COMMAND OPTION...
tercet() {
  local command=$1
  shift
  timeout 60 "$tercet" "$command" -a "$address" -s "$port" -n "$nqn" "$@"
}
