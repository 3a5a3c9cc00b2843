#!/usr/bin/env bash
# The CSI driver, called over gRPC by a client that is not ours as the kubelet calls one: the life of volumes with real mounts, each
# call twice, each bad input with its code, and a driver that is killed while it stages.

. "$(dirname "$0")/volume.sh"
. "$(dirname "$0")/volumed.sh"
. "$(dirname "$0")/csi.sh"

if [ "$(id -u)" -ne 0 ] || [ ! -w /dev/fuse ] || [ ! -w /dev/loop-control ] || ! command -v nbdfuse >/dev/null; then
  skip "the driver serves" "this needs root, /dev/fuse, loop devices and nbdfuse (Debian's libnbd-bin)"
  done_testing
fi
control=$tap_folder/control.sock
run=$tap_folder/run
endpoint=$tap_folder/plugin/csi.sock
pods=$tap_folder/pods
staging=$tap_folder/plugins/db/globalmount
log=$tap_folder/driver.log
tap_logs+=("$log")
mkdir -p "$pods" "$tap_folder/plugin" "$tap_folder/plugins/db"
at_exit 'for path in $(awk "{print \$5}" /proc/self/mountinfo | grep "^$tap_folder" | sort -r); do umount -l "$path"; done'
at_exit 'for device in $(losetup -n -O NAME,BACK-FILE | awk -v f="$tap_folder" "index(\$2, f) {print \$1}"); do losetup -d "$device"; done'

serving=("$node" serve --program "$driver" --socket "$control" --nbd-socket "$nbd_socket" --run-folder "$run" --device nbdfuse
  --node host-1)
serve() { timeout 20 "${serving[@]}" "$@"; }
driver_pid=
at_exit '[ -z "$driver_pid" ] || kill -KILL "$driver_pid"'
start_driver() {
  "${serving[@]}" --endpoint "unix://$endpoint" >>"$log" 2>&1 </dev/null &
  driver_pid=$!
  wait_until 20 driver_serves
}
driver_serves() { csi Check '{}'; }
# stop_driver SIGNAL: ends it, and waits for its end; its exit status is the result.
stop_driver() {
  local status=0
  kill "-$1" "$driver_pid"
  wait "$driver_pid" 2>/dev/null || status=$?
  driver_pid=
  return "$status"
}

start_client "$endpoint"

# The requests.
context="\"volume_context\": {\"members\": \"$(volume_members)\"}"
file_system='"volume_capability": {"mount": {}, "access_mode": {"mode": 1}}'
block='"volume_capability": {"block": {}, "access_mode": {"mode": 1}}'
secrets='"secrets": {"password": "swordfish"}'
at_staging="\"volume_id\": \"db\", \"staging_target_path\": \"$staging\""
stage_fields=$at_staging,$file_system,$secrets
stage=$(request "$stage_fields" "$context")
stage_block=$(request "$at_staging" "$block" "$context")
unstage=$(request "$at_staging")
publish() { request "$at_staging" "$file_system" "$secrets" "\"target_path\": \"$pods/$1\"" "${@:2}"; }
unpublish() { request '"volume_id": "db"' "\"target_path\": \"$pods/$1\""; }
at() { request '"volume_id": "db"' "\"volume_path\": \"$1\"" "${@:2}"; }
loops() { cat /sys/block/loop*/loop/backing_file 2>/dev/null | grep -c "^$run/"; }
mounts() { grep -c " $tap_folder" /proc/self/mountinfo; }

# It fails at once where it could not serve.
expect_code "without an endpoint nothing is served" 3 "no endpoint: give --endpoint unix:///PATH" serve
expect_code "... nor over TCP" 3 'INVALID_ARGUMENT: the endpoint "tcp://127.0.0.1:1" is no Unix socket' serve --endpoint tcp://127.0.0.1:1
expect_code "a driver that is not installed is named" 12 "/nowhere/tercet-csi cannot be run: .*: install tercet-csi" \
  serve --endpoint "unix://$endpoint" --program /nowhere/tercet-csi

