#!/usr/bin/env bash
# etcd's JSON gateway carries out a transaction whose condition it has not understood.
#
# Version: etcd-server 3.4.23-4+b4 (Debian 12).
# Guess: a member that the message does not have, such as "compares" for "compare", is an error, as a wrong name of a target is.
# Seen: status 200, succeeded: true, and the write is done without the condition. A target that does not exist is refused.
# Why it matters here: a compare-and-set of a volume's owner with one wrong letter overwrites the other owner's record, and
# answers as if it had won. A client needs typed bodies, and a self-test at its start: a guard that is false must fail.
set -euo pipefail
work=$(mktemp -d); trap 'kill $(jobs -p) 2>/dev/null || :; rm -rf "$work"' EXIT
cd "$work"
apt-get download -qq etcd-server=3.4.23-4+b4 2>/dev/null ||
  { echo "this version is not to be had any more: run apt-get update, or look again with a newer one"; exit 1; }
dpkg-deb -x etcd-server*.deb .
client=http://127.0.0.1:23791 peer=http://127.0.0.1:23801
usr/bin/etcd --data-dir data --listen-client-urls $client --advertise-client-urls $client --listen-peer-urls $peer \
  --initial-advertise-peer-urls $peer --initial-cluster default=$peer >log 2>&1 &
until curl -sf $client/health | grep -q true; do :; done
call() { curl -s -X POST -d "$2" "$client/v3/$1"; echo; }
b64() { printf %s "$1" | base64; }
call kv/put "{\"key\":\"$(b64 owner)\",\"value\":\"$(b64 first)\"}" >/dev/null
# guarded MEMBER TARGET: takes the record over if its value is "nobody", which it is not.
guarded() {
  call kv/txn "{\"$1\":[{\"key\":\"$(b64 owner)\",\"result\":\"EQUAL\",\"target\":\"$2\",\"value\":\"$(b64 nobody)\"}],
    \"success\":[{\"request_put\":{\"key\":\"$(b64 owner)\",\"value\":\"$(b64 second)\"}}]}"
}
owner() { call kv/range "{\"key\":\"$(b64 owner)\"}" | sed -nE 's/.*"value":"([^"]*)".*/\1/p' | base64 -d; echo; }
{
  guarded compare VALUE >answer; grep -q '"succeeded":true' answer && echo "compare: done" || echo "compare: not done, owner $(owner)"
  guarded compare valu >answer; grep -q '"error"' answer && echo "target valu: refused, owner $(owner)" || echo "target valu: taken"
  guarded compares VALUE >answer; grep -q '"succeeded":true' answer && echo "compares: done, owner $(owner)" || echo "compares: not done"
} | tee seen
diff seen - <<'SEEN' || { echo "this has changed"; exit 1; }
compare: not done, owner first
target valu: refused, owner first
compares: done, owner second
SEEN
