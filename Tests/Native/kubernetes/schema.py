"""The objects of Kubernetes 1.34 to 1.37 that the manifests use, as far as they use them: keys and types, read off the published API.

A type is "string", "int", "bool" or "any"; "[TYPE]" is a list, "{TYPE}" a map of strings, and a name is an object of the table below. A
key with "!" has to be there. A list of words in angle brackets is an enumeration.
"""

OBJECTS = {
    "Meta": "name!: string, namespace: string, labels: {string}, annotations: {string}",
    "Namespace": "metadata!: Meta",
    "ConfigMap": "metadata!: Meta, data: {string}",
    "ServiceAccount": "metadata!: Meta",
    "PriorityClass": "metadata!: Meta, value!: int, preemptionPolicy: <PreemptLowerPriority|Never>, description: string,"
    " globalDefault: bool",
    "Rule": "apiGroups: [string], resources: [string], verbs!: [<get|list|watch|create|update|patch|delete>]",
    "ClusterRole": "metadata!: Meta, rules!: [Rule]",
    "Role": "metadata!: Meta, rules!: [Rule]",
    "Subject": "kind!: <ServiceAccount>, name!: string, namespace!: string",
    "RoleReference": "apiGroup!: <rbac.authorization.k8s.io>, kind!: <ClusterRole|Role>, name!: string",
    "ClusterRoleBinding": "metadata!: Meta, subjects!: [Subject], roleRef!: RoleReference",
    "RoleBinding": "metadata!: Meta, subjects!: [Subject], roleRef!: RoleReference",
    "DriverSpec": "attachRequired: bool, podInfoOnMount: bool, fsGroupPolicy: <File|None|ReadWriteOnceWithFSType>,"
    " requiresRepublish: bool, storageCapacity: bool, seLinuxMount: bool, volumeLifecycleModes: [<Persistent|Ephemeral>]",
    "CSIDriver": "metadata!: Meta, spec!: DriverSpec",
    "StorageClass": "metadata!: Meta, provisioner!: string, parameters: {string}, reclaimPolicy: <Delete|Retain>,"
    " allowVolumeExpansion: bool, volumeBindingMode: <Immediate|WaitForFirstConsumer>, mountOptions: [string]",
    "Selector": "matchLabels!: {string}",
    "Rolling": "maxUnavailable: any, maxSurge: any",
    "UpdateStrategy": "type!: <RollingUpdate|OnDelete>, rollingUpdate: Rolling",
    "DaemonSetSpec": "selector!: Selector, updateStrategy: UpdateStrategy, minReadySeconds: int, template!: Template",
    "DaemonSet": "metadata!: Meta, spec!: DaemonSetSpec",
    "DeploymentStrategy": "type!: <RollingUpdate|Recreate>",
    "DeploymentSpec": "replicas: int, strategy: DeploymentStrategy, selector!: Selector, template!: Template",
    "Deployment": "metadata!: Meta, spec!: DeploymentSpec",
    "TemplateMeta": "labels!: {string}",
    "Template": "metadata!: TemplateMeta, spec!: Pod",
    "Toleration": "key: string, operator: <Exists|Equal>, value: string, effect: string",
    "Pod": "nodeSelector: {string}, serviceAccountName: string, priorityClassName: string, hostNetwork: bool, hostPID: bool,"
    " dnsPolicy: <ClusterFirstWithHostNet|ClusterFirst|Default>, automountServiceAccountToken: bool,"
    " terminationGracePeriodSeconds: int, tolerations: [Toleration], initContainers: [Container], containers!: [Container],"
    " volumes: [Volume]",
    "FieldReference": "fieldPath!: <spec.nodeName|metadata.name|metadata.namespace>",
    "KeyReference": "name!: string, key!: string",
    "Source": "fieldRef: FieldReference, configMapKeyRef: KeyReference",
    "Variable": "name!: string, value: string, valueFrom: Source",
    "Security": "privileged: bool",
    "Get": "host: string, port!: int, path!: string",
    "Probe": "httpGet!: Get, periodSeconds: int, timeoutSeconds: int, failureThreshold: int",
    "Resources": "requests: {string}, limits: {string}",
    "Mount": "name!: string, mountPath!: string, readOnly: bool,"
    " mountPropagation: <Bidirectional|HostToContainer|None>",
    "Container": "name!: string, image!: string, command: [string], args: [string], env: [Variable],"
    " securityContext: Security, livenessProbe: Probe, readinessProbe: Probe, resources: Resources, volumeMounts: [Mount]",
    "ConfigMapVolume": "name!: string",
    "HostPath": "path!: string, type: <DirectoryOrCreate|Directory>",
    "Empty": "",
    "Volume": "name!: string, configMap: ConfigMapVolume, hostPath: HostPath, emptyDir: Empty",
    "Image": "name!: string, newName!: string, newTag!: string",
    "Generator": "name!: string, literals!: [string]",
    "Kustomization": "namespace!: string, resources!: [string], configMapGenerator: [Generator], images: [Image]",
}
VERSIONS = {
    "v1": ("Namespace", "ConfigMap", "ServiceAccount"),
    "scheduling.k8s.io/v1": ("PriorityClass",),
    "rbac.authorization.k8s.io/v1": ("ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"),
    "storage.k8s.io/v1": ("CSIDriver", "StorageClass"),
    "apps/v1": ("DaemonSet", "Deployment"),
    "kustomize.config.k8s.io/v1beta1": ("Kustomization",),
}


def _fields(name):
    for field in filter(None, (part.strip() for part in OBJECTS[name].split(","))):
        key, kind = field.split(": ")
        yield key.rstrip("!"), key.endswith("!"), kind


def problems(value, kind, place):
    """What is wrong with a value of a type, a line each."""
    if kind == "any":
        return
    if kind[0] == "<":
        if value not in kind[1:-1].split("|"):
            yield f"{place}: {value!r} is none of {kind}"
    elif kind[0] == "[":
        if not isinstance(value, list):
            yield f"{place}: is no list"
            return
        for index, part in enumerate(value):
            yield from problems(part, kind[1:-1], f"{place}[{index}]")
    elif kind[0] == "{":
        for key, part in value.items():
            yield from problems(part, kind[1:-1], f"{place}.{key}")
    elif kind in OBJECTS:
        if not isinstance(value, dict):
            yield f"{place}: is no object"
            return
        known = {key: (required, part) for key, required, part in _fields(kind)}
        yield from (f"{place}: {key} is not known" for key in value if key not in known)
        yield from (f"{place}: {key} is missing" for key, (required, _) in known.items() if required and key not in value)
        for key in value.keys() & known.keys():
            yield from problems(value[key], known[key][1], f"{place}.{key}")
    elif type(value) is not {"string": str, "int": int, "bool": bool}[kind]:
        yield f"{place}: {value!r} is no {kind}"


def document_problems(document, place):
    """What is wrong with an object as a whole."""
    kind, version = document.get("kind"), document.get("apiVersion")
    if kind not in VERSIONS.get(version, ()):
        yield f"{place}: {version} has no {kind}"
        return
    rest = {key: value for key, value in document.items() if key not in ("kind", "apiVersion")}
    yield from problems(rest, kind, f"{place} {kind}")
