# The kernel log in tests. Sourced behind tap.sh, not run.

# Marks the kernel log: check_kernel_log looks at what comes after.
mark_kernel_log() { tap_kernel_mark=$(dmesg | wc -l); }

# check_kernel_log NAME [PATTERN]: passes if since the mark the kernel has logged no warning or worse, other than lines
# that match the extended pattern, and nothing at all that tells of a fault of its own. That timers are late on
# an emulated processor, and that an interface made of software has no speed, is no news.
check_kernel_log() {
  # Lines that are left out because there are too many are of a kind that has been written before, and is looked at there.
  local allowed="hrtimer: interrupt took|clocksource: Long readout interval|speed is unknown, defaulting to"
  allowed+="|: [0-9]+ callbacks suppressed\$${2:+|$2}"
  local lines
  lines=$(dmesg --decode | tail -n "+$((tap_kernel_mark + 1))" |
    awk '/^[a-z0-9]+ *: *(emerg|alert|crit|err|warn) *:/ || /WARNING:|BUG:|Call Trace|blocked for more than|refcount_t/')
  [ -z "$lines" ] || lines=$(grep -vE -- "$allowed" <<<"$lines")
  [ -z "$lines" ]
  report $? "$1" && return 0
  head -n 40 <<<"$lines" | diagnose
  return 1
}

mark_kernel_log
