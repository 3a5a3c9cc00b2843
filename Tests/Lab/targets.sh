# The target that the tests of the lab are about. TARGET chooses: tercetd, or nvmet, the kernel's own target, which the
# tests themselves are tested with and tercetd's speed is compared with. Sourced, not run.

target=${TARGET:-tercetd}
nvmet=/sys/kernel/config/nvmet

# start_target NQN=PATH...: starts the target on both addresses and waits until it listens.
start_target() {
  target_exports=("$@")
  "${target}_start" && wait_until 30 listening && return
  diagnose "no target listens on port $port"
  if [ -s "$tercetd_log" ]; then tail -n 10 "$tercetd_log" | diagnose; fi
  return 1
}

# Ends the target in good order.
stop_target() { "${target}_stop" && wait_until 30 not_listening; }

# Ends the target without a word to anybody; restart_target starts it again with the same exports.
kill_target() { "${target}_kill"; }
restart_target() { "${target}_restart" && wait_until 30 listening; }

listening() { rdma resource show cm_id 2>/dev/null | grep -q "state LISTEN.*:$port\b"; }
not_listening() { ! listening; }

tercetd_start() {
  local export arguments=(--listen "$address4:$port")
  [ -z "$address6" ] || arguments+=(--listen "[$address6]:$port")
  for export in "${target_exports[@]}"; do arguments+=(--export "$export"); done
  start_tercetd "${arguments[@]}"
}

tercetd_restart() { tercetd_start; }
tercetd_stop() { stop_tercetd; }

# 137 is the shell's status for a process that SIGKILL has ended.
tercetd_kill() { stop_tercetd KILL || [ $? -eq 137 ]; }

nvmet_start() {
  local export store subsystem count=0 nsid
  modprobe -a nvmet nvmet-rdma || return
  for export in "${target_exports[@]}"; do
    store=${export#*=} subsystem=$nvmet/subsystems/${export%%=*}
    [ -d "$subsystem" ] || { mkdir "$subsystem" && echo 1 >"$subsystem/attr_allow_any_host"; } || return
    nsid=$(($(ls "$subsystem/namespaces" | wc -l) + 1))
    nvmet_device=$store
    case $store in
      ram:*) null_block_device "tercet$count" "$(megabytes "$store")" 1 ;;
      null:*) null_block_device "tercet$count" "$(megabytes "$store")" 0 ;;
    esac || return
    count=$((count + 1))
    mkdir "$subsystem/namespaces/$nsid" && echo "$nvmet_device" >"$subsystem/namespaces/$nsid/device_path" &&
      echo 1 >"$subsystem/namespaces/$nsid/enable" || return
  done
  nvmet_restart
}

# Prints the size of a PATH such as ram:64M in MiB.
megabytes() { echo $(($(numfmt --from=iec "${1#*:}") / 1048576)); }

# Makes a null_blk device: $1 its name, $2 its size in MiB, $3 whether it keeps what is written. Sets nvmet_device.
null_block_device() {
  local folder=/sys/kernel/config/nullb/$1
  [ -d /sys/module/null_blk ] || modprobe null_blk nr_devices=0 || return
  mkdir "$folder" && echo "$2" >"$folder/size" && echo 512 >"$folder/blocksize" && echo 0 >"$folder/irqmode" &&
    echo "$3" >"$folder/memory_backed" && echo "$3" >"$folder/discard" && echo 1 >"$folder/power" &&
    nvmet_device=/dev/$1
}

nvmet_restart() {
  nvmet_listen 1 ipv4 "$address4" && { [ -z "$address6" ] || nvmet_listen 2 ipv6 "$address6"; }
}

# A listener of nvmet for all exports: $1 its number, $2 the address family, $3 the address.
nvmet_listen() {
  local folder=$nvmet/ports/$1 export
  mkdir -p "$folder" && echo rdma >"$folder/addr_trtype" && echo "$2" >"$folder/addr_adrfam" &&
    echo "$3" >"$folder/addr_traddr" && echo "$port" >"$folder/addr_trsvcid" || return
  for export in "${target_exports[@]}"; do
    [ -e "$folder/subsystems/${export%%=*}" ] || ln -s "$nvmet/subsystems/${export%%=*}" "$folder/subsystems/" || return
  done
}

nvmet_kill() {
  local folder
  rm -f "$nvmet"/ports/*/subsystems/*
  for folder in "$nvmet"/ports/*; do [ ! -d "$folder" ] || rmdir "$folder" || return; done
}

nvmet_stop() {
  local folder
  nvmet_kill
  for folder in "$nvmet"/subsystems/*/namespaces/* "$nvmet"/subsystems/* /sys/kernel/config/nullb/tercet*; do
    [ ! -d "$folder" ] || rmdir "$folder" || return
  done
}
