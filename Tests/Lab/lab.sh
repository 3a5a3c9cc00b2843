# What the tests of the lab share: RDMA addresses, block devices to export, a target, and a Linux host that connects to
# it. Sourced, not run.

. "$(dirname "${BASH_SOURCE[0]}")/../tap.sh"
. "$(dirname "${BASH_SOURCE[0]}")/../daemons.sh"
. "$(dirname "${BASH_SOURCE[0]}")/kernel-log.sh"
. "$(dirname "${BASH_SOURCE[0]}")/targets.sh"

address4=10.90.0.1
address6=fd90::1
port=4420
nqn=nqn.2026-11.io.tercet:test
discovery_nqn=nqn.2014-08.org.nvmexpress.discovery
host_nqn=nqn.2014-08.org.nvmexpress:uuid:6d1a6a1e-0000-4000-8000-000000000001
host_id=6d1a6a1e-0000-4000-8000-000000000001

# The addresses: those of an RDMA device that is there, or of a Soft-RoCE device made for the tests.
lab_fabric() {
  local netdev
  netdev=$(rdma link show 2>/dev/null | awk '/state ACTIVE/ {for (i = 1; i < NF; i++) if ($i == "netdev") print $(i + 1)}' | head -n 1)
  if [ -z "$netdev" ] || [ "$netdev" = rdma0 ]; then
    "$project/Tools/lab" rdma "$address4/24" "$address6/64"
  else
    modprobe -a nvme-rdma rdma_ucm
    address4=$(ip -o -4 address show dev "$netdev" | awk '{sub("/.*", "", $4); print $4; exit}')
    address6=$(ip -o -6 address show dev "$netdev" scope global | awk '{sub("/.*", "", $4); print $4; exit}')
  fi
}

# Sets drive to the lab's drive with the block size $1.
find_drive() {
  local folder size model
  for folder in /sys/block/nvme*n1; do
    read -r size <"$folder/queue/logical_block_size" && read -r model <"$folder/device/model" || continue
    drive=/dev/${folder##*/}
    [[ $size = "$1" && $model = "QEMU NVMe"* ]] && return 0
  done
  return 1
}

# block_device BLOCKSIZE: prints a block device that may be overwritten. In the lab an emulated NVMe drive, elsewhere
# a loop device over a file of the test's own.
block_device() {
  local image
  if [ "${LAB:-}" = 1 ]; then
    wait_until 20 find_drive "$1" && echo "$drive"
    return
  fi
  image=$tap_folder/drive$1.img
  truncate -s 256M "$image"
  losetup --find --show --direct-io=on --sector-size "$1" "$image"
}

# Prints a folder of a file system that knows O_DIRECT: the lab's own files are in memory and do not, so that there it
# is ext4 on a RAM disk, made for the test file and gone with it.
file_store() {
  local folder=$tap_folder/store
  if [ "${LAB:-}" = 1 ] && ! mountpoint -q "$folder"; then
    modprobe brd rd_nr=1 rd_size=524288 && mkfs.ext4 -q -F /dev/ram0 && mkdir -p "$folder" && mount /dev/ram0 "$folder" || return
  fi >&2
  mkdir -p "$folder" && echo "$folder"
}

# The kinds of store that the tests go through, in the order of the issue: sets $path and $block_size for $1.
choose_backend() {
  block_size=512
  case $1 in
    drive512) path=$(block_device 512) ;;
    drive4096) path=$(block_device 4096) block_size=4096 ;;
    file) path=$(file_store)/file.img; truncate -s 256M "$path" ;;
    ram) path=ram:256M ;;
  esac
  [ -n "$path" ] || return
  [[ $path != /dev/loop* ]] || at_exit "losetup -d $path"
}

# What is polled below is asked without starting a process: on an emulated processor each is dear.

# Sets found to the names (nvme1 ...) of the controllers that this host has for an NQN.
find_controllers() {
  local folder name
  found=()
  for folder in /sys/class/nvme/nvme*; do
    read -r name 2>/dev/null <"$folder/subsysnqn" || continue
    [ "$name" != "$1" ] || found+=("${folder##*/}")
  done
}

# Prints them, one a line.
controllers() { find_controllers "$1"; printf '%s\n' "${found[@]}" | grep . || :; }

