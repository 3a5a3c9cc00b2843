#!/usr/bin/env bash
# `nvme gen-dhchap-key --hmac=1 --secret=S` of nvme-cli 2.3 prints a key that does not hold S.
#
# Versions: nvme-cli 2.4+really2.3-3 with libnvme1 1.3-1+deb12u1 (Debian 12).
# Guess: DHHC-1:01: followed by base64 of the secret and its CRC-32; 01 names the hash with which both ends transform the secret
# when they authenticate, so that the text has to carry the secret itself.
# Seen: with --hmac=0 it is just that. With --hmac=1 it is base64 of HMAC-SHA-256(S, host NQN, "NVMe-over-Fabrics") and the CRC-32
# of that: the text says that it is to be transformed, and is transformed already. nvme-cli 3 prints S.
# Why it matters here: one secret gives two different keys in the two generations of the tool, for each host NQN another. A key
# that was made with one cannot be made again with the other; a store of secrets must keep the printed text, not S.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
cd "$work"
apt-get download -qq nvme-cli=2.4+really2.3-3 libnvme1=1.3-1+deb12u1 2>/dev/null ||
  { echo "these versions are not to be had any more: run apt-get update, or look again with newer ones"; exit 1; }
apt-get download -qq libjson-c5 libkeyutils1 libdbus-1-3 zlib1g 2>/dev/null || :
for package in *.deb; do dpkg-deb -x "$package" .; done
export LD_LIBRARY_PATH=$work/usr/lib/x86_64-linux-gnu:$work/lib/x86_64-linux-gnu
secret=000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f
nqn=nqn.2014-08.org.nvmexpress:uuid:00000000-0000-4000-8000-000000000001
usr/sbin/nvme gen-dhchap-key --secret=$secret --hmac=0 --nqn=$nqn >zero
usr/sbin/nvme gen-dhchap-key --secret=$secret --hmac=1 --nqn=$nqn >one
python3 - "$secret" "$nqn" "$(grep -h DHHC zero)" "$(grep -h DHHC one)" <<'P'
import base64, hashlib, hmac, struct, sys, zlib
secret, nqn, zero, one = bytes.fromhex(sys.argv[1]), sys.argv[2].encode(), sys.argv[3], sys.argv[4]
text = lambda hash, key: "DHHC-1:%02d:%s:" % (hash, base64.b64encode(key + struct.pack("<I", zlib.crc32(key))).decode())
transformed = hmac.new(secret, nqn + b"NVMe-over-Fabrics", hashlib.sha256).digest()
print("hmac 0 holds the secret:", zero == text(0, secret))
print("hmac 1 holds the secret:", one == text(1, secret))
print("hmac 1 holds the transformed secret:", one == text(1, transformed))
sys.exit(0 if (zero, one) == (text(0, secret), text(1, transformed)) else "this has changed")
P
