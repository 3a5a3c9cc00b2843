# Test Anything Protocol for shell scripts. To be sourced; leaves the script in Tools/softverbs.
cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.." || exit 1
library=$PWD/build/libsoftverbs.so
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
count=0 failures=0
make -s tests >&2 || { echo "Bail out! make failed"; exit 1; }

ok() { # ok STATUS NAME [FILE TO SHOW WHEN IT FAILED]...
  count=$((count + 1))
  if [ "$1" -eq 0 ]; then echo "ok $count - $2"; return 0; fi
  echo "not ok $count - $2"
  failures=$((failures + 1))
  shift 2
  for file in "$@"; do sed "s|^|# $(basename "$file"): |" "$file"; done
}
done_testing() { echo "1..$count"; [ "$failures" -eq 0 ]; exit; }

# with SECONDS COMMAND...: with the library, for a limited time
with() { local limit=$1; shift; LD_PRELOAD=$library timeout -k 1 "$limit" "$@"; }

# listening PATTERN: waits until somebody listens at a TCP port or a name of softverbs
listening() {
  local _
  for _ in $(seq 200); do
    grep -q "^[^ ]* [^ ]* [^ ]* 00010000 .*$1" /proc/net/unix && return 0
    ss -Hltn 2>/dev/null | grep -q "$1" && return 0
    sleep 0.05
  done
  return 1
}
