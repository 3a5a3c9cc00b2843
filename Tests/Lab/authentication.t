#!/usr/bin/env bash
# Linux's own host shows who it is, and has the target show it too: hash functions and groups, wrong keys, a restart, and keys that
# are replaced under load. Keys are nvme-cli's and our own.
. "$(dirname "$0")/lab.sh"

configuration=$tap_folder/tercetd.json
tercet=${TERCET:-$project/.build/release/tercet}
if [ "$target" != tercetd ]; then
  skip "authentication" "the kernel's own target is configured otherwise"
  done_testing
  exit
fi
# Linux 6.1 takes the options where it has no authentication, too.
if ! modprobe --dry-run --quiet nvme-auth && ! modprobe --dry-run --quiet nvme-common; then
  skip "authentication" "this kernel's host has none (CONFIG_NVME_HOST_AUTH)"
  done_testing
  exit
fi

# make_key FILE TOOL ARGUMENT...: a key in a file.
make_key() { (umask 077 && "${@:2}" >"$tap_folder/$1"); }
key() { cat "$tap_folder/$1"; }

# configure HASH GROUP: what the target demands of the host, with the keys in the files key and controller-key.
configure() {
  cat >"$configuration" <<JSON
{
  "listeners": [ { "address": "$address4", "port": $port } ],
  "subsystems": [
    {
      "nqn": "$nqn",
      "hosts": [
        {
          "nqn": "$host_nqn", "keyFile": "$tap_folder/key",
          "controllerKeyFile": "$tap_folder/controller-key"
        }
      ],
      "authentication": { "hashes": [ "$1" ], "groups": [ "$2" ], "formerKeySeconds": 600 },
      "namespaces": [ { "nsid": 1, "backing": "$path" } ]
    }
  ]
}
JSON
}
reloads() { grep -c "reload over" "$tercetd_log" || :; }
reload() { configure "$@" && before=$(reloads) && kill -HUP "$tercetd_pid" && wait_until 30 has_reloaded; }
has_reloaded() { [ "$(reloads)" -gt "$before" ]; }
start_configured() { start_tercetd --config "$configuration" && wait_until 30 listening; }
not_live() { ! state_is "$controller" live; }

require "there is a drive" choose_backend drive4096
require "nvme-cli makes a key" make_key key nvme gen-dhchap-key --hmac=1 --nqn="$host_nqn"
require "tercet makes another one" make_key controller-key "$tercet" key make --hash sha512
configure sha256 ffdhe2048
require "the target starts" start_configured

# connects NAME OPTION...: connects, writes and reads, disconnects.
connects() {
  local name=$1
  shift
  check "$name" connect "$nqn" --nr-io-queues=1 "$@" || return
  check "... and write" dd if=/dev/urandom of="$namespace" bs=64k count=4 oflag=direct conv=fsync
  check "... and disconnect" disconnect
}
one_way=(--dhchap-secret="$(key key)")
both_ways=("${one_way[@]}" --dhchap-ctrl-secret="$(key controller-key)")

connects "one way with SHA-256 and ffdhe2048" "${one_way[@]}"
check "the target wants SHA-384 and ffdhe3072" reload sha384 ffdhe3072
connects "both ways with SHA-384 and ffdhe3072" "${both_ways[@]}"
check "the target wants SHA-512 and ffdhe4096" reload sha512 ffdhe4096
connects "both ways with SHA-512 and ffdhe4096" "${both_ways[@]}"
check "the target wants SHA-256 and no group" reload sha256 null
connects "both ways with SHA-256 and no group" "${both_ways[@]}"

