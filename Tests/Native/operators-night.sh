# The verbs of operators-night.t: what a command's deadline is, what of its output differs from run to run, and groups of commands.
# Sourced behind night.sh, not run.

patience=3
# A command's deadline is the sum of what its steps may take, in seconds: a look at the members, a host that has the volume and may
# be about to go, the attach, the work, and the detach.
look=3 occupant=3 detach=10

# deadline LABEL: the deadline of a command in seconds.
deadline() {
  local use=$((look + occupant + 2 * patience + detach))
  case $1 in
    "tercet volume status"*) echo "$look" ;;
    "tercet volume create"*) echo $((occupant + 2 * patience)) ;;
    "tercet volume destroy"*) echo $((look + occupant + 2 * patience)) ;;
    "tercet volume heal --for 2") echo $((use + 2)) ;;
    # All members have to be in sync before they work, or a further one is asked.
    "tercet volume heal --scrub" | "tercet volume scrub") echo $((use + patience)) ;;
    "tercet volume bench"* | "tercet volume exercise"*) echo $((use + patience + 1)) ;;
    "tercet volume grow"* | "tercet volume replace"*) echo $((use + 2 * patience)) ;;
    "tercet volume"*) echo "$use" ;;
    # A member's command has five seconds.
    tercet-fio*) echo $((patience + 5 + detach)) ;;
    # The connection, and a Connect.
    "tercet bench"*) echo $((2 * patience + 1)) ;;
    tercet*) echo $((2 * patience)) ;;
  esac
}

# normalised: what a command printed, with names for what differs from run to run. A member whose disk fails comes back again and
# again: in which state a command ends is chance, and whether the reason is known by then.
normalised() {
  local chance=()
  [[ "${name-}" != failing* ]] ||
    chance=(-e "s/(MEMBER2\)) (is being taken in|is not in sync|lacks N regions)\$/\1 is not in sync: it could not write the volume's record, or flush/")
  sed -E \
    -e 's/is being taken in: /is not in sync: /' \
    -e "s#$address:$port/$nqn\.0/1#MEMBER0#g; s#$address:$((port + 1))/$nqn\.1/1#MEMBER1#g" \
    -e "s#$address:$((port + 2))/$nqn\.2/1#MEMBER2#g; s#$address:$((port + 3))/$nqn\.3/1#SPARE#g" \
    -e "s#$address:$port#ADDRESS0#g; s#$address:$((port + 1))#ADDRESS1#g; s#$address:$((port + 2))#ADDRESS2#g" \
    -e "s#$address:$((port + 3))#ADDRESS3#g; s#$tap_folder#FOLDER#g; s#$whole#FOLDER#g; s#$nqn#NQN#g" \
    -e 's/^(  (sn|nguid|cntlid|nn|mnan) +: ).*/\1.../; s/serial [0-9a-f]+/serial .../; s/connected in [0-9]+/connected in N/' \
    -e 's/generation counter [0-9]+/generation counter N/; s/trsvcid: .*/trsvcid: .../; s/blocks at [0-9]+:/blocks at N:/' \
    -e 's/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/UUID/g' \
    -e 's/record [0-9]+\.[0-9]+(\/[0-9]+)?/record STAMP/g; s/under key [0-9a-f]+/under key KEY/g' \
    -e 's/as controller [0-9]+/as controller ID/g; s/controller [0-9]+/controller ID/g' \
    -e 's/[0-9]+ bytes were copied/N bytes were copied/g; s/lacks [0-9]+ regions/lacks N regions/g' \
    -e 's/[0-9]+ regions (left|are compared)/N regions \1/g; s/epoch [0-9]+/epoch N/g' \
    -e 's/verified: [0-9]+ I\/Os in [0-9]+ regions; members lost: [0-9]+; copied: .*/verified: N I\/Os/' \
    -e 's/^errors: [0-9]+ answered/errors: N answered/; s/of unit [0-9]+/of unit N/g; s/at byte [0-9]+/at byte N/g; s/at block [0-9]+/at block N/g' "${chance[@]}"
}

