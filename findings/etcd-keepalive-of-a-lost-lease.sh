#!/usr/bin/env bash
# etcd answers the keep-alive of a lease that does not exist with success, and a lease of one second lasts two.
#
# Version: etcd-server 3.4.23-4+b4 (Debian 12), through its JSON gateway.
# Guess: a keep-alive of an unknown lease is "requested lease not found", as its revocation is; a lease lasts as long as was
# asked for, and a negative time is refused.
# Seen: status 200 with the lease's number and no TTL; asked for 1 s, or for -5 s, it grants 2 s (its election timeout and a
# half, in whole seconds). Revocation of the same lease is an error.
# Why it matters here: an owner that takes any answer for a renewed lease believes for ever that it owns the volume. An answer
# without a positive TTL is a lost lease, and what counts is the time that was granted.
set -euo pipefail
work=$(mktemp -d); trap 'kill $(jobs -p) 2>/dev/null || :; rm -rf "$work"' EXIT
cd "$work"
apt-get download -qq etcd-server=3.4.23-4+b4 2>/dev/null ||
  { echo "this version is not to be had any more: run apt-get update, or look again with a newer one"; exit 1; }
dpkg-deb -x etcd-server*.deb .
client=http://127.0.0.1:23792 peer=http://127.0.0.1:23802
usr/bin/etcd --data-dir data --listen-client-urls $client --advertise-client-urls $client --listen-peer-urls $peer \
  --initial-advertise-peer-urls $peer --initial-cluster default=$peer >log 2>&1 &
until curl -sf $client/health | grep -q true; do :; done
call() { curl -s -o answer -w '%{http_code} ' -X POST -d "$2" "$client/v3/$1"; sed -E 's/"header":\{[^}]*\},?//; s/"ID":"[0-9]{6,}",?//; s/,"message".*/}/' answer; echo; }
{
  echo "keep alive: $(call lease/keepalive '{"ID":"12345"}')"
  echo "revoke: $(call lease/revoke '{"ID":"12345"}')"
  echo "one second: $(call lease/grant '{"TTL":"1"}')"
  echo "minus five: $(call lease/grant '{"TTL":"-5"}')"
} | sed '/^$/d' | tee seen
diff seen - <<'SEEN' || { echo "this has changed"; exit 1; }
keep alive: 200 {"result":{"ID":"12345"}}
revoke: 404 {"error":"etcdserver: requested lease not found"}
one second: 200 {"TTL":"2"}
minus five: 200 {"TTL":"2"}
SEEN
