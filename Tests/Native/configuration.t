#!/usr/bin/env bash
# What a person meets who writes a configuration: errors in one line, and a reload that changes what differs.
. "$(dirname "$0")/../tap.sh"
. "$(dirname "$0")/../daemons.sh"
tercet=${TERCET:-$(dirname "$tercetd")/tercet}
library=$project/Tools/softverbs/build/libsoftverbs.so
[ -e "$library" ] && [ -x "$tercetd" ] || { echo "Bail out! tercetd and softverbs are not built"; exit 1; }
nqn=nqn.2026-11.io.tercet:test
host=(-q nqn.2014-08.org.nvmexpress:uuid:6d1a6a1e-0000-4000-8000-000000000001 -I 6d1a6a1e-0000-4000-8000-000000000001)
image=$tap_folder/disk.img
configuration=$tap_folder/tercetd.json

# refused STATUS LINE ARGUMENT...: the daemon ends with that status and says why with that line.
refused() {
  local expected=$1 line=$2 status=0 output
  shift 2
  output=$(LD_PRELOAD=$library timeout 20 "$tercetd" "$@" 2>&1 </dev/null) || status=$?
  output=$(grep '^tercetd: ' <<<"$output")
  expect_equal "refused with status $expected: $line" "$expected tercetd: $line" "$status $output"
}

truncate -s 10000 "$tap_folder/odd.img"
mkdir "$tap_folder/folder"
refused 2 "--export is missing; allowed: --export NQN=PATH" --listen 127.0.0.1
refused 1 "$tap_folder/none.img: there is no such file or device" \
  --listen 127.0.0.1 --export "$nqn=$tap_folder/none.img" --require-all
refused 1 "$tap_folder/folder: is a directory; a block device or a regular file is needed" \
  --listen 127.0.0.1 --export "$nqn=$tap_folder/folder" --require-all
refused 1 "$tap_folder/odd.img: its size of 10000 bytes is no multiple of the block size of 512 bytes" \
  --listen 127.0.0.1 --export "$nqn=$tap_folder/odd.img" --require-all
# A folder that cannot be looked into does not say that a host was never fenced.
refused 1 "the state directory cannot be used: open $tap_folder/odd.img: Not a directory" \
  --listen 127.0.0.1 --export "$nqn=ram:1M" --state-directory "$tap_folder/odd.img"
# What anybody may change is not believed.
mkdir -m 0702 "$tap_folder/open"
refused 1 "the state directory cannot be used: $tap_folder/open: anybody may write to it; take that away with chmod o-w $tap_folder/open" \
  --listen 127.0.0.1 --export "$nqn=ram:1M" --state-directory "$tap_folder/open"
refused 1 "$configuration: there is no such file" --config "$configuration"
echo '{ "listeners": [ { "address": "127.0.0.1" } ] }' >"$configuration"
chmod o+w "$configuration"
refused 1 "$configuration: anybody may write to it; take that away with chmod o-w $configuration" --config "$configuration"
chmod o-w "$configuration"
echo '{ "listeners": [ { "adress": "127.0.0.1" } ] }' >"$configuration"
refused 1 "$configuration:1:20: listeners[0].adress: unknown key; did you mean 'address'? allowed: address, port" \
  --config "$configuration"

# configure NGUID HOSTS [MORE [OTHERS]]: writes the configuration; MORE are namespaces, OTHERS subsystems.
configure() {
  cat >"$configuration" <<JSON
{
  "listeners": [ { "address": "127.0.0.1", "port": 4420 } ],
  "subsystems": [
    { "nqn": "$nqn", $2, "namespaces": [ { "nsid": 1, "backing": "$image", "nguid": "$1" }${3:+, $3} ] }${4:+, $4}
  ]
}
JSON
}

on_softverbs() { LD_PRELOAD=$library "$@"; }
identify() { on_softverbs "$tercet" identify -a 127.0.0.1 -n "$nqn" "${host[@]}" "$@"; }
shows() { identify --json | tr -d ' \n' | grep -q "$1"; }
other_shows() { on_softverbs "$tercet" identify -a 127.0.0.1 -n "$nqn.b" "${host[@]}" --json | tr -d ' \n' | grep -q "$1"; }
log_has() { grep -qF -- "$1" "$tercetd_log"; }

