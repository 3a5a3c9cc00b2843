#!/usr/bin/env bash
# The controller of the CSI driver, called over gRPC by a client that is not ours: volumes are made in three pools, used by two nodes
# with real mounts, grown, and deleted; each call twice, each bad input with its code, and a driver that is killed in between.
# CONTROLLER_KILLS: how often calls are killed (3); SEED repeats a run's choices.

. "$(dirname "$0")/native.sh"
. "$(dirname "$0")/pools.sh"
. "$(dirname "$0")/volumed.sh"
. "$(dirname "$0")/csi.sh"

RANDOM=${SEED:=$((RANDOM + 1))}
diagnose "SEED=$SEED"
registry=sqlite:$tap_folder/registry
export TERCET_REGISTRY=$registry
endpoint=$tap_folder/plugin/csi.sock
log=$tap_folder/controller.log
tap_logs+=("$log")
mkdir -p "$tap_folder/plugin"

driver_pid=
at_exit '[ -z "$driver_pid" ] || kill -KILL "$driver_pid"'
serving=("$node" serve --controller --topology --program "$driver" --tercet "$tercet" --hostnqn "$manager" --run-folder "$tap_folder/run")
start_controller() {
  "${serving[@]}" --endpoint "unix://$endpoint" >>"$log" 2>&1 </dev/null &
  driver_pid=$!
  wait_until 20 csi Check '{}'
}
stop_controller() {
  local status=0
  kill "-$1" "$driver_pid"
  wait "$driver_pid" 2>/dev/null || status=$?
  driver_pid=
  return "$status"
}
start_client "$endpoint"

# The requests.
file_system='{"mount": {}, "access_mode": {"mode": 1}}'
one_capability="\"volume_capabilities\": [$file_system]"
bytes() { echo "\"capacity_range\": {\"required_bytes\": $1, \"limit_bytes\": ${2:-0}}"; }
create() { request "\"name\": \"$1\"" "$one_capability" "$(bytes 33554432)" "${@:2}"; }
volume() { request "\"volume_id\": \"$1\"" "${@:2}"; }
publish() { volume "$1" "\"node_id\": \"$2\"" "\"volume_capability\": $file_system" "${@:3}"; }
entries() { timeout 20 "$tercet" volume list | wc -l; }

expect_code "without a registry nothing is served" 3 "needs a registry: give --registry" env -u TERCET_REGISTRY "${serving[@]}" --endpoint unix:///x
expect_code "what is a controller's is not a node's" 3 "are a controller's: give --controller" \
  timeout 10 "$node" serve --endpoint unix:///x --hostnqn "$manager"
expect_code "... nor the other way round" 3 "--domain is a node's" "${serving[@]}" --endpoint unix:///x --domain a
expect_code "a failure domain has a form" 3 'failure domain "a/b" is none; allowed: up to 63' \
  timeout 10 "$node" serve --endpoint unix:///x --domain a/b
expect_code "it says what it would do" 0 "^would serve Identity, Controller at $endpoint\$" "${serving[@]}" --endpoint "unix://$endpoint" --dry-run
output_has "... with what" "^would make volumes in the pools of $registry, as $manager, by $tercet\$"
expect_code "... and what it lacks" 12 "/nowhere/tercet cannot be run: .*: install it, or name it" \
  "${serving[@]}" --tercet /nowhere/tercet --endpoint "unix://$endpoint" --dry-run
expect_code "... as a node, too" 0 "^would enter the node host-1 in $registry, in the failure domain a\$" \
  timeout 10 "$node" serve --program "$driver" --tercet "$tercet" --node host-1 --domain a --endpoint "unix://$endpoint" --dry-run
expect_equal "... and does nothing of it" "" "$(ls -A "$tap_folder/plugin" "$tap_folder/registry" 2>/dev/null | grep -v :)"
require "the controller starts" start_controller
expect_code "without its registry it is not ready" 0 '"ready": false' csi Probe
expect_code "... and nothing is made" 5 "there is no registry" csi CreateVolume "$(create db)"
for number in 0 1 2; do
  require "target $number starts" start_pool "$number"
  require "its pool is entered" add_pool "$number" "domain-$number"
