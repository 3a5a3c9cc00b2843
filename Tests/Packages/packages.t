#!/usr/bin/env bash
# The Debian packages: made twice to the same bytes, clean of lintian's errors, and installed, used, upgraded, removed and purged
# on a Debian that has nothing else of ours, under its own systemd.
. "$(dirname "$0")/../tap.sh"
. "$(dirname "$0")/../machine.sh"

cache=${XDG_CACHE_HOME:-$HOME/.cache}/tercet/packages
first=$tap_folder/first second=$tap_folder/second
make_packages() { "$project/Tools/package" --objects "$project/.build/release" --version "$1" --output "$2"; }

require "packages are made" make_packages 1.0 "$first"
make_packages 1.0 "$second" >"$tap_folder/again" 2>&1 &
again=$!
errors() { lintian --tag-display-limit 0 "$@" 2>/dev/null | grep '^E:'; }
expect_equal "lintian finds no error" "" "$(errors "$first"/*.deb)"
check "they are made again" wait "$again"
for package in "$first"/*.deb; do
  check "... the same: $(basename "$package")" cmp "$package" "$second/$(basename "$package")"
done
# A newer version that differs in nothing else.
newer() {
  local package
  mkdir "$tap_folder/newer" && for package in target volumed; do
    dpkg-deb -R "$first/tercet-${package}_1.0_$(dpkg --print-architecture).deb" "$tap_folder/unpacked" &&
      sed -i 's/^Version: 1.0$/Version: 1.1/' "$tap_folder/unpacked/DEBIAN/control" &&
      dpkg-deb -Zgzip -z1 -b "$tap_folder/unpacked" "$tap_folder/newer/$package.deb" && rm -r "$tap_folder/unpacked" || return
  done
}
check "a newer version is made" newer

if [ "$(id -u)" -ne 0 ] || ! command -v systemd-nspawn >/dev/null || ! command -v mmdebstrap >/dev/null; then
  skip "the packages are installed" "root, systemd-nspawn and mmdebstrap are needed"
  done_testing
fi
# The Debian, with what the packages depend on; it is kept under a name that changes with the list.
there=systemd,systemd-sysv,dbus,procps,ibverbs-providers,libibverbs1,librdmacm1,libaio1,libuuid1,libssl3,libsqlite3-0,libstdc++6
there+=,libcurl4,liburing2,fio
base=$cache/bookworm-$(cksum <<<"$there" | cut -d ' ' -f 1).tar
if [ ! -e "$base" ]; then
  mkdir -p "$cache"
  require "a Debian is made" mmdebstrap --format=tar --variant=minbase bookworm "$base.$$" --include="$there"
  mv "$base.$$" "$base"
fi
mkdir "$machine"
require "it is unpacked" tar -C "$machine" -xf "$base"
mkdir "$machine/root/first" "$machine/root/newer"
cp "$first"/*.deb "$machine/root/first/" && cp "$tap_folder"/newer/*.deb "$machine/root/newer/"

# A program in C, built with what the package has, as its users build theirs.
mkdir "$tap_folder/initiator"
dpkg-deb -x "$first"/tercet-initiator_*.deb "$tap_folder/initiator"
build_program() {
  local root=$tap_folder/initiator configuration
  configuration=$(echo "$root"/usr/lib/*/pkgconfig)
  cc -o "$machine/usr/local/bin/roundtrip" -I"$root/usr/include" "$project/Tests/Native/c/roundtrip.c" -L"$(dirname "$configuration")" \
    $(sed -n 's/^Libs: //p' "$configuration/tercet.pc") -pthread
}
check "a program is built with the header and the library of the package" build_program

# The server of the node agent, which is in no package, with the runtime that it needs.
driver=${CSI:-$project/.build/csi/debug/tercet-csi}
require "the CSI driver is built (Tools/csi)" test -x "$driver"
bound=("--bind-ro=$(readlink -f "$driver"):/opt/csi-driver")
runtime=$(ldd "$driver" | sed -n 's/.*=> \(.*\)\/libswiftCore.so.*/\1/p')
[ -z "$runtime" ] || bound+=("--bind-ro=$runtime")

