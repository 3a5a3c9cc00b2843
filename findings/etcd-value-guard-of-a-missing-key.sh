#!/usr/bin/env bash
# etcd: "the value is not X" is false for a key that does not exist.
#
# Version: etcd-server 3.4.23-4+b4 (Debian 12).
# Guess: a key that is not there does not have the value X, so that the comparison VALUE NOT_EQUAL X holds.
# Seen: comparisons of values never hold for a missing key, neither EQUAL nor NOT_EQUAL; those of versions and revisions take a
# missing key for one with zero.
# Why it matters here: "write, unless somebody else is the owner" guarded by the owner's value never succeeds for the first owner.
# A guard on a record that may be missing compares its revision.
set -euo pipefail
work=$(mktemp -d); trap 'kill $(jobs -p) 2>/dev/null || :; rm -rf "$work"' EXIT
cd "$work"
apt-get download -qq etcd-server=3.4.23-4+b4 2>/dev/null ||
  { echo "this version is not to be had any more: run apt-get update, or look again with a newer one"; exit 1; }
dpkg-deb -x etcd-server*.deb .
client=http://127.0.0.1:23794 peer=http://127.0.0.1:23804
usr/bin/etcd --data-dir data --listen-client-urls $client --advertise-client-urls $client --listen-peer-urls $peer \
  --initial-advertise-peer-urls $peer --initial-cluster default=$peer >log 2>&1 &
until curl -sf $client/health | grep -q true; do :; done

key=$(printf owner | base64) value=$(printf other | base64)
# holds NAME COMPARISON: whether a transaction with this comparison on a key that does not exist succeeds.
holds() {
  local answer
  answer=$(curl -s -X POST -d "{\"compare\":[{\"key\":\"$key\",$2}],\"success\":[]}" $client/v3/kv/txn)
  case $answer in *'"succeeded":true'*) echo "$1: holds" ;; *'"error"'*) echo "$1: $answer" ;; *) echo "$1: does not hold" ;; esac
}
{
  holds "value = other" "\"target\":\"VALUE\",\"result\":\"EQUAL\",\"value\":\"$value\""
  holds "value != other" "\"target\":\"VALUE\",\"result\":\"NOT_EQUAL\",\"value\":\"$value\""
  holds "version = 0" "\"target\":\"VERSION\",\"result\":\"EQUAL\",\"version\":\"0\""
  holds "mod revision < 5" "\"target\":\"MOD\",\"result\":\"LESS\",\"mod_revision\":\"5\""
} | tee seen
diff seen - <<'SEEN' || { echo "this has changed"; exit 1; }
value = other: does not hold
value != other: does not hold
version = 0: holds
mod revision < 5: holds
SEEN