done
expect_code "with it, it is ready" 0 '"ready": true' csi Probe
expect_code "... and healthy" 0 '"status": 1' csi Check '{"service": "csi.v1.Controller"}'
expect_code "... and no node" 5 "no service csi.v1.Node" csi Check '{"service": "csi.v1.Node"}'
expect_code "... which cannot be called" 12 "." csi NodeGetInfo
expect_code "it is a controller, whose volumes grow offline" 0 '"capabilities": \[\{"service": \{"type": 1\}\}, \{"service": \{"type": 2\}\}, \{"volume_expansion": \{"type": 2\}\}\]' \
  csi GetPluginCapabilities
expect_code "it makes, publishes, lists, tells capacity, expands, tells of nodes and modifies" 0 '1}.*2}.*3}.*4}.*9}.*10}.*12}.*13}.*14}' \
  csi ControllerGetCapabilities
expect_code "the pools' capacity is told" 0 '"available_capacity": "268435456", "maximum_volume_size": "26[0-9]{7}", "minimum_volume_size": "1048576"' csi GetCapacity
expect_code "... of a class" 0 '"available_capacity": "0", "maximum_volume_size": "0"' csi GetCapacity '{"parameters": {"pools": "p0,p1"}}'
expect_code "... of what cannot be" 0 '"available_capacity": "0"' \
  csi GetCapacity '{"volume_capabilities": [{"mount": {}, "access_mode": {"mode": 5}}]}'

# Bad input: the code that the specification names, and nothing made.
bad() { expect_code "$1" "$2" "$3" csi CreateVolume "$(create db "${@:4}")"; }
bad "no name" 3 "name is empty" '"name": ""'
bad "a name with a slash" 3 "no name of a volume" '"name": "a/b"'
bad "a name of 129 bytes" 3 "no name of a volume" "\"name\": \"$(printf 'n%.0s' {1..129})\""
bad "no capability" 3 "no capability" '"volume_capabilities": []'
bad "no access mode" 3 "no access mode" '"volume_capabilities": [{"mount": {}}]'
bad "an access mode of several nodes" 3 "one node's" '"volume_capabilities": [{"mount": {}, "access_mode": {"mode": 5}}]'
bad "a size below nothing" 3 "no volume has" "$(bytes -1)"
bad "... or above its limit" 3 "no volume has" "$(bytes 2000000 1000000)"
bad "a limit below the smallest volume" 11 "has 1048576 or more" "$(bytes 0 1000)"
bad "sizes between two blocks" 11 "in blocks of these pools" "$(bytes 2000001 2000002)"
bad "more than any volume has" 11 "." "$(bytes 9223372036854775807)"
bad "more than there is" 8 "three failure domains with room for 1073741824 bytes" "$(bytes 1073741824)"
bad "a parameter that is not known" 3 '"colour" is not known; allowed: minimumCopies' '"parameters": {"colour": "red"}'
bad "... or has no such value" 3 "spread is \"none\"; allowed: required, preferred" '"parameters": {"spread": "none"}'
bad "a pool that is not there" 8 "pool p7: is not in the registry" '"parameters": {"pools": "p0,p1,p7"}'
bad "a copy of another volume" 3 "begins empty" '"volume_content_source": {"volume": {"volume_id": "x"}}'
bad "a parameter that is to be changed later" 3 'parameter "ios" cannot be changed later; those that can: bytesPerSecond, iosPerSecond, weight' \
  '"mutable_parameters": {"ios": "1"}'
bad "... and has no such value" 3 'weight is "0"; allowed: 1 to 10000' '"mutable_parameters": {"weight": "0"}'
# in_domains DOMAIN...: topologies, as a list.
in_domains() { local list; list=$(printf ', {"segments": {"topology.csi.tercet/domain": "%s"}}' "$@"); echo "[${list#, }]"; }
requisite() { echo "\"accessibility_requirements\": {\"requisite\": $(in_domains "$@")}"; }
bad "a topology of another driver" 3 'segments of a topology, "zone", are none of this driver.s; allowed: topology.csi.tercet/domain alone' \
  '"accessibility_requirements": {"requisite": [{"segments": {"zone": "a"}}]}'
