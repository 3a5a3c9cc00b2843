#!/usr/bin/env bash
# The units: what systemd says of them, and both daemons at work under them, in a container that systemd boots.
. "$(dirname "$0")/../tap.sh"
. "$(dirname "$0")/../machine.sh"

release=$project/.build/release
softverbs=${SOFTVERBS:-$project/Tools/softverbs/build/libsoftverbs.so}
[ -e "$softverbs" ] && [ -x "$release/tercetd" ] || { echo "Bail out! tercetd and softverbs are not built"; exit 1; }

# The units with the programs where this build has them, and the drop-in for block devices of the kernel beside them.
units=$tap_folder/units
mkdir -p "$units/kernel"
for unit in tercetd tercet-volumed; do
  sed "s|/usr/bin/$unit |$release/$unit |" "$project/Deploy/$unit.service" >"$units/$unit.service"
  check "$unit: systemd finds nothing wrong" systemd-analyze verify --man=no "$units/$unit.service"
  expect_equal "... nor anything to remark on" "" "$(cat "$tap_folder/output")"
  # The threshold is ten times the figure: 4.0.
  expect_output "$unit: exposed by 4.0 at the most" 'Overall exposure level .*: [0-3]\.' \
    systemd-analyze security --no-pager --offline=yes --threshold=40 "$units/$unit.service"
done
# The node agent mounts for others, and gets no file system of its own: it is not rated.
sed "s|/usr/bin/tercet-node |$release/tercet-node |" "$project/Deploy/tercet-node.service" >"$units/tercet-node.service"
check "tercet-node: systemd finds nothing wrong" systemd-analyze verify --man=no "$units/tercet-node.service"
expect_equal "... nor anything to remark on" "" "$(cat "$tap_folder/output")"
# Settings of a drop-in count behind those of the unit.
{ grep -v '^\[Install\]\|^WantedBy' "$units/tercet-volumed.service"; cat "$project/Deploy/tercet-volumed-kernel-nbd.conf"; } \
  >"$units/kernel/tercet-volumed.service"
expect_output "... with block devices of the kernel too" 'Overall exposure level .*: [0-3]\.' \
  systemd-analyze security --no-pager --offline=yes --threshold=40 "$units/kernel/tercet-volumed.service"
check "... and systemd finds nothing wrong with it" \
  systemd-analyze verify --man=no "$units/kernel/tercet-volumed.service"

# A machine of its own: this one's programs, read only, and an /etc with little more than the units.
if [ "$(id -u)" -ne 0 ] || ! command -v systemd-nspawn >/dev/null; then
  skip "both daemons serve under their units" "root and systemd-nspawn are needed"
  done_testing
fi
mkdir -p "$machine"/{etc/tercet,etc/systemd/system,srv,usr,root,var,opt}
for folder in bin sbin lib lib64; do ln -s "usr/$folder" "$machine/$folder"; done
cp -RL /etc/{passwd,group,nsswitch.conf,ld.so.cache,os-release} "$machine/etc/"
echo 'tercet:x:990:990::/nonexistent:/usr/sbin/nologin' >>"$machine/etc/passwd"
echo 'tercet:x:990:' >>"$machine/etc/group"
systemd-id128 new >"$machine/etc/machine-id"
# As the package makes it: the daemon may replace its configuration.
chown 0:990 "$machine/etc/tercet"
chmod 2775 "$machine/etc/tercet"
truncate -s 64M "$machine"/srv/image-{a,b,c}
head -c 4M /dev/urandom >"$machine/root/data"
chown 990:990 "$machine"/srv/image-?
nqn=nqn.2026-11.io.tercet:units
members=
for name in a b c; do members+="${members:+, }\"127.0.0.1:4420/$nqn.$name/1\""; done
subsystem() { echo "{ \"nqn\": \"$nqn.$1\", \"allowAnyHost\": true, \"namespaces\": [{ \"nsid\": 1, \"backing\": \"$2\" }] }"; }
cat >"$machine/etc/tercet/tercetd.json" <<JSON
{ "reactors": 1, "stateDirectory": "/var/lib/tercetd", "listeners": [{ "address": "127.0.0.1" }],
  "subsystems": [ $(subsystem a /srv/image-a), $(subsystem b /srv/image-b), $(subsystem c /srv/image-c) ] }
JSON
cat >"$machine/etc/tercet/tercet-volumed.json" <<JSON
{ "reactors": 1, "controlSocket": "/run/tercet/volumed.sock", "nbd": { "socket": "/run/tercet/nbd.sock" },
  "volumes": [ { "name": "db", "members": [ $members ] } ] }
JSON
for unit in tercetd tercet-volumed; do
  cp "$units/$unit.service" "$project/Deploy/$unit.socket" "$machine/etc/systemd/system/"
  mkdir "$machine/etc/systemd/system/$unit.service.d"
  printf '[Service]\nEnvironment=LD_PRELOAD=%s\n' "$softverbs" >"$machine/etc/systemd/system/$unit.service.d/softverbs.conf"
done

