# What the tests of the CSI driver share: a client of drivers that is not ours. Sourced behind native.sh, not run.

node=${NODE:-$project/.build/release/tercet-node}
driver=${CSI:-$project/.build/csi/debug/tercet-csi}

# start_client ENDPOINT: starts the client; calls go to the endpoint unless they say another.
start_client() {
  coproc CLIENT { cd "$project/Tests/Native/csi" && PYTHONDONTWRITEBYTECODE=1 exec /usr/bin/python3 client.py "$1" 2>>"$tap_folder/client.log"; }
  client_in=${CLIENT[1]} client_out=${CLIENT[0]}
  tap_logs+=("$tap_folder/client.log")
  at_exit 'kill -KILL "$CLIENT_PID"'
}

# csi [WORD...] METHOD JSON: makes a call; the exit status is its code, the output its answer or its message.
csi() {
  local code answer
  printf '%s\n' "$*" >&"$client_in"
  read -r -t 90 code answer <&"$client_out" || return 99
  echo "$answer"
  return "$code"
}

# request FIELD...: a request, as JSON. A field that is there twice is what it is the second time, and not there where that is null.
request() { local IFS=,; echo "{$*}"; }