for number in 0 1 2; do require "target $number starts" start_member "$number"; done
require "a volume is created" volume create
require "the driver starts" start_driver
expect_equal "nobody else may connect" 600 "$(stat -c %a "$endpoint")"
expect_equal "nothing lies beside the socket" csi.sock "$(ls -A "$(dirname "$endpoint")")"
expect_code "... by the environment's endpoint too" 1 "another process serves at this socket" env CSI_ENDPOINT="unix://$endpoint" "${serving[@]}"
expect_code "a second driver is refused" 1 "another process serves at this socket" serve --endpoint "unix://$endpoint"
expect_code "without tercet-volumed it is not ready" 0 '"ready": false' csi Probe
expect_code "... and nothing is staged" 14 "tercet-volumed: $control: nobody serves" csi NodeStageVolume "$stage"
expect_code "... nor known for how many volumes there is room" 14 "nobody serves" csi NodeGetInfo
expect_code "... which its health says" 0 '"status": 2' csi Check '{"service": "csi.v1.Node"}'
expect_code "... though it serves" 0 '"status": 1' csi Check
require "the daemon starts" start_volumed --nbd "$nbd_socket" --control "$control" --device spare=ram:1M
expect_code "with it, it is ready" 0 '"ready": true' csi Probe
expect_code "... and healthy" 0 '"status": 1' csi Check '{"service": "csi.v1.Node"}'
expect_code "... of services that there are" 5 "no service x" csi Check '{"service": "x"}'
expect_code "the driver has a name" 0 '"name": "[a-z][a-z.]{1,62}", "vendor_version": "[0-9.]+"' csi GetPluginInfo
expect_code "... and no controller" 0 '"capabilities": \[\]' csi GetPluginCapabilities
expect_code "the node has the name that it is given" 0 '"max_volumes_per_node": "16", "node_id": "host-1"' csi NodeGetInfo
expect_code "it stages, looks, expands, tells one pod from several, and takes a group" 0 '1}.*2}.*3}.*4}.*5}.*6}' csi NodeGetCapabilities

# Bad input: the code that the specification names, and nothing changed.
bad() { expect_code "$1" "$2" "$3" csi NodeStageVolume "$(request "$at_staging" "$file_system" "$context" "${@:4}")"; }
bad "no volume" 3 "the volume's name is empty" '"volume_id": ""'
bad "a name with a slash" 3 "no volume's name" '"volume_id": "a/b"'
bad "a name of dots" 3 "no volume's name" '"volume_id": ".."'
bad "a name of 129 bytes" 3 "no volume's name" "\"volume_id\": \"$(printf 'n%.0s' {1..129})\""
bad "no staging path" 3 "the staging path is missing" '"staging_target_path": ""'
bad "a staging path with .." 3 'without ".."' "\"staging_target_path\": \"$staging/../x\""
bad "a staging path that is not absolute" 3 "not an absolute path" '"staging_target_path": "plugins"'
bad "a folder that is not there" 9 "make it first" "\"staging_target_path\": \"$tap_folder/nowhere/x\""
bad "no capability" 3 "capability is missing" '"volume_capability": null'
bad "no access mode" 3 "no access mode" '"volume_capability": {"mount": {}}'
bad "no access type" 3 "no access type; allowed: block or mount" '"volume_capability": {"access_mode": {"mode": 1}}'
bad "an access mode that is not known" 3 "access mode 0 is not known" '"volume_capability": {"mount": {}, "access_mode": {"mode": 0}}'
bad "... nor will be" 3 "access mode 77 is not known" '"volume_capability": {"mount": {}, "access_mode": {"mode": 77}}'
bad "an access mode of several nodes" 9 "one node's" '"volume_capability": {"mount": {}, "access_mode": {"mode": 5}}'
bad "a file system that is not known" 3 "allowed: ext4 or xfs" '"volume_capability": {"mount": {"fs_type": "btrfs"}, "access_mode": {"mode": 1}}'
bad "an empty mount option" 3 "mount option is empty" '"volume_capability": {"mount": {"mount_flags": [""]}, "access_mode": {"mode": 1}}'
bad "a group that is none" 3 'group "staff" is no number; allowed: 0 to 4294967294' \
  '"volume_capability": {"mount": {"volume_mount_group": "staff"}, "access_mode": {"mode": 1}}'