# The firmware's name of the machine, in the place of the one that it may have.
echo 4c4c4544-0044-4a10-8036-b4c04f4d5931 >"$machine/srv/product_uuid"
chmod 400 "$machine/srv/product_uuid"
echo 'LoadCredential=product_uuid:/srv/product_uuid' >>"$machine/etc/systemd/system/tercetd.service.d/softverbs.conf"

# What an operator does; each step says how it ended, and the log of the units follows.
cat >"$machine/root/steps" <<STEPS
#!/bin/bash
tercet() {
  LD_PRELOAD=$softverbs timeout 20 setpriv --reuid tercet --regid tercet --clear-groups "$release/tercet" "\$@"
}
$step
step start-target systemctl start tercetd
step identity grep -q 'product-uuid 4c4c4544-0044-4a10-8036-b4c04f4d5931' /var/lib/tercetd/identity
step create tercet volume create $(sed 's/"\([^"]*\)",\{0,1\}/--member \1/g' <<<"$members")
step start-volumes systemctl start tercet-volumed
step serving sh -c 'for i in \$(seq 50); do "$release/tercet" volume list | grep -q "^db: serving" && exit 0; sleep 0.1; done; exit 1'
step write nbdcopy --flush /root/data 'nbd+unix:///db?socket=/run/tercet/nbd.sock'
step add tercet target add subsystem $nqn.d --allow-any-host
step save tercet target save
step reload systemctl reload tercetd
step dump systemctl kill -s USR1 tercetd tercet-volumed
step dumped sh -c 'for i in \$(seq 50); do [ -s /var/lib/tercetd/*.trace ] && [ -s /var/lib/tercet-volumed/*.trace ] && exit 0; sleep 0.1; done; exit 1'
step stop systemctl stop tercet-volumed tercetd
step sockets systemctl start tercetd.socket
step list-target tercet target list
step restart systemctl restart tercetd
step list-again tercet target list
step sockets systemctl start tercet-volumed.socket
step list-volumes tercet volume list
step serving sh -c 'for i in \$(seq 100); do "$release/tercet" volume list | grep -q "^db: serving" && exit 0; sleep 0.1; done; exit 1'
step fields sh -c 'journalctl -u tercetd TERCET_SUBSYSTEM=$nqn.b -o json | grep "namespace exported"'
step levels sh -c 'journalctl -u tercetd -p notice -o cat | grep "^serving"'
step stop-activated systemctl stop tercet-volumed.socket tercet-volumed
step stop-activated systemctl stop tercetd.socket tercetd
step state systemctl show -p User,Result,ExecMainStatus tercetd tercet-volumed
echo "saved: \$(grep -c $nqn.d /etc/tercet/tercetd.json)"
journalctl -u tercetd -u tercet-volumed -o short
STEPS
bound=(--bind-ro=/usr "--bind-ro=$project" "--bind-ro=$(readlink -f "$release")")
runtime=$(ldd "$release/tercetd" | sed -n 's/.*=> \(.*\)\/libswiftCore.so.*/\1/p')
[ -z "$runtime" ] || bound+=("--bind-ro=$runtime")
boot_for_steps 60 "${bound[@]}"
check "systemd boots" test -s "$told"
check "tercetd starts" succeeded start-target
check "... and knows by the firmware which machine this is" succeeded identity
check "a volume is made" succeeded create
check "tercet-volumed starts" succeeded start-volumes
check "... and serves the volume" succeeded serving
check "... to a client" succeeded write
check "the target is changed" succeeded add
check "... and saves its configuration" succeeded save
expect_equal "... which has the change" "saved: 1" "$(grep ^saved: "$told")"
check "the target reloads" succeeded reload
check "both write their traces" succeeded dump
check "... where they outlive the daemon" succeeded dumped
check "both stop" succeeded stop
check "the service manager listens for control" succeeded sockets
check "... and a command starts the target" succeeded list-target
check "... and the volumes' daemon" succeeded list-volumes
check "the target starts again" succeeded restart
check "... behind the same socket" succeeded list-again
check "the journal knows the lines of one subsystem" succeeded fields
for field in TERCET_NSID:1 TERCET_BLOCK_SIZE:512 TERCET_DEVICE:/srv/image-b PRIORITY:6 SYSLOG_IDENTIFIER:tercetd; do
  check "... with ${field%%:*}" grep -q "\"${field%%:*}\" *: *\"${field#*:}\"" "$told"
done
check "... and its level" succeeded levels
check "both stop with their sockets" succeeded stop-activated
expect_equal "... as users without rights of their own, with status 0" 2 "$(grep -c 'ExecMainStatus=0' "$told")"
# Limits can only be raised where this machine's root may (CAP_SYS_RESOURCE): a thread's priority is one of them.
unraised='^$'
capsh --has-p=cap_sys_resource 2>/dev/null || unraised='Failed to set thread priority.* errno=13$'
expect_equal "nothing was denied" "" "$(grep -iE 'denied|not permitted|failed to|errno=|read-only' "$told" | grep -vE "$unraised")"
[ "$tap_failures" -eq 0 ] || diagnose <"$told"

done_testing
