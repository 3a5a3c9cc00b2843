# The conditions of registries in operators-night-control.t. Sourced, not run.

listed() {
  volume list
  volume show db
  volume status db
  registry check
  registry export
  pool list
  nodes list
}
# Those that a registry is changed by, or that look into it before they do anything else.
changes() {
  volume create db "${members[@]}" --patience "$patience"
  registry add db "${members[@]}" --replace --patience "$patience"
  registry remove db
  registry import --input "$tap_folder/export"
  pool add p0 --address "$address:$port" --nqn "$nqn.0"
  pool_remove p0
  nodes remove n0
  volume destroy db --patience "$patience"
  volume grow db --patience "$patience"
  volume replace db --replace 2 --with "$address:$((port + 3))/$nqn.3/1" --patience "$patience"
}
uses() {
  volume read db --output /dev/null --patience "$patience"
  volume write db --input "$tap_folder/export" --patience "$patience"
  volume heal db --patience "$patience"
  volume scrub db --patience "$patience"
  volume detach db --patience "$patience"
  volume bench db --runtime 1 --size 1m --iodepth 4 --patience "$patience"
  volume exercise db --record "$tap_folder/record" --start-block 20480 --size 1m --runtime 1 --patience "$patience"
}
# export_of NAME: a registry's export of one volume.
export_of() { "$tercet" registry export >"$tap_folder/export"; }

registry_well() {
  three_members
  listed
  registry remove db
  pool_remove p0
  nodes remove n0
  volume create db "${members[@]}"
  must export_of db
  listed
  volume show db --json
  volume show other
  volume create db "${members[@]}"
  registry add db "${members[@]}"
  registry import --input "$tap_folder/export"
  registry remove db
  volume status db
  registry import --input "$tap_folder/export"
  registry remove db
  registry add db "${members[@]}"
  kill_member 2
  listed
  registry add db "${members[@]}" --replace --patience "$patience"
  volume destroy db --patience "$patience"
  registry check --patience "$patience"
  must start_member 2
  registry check --patience "$patience"
  volume destroy db
  volume list
}
registry_locked() {
  three_members
  must "$tercet" volume create db "${members[@]}" --region-size 64k
  must export_of db
  python3 -c 'import sqlite3, sys, time
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
time.sleep(600)' "$tap_folder/registry" >"$tap_folder/locked" &
  host=$!
  must wait_until 10 grep -q locked "$tap_folder/locked"
  at_once listed changes
  uses
}
registry_full() {
  three_members
  small_disk 1m
  export TERCET_REGISTRY=sqlite:$tap_folder/small/registry
  must "$tercet" volume create db "${members[@]}" --region-size 64k
  must export_of db
  must fill
  listed
  changes
  uses
  run "tercet key make --output FOLDER/small/key" "$tercet" key make --output "$tap_folder/small/key"
  run "tercet target import nvmet.json --output FOLDER/small/imported" imports "$tap_folder/small/imported"
  run "tercet volume read db --output FOLDER/small/data" "$tercet" volume read db --block-count 2048 --output "$tap_folder/small/data" --patience "$patience"
  must rm "$tap_folder/small/rest"
  run "ls FOLDER/small" ls "$tap_folder/small"
  listed
}
registry_damaged() {
  head -c 65536 /dev/urandom >"$tap_folder/registry"
  echo '{}' >"$tap_folder/export"
  at_once listed changes uses
}
registry_away() {
  export TERCET_REGISTRY=etcd://$address:$((port + 3))
  printf '{"revision":1,"version":1,"volumes":[]}' >"$tap_folder/export"
  at_once listed changes
  beside volume read db --output /dev/null --patience "$patience"
  beside volume heal db --patience "$patience"
  together
}
registry_silent() {
  export TERCET_REGISTRY=etcd://$address:$((port + 3))
  printf '{"revision":1,"version":1,"volumes":[]}' >"$tap_folder/export"
  python3 -c 'import socket, sys, time
listener = socket.create_server((sys.argv[1], int(sys.argv[2])), backlog=64)
print("listens", flush=True)
time.sleep(600)' "$address" "$((port + 3))" >"$tap_folder/listens" &
  host=$!
  must wait_until 10 grep -q listens "$tap_folder/listens"
  at_once listed changes
  beside volume read db --output /dev/null --patience "$patience"
  beside volume heal db --patience "$patience"
  together
}