bad "... nor could be" 3 "is no number" '"volume_capability": {"mount": {"volume_mount_group": "4294967295"}, "access_mode": {"mode": 1}}'
bad "a key of the context that is not known" 3 '"member" of the volume.s context is not known' '"volume_context": {"member": "x"}'
bad "two members" 3 "'a:1/b/1' is no member" '"volume_context": {"members": "a:1/b/1,c:1/d/1"}'
bad "a volume that is not there" 5 "has no volume db" '"volume_context": {"example.io/key": "somebody else'"'"'s"}'
check_garbage() {
  python3 - "$endpoint" <<'PYTHON'
import os, socket, sys
preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
settings = bytes(3) + b"\4" + bytes(5)
for data in os.urandom(100000), preface + os.urandom(100000), preface + settings + b"\xff\xff\xff\0\0" + b"\0\0\0\1", settings * 10000:
    peer = socket.socket(socket.AF_UNIX)
    peer.settimeout(20)
    peer.connect(sys.argv[1])
    try:
        peer.sendall(data)
        while peer.recv(65536): pass
    except (BrokenPipeError, ConnectionResetError): pass
PYTHON
}
check "a client that speaks no gRPC loses its connection" check_garbage
expect_code "... and others do not" 0 '"ready": true' csi Probe
expect_code "a request that is too large is refused" 1 "." csi NodeUnstageVolume "{\"volume_id\": \"$(head -c 300000 /dev/zero | tr '\0' a)\"}"
for call in NodeUnstageVolume NodePublishVolume NodeUnpublishVolume NodeGetVolumeStats NodeExpandVolume; do
  expect_code "$call of no volume" 3 "." csi "$call" '{}'
done
expect_code "no target path" 3 "the target path is missing" csi NodeUnpublishVolume '{"volume_id": "db"}'
expect_code "... to publish" 3 "the target path is missing" csi NodePublishVolume "$(publish a '"target_path": ""')"
expect_code "... without a capability" 3 "capability is missing" csi NodePublishVolume "$(publish a '"volume_capability": null')"
expect_code "a publish before its stage" 9 "stage it first" csi NodePublishVolume "$(publish a)"
expect_code "stats of what is not there" 5 "neither staged nor published" csi NodeGetVolumeStats "$(at "$pods/x")"
expect_code "a size below nothing" 3 "no volume has" csi NodeExpandVolume "$(at "$pods/x" '"capacity_range": {"required_bytes": -1}')"
expect_code "... or above its limit" 3 "no volume has" csi NodeExpandVolume "$(at "$pods/x" '"capacity_range": {"required_bytes": 2, "limit_bytes": 1}')"
expect_code "unstage of what is not staged" 0 "" csi NodeUnstageVolume "$unstage"
expect_code "unpublish of what is not published" 0 "" csi NodeUnpublishVolume "$(unpublish a)"
expect_equal "nothing was made" "0 0 db" "$(loops) $(mounts) $(cd "$tap_folder/plugins" && find * | tr '\n' ' ' | sed 's/ $//')"

# The life of a volume. Two calls for it at once exclude each other.
expect_code "a blank volume is staged by two calls at once" 0 "^(0 0|0 10)$" csi both NodeStageVolume "$stage"
expect_equal "... as ext4" ext4 "$(findmnt -n -o FSTYPE "$staging")"
expect_equal "... by a program that holds none of the driver's sockets" 0 "$(ss -xpH | grep -F "$endpoint" | grep -c nbdfuse)"
expect_code "... twice" 0 "{}" csi NodeStageVolume "$stage"
expect_code "... but not for another use" 6 "as ext4, not as a block device" csi NodeStageVolume "$stage_block"
expect_code "it is published" 0 "{}" csi NodePublishVolume "$(publish a)"
expect_code "... twice" 0 "{}" csi NodePublishVolume "$(publish a)"
expect_code "... but not for another use" 9 "is staged as ext4, and cannot be published as a block device" \
  csi NodePublishVolume "$(publish b "$block")"
expect_code "... nor for one pod alone" 9 "for one pod alone, and is published at $pods/a" \
  csi NodePublishVolume "$(publish b '"volume_capability": {"mount": {}, "access_mode": {"mode": 6}}')"
expect_code "... and read-only for another pod" 0 "{}" csi NodePublishVolume "$(publish b '"readonly": true')"
check "one pod writes" cp "$node" "$pods/a/data"
check "... what another reads" cmp "$node" "$pods/b/data"
check_fails "... and cannot change" touch "$pods/b/x"
expect_code "the usage is told, in bytes and inodes" 0 '"unit": 1, "used": "[1-9].*"unit": 2, "used": "1[0-9]".*"abnormal": false' \
  csi NodeGetVolumeStats "$(at "$pods/a")"