no_controller() { find_controllers "$1"; [ ${#found[@]} -eq 0 ]; }

# new_controller NQN: sets controller to the one that was not there when known was set to what find_controllers found.
new_controller() {
  find_controllers "$1"
  for controller in "${found[@]}"; do [[ " $known " == *" $controller "* ]] || return 0; done
  return 1
}

state_is() {
  local state
  read -r state <"/sys/class/nvme/$1/state" && [ "$state" = "$2" ]
}

# Prints the block devices of a controller by the IDs of their namespaces, with multipath the ones that stand for all paths. Their
# names need not follow the IDs.
namespaces() {
  local device
  for device in $(ls "/sys/class/nvme/$1" | sed -nE 's/^(nvme[0-9]+)(c[0-9]+)?(n[0-9]+)$/\1\3/p'); do
    printf '%s %s\n' "$(cat "/sys/block/$device/nsid")" "$device"
  done | sort -n | cut -d ' ' -f 2
}

# has_namespaces CONTROLLER COUNT: whether so many block devices of it can be used. Sets namespace to the first.
has_namespaces() {
  local path device size count=0
  for path in "/sys/class/nvme/$1"/nvme*n*; do
    [[ ${path##*/} =~ ^(nvme[0-9]+)(c[0-9]+)?(n[0-9]+)$ ]] || continue
    device=/dev/${BASH_REMATCH[1]}${BASH_REMATCH[3]}
    [ -b "$device" ] && read -r size <"/sys/block/${device#/dev/}/size" && [ "$size" -gt 0 ] || continue
    count=$((count + 1))
  done
  [ "$count" -ge "$2" ] && namespace=/dev/$(namespaces "$1" | head -n 1)
}

# connect NQN [OPTION...]: connects over IPv4, unless the options say otherwise, and waits until the controller is live
# and its first namespace can be used. Sets controller (nvme1) and namespace (/dev/nvme1n1).
connect() {
  local name=$1 where=(--traddr="$address4")
  shift
  [[ " $* " != *" --traddr="* ]] || where=()
  find_controllers "$name"
  known=${found[*]}
  nvme connect -t rdma -n "$name" -s "$port" "${where[@]}" --hostnqn="$host_nqn" --hostid="$host_id" \
    --reconnect-delay=1 "$@" || return
  new_controller "$name" && wait_until 30 state_is "$controller" live && wait_until 30 has_namespaces "$controller" 1
}

# connect_as NUMBER [OPTION,...]: connects as one more host, by the kernel's own interface: nvme-cli of Debian 12 takes
# the same subsystem at the same address for connected, whoever the host is. Sets controller.
connect_as() {
  local host=6d1a6a1e-0000-4000-8000-0000000001$1
  find_controllers "$nqn"
  known=${found[*]}
  echo "transport=rdma,traddr=$address4,trsvcid=$port,nqn=$nqn,hostnqn=nqn.2014-08.org.nvmexpress:uuid:$host,hostid=$host${2:+,$2}" \
    >/dev/nvme-fabrics || return
  new_controller "$nqn" && wait_until 30 state_is "$controller" live
}

# disconnect [NQN]: ends all associations with a subsystem and waits until they are gone.
disconnect() {
  nvme disconnect -n "${1:-$nqn}" && wait_until 30 no_controller "${1:-$nqn}"
}

# start_load [OPTION...]: fio writes and verifies $namespace in the background until end_load, which succeeds if no
# I/O failed and all that was read was right, and prints what fio said.
load=
start_load() {
  fio --name=load --filename="$namespace" --ioengine=libaio --direct=1 --rw=randwrite --bs=4k --iodepth=16 --size=64M --thread \
    --time_based --runtime=1800 --verify=crc32c --verify_backlog=256 --verify_fatal=1 --verify_state_save=0 "$@" \
    >"$tap_folder/load" 2>&1 </dev/null &
  load=$!
}

end_load() {
  kill -INT "$load" || return
  wait "$load"
  load=
  cat "$tap_folder/load"
  grep -q 'err= 0' "$tap_folder/load" && ! grep -qE 'error=|verify:|bad (magic|header)' "$tap_folder/load"
}

# Whether the load is under way: so many sectors have been written since the mark.
sectors_written() { awk '{sum += $7} END {print sum}' "/sys/class/nvme/$controller"/nvme*n1/stat; }
mark_load() { load_mark=$(sectors_written); }
load_moves() { [ "$(sectors_written)" -gt $((load_mark + ${1:-800})) ]; }

# unless_nvmet REASON CHECK NAME ...: a check of something that the kernel's target is known not to do.
unless_nvmet() {
  local reason=$1
  shift
  if [ "$target" = nvmet ]; then skip "$2" "nvmet: $reason"; else "$@"; fi
}

# What is left when a test file fails half-way.
leave_nothing() {
  [ -z "$load" ] || kill "$load"
  umount "$tap_folder/mount"
  nvme disconnect -n "$nqn"
  nvme disconnect -n "$nqn.second"
  [ "$target" != nvmet ] || nvmet_stop
  umount "$tap_folder/store"
}

at_exit leave_nothing
lab_fabric || { echo "Bail out! no RDMA device can be brought up"; exit 1; }
mark_kernel_log
