"""Looks at the manifests of Deploy/kubernetes: their structure, that what they name is there, and that our programs know their options.

Arguments: the folder, and PROGRAM=FILE with the program's help for each of ours. Prints what is wrong, a line each.
"""

import pathlib
import re
import sys

import yaml

import schema


def load(folder):
    documents = {}
    for path in sorted(folder.glob("*.yaml")):
        documents[path.name] = list(yaml.safe_load_all(path.read_text()))
    return documents


def containers(pod):
    return pod.get("initContainers", []) + pod["containers"]


def workload_problems(place, workload, names, images, maps):
    """A workload's labels, images, mounts and references."""
    spec = workload["spec"]
    template = spec["template"]
    pod = template["spec"]
    if spec["selector"]["matchLabels"] != template["metadata"]["labels"]:
        yield f"{place}: its selector is not its pods' labels"
    volumes = {volume["name"]: volume for volume in pod.get("volumes", [])}
    mounted = set()
    for container in containers(pod):
        where = f"{place} {container['name']}"
        if container["image"] not in images:
            yield f"{where}: the kustomization has no image {container['image']}"
        for mount in container.get("volumeMounts", []):
            mounted.add(mount["name"])
            if mount["name"] not in volumes:
                yield f"{where}: there is no volume {mount['name']}"
        for variable in container.get("env", []):
            reference = variable.get("valueFrom", {}).get("configMapKeyRef")
            if reference and reference["key"] not in maps.get(reference["name"], ()):
                yield f"{where}: no map has {reference}"
        known = {variable["name"] for variable in container.get("env", [])}
        for name in re.findall(r"\$\((\w+)\)", " ".join(container.get("args", []))):
            if name not in known:
                yield f"{where}: $({name}) is no variable of its own"
    yield from (f"{place}: nobody mounts {name}" for name in volumes.keys() - mounted)
    for name, volume in volumes.items():
        if "configMap" in volume and volume["configMap"]["name"] not in maps:
            yield f"{place}: there is no map {volume['configMap']['name']}"
    for key, kind in (("priorityClassName", "PriorityClass"), ("serviceAccountName", "ServiceAccount")):
        if key in pod and (kind, pod[key]) not in names:
            yield f"{place}: there is no {kind} {pod[key]}"
    if pod.get("serviceAccountName") is None and pod.get("automountServiceAccountToken") is not False:
        yield f"{place}: has a token of the API that nobody needs"


def option_problems(place, container, helps):
    """Options that our programs do not have."""
    program = container.get("command", [""])[0]
    if program not in helps:
        return
    for word in container.get("args", []):
        option = word.split("=")[0]
        if option.startswith("--") and not re.search(rf"(^|[\s,]){re.escape(option)}\b", helps[program]):
            yield f"{place}: {program} has no {option}"


def reference_problems(documents, helps):
    kustomization = documents["kustomization.yaml"][0]
    files = set(documents) - {"kustomization.yaml"}
    if set(kustomization["resources"]) != files:
        yield f"kustomization.yaml: its resources are not the files: {set(kustomization['resources']) ^ files}"
    everything = [(f"{name} {document['metadata']['name']}", document) for name in files for document in documents[name]]
    names = {(document["kind"], document["metadata"]["name"]) for _, document in everything}
    images = {image["name"] for image in kustomization["images"]}
    maps = {d["metadata"]["name"]: set(d["data"]) for _, d in everything if d["kind"] == "ConfigMap"}
    for generator in kustomization["configMapGenerator"]:
        maps[generator["name"]] = {literal.split("=")[0] for literal in generator["literals"]}
    used = set()
    for place, document in everything:
        if document["kind"] in ("DaemonSet", "Deployment"):
            yield from workload_problems(place, document, names, images, maps)
            for container in containers(document["spec"]["template"]["spec"]):
                used.add(container["image"])
                yield from option_problems(place, container, helps)
        if document["kind"].endswith("RoleBinding"):
            role = document["roleRef"]
            if (role["kind"], role["name"]) not in names:
                yield f"{place}: there is no {role['kind']} {role['name']}"
            for subject in document["subjects"]:
                if ("ServiceAccount", subject["name"]) not in names or subject["namespace"] != kustomization["namespace"]:
                    yield f"{place}: there is no account {subject['name']} in {subject['namespace']}"
        if document["kind"] == "StorageClass" and ("CSIDriver", document["provisioner"]) not in names:
            yield f"{place}: there is no driver {document['provisioner']}"
    yield from (f"kustomization.yaml: nobody uses the image {name}" for name in images - used)


def main():
    folder = pathlib.Path(sys.argv[1])
    helps = {}
    for argument in sys.argv[2:]:
        program, path = argument.split("=", 1)
        helps[program] = pathlib.Path(path).read_text()
    documents = load(folder)
    found = []
    for name, parts in documents.items():
        for document in parts:
            found += schema.document_problems(document, name)
    if not found:
        found += reference_problems(documents, helps)
    print("\n".join(found) or f"{sum(map(len, documents.values()))} objects are in order")
    sys.exit(bool(found))


main()
