#!/usr/bin/env bash
# A reload takes the subsystem of a mounted file system away for a moment, and a restart of the daemon comes without it: the
# host tries again until it is back, and the file system goes on. Linux 6.12 heeds Do Not Retry in the answer to a Connect
# that it repeats: it would remove the controller and its block device at once.
. "$(dirname "$0")/lab.sh"

mount_point=$tap_folder/mount
configuration=$tap_folder/tercetd.json
other=nqn.2026-11.io.tercet:other
mkdir "$mount_point"
if [ "$target" != tercetd ]; then
  skip "a reload under a file system" "the kernel's own target has no configuration file"
  done_testing
  exit
fi

# configure with|without: the configuration with the subsystem that the host uses, or without it.
configure() {
  local subsystem=
  [ "$1" = without ] || subsystem=", { \"nqn\": \"$nqn\", \"allowAnyHost\": true, \"namespaces\": [ { \"nsid\": 1, \"backing\": \"$path\" } ] }"
  cat >"$configuration" <<JSON
{
  "listeners": [ { "address": "$address4", "port": $port } ],
  "subsystems": [
    { "nqn": "$other", "allowAnyHost": true, "namespaces": [ { "nsid": 1, "backing": "ram:8M" } ] }$subsystem
  ]
}
JSON
}

reload() { configure "$1" && kill -HUP "$tercetd_pid"; }
start_configured() { start_tercetd --config "$configuration" && wait_until 30 listening; }
not_live() { ! state_is "$controller" live; }
# Whether the target has refused a Connect of the host since the mark.
mark_refusals() { refusals=$(count_refusals); }
count_refusals() { grep -c "there is no such subsystem" "$tercetd_log"; }
refused_again() { [ "$(count_refusals)" -gt $((refusals + 1)) ]; }
write_file() { head -c 1048576 /dev/urandom >"$mount_point/$1" && sha256sum "$mount_point/$1" >>"$tap_folder/sums" && sync -f "$mount_point"; }

require "there is a drive" choose_backend drive4096
configure with
require "the target starts" start_configured
require "connect" connect "$nqn" --nr-io-queues=2 --keep-alive-tmo=5 --ctrl-loss-tmo=300
first=$controller
require "mkfs.ext4" mkfs.ext4 -q -F "$namespace"
require "mount" mount "$namespace" "$mount_point"
check "a file is written" write_file before

mark_refusals
check "a reload takes the subsystem away" reload without
check "... the host notices" wait_until 30 not_live
check "... it is refused, and comes again" wait_until 30 refused_again
check "a reload brings the subsystem back" reload with
check "... the host has reconnected" wait_until 60 state_is "$controller" live
check "... and a file is written" write_file after

mark_refusals
check "the daemon is killed" kill_target
configure without
check "... starts again with a configuration that lacks the subsystem" start_configured
check "... the host is refused, and comes again" wait_until 60 refused_again
check "a reload brings the subsystem back" reload with
check "... the host has reconnected" wait_until 60 state_is "$controller" live
check "... and a file is written" write_file late

expect_equal "it is still the same controller" "$first" "$(controllers "$nqn")"
check "every file is what was written" sha256sum --quiet -c "$tap_folder/sums"
check "unmount" umount "$mount_point"
check "the file system is whole" e2fsck -f -n "$namespace"
check "disconnect" disconnect
check "the target ends in good order" stop_target
done_testing
