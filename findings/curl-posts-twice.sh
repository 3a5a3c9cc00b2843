#!/usr/bin/env bash
# libcurl sends a POST a second time, without a word to its caller, where a connection of an earlier call ends without an answer.
#
# Version: curl and libcurl4 7.88.1-10+deb12u15 (Debian 12).
# Guess: a POST that got no answer fails with CURLE_GOT_NOTHING, and the caller decides whether to send it again.
# Seen: on a connection that is used again, libcurl tries once more over a new one; the server gets the request twice.
# Why it matters here: a server may have made a change before it died. The second attempt of a guarded transaction is refused then,
# and the client would take its own change for another's. Each change has a name of its own, by which it is found again.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
cd "$work"
apt-get download -qq curl=7.88.1-10+deb12u15 libcurl4=7.88.1-10+deb12u15 2>/dev/null ||
  { echo "these versions are not to be had any more: run apt-get update, or look again with newer ones"; exit 1; }
for package in *.deb; do dpkg-deb -x "$package" .; done
export LD_LIBRARY_PATH=$work/usr/lib/x86_64-linux-gnu
python3 - <<'PYTHON'
import socket, subprocess, threading

listener = socket.create_server(("127.0.0.1", 0))
place = f"http://127.0.0.1:{listener.getsockname()[1]}/"
bodies = []

def serve(connection):
    while data := connection.recv(65536):
        bodies.append(data.split(b"\r\n\r\n", 1)[1].decode())
        if len(bodies) == 2:
            return connection.close()
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

def accept():
    while True:
        threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

threading.Thread(target=accept, daemon=True).start()
status = subprocess.run(["usr/bin/curl", "-s", "-d", "one", place, "--next", "-s", "-d", "two", place]).returncode
print(f"sent: one, two; received: {', '.join(bodies)}; exit status {status}")
assert bodies == ["one", "two", "two"] and status == 0, "this has changed"
PYTHON
