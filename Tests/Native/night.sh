# The verbs that an operator's nights share: commands in bad conditions, whose outputs and exit statuses are compared with a text, and whose times
# with their deadlines. Sourced, not run. A night sets golden, and says what a command's deadline is (deadline) and what of its output
# differs from run to run (normalised). UPDATE=1 writes the text anew, to be read before it is kept.

# The cost of starting a process on a machine that does all this at once, in seconds, beside a command's deadline.
allowance=10
whole=$tap_folder
# A command's files are here.
place=$tap_folder
# The steps on the way are told with the time, in an order that is chance; and the measurements of a load are no matter here.
outcome() {
  grep -vE '^ *[0-9]+\.[0-9]{3} s  ' | grep -vE '^(second | +([0-9]+|all) +[0-9]|read: |write: |longest |written: |writes at |  (latency|percentiles) )'
}

# A disk whose writes fail on request: they are cut off at a size, of which the daemon is not to die.
trap '' XFSZ

# run LABEL COMMAND...: runs a command, and writes down what it printed, how it ended, and how long it took and might have taken.
run() {
  local label=$1 status=0 began=${EPOCHREALTIME/[.,]/} limit
  limit=$(deadline "$label")
  shift
  local within=(timeout -k 5 $((limit + allowance + 30)))
  ! declare -F "$1" >/dev/null || within=()
  "${within[@]}" "$@" >"$place/stdout" 2>"$place/stderr" </dev/null || status=$?
  local took=$(((${EPOCHREALTIME/[.,]/} - began) / 1000))
  {
    echo
    echo "\$ $label" | normalised
    outcome <"$place/stdout" | normalised
    outcome <"$place/stderr" | normalised | sed 's/^/! /'
    echo "exit status $status, within $limit s"
  } >>"$place/section"
  echo "$((took - limit * 1000)) $took $label" >>"$place/times"
  { echo "== $label ($took ms)"; cat "$place/stderr"; } >>"$place/events"
}

# beside COMMAND...: something of the night that runs beside what follows, until `together`.
beside_count=0 beside_pids=()
beside() {
  beside_count=$((beside_count + 1))
  (
    place=$tap_folder/beside$beside_count
    mkdir "$place"
    "$@"
  ) &
  beside_pids+=($!)
}
# together: waits for what runs beside, and writes it down in its order.
together() {
  local number kind
  wait "${beside_pids[@]}"
  for number in $(seq $((beside_count - ${#beside_pids[@]} + 1)) "$beside_count"); do
    for kind in section times events; do cat "$tap_folder/beside$number/$kind" >>"$tap_folder/$kind"; done
  done
  beside_pids=()
}

# at_once FUNCTION...: the commands of functions, all at the same time: none of them changes anything.
at_once() {
  local function word
  for function in "$@"; do
    while read -r word; do eval "beside $word"; done < <(declare -f "$function" | sed -n '3,$p' | sed '$d; s/;$//')
  done
  together
}

# must COMMAND...: what has to work between the commands of the night.
must() { "$@" >"$place/must" 2>&1 </dev/null || { echo "FAILED: $*"; normalised <"$place/must"; } >>"$place/section"; }

# small_disk SIZE: a file system of this size in the condition's folder, at small.
small_disk() {
  mkdir "$tap_folder/small"
  must mount -t tmpfs -o "size=$1,mode=700" tmpfs "$tap_folder/small"
}

# begin_condition NAME TITLE: the folder and the section of a condition, in a process of its own, whose processes end with it.
begin_condition() {
  name=$1
  tap_folder=$whole/$1
  place=$tap_folder
  mkdir "$tap_folder"
  target_pids=() pool_pids=()
  host= volumed_pid=
  trap 'started=("${target_pids[@]}" "${pool_pids[@]}" $host $volumed_pid); kill -CONT "${started[@]}" 2>/dev/null; kill -KILL "${started[@]}" 2>/dev/null; wait; umount "$tap_folder/small" 2>/dev/null' EXIT
  echo "## $2" >"$tap_folder/section"
  : >"$tap_folder/times"
}

# without_small_disks: whether no file system can be mounted here: that needs rights that not everybody has.
without_small_disks() {
  mkdir "$tap_folder/probe"
  ! mount -t tmpfs -o size=1m tmpfs "$tap_folder/probe" 2>/dev/null || { umount "$tap_folder/probe"; return 1; }
}

# all_nights: runs `night NUMBER NAME` for each of `conditions`, at the same time; a name that is empty was left out.
all_nights() {
  local number=0 condition
  for condition in "${conditions[@]}"; do
    number=$((number + 1))
    [ -n "$condition" ] || continue
    (night "$number" "$condition") >"$whole/$condition.log" 2>&1 &
  done
  wait
}

# conclude_night HEADING...: writes the text where that is asked for, and compares all conditions with it.
conclude_night() {
  local condition beyond took label
  if [ -n "${UPDATE-}" ]; then
    {
      printf '# %s\n' "$@"
      echo
      for condition in "${conditions[@]}"; do cat "$whole/$condition/section"; done
    } >"$golden"
  fi
  for condition in "${conditions[@]}"; do
    [ -n "$condition" ] || continue
    diff -u <(awk -v title="## ${titles[$condition]}" '/^## / { is = $0 == title } is' "$golden") "$whole/$condition/section" >"$whole/$condition/differences"
    report $? "${titles[$condition]}: what was printed is as written down" ||
      { diagnose <"$whole/$condition/differences"; diagnose <"$whole/$condition.log"; tail -n 60 "$whole/$condition/events" | diagnose; }
    read -r beyond took label < <(sort -rn "$whole/$condition/times" | head -n 1)
    expect_at_most "${titles[$condition]}: each command ended by its deadline (ms after it)" $((allowance * 1000)) "$beyond"
    diagnose "nearest to its deadline: $label, $took ms"
  done
  done_testing
}