bad "... without segments" 3 'segments of a topology, none, are none' '"accessibility_requirements": {"preferred": [{}]}'
bad "fewer than three failure domains" 8 "three failure domains with room .* of 2 pools that can be used in domain-0, domain-1, three have none" \
  "$(requisite domain-0 domain-1)"
bad "failure domains without pools" 8 "of 0 pools that can be used in nowhere" "$(requisite nowhere)"
expect_code "a failure domain's capacity is that of volumes that lie in it alone" 0 '"available_capacity": "0"' \
  csi GetCapacity '{"accessible_topology": {"segments": {"topology.csi.tercet/domain": "domain-0"}}}'
expect_code "... of another driver's topology" 3 "none of this driver" csi GetCapacity '{"accessible_topology": {"segments": {"zone": "a"}}}'
expect_code "a change of no volume" 5 "no volume db" csi ControllerModifyVolume "$(volume db '"mutable_parameters": {"weight": "1"}')"
expect_code "... to nothing" 3 "no parameter is given" csi ControllerModifyVolume "$(volume db)"
expect_code "publish of no volume" 3 "name is empty" csi ControllerPublishVolume "$(publish "" host-1)"
expect_code "... that is there" 5 "no volume db" csi ControllerPublishVolume "$(publish db host-1)"
expect_code "... to no node" 3 "node's name has 0 bytes" csi ControllerPublishVolume "$(publish db "")"
expect_code "... without a capability" 3 "capability is missing" csi ControllerPublishVolume "$(publish db host-1 '"volume_capability": null')"
expect_code "validation of no volume" 5 "no volume db" csi ValidateVolumeCapabilities "$(volume db "$one_capability")"
expect_code "... for no use" 3 "no capability" csi ValidateVolumeCapabilities "$(volume db)"
expect_code "growth of no volume" 5 "no volume db" csi ControllerExpandVolume "$(volume db "$(bytes 1)")"
expect_code "... to no size" 3 "size is missing" csi ControllerExpandVolume "$(volume db)"
expect_code "a look at no volume" 5 "no volume db" csi ControllerGetVolume "$(volume db)"
expect_code "a list from nowhere" 10 "list from the beginning" csi ListVolumes '{"starting_token": "a/b"}'
expect_code "unpublish of no volume" 0 "{}" csi ControllerUnpublishVolume "$(volume db '"node_id": "host-1"')"
expect_code "the end of no volume" 0 "{}" csi DeleteVolume "$(volume db)"
expect_code "... whose name nothing could have" 0 "{}" csi DeleteVolume "$(volume a/b)"
expect_code "... and of none" 3 "name is empty" csi DeleteVolume '{}'
expect_equal "nothing was made" "0 0 0 0" "$(entries) $(namespaces)"

# The life of a volume. A time that is taken on a machine with other work is no measurement: the best of five is told and judged.
best=999999
for number in 1 2 3 4 5; do
  start=${EPOCHREALTIME/[.,]/}
  expect_code "volume v$number is made" 0 "\"capacity_bytes\": \"33554432\".*\"volume_id\": \"v$number\"" csi CreateVolume "$(create "v$number")"
  took=$(((${EPOCHREALTIME/[.,]/} - start) / 1000))
  [ "$took" -lt "$best" ] && best=$took
done
expect_at_most "... within a second (milliseconds)" 1000 "$best"
expect_code "... twice" 0 '"volume_id": "v1"' csi CreateVolume "$(create v1)"
expect_equal "... of one namespace in each pool" "5 5 5 5" "$(entries) $(namespaces)"
expect_code "... in what limits it has" 0 '"volume_id": "v1"' csi CreateVolume "$(create v1 "$(bytes 1048576 67108864)")"
expect_code "... but not in another size" 6 "with 33554432 bytes" csi CreateVolume "$(create v1 "$(bytes 67108864)")"
expect_code "... or of another class" 6 "with other parameters" csi CreateVolume "$(create v1 '"parameters": {"spread": "preferred"}')"
expect_code "two calls at once exclude each other, or agree" 0 "^(0 0|0 10)$" csi both CreateVolume "$(create v6)"
expect_code "a volume is ready then" 0 '"volume_id": "v6"' csi CreateVolume "$(create v6)"
expect_code "the capacity is less" 0 '"available_capacity": "6[0-9]{7}"' csi GetCapacity
expect_code "no more than that is taken" 8 "three failure domains" csi CreateVolume "$(create v7 "$(bytes 134217728)")"
expect_equal "... and nothing is left of it" "6 6 6 6" "$(entries) $(namespaces)"
# Failure domains, and limits.
expect_code "a volume is made with a preferred failure domain, and limits" 0 '"volume_id": "t"' csi CreateVolume \
  "$(create t "$(bytes 2097152)" '"mutable_parameters": {"iosPerSecond": "5000"}' \
    "\"accessibility_requirements\": {\"requisite\": $(in_domains domain-0 domain-1 domain-2), \"preferred\": $(in_domains domain-2 domain-0)}")"
