# What the tests with etcd share: its members are started, killed and asked. Sourced behind native.sh, not run.

# etcd has a loopback address of this file's own, whose ports no other program gets by chance, and keeps its files in memory
# where it can: neither is what is tested.
etcd_address=127.9.$((port_slot / 200)).$((port_slot % 200 + 1))
etcd_folder=$(mktemp -d "$([ -w /dev/shm ] && echo /dev/shm || echo "$tap_folder")/tercet-etcd.XXXXXX")
at_exit 'rm -rf "$etcd_folder"'
etcd_pids=()
at_exit '[ ${#etcd_pids[@]} -eq 0 ] || kill -KILL "${etcd_pids[@]}"'

# start_etcd NUMBER SCHEME PEERS [OPTION...]: starts a member, which serves clients at the port 2379 + NUMBER.
start_etcd() {
  local number=$1 scheme=$2 peers=$3
  local clients=$scheme://$etcd_address:$((2379 + number)) peer=http://$etcd_address:$((2389 + number))
  etcd --name "m$number" --data-dir "$etcd_folder/$number" --logger zap --heartbeat-interval 50 --election-timeout 500 \
    --listen-client-urls "$clients" --advertise-client-urls "$clients" --listen-peer-urls "$peer" \
    --initial-advertise-peer-urls "$peer" --initial-cluster "$peers" "${@:4}" >>"$tap_folder/etcd$number.log" 2>&1 </dev/null &
  etcd_pids[$number]=$!
  tap_logs+=("$tap_folder/etcd$number.log")
}
kill_etcd() { kill -KILL "${etcd_pids[$1]}" && wait "${etcd_pids[$1]}" 2>/dev/null; return 0; }
etcd_client() { ETCDCTL_API=3 etcdctl --command-timeout 5s --endpoints "$@"; }
