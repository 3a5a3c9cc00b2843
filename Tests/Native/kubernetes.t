#!/usr/bin/env bash
# The manifests for Kubernetes: their structure, what they refer to, the options and configurations that they give our programs.
# KUBERNETES_VALIDATE names the program of that name (PyPI), if the published schemas are to be asked, too.

. "$(dirname "$0")/native.sh"
. "$(dirname "$0")/volumed.sh"

manifests=$project/Deploy/kubernetes
helps=()
for program in tercetd tercet-volumed; do
  "$project/.build/release/$program" --help >"$tap_folder/$program.txt"
  helps+=("$program=$tap_folder/$program.txt")
done
"$project/.build/release/tercet-node" serve --help >"$tap_folder/tercet-node.txt"
helps+=("tercet-node=$tap_folder/tercet-node.txt")
look() { PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3 "$(dirname "$0")/kubernetes/check.py" "$1" "${helps[@]}"; }

expect_output "the manifests are in order" "^[1-9][0-9]+ objects are in order\$" look "$manifests"
# noticed NAME FILE SED PATTERN: passes if a change for the worse is noticed.
noticed() {
  rm -rf "$tap_folder/broken" && cp -r "$manifests" "$tap_folder/broken"
  sed -i "$3" "$tap_folder/broken/$2"
  expect_refusal "$1 is noticed" "$4" look "$tap_folder/broken"
}
noticed "a misspelt key" node.yaml 's/mountPropagation/mountPropogation/' "mountPropogation is not known"
noticed "a value of the wrong type" controller.yaml 's/replicas: 1/replicas: "1"/' "'1' is no int"
noticed "an option that a program does not have" volumed.yaml 's/--metrics/--metric/' "tercet-volumed has no --metric"
noticed "a volume that is not there" target.yaml 's/name: run, mountPath/name: rum, mountPath/' "there is no volume rum"
noticed "a selector that is another one's" node.yaml '0,/component: node/s//component: nod/; 0,/matchLabels: .*/s//matchLabels: { a: b }/' "selector is not"
noticed "a class of another driver" driver.yaml 's/provisioner: csi.tercet/provisioner: csi.other/' "no driver csi.other"
noticed "a role that is not there" rights.yaml '/kind: RoleBinding/,$s/  name: tercet-controller$/  name: other/' "no "
noticed "a file that is not named" kustomization.yaml '/node.yaml/d' "resources are not the files"

if [ -n "${KUBERNETES_VALIDATE:-}" ]; then
  for file in "$manifests"/[!k]*.yaml; do check "the published schemas allow $(basename "$file")" "$KUBERNETES_VALIDATE" --strict "$file"; done
else
  diagnose "the published schemas were not asked: KUBERNETES_VALIDATE names no program"
fi

# What the pods give our programs: the target's pod writes its configuration, with its own script.
/usr/bin/python3 - "$manifests" "$tap_folder" <<'PYTHON'
import pathlib, sys, yaml
folder, out = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
for name, key in ("target.yaml", "tercetd.json"), ("volumed.yaml", "tercet-volumed.json"):
    for document in yaml.safe_load_all((folder / name).read_text()):
        if document["kind"] == "ConfigMap":
            (out / key).write_text(document["data"][key])
        elif name == "target.yaml":
            (out / "script").write_text(document["spec"]["template"]["spec"]["initContainers"][0]["args"][0])
PYTHON
mkdir -p "$tap_folder/etc/tercet-template" "$tap_folder/etc/tercet" "$tap_folder/state"
sed -e "s|/var/lib/tercetd|$tap_folder/state|g; s|0.0.0.0|$address|; s|4420|$port|" "$tap_folder/tercetd.json" >"$tap_folder/etc/tercet-template/tercetd.json"
prepare() {
  sed -e "s|/etc/|$tap_folder/etc/|g; s|/var/lib/tercetd|$tap_folder/state|g" "$tap_folder/script" |
    NODE_NAME=node-7 CAPACITY=100G MANAGER=nqn.2026-11.io.example:controller sh -e
}
check "the target's pod writes a configuration" prepare
start() {
  start_tercetd --config "$tap_folder/etc/tercet/tercetd.json" --control "$tap_folder/control.sock"
  wait_until 20 target_listens
}
require "... with which it starts" start
expect_output "... with a pool of its node" "^nqn.2026-11.io.example:pool-node-7: 0 of 1024 namespaces, 100G of 100G" \
  timeout 20 "$tercet" target pool list --socket "$tap_folder/control.sock"
check "it ends" stop_tercetd
sed -i "s|/run/tercet|$tap_folder|g" "$tap_folder/tercet-volumed.json"
require "the volume daemon starts without a volume" start_volumed --config "$tap_folder/tercet-volumed.json"
check "... and ends" stop_volumed
done_testing