expect_output "... where its first members lie" "^member 0: .*, in pool p2\$" timeout 20 "$tercet" volume show t
output_has "... in the order of preference" "^member 1: .*, in pool p0\$"
output_has "... and its limits are known" "^label csi.tercet/limit.iosPerSecond: 5000\$"
expect_code "... twice, for other nodes" 0 '"volume_id": "t"' csi CreateVolume "$(create t "$(bytes 2097152)" "$(requisite domain-2 domain-1 domain-0)")"
expect_code "... but in no other domains" 6 "is there in the failure domains domain-0, domain-1, domain-2; asked for are domain-0, domain-7" \
  csi CreateVolume "$(create t "$(bytes 2097152)" "$(requisite domain-0 domain-7)")"
modify() { csi ControllerModifyVolume "$(volume "$1" "\"mutable_parameters\": {$2}")"; }
expect_code "a limit is changed" 0 "{}" modify t '"weight": "300", "bytesPerSecond": "200M"'
expect_code "... twice" 0 "{}" modify t '"weight": "300"'
expect_code "... to what can be" 3 'iosPerSecond is "many"; allowed: 0' modify t '"iosPerSecond": "many"'
expect_code "... and nothing else is" 3 '"spread" cannot be changed later' modify t '"spread": "preferred"'
expect_code "the next node is told all of them" 0 '"bytesPerSecond": "209715200", "iosPerSecond": "5000", .*"weight": "300"' \
  csi ControllerPublishVolume "$(publish t host-1)"
expect_code "one that has it would not hear of it" 9 "published to node host-1: its limits change while no node has it" modify t '"weight": "1"'
expect_code "... as they are is no change" 0 "{}" modify t '"weight": "300"'
expect_code "it is unpublished" 0 "{}" csi ControllerUnpublishVolume "$(volume t '"node_id": "host-1"')"
expect_code "... and ends" 0 "{}" csi DeleteVolume "$(volume t)"
expect_equal "... with its namespaces" "6 6 6 6" "$(entries) $(namespaces)"

expect_code "they are listed" 0 '"next_token": "v2"' csi ListVolumes '{"max_entries": 2}'
expect_code "... from there on" 0 '"volume_id": "v3".*"volume_id": "v6"' csi ListVolumes '{"starting_token": "v2"}'
expect_code "... to the end" 0 '"entries": \[\]' csi ListVolumes '{"starting_token": "v6"}'
expect_code "a use is validated" 0 '"confirmed": \{.*"mode": 1' csi ValidateVolumeCapabilities "$(volume v1 "$one_capability")"
expect_code "... or not" 0 '"message": ".*one node' csi ValidateVolumeCapabilities "$(volume v1 '"volume_capabilities": [{"mount": {}, "access_mode": {"mode": 5}}]')"
for number in 2 3 4 5 6; do expect_code "volume v$number ends" 0 "{}" csi DeleteVolume "$(volume "v$number")"; done
expect_code "... twice" 0 "{}" csi DeleteVolume "$(volume v6)"
expect_equal "... with its namespaces" "1 1 1 1" "$(entries) $(namespaces)"

# A node has it.
expect_code "it is published" 0 "\"members\": \"$address:[0-9]+/[^,]+/1,$address:[^,]+,$address:[^,]+\", \"takeOver\": \"false\"" \
  csi ControllerPublishVolume "$(publish v1 host-1)"
