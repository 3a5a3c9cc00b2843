#!/usr/bin/env bash
# Volumes by name in etcd: with TLS and a user, on one etcd, and in a cluster that loses members while commands are at work.

. "$(dirname "$0")/volume.sh"
. "$(dirname "$0")/volumed.sh"
. "$(dirname "$0")/etcd.sh"

by_name() { timeout 120 "$tercet" volume "$@"; }
registry() { timeout 60 "$tercet" registry "$@"; }

# One etcd, with TLS and a user.
certificates() {
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=authority \
    -keyout "$tap_folder/ca.key" -out "$tap_folder/ca.pem" &&
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=etcd -keyout "$tap_folder/etcd.key" \
      -out "$tap_folder/etcd.csr" &&
    openssl x509 -req -in "$tap_folder/etcd.csr" -CA "$tap_folder/ca.pem" -CAkey "$tap_folder/ca.key" -CAcreateserial -days 2 \
      -extfile <(echo "subjectAltName=IP:$etcd_address") -out "$tap_folder/etcd.pem"
}
require "an authority signs a certificate" certificates
start_etcd 0 https "m0=http://$etcd_address:2389" --cert-file "$tap_folder/etcd.pem" --key-file "$tap_folder/etcd.key"
as_root() { etcd_client "https://$etcd_address:2379" --cacert "$tap_folder/ca.pem" "$@"; }
require "etcd starts" wait_until 30 as_root get x
users() {
  as_root user add root:secret && as_root user grant-role root root && as_root role add tercet &&
    as_root role grant-permission tercet --prefix=true readwrite /tercet/ && as_root user add tercet:password &&
    as_root user grant-role tercet tercet && as_root user add other:password && as_root auth enable
}
require "it has users" users
echo password >"$tap_folder/password"
echo wrong >"$tap_folder/wrong"
place=etcd://$etcd_address:2379
secure=$place'?ca='$tap_folder/ca.pem'&deadline=5&user=tercet&password-file='$tap_folder/password

for number in 0 1 2; do require "target $number starts" start_member "$number"; done
expect_refusal "a look makes no registry" "there is no registry at /tercet" by_name list --registry "$secure"
export TERCET_REGISTRY=$secure
expect_output "a volume is created by its name" "volume [0-9a-f-]+: [0-9]+ blocks" \
  by_name create db "${members[@]}" --region-size 64k --label tier=1
expect_output "it is listed" "^db: ready, [0-9]+ bytes, [0-9a-f-]{36}, $address:$port/" by_name list
expect_output "its members are asked" "health: healthy" by_name status db
check "it is written by its name" by_name bench db --runtime 0.5 --size 4m
expect_refusal "a name is used once" "is in the registry already" by_name create db "${members[@]}" --overwrite
expect_output "nothing is half done" "0 half done and settled, 0 left" registry check
cat >"$tap_folder/volumed.json" <<JSON
{ "registry": "$secure", "nbd": { "socket": "$nbd_socket" }, "volumes": [ { "name": "db" } ] }
JSON
require "the daemon serves it by its name" start_volumed --config "$tap_folder/volumed.json"
expect_output "... with its size" "^[1-9][0-9]+$" nbdinfo --size "$(uri db)"
check "... and ends" stop_volumed
sed -i 's/"db"/"other"/' "$tap_folder/volumed.json"
expect_refusal "... and no other" "volume other: there is none in the registry" "$volumed" --config "$tap_folder/volumed.json"

expect_refusal "without a user nothing is shown" "add user=NAME" by_name list --registry "$place?ca=$tap_folder/ca.pem"
expect_refusal "a wrong password is refused" "see user=NAME and password-file" by_name list --registry "${secure/password-file=*/}password-file=$tap_folder/wrong"
expect_refusal "a user without rights is refused" "needs the keys from /tercet/" by_name list --registry "${secure/user=tercet/user=other}"
expect_refusal "a certificate of nobody is refused" "certificate|SSL" by_name list --registry "$place?tls&user=tercet&password-file=$tap_folder/password"
expect_refusal "a place has a form" "is no HOST:PORT" by_name list --registry etcd://nowhere
registry export >"$tap_folder/export"
check "the volume is destroyed by its name" by_name destroy db
expect_equal "... and has left the registry" "" "$(by_name list)"
kill_etcd 0
rm -r "$etcd_folder/0"
expect_refusal "nobody is there" "no member could answer within 1.0 s .*more than half" by_name list --registry "$place?deadline=1"

# A cluster of three.
peers=$(for number in 0 1 2; do printf 'm%s=http://%s:%s,' "$number" "$etcd_address" $((2389 + number)); done)
for number in 0 1 2; do start_etcd "$number" http "${peers%,}"; done
endpoints=$etcd_address:2379,$etcd_address:2380,$etcd_address:2381
require "a cluster starts" wait_until 30 etcd_client "$endpoints" endpoint health
export TERCET_REGISTRY=etcd://$endpoints
python3 - "$tap_folder/export" >"$tap_folder/many" <<'PYTHON'
import copy, json, sys
export = json.load(open(sys.argv[1]))
volume = export["volumes"][0]
export["volumes"] = [dict(copy.deepcopy(volume), name=f"v{number}") for number in range(300)]
json.dump(export, sys.stdout)
PYTHON
registry import --input "$tap_folder/many" >"$tap_folder/import" 2>&1 &
import=$!
some_are_there() { [ "$(by_name list | wc -l)" -ge 20 ]; }
require "an import of 300 volumes has begun" wait_until 20 some_are_there
kill_etcd 0
check "it goes on without the member that it spoke with" wait "$import"
expect_equal "... to the end" "300 volumes entered, 0 were there" "$(cat "$tap_folder/import")"
expect_equal "all are there" 300 "$(by_name list | wc -l)"
kill_etcd 1
expect_refusal "one of three is no cluster" "no member could answer within 2.0 s .*$etcd_address:2381" \
  registry remove v7 --registry "$TERCET_REGISTRY?deadline=2"
start_etcd 1 http "${peers%,}"
check "two of three are one" wait_until 20 registry remove v8
expect_output "nothing is lost" "v299: ready" by_name list
check "the targets end in good order" stop_members
done_testing
