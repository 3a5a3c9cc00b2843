#!/usr/bin/env bash
# swift-foundation's String(contentsOfFile:) returns the first piece of a file of procfs, and says nothing of the rest.
#
# Version: the Foundation of Swift 6.3.1 (swift.org's toolchain for Linux).
# Guess: /proc/self/mountinfo is read to its end, as `cat` reads it, or the call fails.
# Seen: such a file has size 0, and one read(2) gives at most a page of it. Foundation stops at the first read that is shorter than its
# buffer: of a table of mounts that is longer than a page only the first lines are there. No error is thrown. FileManager.contents(atPath:)
# does the same, and FileHandle.readToEnd() reads all.
# Why it matters here: a node agent that looks for its mount in this table finds none where the host has many others, and would mount again,
# or call a device free that is mounted.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
cd "$work"
swiftc --version 2>/dev/null | grep -q 'Swift version 6\.3\.1 ' ||
  { echo "this is not Swift 6.3.1: look again with it, or with a newer one"; exit 1; }
cat >read.swift <<'SWIFT'
import Foundation

let path = CommandLine.arguments[1]
print("String", try String(contentsOfFile: path, encoding: .utf8).utf8.count)
print("FileManager", FileManager.default.contents(atPath: path)?.count ?? -1)
print("FileHandle", try FileHandle(forReadingAtPath: path)?.readToEnd()?.count ?? -1)
SWIFT
swiftc read.swift -o read
# A file of procfs that is longer than a page, whatever the machine: the symbols of the kernel.
path=/proc/kallsyms
bytes=$(wc -c <$path)
./read $path | tee seen
echo "wc $bytes"
string=$(awk '/^String/ {print $2}' seen)
handle=$(awk '/^FileHandle/ {print $2}' seen)
[ "$string" -lt 8192 ] && [ "$bytes" -gt 8192 ] && [ "$handle" -gt 8192 ] || { echo "this has changed"; exit 1; }