expect_code "... twice" 0 '"takeOver": "false"' csi ControllerPublishVolume "$(publish v1 host-1)"
expect_code "... but not read-only" 3 "not published to a node read-only" csi ControllerPublishVolume "$(publish v1 host-1 '"readonly": true')"
expect_code "... nor to another node" 9 "published to node host-1" csi ControllerPublishVolume "$(publish v1 host-2)"
expect_code "... which is told" 0 '"published_node_ids": \["host-1"\]' csi ControllerGetVolume "$(volume v1)"
expect_code "... in the list, too" 0 '"published_node_ids": \["host-1"\]' csi ListVolumes
expect_code "it does not end meanwhile" 9 "published to node host-1: unpublish it first" csi DeleteVolume "$(volume v1)"
expect_code "... or grow" 9 "grows while no node has it" csi ControllerExpandVolume "$(volume v1 "$(bytes 67108864)")"
expect_code "another node's word changes nothing" 0 "{}" csi ControllerUnpublishVolume "$(volume v1 '"node_id": "host-2"')"
expect_code "... the volume is the first one's" 0 '"published_node_ids": \["host-1"\]' csi ControllerGetVolume "$(volume v1)"

# It may grow when no node has it, and then only once something is known of it.
expect_code "it is unpublished" 0 "{}" csi ControllerUnpublishVolume "$(volume v1 '"node_id": "host-1"')"
expect_code "... twice" 0 "{}" csi ControllerUnpublishVolume "$(volume v1 '"node_id": "host-1"')"
expect_code "a blank volume does not grow" 9 "v1 is blank" csi ControllerExpandVolume "$(volume v1 "$(bytes 67108864)")"
expect_code "... but is as large as it is" 0 '"capacity_bytes": "33554432"' csi ControllerExpandVolume "$(volume v1 "$(bytes 33554432)")"
expect_code "... nor smaller" 11 "does not shrink" csi ControllerExpandVolume "$(volume v1 "$(bytes 0 1048576)")"

# Calls during which the driver is killed. What it has begun goes on or is settled; the next call makes it true.
for round in $(seq "${CONTROLLER_KILLS:-3}"); do
  for call in CreateVolume DeleteVolume; do
    if [ "$call" = CreateVolume ]; then text=$(create k) left="2 2 2 2"; else text=$(volume k) left="1 1 1 1"; fi
    require "round $round: $call begins" csi begin "$call" "$text"
    outlast_milliseconds=$((RANDOM % 300))
    wait_until 2 eval "[ \"\${EPOCHREALTIME/[.,]/}\" -ge $((${EPOCHREALTIME/[.,]/} + outlast_milliseconds * 1000)) ]"
    stop_controller KILL
    csi await >/dev/null
    require "... another driver begins (after $outlast_milliseconds ms)" start_controller
    check "... and does it" wait_until 30 csi "$call" "$text"
    expect_equal "... once, with nothing else left" "$left" "$(entries) $(namespaces)"
  done
done

if [ "$(id -u)" -ne 0 ] || [ ! -w /dev/fuse ] || [ ! -w /dev/loop-control ] || ! command -v nbdfuse >/dev/null; then
  skip "two nodes use a volume" "this needs root, /dev/fuse, loop devices and nbdfuse (Debian's libnbd-bin)"
  done_testing