first=000102030405060708090a0b0c0d0e01
second=000102030405060708090a0b0c0d0e02
truncate -s 16M "$image"
configure "$first" '"allowAnyHost": true'
LD_PRELOAD=$library "$tercetd" --config "$configuration" >>"$tercetd_log" 2>&1 </dev/null &
tercetd_pid=$!
require "the daemon serves" wait_until 20 log_has serving
check "a host sees the identifier" wait_until 10 shows "$first"

refused 1 "$image: is in use already (its lock is held)" --listen 127.0.0.2 --export "$nqn=$image" --require-all

expect_refusal "a second daemon at the same address is refused" "tercetd: cannot listen at 127.0.0.1:4420: " \
  on_softverbs timeout 20 "$tercetd" --listen 127.0.0.1 --export "$nqn=ram:1M"

configure "$second" '"allowAnyHost": true' '{ "nsid": 2, "backing": "ram:8M" }'
kill -HUP "$tercetd_pid"
check "a reload is logged" wait_until 10 log_has "reload: subsystem $nqn: namespace 2 added (ram:8M)"
check "a host sees the new identifier of the same file" wait_until 10 shows "$second"
check_fails "and no longer the old one" shows "$first"
check "and the second namespace, of 16384 blocks" shows '"nsze":16384'
check "the log says what that did to the hosts" log_has "reload: subsystem $nqn: namespace 1 is made anew: its hosts lose it"

configure "$second" '"allowAnyHost": true' '{ "nsid": 2, "backing": "ram:8M", "anaGroup": 2 }'
kill -HUP "$tercetd_pid"
check "a reload that would empty memory is refused" \
  wait_until 10 log_has "namespace 2 is in memory and would lose its contents by this change"

