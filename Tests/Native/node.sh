# What the tests of the node agent share: volumes that become devices by nbdfuse and loop devices. Sourced behind volume.sh and
# volumed.sh, not run.

program=${NODE:-$project/.build/release/tercet-node}
if [ "$(id -u)" -ne 0 ] || [ ! -w /dev/fuse ] || [ ! -w /dev/loop-control ] || ! command -v nbdfuse >/dev/null; then
  skip "volumes are staged" "this needs root, /dev/fuse, loop devices and nbdfuse (Debian's libnbd-bin)"
  done_testing
fi
control=$tap_folder/control.sock
# A link, and a slash too many: the kernel writes the folder's path otherwise.
mkdir "$tap_folder/real"
ln -s real "$tap_folder/run"
run=$tap_folder/run/
pods=$tap_folder/pods
staging=$tap_folder/plugins/db/globalmount
mkdir -p "$pods" "$(dirname "$staging")"
at_exit 'for path in $(awk "{print \$5}" /proc/self/mountinfo | grep "^$tap_folder" | sort -r); do umount -l "$path"; done'
at_exit 'for device in $(losetup -n -O NAME,BACK-FILE | awk -v f="$tap_folder" "index(\$2, f) {print \$1}"); do losetup -d "$device"; done'

# node VERB VOLUME OPTION...: the agent, by nbdfuse and loop devices.
node() {
  local verb=$1
  shift
  timeout 60 "$program" "$verb" "$@" --socket "$control" --nbd-socket "$nbd_socket" --run-folder "$run" --device nbdfuse
}
contents() { "$tercet" volume explain "$1" --socket "$control" --json | python3 -c 'import json, sys; print(json.load(sys.stdin)["contents"])'; }
loops() { cat /sys/block/loop*/loop/backing_file 2>/dev/null | grep -c "^$tap_folder/real/"; }
servers() { pgrep -fc "nbdfuse $tap_folder/real"; }
device() { losetup -n -O NAME,BACK-FILE | awk -v f="$tap_folder/real/" 'index($2, f) {print $1}'; }

# compile_faults: makes the library that gives a program faults; faults is its path.
faults=$tap_folder/faults.so
compile_faults() { cc -Wall -Wextra -Werror -O1 -shared -fPIC -o "$faults" "$project/Tests/Native/node/faults.c"; }