fi
at_exit 'for path in $(awk "{print \$5}" /proc/self/mountinfo | grep "^$tap_folder" | sort -r); do umount -l "$path"; done'
at_exit 'for device in $(losetup -n -O NAME,BACK-FILE | awk -v f="$tap_folder" "index(\$2, f) {print \$1}"); do losetup -d "$device"; done'
node_pids=()
at_exit '[ ${#node_pids[@]} -eq 0 ] || kill -KILL "${node_pids[@]}"'
# start_node NUMBER [OPTION...]: a daemon and a driver, as host-NUMBER has them.
start_node() {
  local folder=$tap_folder/host$1
  mkdir -p "$folder/pods" "$folder/v1"
  "$volumed" --hostnqn "nqn.2026-11.io.tercet:host-$1" --nbd "$folder/nbd.sock" --control "$folder/volumed.sock" --device spare=ram:1M \
    >"$folder/volumed.log" 2>&1 </dev/null &
  node_pids+=($!)
  "$node" serve --program "$driver" --socket "$folder/volumed.sock" --nbd-socket "$folder/nbd.sock" --run-folder "$folder/run" \
    --device nbdfuse --node "host-$1" --endpoint "unix://$folder/csi.sock" "${@:2}" >"$folder/driver.log" 2>&1 </dev/null &
  node_pids+=($!)
  tap_logs+=("$folder/volumed.log" "$folder/driver.log")
  wait_until 30 node_serves "$1"
}
# The client's descriptors are this shell's alone: its answers go through a file.
node_serves() {
  on "$1" Check '{"service": "csi.v1.Node"}' >"$tap_folder/answer" && grep -q '"status": 1' "$tap_folder/answer"
}
on() { csi at "$tap_folder/host$1/csi.sock" "${@:2}"; }
staging() { volume v1 "\"staging_target_path\": \"$tap_folder/host$1/v1/mount\"" "${@:2}"; }
stage() { staging "$1" "\"volume_capability\": $file_system" "\"publish_context\": $context"; }
at_pod() { volume v1 "\"target_path\": \"$tap_folder/host$1/pods/a\""; }
pod() { staging "$1" "\"target_path\": \"$tap_folder/host$1/pods/a\"" "\"volume_capability\": $file_system"; }
# publish_to NUMBER: publishes the volume to a node, and keeps what the node is to know.
publish_to() {
  csi ControllerPublishVolume "$(publish v1 "host-$1")" >"$tap_folder/answer" || return
  context=$(python3 -c 'import json, sys; print(json.dumps(json.load(sys.stdin)["publish_context"]))' <"$tap_folder/answer")
}
expect_equal "no node is known" "" "$(timeout 20 "$tercet" node list)"
require "node host-1 starts" start_node 1 --domain domain-1
expect_code "... and tells its failure domain" 0 '"accessible_topology": \{"segments": \{"topology.csi.tercet/domain": "domain-1"\}\}' on 1 NodeGetInfo
require "node host-2 starts, which could be the controller, too" \
  start_node 2 --controller --with-node --tercet "$tercet" --hostnqn "$manager"
expect_code "... and says so" 0 '"service": \{"type": 1\}' on 2 GetPluginCapabilities
expect_code "... and is ready for both" 0 '"ready": true' on 2 Probe
expect_code "... and answers what a controller is asked" 0 '"volume_id": "v1"' on 2 ListVolumes
expect_code "... and a node" 0 '"node_id": "host-2"' on 2 NodeGetInfo
expect_code "... twice" 0 '"node_id": "host-2"' on 2 NodeGetInfo
expect_equal "both are known" "host-1: domain domain-1 host-2" "$(timeout 20 "$tercet" node list | tr '\n' ' ' | sed 's/ $//')"
expect_code "no other has a volume published" 5 "no node host-3 in the registry" csi ControllerPublishVolume "$(publish v1 host-3)"
expect_code "... nor is it said to have one" 0 '"published_node_ids": \[\]' csi ControllerGetVolume "$(volume v1)"
check "a node is taken out" timeout 20 "$tercet" node remove host-1
expect_code "... and unknown" 5 "no node host-1" csi ControllerPublishVolume "$(publish v1 host-1)"
expect_refusal "... and is not taken out twice" "node host-1: there is none" timeout 20 "$tercet" node remove host-1
expect_code "... until it says that it is there" 0 '"node_id": "host-1"' on 1 NodeGetInfo
expect_code "its volume's limits are changed" 0 "{}" modify v1 '"iosPerSecond": "100000", "weight": "250"'