# What cannot be opened at the first reload is there after the next one, and keeps nothing else away.
late=$tap_folder/late
configure_late() {
  configure "$second" '"allowAnyHost": true' \
    "{ \"nsid\": 2, \"backing\": \"ram:8M\" }, { \"nsid\": 3, \"backing\": \"$late.1\" }, { \"nsid\": 4, \"backing\": \"ram:1M\" }" \
    "{ \"nqn\": \"$nqn.b\", \"allowAnyHost\": true, \"namespaces\": [
       { \"nsid\": 1, \"backing\": \"$late.2\" }, { \"nsid\": 2, \"backing\": \"ram:2M\" } ] }"
}
configure_late
kill -HUP "$tercetd_pid"
check "a namespace that cannot be opened is named" \
  wait_until 10 log_has "reload: subsystem $nqn: namespace 3 is missing; it is tried again: $late.1: there is no such file or device"
check "... one of a new subsystem too" wait_until 10 log_has "reload: subsystem $nqn.b: namespace 1 is missing"
check "the namespace behind it is there" shows '"nsze":2048'
check "... that of the new subsystem too" other_shows '"nsze":4096'
over() { grep "reload over.* number=" "$tercetd_log" | sed -E 's/.*(reload over)/\1/; s/milliseconds=[0-9]+/milliseconds=N/; s/number=[0-9]+/number=N/'; }
over_with() { over | tail -n 1 | grep -qxE -- "reload over $1 number=N"; }
parts=("subsystem $nqn: namespace 3" "subsystem $nqn.b: namespace 1")
check "a reload says that it is over, and which parts are missing" wait_until 10 over_with \
  "changes=2 failed=2 milliseconds=N missing=(${parts[0]}, ${parts[1]}|${parts[1]}, ${parts[0]})"
truncate -s 3M "$late.1"
truncate -s 5M "$late.2"
kill -HUP "$tercetd_pid"
check "the next reload brings it" wait_until 10 shows '"nsze":6144'
check "... that of the new subsystem too" wait_until 10 other_shows '"nsze":10240'
kill -HUP "$tercetd_pid"
check "then there is nothing left to do" wait_until 10 log_has "reload: nothing has changed"

# A device that has gone, as a drive does that is pulled out, is opened anew when it is back.
rm "$late.1"
check "a device that vanishes is logged" wait_until 20 log_has "namespace vanished"
kill -HUP "$tercetd_pid"
check "while it is away a reload says so" wait_until 10 log_has "reload: subsystem $nqn: namespace 3 has vanished: $late.1: there is no such file or device"
truncate -s 7M "$late.1"
kill -HUP "$tercetd_pid"
check "the reload after it is back brings it" wait_until 10 shows '"nsze":14336'
check "... and leaves the others alone" shows '"nsze":2048'

# Each reload says when it is over, what it has done and what failed.
check "a reload says that it is over" grep -qE "reload over changes=2 failed=0 milliseconds=[0-9]+ missing= number=[0-9]+$" "$tercetd_log"
count=$(over | wc -l)
kill -HUP "$tercetd_pid"
one_more() { [ "$(over | wc -l)" -eq $((count + 1)) ]; }
check "... one that changes nothing too" wait_until 10 one_more

# A name without the form of an NQN, as nvmet's users have them, is taken; the rest of the file counts.
configure "$second" '"allowAnyHost": true' '{ "nsid": 2, "backing": "ram:8M" }' \
  '{ "nqn": "testnqn", "allowAnyHost": true, "namespaces": [ { "nsid": 65536, "backing": "ram:2M" } ] }'
kill -HUP "$tercetd_pid"
check "a name without the form of an NQN is remarked on" wait_until 10 log_has "reload: subsystem 'testnqn': an NQN begins with"
discovery_names() { on_softverbs "$tercet" discover -a 127.0.0.1 "${host[@]}" --json | grep -q "\"$1\""; }
check "... and listed by discovery" wait_until 10 discovery_names testnqn
names_taken() { on_softverbs "$tercet" identify -a 127.0.0.1 -n testnqn "${host[@]}" 2>&1 | grep "is taken as it is"; }
check "... and taken by commands, with a remark" names_taken
check_fails "... but not one that is too long" \
  on_softverbs "$tercet" identify -a 127.0.0.1 -n "nqn.2026-11.io.tercet:$(printf 'x%.0s' {1..250})" "${host[@]}"
check "... with the highest namespace identifier there is" log_has "nsid=65536 subsystem=testnqn"

# Memory is taken as hosts write to it: more of it than the machine has may do for a while.
configure "$second" '"allowAnyHost": true' '{ "nsid": 2, "backing": "ram:8M" }, { "nsid": 3, "backing": "ram:16T" }'
kill -HUP "$tercetd_pid"
huge() { log_has "namespace 3 added (ram:16T)" || log_has "of memory could not be had"; }
check "a namespace of 16 TiB of memory is told of" wait_until 10 huge
if log_has "of memory could not be had"; then
  skip "... with a remark" "this machine refuses so much"
else
  check "... with a remark" log_has "is larger than this machine's memory of "
  check "... and hosts see it" wait_until 10 shows '"nsze":34359738368'
fi

# Two targets serve one subsystem: each has identifiers of its own for controllers, and says at which listener hosts may work.
shared() {
  configure "$second" '"allowAnyHost": true' '{ "nsid": 2, "backing": "ram:8M" }' \
    "{ \"nqn\": \"$nqn.c\", \"allowAnyHost\": true, $1 \"namespaces\": [ { \"nsid\": 1, \"backing\": \"ram:2M\" } ] }"
  kill -HUP "$tercetd_pid"
}
third_shows() { on_softverbs "$tercet" identify -a 127.0.0.1 -n "$nqn.c" "${host[@]}" --json | tr -d ' \n' | grep -q "$1"; }
shared ''
check "a third subsystem is there" wait_until 10 third_shows '"cntlid"'
shared '"controllerIDs": { "first": 7, "last": 7 },
  "anaGroups": [ { "id": 1, "state": "inaccessible", "listener": { "address": "127.0.0.1" } } ],'
check "a group's state at a listener is taken on" \
  wait_until 10 log_has "reload: subsystem $nqn.c: ANA group 1 is inaccessible at 127.0.0.1:4420"
check "... and the range of identifiers" wait_until 10 log_has "reload: subsystem $nqn.c: new controllers are 7 to 7"
check "... which the next controller is of" wait_until 10 third_shows '"cntlid":7,'
third_reads() { LD_PRELOAD=$library timeout "$1" "$tercet" read -a 127.0.0.1 -n "$nqn.c" "${host[@]}" -o "$tap_folder/read"; }
# The initiator repeats what another path could do.
third_waits() { third_reads 3; [ $? -eq 124 ]; }
check "... and reads by that listener are not served" third_waits
shared ''
check "... and both are taken back" \
  wait_until 10 log_has "reload: subsystem $nqn.c: ANA group 1 is as at other listeners at 127.0.0.1:4420"
check "... after which a read by it succeeds" wait_until 10 third_reads 10

configure "$second" '"allowAnyHost": true' '{ "nsid": 5, "backing": "/none\nforged" }'
kill -HUP "$tercetd_pid"
check "a line feed in a name is shown, not obeyed" wait_until 10 log_has '/none\u{a}forged: there is no such file'
check_fails "... and begins no line" grep -q '^forged' "$tercetd_log"

configure "$second" '"hosts": ["nqn.2026-11.io.tercet:somebody-else"]'
kill -HUP "$tercetd_pid"
check "who may connect is logged" wait_until 10 log_has "reload: subsystem $nqn: 1 hosts may connect"
check_fails "a host that is not on the list is refused" identify
check "... and logged by its name" wait_until 10 log_has "host refused host=${host[1]} "

echo '{ "listeners": 5 }' >"$configuration"
kill -HUP "$tercetd_pid"
check "a reload with an error names its place" wait_until 10 log_has "$configuration:1:16: listeners: a number where an array"
check "... and says that it is over, with nothing done" wait_until 10 over_with "changes=0 failed=1 missing=all of it"
configure "$second" '"allowAnyHost": true'
kill -HUP "$tercetd_pid"
check "and the daemon goes on" wait_until 10 shows "$second"
check "it ends cleanly on SIGTERM" stop_tercetd

# A log that cannot be written, as on a full disk, is no reason to end.
LD_PRELOAD=$library "$tercetd" --config "$configuration" >/dev/full 2>&1 </dev/null &
tercetd_pid=$!
check "with a full disk under its log the daemon serves" wait_until 20 shows "$second"
check "... and ends cleanly" stop_tercetd

# What is missing at the start keeps nothing else away, and comes by itself.
: >"$tercetd_log"
LD_PRELOAD=$library "$tercetd" --listen 127.0.0.1 --export "$nqn=$tap_folder/away.img" --export "$nqn=ram:1M" \
  >>"$tercetd_log" 2>&1 </dev/null &
tercetd_pid=$!
check "with a backing away the daemon serves" wait_until 20 log_has serving
check "... the rest" wait_until 10 shows '"nsze":2048'
check "... and names what is missing" \
  log_has "subsystem $nqn: namespace 1 is missing: $tap_folder/away.img: there is no such file or device"
truncate -s 9M "$tap_folder/away.img"
check "what was missing comes without a reload" wait_until 30 shows '"nsze":18432'
check "... and that is said" log_has "tried again: subsystem $nqn: namespace 1 added"
check "it ends cleanly" stop_tercetd

# Two daemons with one command line, and two that were given one state directory.
identifiers() { on_softverbs "$tercet" identify -a "$1" -n "$nqn" "${host[@]}" --json | tr -d ' \n' | grep -oE '"(uuid|nguid)":"[^"]*"'; }
LD_PRELOAD=$library "$tercetd" --listen 127.0.0.1 --export "$nqn=ram:1M" >>"$tercetd_log" 2>&1 </dev/null &
tercetd_pid=$!
LD_PRELOAD=$library "$tercetd" --listen 127.0.0.2 --export "$nqn=ram:1M" >>"$tercetd_log" 2>&1 </dev/null &
other_pid=$!
at_exit kill -KILL "$other_pid"
answers() { [ -n "$(identifiers "$1")" ]; }
check "the first of two daemons answers" wait_until 20 answers 127.0.0.1
check "the second answers" wait_until 20 answers 127.0.0.2
differ() { [ "$(identifiers 127.0.0.1)" != "$(identifiers 127.0.0.2)" ]; }
check "their namespaces are not one" differ
kill -TERM "$other_pid"
check "the first ends cleanly" stop_tercetd
state=$tap_folder/state
LD_PRELOAD=$library "$tercetd" --listen 127.0.0.1 --export "$nqn=ram:1M" --state-directory "$state" \
  >>"$tercetd_log" 2>&1 </dev/null &
tercetd_pid=$!
check "a daemon with a state directory answers" wait_until 20 answers 127.0.0.1
before=$(identifiers 127.0.0.1)
refused 1 "the state directory $state is in use by another tercetd; each needs its own" \
  --listen 127.0.0.2 --export "$nqn=ram:1M" --state-directory "$state"
check "it ends cleanly" stop_tercetd
LD_PRELOAD=$library "$tercetd" --listen 127.0.0.1 --export "$nqn=ram:1M" --state-directory "$state" \
  >>"$tercetd_log" 2>&1 </dev/null &
tercetd_pid=$!
check "it starts again" wait_until 20 answers 127.0.0.1
expect_equal "an identity that is kept outlives the daemon" "$before" "$(identifiers 127.0.0.1)"
check "it ends cleanly" stop_tercetd
done_testing