expect_code "expand has nothing to do" 0 '"capacity_bytes": "[1-9][0-9]{7}"' csi NodeExpandVolume "$(at "$pods/a")"
expect_code "... or too much" 11 "grow it first" csi NodeExpandVolume "$(at "$pods/a" '"capacity_range": {"required_bytes": 1000000000000}')"
expect_code "... and makes nothing smaller" 11 "does not shrink" csi NodeExpandVolume "$(at "$pods/a" '"capacity_range": {"limit_bytes": 1000}')"
expect_code "a published volume stays staged" 9 "still published at $pods/[ab]" csi NodeUnstageVolume "$unstage"
# A group for the files, which a pod's processes are of.
mkdir "$pods/a/folder" && echo own >"$pods/a/folder/own" && chmod 600 "$pods/a/folder/own" && ln -s /etc/hostname "$pods/a/link"
elsewhere=$(stat -c '%u %g %a' /etc/hostname)
group='"volume_capability": {"mount": {"volume_mount_group": "4711"}, "access_mode": {"mode": 1}}'
expect_code "it is published with a group" 0 "{}" csi NodePublishVolume "$(publish c "$group")"
expect_equal "... whose the files are" "4711 660, 4711 2775" "$(stat -c '%g %a' "$pods/c/folder/own"), $(stat -c '%g %a' "$pods/c/folder")"
# as GROUP COMMAND...: in the pod's folder, as a user who is of that group, too.
as() { (cd "$pods/c" && setpriv --reuid 4712 --regid 4712 --groups "$@"); }
check "... which reads them" as 4711 cat folder/own
check "... and writes" as 4711 touch folder/new
expect_equal "... what is the group's" 4711 "$(stat -c %g "$pods/c/folder/new")"
check_fails "others do not" as 4713 touch folder/other
expect_equal "a link leads to nothing that is changed" "$elsewhere" "$(stat -c '%u %g %a' /etc/hostname)"
chgrp 4713 "$pods/c/folder/own"
expect_code "... another time it is looked at the folder alone" 0 "{}" csi NodePublishVolume "$(publish d "$group")"
expect_equal "... as it says all" 4713 "$(stat -c %g "$pods/d/folder/own")"
for pod in c d; do expect_code "pod $pod is gone" 0 "{}" csi NodeUnpublishVolume "$(unpublish "$pod")"; done
# The driver is replaced meanwhile; a pod notices nothing.
check "SIGTERM ends the driver" stop_driver TERM
check_fails "... and its socket" test -e "$endpoint"
require "another one begins" start_driver
for pod in a b; do
  expect_code "pod $pod is gone" 0 "{}" csi NodeUnpublishVolume "$(unpublish "$pod")"
  expect_code "... twice" 0 "{}" csi NodeUnpublishVolume "$(unpublish "$pod")"
done
expect_equal "... with their folders" "" "$(ls "$pods")"
expect_code "it is unstaged" 0 "{}" csi NodeUnstageVolume "$unstage"
expect_code "... twice" 0 "{}" csi NodeUnstageVolume "$unstage"
expect_equal "... and nothing is left" "0 0" "$(loops) $(mounts)"

# As a block device.
expect_code "it is staged as a block device" 0 "{}" csi NodeStageVolume "$stage_block"
expect_code "... and published" 0 "{}" csi NodePublishVolume "$(publish disk "$block")"
expect_code "... twice" 0 "{}" csi NodePublishVolume "$(publish disk "$block")"
expect_code "... but not read-only" 3 "cannot be published read-only" csi NodePublishVolume "$(publish disk "$block" '"readonly": true')"
check "the pod has a device" test -b "$pods/disk"
check "... with what was written" eval 'debugfs -R "cat data" "$pods/disk" 2>/dev/null | cmp "$node"'
expect_code "its size is told" 0 '"total": "[1-9][0-9]{7}", "unit": 1, "used": "0"' csi NodeGetVolumeStats "$(at "$pods/disk")"
expect_code "the pod is gone" 0 "{}" csi NodeUnpublishVolume "$(unpublish disk)"
expect_code "it is unstaged" 0 "{}" csi NodeUnstageVolume "$unstage"
expect_equal "... and nothing is left" "0 0" "$(loops) $(mounts)"