nqn=nqn.2026-11.io.tercet:packages
cat >"$machine/root/steps" <<STEPS
#!/bin/bash
$step
as_tercet() { LD_PRELOAD=/usr/lib/tercet/libsoftverbs.so timeout 60 setpriv --reuid tercet --regid tercet --clear-groups "\$@"; }
soft() {
  mkdir -p "/etc/systemd/system/\$1.service.d"
  printf '[Service]\nEnvironment=LD_PRELOAD=/usr/lib/tercet/libsoftverbs.so\n' >"/etc/systemd/system/\$1.service.d/softverbs.conf"
}
process() { systemctl show -p MainPID --value tercetd; }
step install dpkg -i /root/first/*.deb
step user getent passwd tercet
step idle sh -c '! systemctl is-active tercetd tercet-volumed tercet-node && ! systemctl is-enabled tercetd tercet-volumed tercet-node'
step verify systemd-analyze verify --man=no tercetd.service tercet-volumed.service tercet-node.service
step libraries sh -c '! ldd /usr/bin/tercet /usr/bin/tercetd /usr/bin/tercet-volumed /usr/lib/tercet/* | grep -iE "not found|swift"'
soft tercetd; soft tercet-volumed; systemctl daemon-reload
step start systemctl start tercetd
for name in a b c d; do
  step add as_tercet tercet target add subsystem $nqn.\$name --allow-any-host
  step add as_tercet tercet target add namespace $nqn.\$name 1 ram:64M
done
step save as_tercet tercet target save
members="--member 127.0.0.1:4420/$nqn.a/1 --member 127.0.0.1:4420/$nqn.b/1 --member 127.0.0.1:4420/$nqn.c/1"
step create as_tercet tercet volume create \$members
sed -i 's|"volumes": .*|"volumes": [ { "name": "db", "members": [ "127.0.0.1:4420/$nqn.a/1", "127.0.0.1:4420/$nqn.b/1", "127.0.0.1:4420/$nqn.c/1" ] } ]|' \
  /etc/tercet/tercet-volumed.json
step volumes systemctl start tercet-volumed
step serving sh -c 'for i in \$(seq 50); do tercet volume list | grep -q "^db: serving" && exit 0; sleep 0.1; done; exit 1'
cd /tmp
fio --name=load --ioengine=nbd --uri='nbd+unix:///db?socket=/run/tercet/nbd.sock' --rw=randrw --bs=4k --size=16M --iodepth=8 --rate_iops=500 \
  --verify=crc32c --verify_state_save=0 --time_based --runtime=6 >/root/load 2>&1 &
load=\$!
tells() { for i in \$(seq 100); do tercet volume "\${@:2}" 2>&1 | grep -q "\$1" && return; sleep 0.1; done; tercet volume "\${@:2}"; return 1; }
step load tells 'sessions: 1' list
step dead as_tercet tercet target remove subsystem $nqn.c
step explained tells '^member 2 .*: away' explain db
step goes wait \$load
sed 's/^/  /' /root/load
step replaced systemctl stop tercet-volumed
step replaced as_tercet tercet volume replace \$members --replace 2 --with 127.0.0.1:4420/$nqn.d/1
step replaced sed -i 's|127.0.0.1:4420/$nqn.c/1|127.0.0.1:4420/$nqn.d/1|' /etc/tercet/tercet-volumed.json
step replaced systemctl start tercet-volumed
step again tells '^member 2 .*$nqn.d/1): in sync' explain db
step own as_tercet tercet target add subsystem $nqn.own --allow-any-host
step own as_tercet tercet target add namespace $nqn.own 1 ram:64M
step library as_tercet /usr/local/bin/roundtrip namespace 127.0.0.1 4420 $nqn.own
step fio as_tercet env -u LD_PRELOAD sh -c 'cd /tmp && tercet-fio --targets 1 --name=x --filename=tercet --rw=randwrite --size=4m'
# A user's own limits are told as that, not as the daemons'.
limited() {
  (ulimit -l 64 && LD_PRELOAD=/usr/lib/tercet/libsoftverbs.so timeout 20 setpriv --reuid nobody --regid nogroup --clear-groups tercet doctor)
}
step doctor sh -c "\$(declare -f limited); limited | tee /dev/stderr | grep -A1 '^warning: limit of locked memory of the user nobody' | grep 'the limits of their units'"
systemctl start tercet-node
step driverless sh -c 'for i in \$(seq 100); do systemctl is-failed -q tercet-node && break; sleep 0.1; done; journalctl -u tercet-node | grep "install tercet-csi"'
sed -i 's|^TERCET_NODE_OPTIONS=.*|TERCET_NODE_OPTIONS=--program /opt/csi-driver --node machine|' /etc/default/tercet-node
systemctl reset-failed tercet-node
step agent systemctl start tercet-node
step agent sh -c 'for i in \$(seq 100); do [ -S /run/tercet-node/csi.sock ] && break; sleep 0.1; done; systemctl is-active tercet-node'
step agent test -S /run/tercet-node/csi.sock
step volumeless tercet-node list
before=\$(process); sum=\$(md5sum /etc/tercet/*.json)
step upgrade dpkg -i /root/newer/*.deb
step version sh -c 'dpkg -s tercet-target | grep -q "^Version: 1.1"'
step same sh -c "[ '\$before' = '\$(process)' ] && [ '\$before' != 0 ]"
step configuration test "\$sum" = "\$(md5sum /etc/tercet/*.json)"
step restart systemctl restart tercet-volumed tercetd
step remove dpkg -r tercet-fio tercet-node tercet-volumed tercet-target tercet-initiator tercet-softverbs
step stopped sh -c '! pgrep "^tercet"'
step left test -s /etc/tercet/tercetd.json -a -d /var/lib/tercetd -a -s /etc/default/tercet-node
step purge dpkg -P tercet-node tercet-volumed tercet-target
rm -rf /etc/systemd/system/tercet*.d
step nothing sh -c 'found=\$(find / -xdev -name "*tercet*" -not -path "/proc/*" -not -path "/root/*" -not -path "/run/*"); echo "\$found"; [ -z "\$found" ]'
journalctl -u tercetd -u tercet-volumed -u tercet-node -o short
STEPS
boot_for_steps 300 "${bound[@]}"
while read -r name what; do check "$what" succeeded "$name"; done <<'CHECKS'
install they are installed
user ... and have made their user
idle ... and started nothing
verify systemd takes the units
libraries the programs need no library that Debian has not, and none of Swift's
start tercetd starts, with nothing to serve yet
add it is given four subsystems
save ... and keeps them
create a volume is made of them
volumes tercet-volumed starts
serving ... and serves it
load it has a user, who writes and verifies
dead a member is taken away under it
explained ... and the daemon tells who is away
goes ... while the user goes on, without an error
replaced another one takes its place, as the book for operators says
again ... and is in sync
own it is given another subsystem
library the program in C works on that
fio tercet-fio works
doctor a user's low limits are told as that user's own
driverless the node agent says without its driver that it has to be installed
agent ... and serves with it, where its configuration says
volumeless ... no volume yet
upgrade they are upgraded
version ... to the newer version
same the target goes on through it
configuration ... and the configuration is as it was
restart the newer one starts
remove they are removed
stopped ... and nothing of them runs
left the configuration and the state stay
purge they are purged
nothing ... and nothing is left
CHECKS
[ "$tap_failures" -eq 0 ] || diagnose <"$told"

done_testing
