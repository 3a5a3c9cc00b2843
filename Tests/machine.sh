# A machine of the test's own, which systemd boots in a container to take some steps. Sourced, not run.
#
# Its steps are the commands in $machine/root/steps, whose text begins with $step: `step NAME COMMAND...` runs one.

machine=$tap_folder/machine
told=$tap_folder/told
step='step() { local name=$1; shift; "$@" >/root/last 2>&1; echo "$name: $?"; sed "s/^/  /" /root/last; }'

# boot_for_steps SECONDS [OPTION...]: boots the machine, with more options of systemd-nspawn or of the kernel's command line, until
# all steps have been taken. What they have told is in $told.
boot_for_steps() {
  local limit=$1
  shift
  chmod +x "$machine/root/steps"
  cat >"$machine/etc/systemd/system/steps.service" <<UNIT
[Unit]
SuccessAction=poweroff
FailureAction=poweroff
[Service]
Type=oneshot
ExecStart=/root/steps
StandardOutput=file:/root/told
StandardError=file:/root/told
UNIT
  timeout "$limit" systemd-nspawn -q -D "$machine" --register=no --keep-unit --kill-signal=SIGRTMIN+3 --link-journal=no \
    --private-network "$@" -b systemd.unit=steps.service systemd.mask=systemd-firstboot.service \
    >"$tap_folder/boot" 2>&1 </dev/null
  tap_logs+=("$tap_folder/boot")
  cp "$machine/root/told" "$told" 2>/dev/null || : >"$told"
}

# succeeded NAME: whether the step, or all of that name, ended with 0.
succeeded() { grep -q "^$1: 0$" "$told" && ! grep -q "^$1: [^0]" "$told"; }