# volume COMMAND OPTION...: a command of the volume.
volume() {
  local command=$1 options=(--patience "$patience")
  shift
  [ "$command" != status ] || options=()
  run "tercet volume $command${*:+ $*}" "$tercet" volume "$command" "${members[@]}" "${options[@]}" "$@"
}
# spare NUMBER: the member is replaced by the fourth target's namespace.
spare() {
  run "tercet volume replace --replace $1 --with SPARE" "$tercet" volume replace "${members[@]}" --patience "$patience" \
    --replace "$1" --with "$address:$((port + 3))/$nqn.3/1"
}
exercise() {
  run "tercet volume exercise --runtime 1" "$tercet" volume exercise "${members[@]}" --patience "$patience" \
    --record "$tap_folder/record" --start-block 20480 --size 1m --runtime 1
}
# joined NUMBER: the fourth target's namespace is that member from here on.
joined() { members[$((2 * $1 + 1))]=$address:$((port + 3))/$nqn.3/1; }
# target NUMBER COMMAND OPTION...: a command for one target's namespace.
target() {
  local number=$1 command=$2 name=(-n "$nqn.$1")
  shift 2
  [ "$command" != discover ] || name=()
  run "tercet $command ADDRESS$number${*:+ $*}" "$tercet" "$command" -a "$address" -s "$((port + number))" "${name[@]}" \
    --connect-timeout 3 "$@"
}
# looks_at NUMBER: the commands on a target, and on its namespace, that change nothing.
looks_at() {
  target "$1" discover
  target "$1" identify
  target "$1" connect-test
  target "$1" read --block-count 8 --output /dev/null
  target "$1" bench --rw randread --runtime 1
}
# A job of fio on the volume: its own report is no matter here.
fio() {
  printf '%s\n' '[job]' rw=read bs=64k size=256k filename=tercet "attach_timeout_ms=${patience}000" >"$tap_folder/read.fio"
  run "tercet-fio read.fio" fio_job
}
fio_job() {
  local status=0
  (cd "$tap_folder" && timeout -k 5 $((limit + allowance + 30)) "$tercet_fio" --substrate softverbs --engine "$engine" "${members[@]}" \
    read.fio >fio.output 2>&1) || status=$?
  # Times and amounts are measurements. Whether a short run sees a member go is chance.
  grep -E '^(tercet|fio: )' "$tap_folder/fio.output" | grep -vE '^tercet-fio: at [0-9.]+ m?s target [0-9] is' | sed -E '/^tercet-fio: /s/[0-9.]+ (s|bytes)/N \1/g'
  return "$status"
}

# Every command but those that change the volume for good.
all() {
  volume status
  volume read --block-count 8 --output /dev/null
  volume write --input "$input"
  volume heal --for 2
  volume scrub
  volume bench --runtime 1 --size 1m --iodepth 4
}
others() {
  exercise
  volume heal --scrub
  volume grow
  volume detach
  volume create
  fio
}
# Those that end the volume, or one member's part in it.
ends() {
  volume destroy
  volume create --region-size 64k
  spare 2
  joined 2
  volume status
}
after() {
  echo >>"$tap_folder/section"
  echo "# afterwards" >>"$tap_folder/section"
  volume heal
  volume status
}
# Another host has the volume: it has written something, and waits for more to write.
begin_host() {
  rm -f "$tap_folder/fifo"
  mkfifo "$tap_folder/fifo"
  "$tercet" volume write "${members[@]}" --input "$tap_folder/fifo" >"$tap_folder/host" 2>&1 </dev/null &
  host=$!
  exec 7>"$tap_folder/fifo"
  cat "$input" >&7
  must wait_until 30 grep -q "volume: serving" "$tap_folder/host"
}
end_host() { kill -KILL "$host" && wait "$host" 2>/dev/null; }
