#!/usr/bin/env bash
# Hosts and targets show each other who they are: keys like nvme-cli's, both ways, wrong and missing ones, keys that are replaced
# under load, a volume whose members want keys, and nothing that shows one.
. "$(dirname "$0")/native.sh"

control=$tap_folder/control.sock
configuration=$tap_folder/tercetd.json
host=nqn.2026-11.io.tercet:host
keys=$tap_folder/keys
mkdir "$keys"

key() { timeout 20 "$tercet" key "$@"; }
check "a key is made" key make --output "$keys/host"
expect_equal "... in a file of its user alone" 600 "$(stat -c %a "$keys/host")"
expect_refusal "... which is not replaced" "$keys/host: is there already: name another file" key make --output "$keys/host"
check "nvme-cli finds it good" nvme check-dhchap-key --key="$(cat "$keys/host")"
for hash in none sha256 sha384 sha512; do
  check "... and one for $hash" nvme check-dhchap-key --key="$(key make --hash "$hash")"
done
check "... and one of 64 bytes" nvme check-dhchap-key --key="$(key make --hash none --bytes 64)"
expect_refusal "48 bytes are too few for SHA-512" "allowed for sha512: 64" key make --hash sha512 --bytes 48
nvme gen-dhchap-key --hmac=2 >"$keys/controller"
chmod 640 "$keys/controller"
expect_output "nvme-cli's key is good" "48 bytes, made a name's own by sha384" key check "$keys/controller"
expect_output "... also from the standard input" "the key is good" bash -c "'$tercet' key check <'$keys/controller'"
tr 'A-Za-z' 'B-ZAb-za' <"$keys/controller" >"$keys/damaged"
expect_refusal "a key that was mistyped is refused" "allowed:|check value" key check "$keys/damaged"
key make --output "$keys/other"

cat >"$configuration" <<JSON
{
  "reactors": 2,
  "listeners": [ { "address": "$address", "port": $port } ],
  "subsystems": [
    {
      "nqn": "$nqn",
      "hosts": [ { "nqn": "$host", "keyFile": "$keys/host", "controllerKeyFile": "$keys/controller" } ],
      "authentication": { "groups": [ "ffdhe3072" ], "formerKeySeconds": 600 },
      "namespaces": [ { "nsid": 1, "backing": "ram:64M" } ]
    }$(for number in 1 2 3; do
    echo ", { \"nqn\": \"$nqn.$number\", \"hosts\": [ { \"nqn\": \"$host\", \"key\": \"$(cat "$keys/host")\" } ],"
    echo "\"namespaces\": [ { \"nsid\": 1, \"backing\": \"ram:16M\" } ] }"
  done)
  ]
}
JSON
start() {
  start_tercetd --config "$configuration" --control "$control"
  wait_until 20 target_listens
}
require "the target starts" start

# with HOST-KEY CONTROLLER-KEY COMMAND...: runs a command with keys; - for none.
with() {
  local host_key=$1 controller_key=$2
  shift 2
  [ "$host_key" = - ] || export TERCET_KEY_FILE=$keys/$host_key
  [ "$controller_key" = - ] || export TERCET_CONTROLLER_KEY_FILE=$keys/$controller_key
  "$@"
}
connects() { (with "$1" "$2" tercet connect-test -i 2 --hostnqn "$host"); }

check "a host with its key is let in" connects host -
check "... and believes the target that has the controller's key" connects host controller
expect_refusal "a host with another key is refused, and hears why" "does not know this host's key" connects other -
expect_refusal "a host without a key is refused" "wants this host to show a key" connects - -
expect_refusal "a target with another key is not believed" "the controller has another key" connects host other
expect_output "the target says which host it was" "not authenticated.*$host" cat "$tercetd_log"
chmod 644 "$keys/other"
expect_refusal "a key that others may read is not used" "chmod 600" connects other -
chmod 600 "$keys/other"

# A target that asks for nothing stands in for the right one.
first_pid=$tercetd_pid
at_exit "kill -KILL $first_pid"
port=$((port + 1))
require "another target starts" export_target ram:1M
expect_refusal "a target that does not authenticate is not believed" "the controller does not authenticate" \
  connects host controller
check "... and ends in good order" stop_tercetd
tercetd_pid=$first_pid port=$((port - 1))

# The load has a copy of the key: the key is replaced while it connects.
cp "$keys/host" "$keys/former"
load() { (with former controller bench --hostnqn "$host" --rw randrw --bs 4k --iodepth 16 --queues 2 --size 4m --runtime "$1"); }
load 6 >"$tap_folder/bench" 2>&1 &
load_pid=$!
at_exit "kill -KILL $load_pid"
target() { timeout 60 "$tercet" target "$@" --socket "$control"; }
key make >"$keys/host"
expect_output "the target takes a new key, beside the former one" "keys differ" \
  target set host "$nqn" "$host" --key-file "$keys/host" --controller-key-file "$keys/controller"
check "... a host with the new one is let in" connects host controller
check "... and one with the former one" connects former controller
target set subsystem "$nqn" 'authentication={"groups":["ffdhe2048"]}' >"$tap_folder/set"
key make >"$keys/host"
expect_output "without a time for the former key" "keys differ" \
  target set host "$nqn" "$host" --key-file "$keys/host"
expect_refusal "... it is refused at once" "does not know this host's key" connects former -
check "... and the new one is not" connects host -
wait "$load_pid"
report $? "no I/O of the host that was there has failed"

members=()
for number in 1 2 3; do members+=(--member "$address:$port/$nqn.$number/1"); done
volume() { (with former - timeout 60 "$tercet" volume "$1" "${members[@]}" --hostnqn "$host" "${@:2}"); }
check "a volume is made of members that want keys" volume create
expect_output "... and is whole" "in sync" volume status

target show --json >"$tap_folder/state"
expect_output "the target shows its hosts" "$host" cat "$tap_folder/state"
check "the target ends in good order" stop_tercetd
cut -d : -f 3 "$keys"/* | grep . >"$tap_folder/secrets"
expect_equal "no log and no answer of the control socket has a key in it" "" \
  "$(grep -oFf "$tap_folder/secrets" "$tercetd_log" "$tap_folder/state" "$tap_folder/bench")"

done_testing