check "the volume is published to a node" publish_to 1
expect_code "... which makes a file system" 0 "{}" on 1 NodeStageVolume "$(stage 1)"
expect_output "... and limits its users" "iosPerSecond=100000.* weight=250" grep "limits changed" "$tap_folder/host1/volumed.log"
expect_code "... and lets go of it" 0 "{}" on 1 NodeUnstageVolume "$(staging 1)"
expect_code "it is unpublished" 0 "{}" csi ControllerUnpublishVolume "$(volume v1 '"node_id": "host-1"')"
expect_code "it grows" 0 '"capacity_bytes": "67108864", "node_expansion_required": true' csi ControllerExpandVolume "$(volume v1 "$(bytes 67108864)")"
expect_code "... twice" 0 '"capacity_bytes": "67108864"' csi ControllerExpandVolume "$(volume v1 "$(bytes 67108864)")"
expect_code "... but not out of its pools" 8 "no room" csi ControllerExpandVolume "$(volume v1 "$(bytes 1073741824)")"
check "it is published again" publish_to 1
expect_code "... and staged" 0 "{}" on 1 NodeStageVolume "$(stage 1)"
expect_code "... twice" 0 "{}" on 1 NodeStageVolume "$(stage 1)"
expect_code "... and gives it to a pod" 0 "{}" on 1 NodePublishVolume "$(pod 1)"
expect_equal "the device has the new size" 67108864 "$(blockdev --getsize64 "$(findmnt -n -o SOURCE "$tap_folder/host1/v1/mount")")"
# Ext4 grows while it is mounted for those alone that may have the room of the superuser.
if capsh --has-p=cap_sys_resource 2>/dev/null; then
  expect_code "the file system grows" 0 '"capacity_bytes": "67108864"' on 1 NodeExpandVolume "$(volume v1 "\"volume_path\": \"$tap_folder/host1/pods/a\"")"
  expect_at_most "... to the new size" $(($(stat -f -c '%b * %S' "$tap_folder/host1/pods/a"))) 50000000
else
  skip "the file system grows" "this needs CAP_SYS_RESOURCE: online growth of ext4 is refused without"
fi
check "the pod writes" cp "$node" "$tap_folder/host1/pods/a/data"
check "... durably" sync -f "$tap_folder/host1/pods/a/data"
# The node is lost to the cluster, which takes the volume away from it. It is there, and goes on.
expect_code "the volume is taken away" 0 "{}" csi ControllerUnpublishVolume "$(volume v1 '"node_id": "host-1"')"
check "... and published to another node" publish_to 2
expect_equal "... which is to fence the first one" true "$(python3 -c 'import json, sys; print(json.loads(sys.argv[1])["takeOver"])' "$context")"
expect_code "... and does" 0 "{}" on 2 NodeStageVolume "$(stage 2)"
check "... with what was written" cmp "$node" "$tap_folder/host2/v1/mount/data"
writes() { dd if=/dev/urandom of="$tap_folder/host1/pods/a/late" bs=1M count=1 conv=fsync status=none; }
check_fails "the first one writes nothing any more" writes
check_fails "... that anybody reads" test -e "$tap_folder/host2/v1/mount/late"
expect_code "the volume does not end" 9 "published to node host-2" csi DeleteVolume "$(volume v1)"
expect_code "the first node lets go of it" 0 "{}" on 1 NodeUnpublishVolume "$(at_pod 1)"
check "... and of its stage" wait_until 30 on 1 NodeUnstageVolume "$(staging 1)"
expect_code "... though it is unpublished only at the controller's word" 0 "{}" csi ControllerUnpublishVolume "$(volume v1)"
expect_code "what a node still has attached does not end" 9 "has the volume attached" csi DeleteVolume "$(volume v1)"
expect_code "the other node lets go of it" 0 "{}" on 2 NodeUnstageVolume "$(staging 2)"
expect_code "the volume ends" 0 "{}" csi DeleteVolume "$(volume v1)"
expect_code "... twice" 0 "{}" csi DeleteVolume "$(volume v1)"
expect_equal "... and nothing is left" "0 0 0 0" "$(entries) $(namespaces)"

check "calls are logged" grep -q "CreateVolume: OK milliseconds=[0-9]* volume=v1" "$log"
expect_at_most "the controller is small (KiB)" 65536 "$(awk '/^VmRSS/ {print $2}' "/proc/$driver_pid/status")"
check "SIGTERM ends it" stop_controller TERM
check "the nodes end" eval 'kill "${node_pids[@]}"; wait "${node_pids[@]}"'
node_pids=()
check "the targets end in good order" stop_pools
done_testing
