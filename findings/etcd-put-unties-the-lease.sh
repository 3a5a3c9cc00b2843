#!/usr/bin/env bash
# etcd: a key that is written again without its lease outlives that lease.
#
# Version: etcd-server 3.4.23-4+b4 (Debian 12).
# Guess: a key that was put under a lease goes with the lease, whatever is written to it meanwhile.
# Seen: a second put without the lease unties the key: after the lease was revoked it is still there. With ignore_lease, or the
# lease given again, it goes.
# Why it matters here: a daemon that owns a volume under a lease and updates the owner's record must name the lease in each update.
# Else the record stays when the daemon has died, and nobody takes over.
set -euo pipefail
work=$(mktemp -d); trap 'kill $(jobs -p) 2>/dev/null || :; rm -rf "$work"' EXIT
cd "$work"
apt-get download -qq etcd-server=3.4.23-4+b4 2>/dev/null ||
  { echo "this version is not to be had any more: run apt-get update, or look again with a newer one"; exit 1; }
dpkg-deb -x etcd-server*.deb .
client=http://127.0.0.1:23795 peer=http://127.0.0.1:23805
usr/bin/etcd --data-dir data --listen-client-urls $client --advertise-client-urls $client --listen-peer-urls $peer \
  --initial-advertise-peer-urls $peer --initial-cluster default=$peer >log 2>&1 &
until curl -sf $client/health | grep -q true; do :; done

call() { curl -s -X POST -d "$2" "$client/v3/$1"; }
first=$(printf first | base64) second=$(printf second | base64)
# after NAME SECOND-PUT: whether the key is there when its lease has been revoked after a second put.
after() {
  local key lease
  key=$(printf '%s' "$1" | base64)
  lease=$(call lease/grant '{"TTL":"600"}' | sed -E 's/.*"ID":"([0-9]+)".*/\1/')
  call kv/put "{\"key\":\"$key\",\"value\":\"$first\",\"lease\":\"$lease\"}" >answer
  call kv/put "{\"key\":\"$key\",\"value\":\"$second\"${2//LEASE/$lease}}" >answer
  call lease/revoke "{\"ID\":\"$lease\"}" >answer
  if call kv/range "{\"key\":\"$key\"}" | grep -q '"kvs"'; then echo "$1: still there"; else echo "$1: gone"; fi
}
{
  after "put again without the lease" ''
  after "put again with ignore_lease" ',"ignore_lease":true'
  after "put again with the lease" ',"lease":"LEASE"'
} | tee seen
diff seen - <<'SEEN' || { echo "this has changed"; exit 1; }
put again without the lease: still there
put again with ignore_lease: gone
put again with the lease: gone
SEEN