# A caller that goes away: the call goes on, and the next one finds what it has done.
expect_code "a caller goes away" 4 "." csi within 0.05 NodeStageVolume "$stage"
check "a call after it succeeds" wait_until 30 csi NodeStageVolume "$stage"
check "... with what was written" cmp "$node" "$staging/data"
expect_code "it is unstaged" 0 "{}" csi NodeUnstageVolume "$unstage"

# Another host has the volume: only a stage that may take it over does so.
other_log=$tap_folder/other.log
tap_logs+=("$other_log")
"$volumed" --hostnqn nqn.2026-11.io.tercet:another-host --volume "db=$(volume_members)" --nbd "$tap_folder/other.sock" >"$other_log" 2>&1 </dev/null &
other_pid=$!
at_exit 'kill -KILL "$other_pid"'
require "another host has the volume" wait_until 30 grep -q "volume attached" "$other_log"
expect_code "a stage does not fence it by itself" 9 "has the volume" csi NodeStageVolume "$stage"
expect_code "... but where it may" 0 "{}" \
  csi NodeStageVolume "$(request "$stage_fields" "\"volume_context\": {\"members\": \"$(volume_members)\", \"takeOver\": \"true\"}")"
check "... with what was written" cmp "$node" "$staging/data"
expect_code "it is unstaged" 0 "{}" csi NodeUnstageVolume "$unstage"
expect_equal "... and nothing is left" "0 0" "$(loops) $(mounts)"
kill -KILL "$other_pid" && wait "$other_pid" 2>/dev/null

# The daemon's end. Another one takes its place, and a pod notices nothing; or it is killed, and what it had is there again.
kept=$control.volumes.json
expect_equal "nothing is kept of what is not attached" no "$([ -e "$kept" ] && echo yes || echo no)"
# The next daemons have no device of their own, which could not be handed over.
echo "{ \"controlSocket\": \"$control\", \"nbd\": { \"socket\": \"$nbd_socket\" }, \"volumes\": [] }" >"$tap_folder/volumed.json"
serve_volumes() { start_volumed --config "$tap_folder/volumed.json" "$@"; }
check "SIGTERM ends the daemon" stop_volumed
require "another one starts, without volumes" serve_volumes
expect_code "a volume is staged" 0 "{}" csi NodeStageVolume "$stage"
expect_code "... and published" 0 "{}" csi NodePublishVolume "$(publish a)"
expect_equal "... which is kept for the next daemon, by the daemon's user alone" 600 "$(stat -c %a "$kept")"
take_over() {
  former=$volumed_pid
  serve_volumes --take-over-from "$control" || return
  volumed_said "taken over from the former daemon lost=0 .*sessions=[1-9]" && wait "$former"
}
require "the daemon is replaced, with its clients" take_over
check "... and the pod goes on" eval 'dd if=/dev/urandom of="$pods/a/new" bs=64k count=8 conv=fsync status=none'
sum=$(sha256sum <"$pods/a/new")
stop_volumed KILL
expect_code "it is killed: the pod's stats say that nobody serves" 14 "nobody serves" csi NodeGetVolumeStats "$(at "$pods/a")"
chmod 666 "$kept"
expect_code "the next one does not begin with what others may have written" 1 "others may have written what is to be attached" \
  timeout 20 "$volumed" --config "$tap_folder/volumed.json"
chmod 600 "$kept"
require "the next one starts" serve_volumes
expect_output "... with the volume" "db: serving" "$tercet" volume list --socket "$control"
expect_output "... and its exports" 'db\.[0-9a-f-]{36}"' "$tercet" volume list --socket "$control" --json
expect_code "the mount's device is dead, and that is told" 0 '"abnormal": true, "message": "its device /dev/loop[0-9]+ answers each read with an error' \
  csi NodeGetVolumeStats "$(at "$pods/a")"
expect_code "... and it goes to no other pod" 9 "its device /dev/loop[0-9]+ is dead: unpublish it" csi NodePublishVolume "$(publish b)"
expect_code "the pod ends" 0 "{}" csi NodeUnpublishVolume "$(unpublish a)"
expect_code "it is unstaged" 0 "{}" csi NodeUnstageVolume "$unstage"
expect_equal "... and nothing is left, nor kept" "0 0 no" "$(loops) $(mounts) $([ -e "$kept" ] && echo yes || echo no)"
expect_code "it is staged again" 0 "{}" csi NodeStageVolume "$stage"
expect_equal "... with what the pod wrote" "$sum" "$(sha256sum <"$staging/new")"

