#!/usr/bin/env bash
# Programs that nobody here wrote, unmodified, from Debian: ibverbs-utils, rdmacm-utils, perftest.
. "$(dirname "$0")/tap.sh"
for tool in ibv_devices ibv_devinfo ibv_rc_pingpong ibv_srq_pingpong rping rdma_server rdma_client rstream ib_send_bw; do
  command -v $tool >/dev/null || { echo "Bail out! $tool is missing: apt-get install ibverbs-utils rdmacm-utils perftest"; exit 1; }
done

with 10 ibv_devices >"$scratch/out" 2>&1 && grep -q softverbs0 "$scratch/out"
ok $? "ibv_devices lists the device" "$scratch/out"
with 10 ibv_devinfo -v >"$scratch/out" 2>&1 && grep -q PORT_ACTIVE "$scratch/out" && grep -q 'RoCE v2' "$scratch/out" &&
  grep -Eq '::ffff:127.0.0.1|ffff:7f00' "$scratch/out"
ok $? "ibv_devinfo -v shows an active port and RoCE v2 GIDs" "$scratch/out"

# pair NAME PATTERN SERVER -- CLIENT: both have to succeed
pair() {
  local name=$1 pattern=$2 server=() status=0 pid
  shift 2
  while [ "$1" != -- ]; do server+=("$1"); shift; done
  shift
  with 60 "${server[@]}" >"$scratch/server" 2>&1 &
  pid=$!
  listening "$pattern" || status=1
  with 60 "$@" >"$scratch/client" 2>&1 || status=1
  [ -n "${stops:-}" ] && kill $pid 2>/dev/null
  wait $pid || [ -n "${stops:-}" ] || status=1
  ok $status "$name" "$scratch/server" "$scratch/client"
  grep -hE '^ *(2|64|4096|65536|8) +[0-9]+ +[0-9]' "$scratch/client" | sed "s|^|# $name: |"
  grep -hE 'usec/iter' "$scratch/client" | sed "s|^|# $name: |"
}

port=19000
next() { port=$((port + 1)); }

next; pair "ibv_rc_pingpong" ":$port " ibv_rc_pingpong -n 300 -p $port -g 0 -- ibv_rc_pingpong -n 300 -p $port -g 0 127.0.0.1
next; pair "ibv_rc_pingpong with events" ":$port " ibv_rc_pingpong -n 300 -p $port -e -- ibv_rc_pingpong -n 300 -p $port -e 127.0.0.1
next; pair "ibv_rc_pingpong with ibv_wr_*" ":$port " ibv_rc_pingpong -n 300 -p $port -N -- ibv_rc_pingpong -n 300 -p $port -N 127.0.0.1
next; pair "ibv_rc_pingpong with timestamps" ":$port " ibv_rc_pingpong -n 300 -p $port -t -- ibv_rc_pingpong -n 300 -p $port -t 127.0.0.1
next; pair "ibv_rc_pingpong, data checked" ":$port " ibv_rc_pingpong -n 300 -p $port -c -- ibv_rc_pingpong -n 300 -p $port -c 127.0.0.1
next; pair "ibv_srq_pingpong" ":$port " ibv_srq_pingpong -n 300 -p $port -g 0 -- ibv_srq_pingpong -n 300 -p $port -g 0 127.0.0.1
next; pair "ibv_srq_pingpong with events" ":$port " ibv_srq_pingpong -n 300 -p $port -e -- ibv_srq_pingpong -n 300 -p $port -e 127.0.0.1

next; pair "rping -v" "/$port/" rping -s -v -V -C 20 -a 127.0.0.1 -p $port -- rping -c -v -V -C 20 -a 127.0.0.1 -p $port
[ "$(grep -c 'ping data: rdma-ping' "$scratch/client")" -eq 20 ]
ok $? "rping's client sees 20 answers" "$scratch/client"
next; pair "rping -v over IPv6" "/$port/" rping -s -v -C 5 -a ::1 -p $port -- rping -c -v -C 5 -a ::1 -p $port
next; stops=1 pair "rping against a persistent server" "/$port/" rping -s -P -a 127.0.0.1 -p $port -- rping -c -C 5 -a 127.0.0.1 -p $port
next; pair "rdma_server and rdma_client" "/$port/" rdma_server -s 127.0.0.1 -p $port -- rdma_client -s 127.0.0.1 -p $port
next; pair "ucmatose" "/$port/" ucmatose -b 127.0.0.1 -p $port -c 4 -C 100 -- ucmatose -s 127.0.0.1 -p $port -c 4 -C 100
next; pair "ucmatose, migrating" "/$port/" ucmatose -b 127.0.0.1 -p $port -m -- ucmatose -s 127.0.0.1 -p $port -m
next; stops=1 pair "cmtime, 1000 connections" "/$port/" cmtime -b 127.0.0.1 -p $port -c 1000 -- cmtime -s 127.0.0.1 -p $port -c 1000
next; pair "rstream" "/$port/" rstream -b 127.0.0.1 -p $port -S 4096 -C 1000 -- rstream -s 127.0.0.1 -p $port -S 4096 -C 1000

for cm in "" "-R"; do
  for tool in "ib_send_bw" "ib_send_lat -s 64" "ib_read_bw" "ib_read_lat -s 4096" "ib_write_bw" "ib_write_lat -s 4096" \
    "ib_atomic_lat" "ib_send_bw -e" "ib_send_lat -e"; do
    next
    # shellcheck disable=SC2086
    pair "$tool $cm" "$([ -n "$cm" ] && echo "/$port/" || echo ":$port ")" $tool $cm -n 200 -p $port -- $tool $cm -n 200 -p $port 127.0.0.1
  done
done
next; pair "ib_send_bw -q 4 -R, shared receive queue" "/$port/" ib_send_bw -q 4 -R --use-srq -n 200 -p $port -- ib_send_bw -q 4 -R --use-srq -n 200 -p $port 127.0.0.1
next; pair "ib_send_bw -b, both directions" ":$port " ib_send_bw -b -n 200 -p $port -- ib_send_bw -b -n 200 -p $port 127.0.0.1
next; pair "ib_write_bw -b -q 2" ":$port " ib_write_bw -b -q 2 -n 200 -p $port -- ib_write_bw -b -q 2 -n 200 -p $port 127.0.0.1
done_testing
