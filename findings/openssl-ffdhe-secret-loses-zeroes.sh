#!/usr/bin/env bash
# The shared secret of a finite-field Diffie-Hellman exchange by openssl is shorter than its group, once in 256 times.
#
# Version: openssl 3.0.22-1~deb12u2 (Debian 12).
# Guess: with ffdhe2048 the derived secret always has 256 bytes, as a secret of X25519 always has 32.
# Seen: zero bytes at its beginning are left out, so that it has 255 bytes or fewer; with -pkeyopt dh_pad:1 it has 256.
# Why it matters here: DH-HMAC-CHAP hashes the secret with the length of the group. An implementation that takes the default
# fails to authenticate one host in 256, differently at each attempt, which looks like a broken network.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
cd "$work"
apt-get download -qq openssl=3.0.22-1~deb12u2 libssl3=3.0.22-1~deb12u2 2>/dev/null ||
  { echo "these versions are not to be had any more: run apt-get update, or look again with newer ones"; exit 1; }
for package in *.deb; do dpkg-deb -x "$package" .; done
export LD_LIBRARY_PATH=$work/usr/lib/x86_64-linux-gnu
openssl() { usr/bin/openssl "$@"; }

openssl version
make_key() { openssl genpkey -quiet -algorithm DH -pkeyopt group:ffdhe2048 -out "$1" 2>/dev/null || openssl genpkey -algorithm DH -pkeyopt group:ffdhe2048 -out "$1" 2>/dev/null; }
secret_size() { openssl pkeyutl -derive -inkey host.pem -peerkey controller.pub "$@" | wc -c; }

make_key controller.pem
openssl pkey -in controller.pem -pubout -out controller.pub
for attempt in $(seq 4000); do
  make_key host.pem
  size=$(secret_size)
  [ "$size" -eq 256 ] || break
done
padded=$(secret_size -pkeyopt dh_pad:1)
echo "exchange $attempt: the secret has $size bytes, with dh_pad:1 it has $padded"
[ "$size" -lt 256 ] && [ "$padded" -eq 256 ] || { echo "this has changed"; exit 1; }