# Killed, and another host has had the volume when it starts again: that host is not fenced, nor anything of it written over.
stop_volumed KILL
"$volumed" --hostnqn nqn.2026-11.io.tercet:another-host --volume "db=$(volume_members)" --nbd "$tap_folder/other.sock" --take-over \
  >"$tap_folder/taker.log" 2>&1 </dev/null &
other_pid=$!
require "it is killed, and another host takes the volume" wait_until 30 grep -q "volume attached" "$tap_folder/taker.log"
require "the daemon starts again" serve_volumes
check "... and lets the volume go" wait_until 20 volumed_said "volume let go: another host has had it since"
expect_output "the other host keeps it" "read 4096/4096" qemu-io -f raw -c flush -c "read 0 4k" "nbd+unix:///db?socket=$tap_folder/other.sock"
check_fails "... and is not fenced" grep -q deposed "$tap_folder/taker.log"
expect_code "the mount is told to be dead" 0 '"abnormal": true, "message": "tercet-volumed does not have the volume attached' \
  csi NodeGetVolumeStats "$(at "$staging")"
expect_code "it is unstaged" 0 "{}" csi NodeUnstageVolume "$unstage"
expect_equal "... and nothing is left, nor kept" "0 0 no" "$(loops) $(mounts) $([ -e "$kept" ] && echo yes || echo no)"
kill -TERM "$other_pid" && wait "$other_pid"
expect_code "once that host has let go of it, it is staged here again" 0 "{}" csi NodeStageVolume "$stage"
expect_equal "... with what the pod wrote" "$sum" "$(sha256sum <"$staging/new")"
expect_code "it is unstaged" 0 "{}" csi NodeUnstageVolume "$unstage"

# SIGTERM while a call runs: it is answered, and then the driver ends.
said() { [ "$(grep -c "$1" "$log")" -gt "$2" ]; }
times=$(grep -c "mount db at" "$log")
require "a call begins" csi begin NodeStageVolume "$stage"
require "... and is at work" wait_until 20 eval 'losetup -n -O BACK-FILE | grep -q "^$run/" || said "mount db at" "$times"'
check "SIGTERM ends the driver in good order" stop_driver TERM
expect_code "... after the call" 0 "{}" csi await
check "... which is done" cmp "$node" "$staging/data"
require "another one begins" start_driver
expect_code "it is unstaged" 0 "{}" csi NodeUnstageVolume "$unstage"

# Killed in the middle of a stage, and of what follows. The socket that it leaves is nobody's. CSI_KILLS asks for more of them.
for moment in $(seq "${CSI_KILLS:-3}"); do
  require "a blank volume" volume create --overwrite
  require "a stage begins" csi begin NodeStageVolume "$stage"
  outlast_milliseconds=$((RANDOM % 500))
  wait_until 2 eval "[ \"\${EPOCHREALTIME/[.,]/}\" -ge $((${EPOCHREALTIME/[.,]/} + outlast_milliseconds * 1000)) ]"
  stop_driver KILL
  csi await >/dev/null
  check "the socket is left ($moment, after $outlast_milliseconds ms)" test -S "$endpoint"
  require "another driver begins" start_driver
  check "... and stages" wait_until 30 csi NodeStageVolume "$stage"
  expect_equal "... as ext4" ext4 "$(findmnt -n -o FSTYPE "$staging")"
  check "... and unstages" wait_until 30 csi NodeUnstageVolume "$unstage"
  expect_equal "... with nothing left" "0 0" "$(loops) $(mounts)"
done

check_fails "secrets are in no log" grep -rq swordfish "$log" "$run" "$tap_folder/plugins"
check "calls are" grep -q "NodeStageVolume: OK milliseconds=[0-9]* volume=db" "$log"
expect_at_most "it is small (KiB)" 65536 "$(awk '/^VmRSS/ {print $2}' "/proc/$driver_pid/status")"
check "SIGTERM ends the driver" stop_driver TERM
check "SIGTERM ends the daemon" stop_volumed
check "the targets end in good order" stop_members
done_testing