refused() {
  expect_refusal "$1" "." nvme connect -t rdma -a "$address4" -s "$port" -n "$nqn" --hostnqn="$host_nqn" --hostid="$host_id" "${@:2}"
}
require "a key that the target does not know" make_key other nvme gen-dhchap-key --hmac=0
failures() { grep -c "host not authenticated" "$tercetd_log" || :; }
expect_equal "so far nobody has failed" 0 "$(failures)"
refused "a host with a wrong key is refused" --dhchap-secret="$(key other)"
refused "... and again" --dhchap-secret="$(key other)"
expect_output "the target has said so once, with the host's name" "^1$" grep -c "host not authenticated.*$host_nqn" "$tercetd_log"
refused "a host that does not believe the target does not connect" "${one_way[@]}" --dhchap-ctrl-secret="$(key other)"
refused "a host without a key is refused"
expect_equal "no key is in the log" "" "$(grep -oFf <(cut -d : -f 3 "$tap_folder/key" "$tap_folder/controller-key" "$tap_folder/other") "$tercetd_log")"

check "the target wants SHA-256 and ffdhe2048 again" reload sha256 ffdhe2048
require "connect both ways" connect "$nqn" --nr-io-queues=1 --keep-alive-tmo=5 --ctrl-loss-tmo=120 "${both_ways[@]}"
check "fio starts" start_load
mark_load
check "fio makes progress" wait_until 60 load_moves
check "the target is killed" kill_target
check "... the host notices" wait_until 30 not_live
check "... the target starts again" start_configured
check "... the host has shown anew who it is" wait_until 60 state_is "$controller" live
failed_before=$(failures)
require "a new key" make_key key nvme gen-dhchap-key --hmac=0
check "the target takes it" reload sha256 ffdhe2048
mark_load
check "... fio goes on" wait_until 60 load_moves
check "the host takes it, and shows with it who it is" tee "/sys/class/nvme/$controller/dhchap_secret" <"$tap_folder/key"
mark_load
check "... fio goes on" wait_until 60 load_moves
expect_equal "nobody has failed" "$failed_before" "$(failures)"
check "no I/O failed and all that fio read was right" end_load
check "disconnect" disconnect
check "the target ends in good order" stop_target

# The other way round: our host, and Linux's own target.
target=nvmet
require "Linux's target starts" start_target "$nqn=ram:64M"
linux_host=$nvmet/hosts/$host_nqn linux_subsystem=$nvmet/subsystems/$nqn
# demand FILE VALUE: tells Linux's target what it wants of the host.
demand() { echo "$2" >"$linux_host/$1"; }
require "... with a host" mkdir "$linux_host"
require "... whose key it knows" demand dhchap_key "$(key key)"
require "... to which it shows its own" demand dhchap_ctrl_key "$(key controller-key)"
echo 0 >"$linux_subsystem/attr_allow_any_host"
require "... and which may connect" ln -s "$linux_host" "$linux_subsystem/allowed_hosts/"
at_exit 'rm -f "$linux_subsystem/allowed_hosts/$host_nqn"; rmdir "$linux_host"'
our_host() {
  TERCET_KEY_FILE=$tap_folder/$1 TERCET_CONTROLLER_KEY_FILE=${2:+$tap_folder/$2} timeout 120 \
    "$tercet" connect-test -a "$address4" -s "$port" -n "$nqn" --hostnqn "$host_nqn"
}
for pair in "sha256 null" "sha384 ffdhe2048" "sha512 ffdhe4096"; do
  read -r hash group <<<"$pair"
  check "it wants $hash and $group" eval "demand dhchap_hash 'hmac($hash)' && demand dhchap_dhgroup $group"
  if [ "$group" = null ]; then
    expect_refusal "... our host, which does not offer that, does not connect" "no Diffie-Hellman group" our_host key controller-key
  else
    check "... our host is let in, and believes it" our_host key controller-key
  fi
done
# Linux's target may end the connection before it says why.
expect_refusal "our host with another key is refused" "does not know this host's key|ended the connection" our_host other
expect_refusal "our host does not believe a target with another key" "the controller has another key" our_host key other
check_kernel_log "the kernel has nothing to complain about, but for what was wrong" \
  'starting error recovery|no usable path - requeuing|failed nvme_keep_alive_end_io|[Kk]eep.?[Aa]live|Reconnecting in|rdma_resolve_route failed|authentication|Connect rejected|failed to connect|Connect Invalid|DHCHAP|dhchap|qid [0-9]+: |nvmet: ctrl [0-9]+ (qid [0-9]+ failure1|fatal error)'
done_testing
