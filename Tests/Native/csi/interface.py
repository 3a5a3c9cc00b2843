"""CSI 1.12 and grpc.health.v1 as a client needs them: a table of names, numbers and types, read off the published specification.

It has nothing of the driver's own interface files, and fields that the driver leaves out.
"""

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, wrappers_pb2

FIELD = descriptor_pb2.FieldDescriptorProto

# Fields are "NUMBER NAME TYPE"; "*" before a type repeats it, "%" is a map from string to string, "|" is a member of the message's
# only oneof.
CSI = {
    "GetPluginInfoRequest": "",
    "GetPluginInfoResponse": "1 name string, 2 vendor_version string, 3 manifest %",
    "GetPluginCapabilitiesRequest": "",
    "PluginCapability.Service": "1 type int32",
    "PluginCapability.VolumeExpansion": "1 type int32",
    "PluginCapability": "1 service |PluginCapability.Service, 2 volume_expansion |PluginCapability.VolumeExpansion",
    "GetPluginCapabilitiesResponse": "1 capabilities *PluginCapability",
    "ProbeRequest": "",
    "ProbeResponse": "1 ready google.protobuf.BoolValue",
    "VolumeCapability.BlockVolume": "",
    "VolumeCapability.MountVolume": "1 fs_type string, 2 mount_flags *string, 3 volume_mount_group string",
    "VolumeCapability.AccessMode": "1 mode int32",
    "VolumeCapability": "1 block |VolumeCapability.BlockVolume, 2 mount |VolumeCapability.MountVolume,"
    " 3 access_mode VolumeCapability.AccessMode",
    "CapacityRange": "1 required_bytes int64, 2 limit_bytes int64",
    "NodeStageVolumeRequest": "1 volume_id string, 2 publish_context %, 3 staging_target_path string,"
    " 4 volume_capability VolumeCapability, 5 secrets %, 6 volume_context %",
    "NodeStageVolumeResponse": "",
    "NodeUnstageVolumeRequest": "1 volume_id string, 2 staging_target_path string",
    "NodeUnstageVolumeResponse": "",
    "NodePublishVolumeRequest": "1 volume_id string, 2 publish_context %, 3 staging_target_path string, 4 target_path string,"
    " 5 volume_capability VolumeCapability, 6 readonly bool, 7 secrets %, 8 volume_context %",
    "NodePublishVolumeResponse": "",
    "NodeUnpublishVolumeRequest": "1 volume_id string, 2 target_path string",
    "NodeUnpublishVolumeResponse": "",
    "NodeGetVolumeStatsRequest": "1 volume_id string, 2 volume_path string, 3 staging_target_path string",
    "VolumeUsage": "1 available int64, 2 total int64, 3 used int64, 4 unit int32",
    "VolumeCondition": "1 abnormal bool, 2 message string",
    "NodeGetVolumeStatsResponse": "1 usage *VolumeUsage, 2 volume_condition VolumeCondition",
    "NodeGetCapabilitiesRequest": "",
    "NodeServiceCapability.RPC": "1 type int32",
    "NodeServiceCapability": "1 rpc |NodeServiceCapability.RPC",
    "NodeGetCapabilitiesResponse": "1 capabilities *NodeServiceCapability",
    "NodeGetInfoRequest": "",
    "Topology": "1 segments %",
    "NodeGetInfoResponse": "1 node_id string, 2 max_volumes_per_node int64, 3 accessible_topology Topology",
    "NodeExpandVolumeRequest": "1 volume_id string, 2 volume_path string, 3 capacity_range CapacityRange,"
    " 4 staging_target_path string, 5 volume_capability VolumeCapability, 6 secrets %",
    "NodeExpandVolumeResponse": "1 capacity_bytes int64",
    "VolumeContentSource.SnapshotSource": "1 snapshot_id string",
    "VolumeContentSource.VolumeSource": "1 volume_id string",
    "VolumeContentSource": "1 snapshot |VolumeContentSource.SnapshotSource, 2 volume |VolumeContentSource.VolumeSource",
    "TopologyRequirement": "1 requisite *Topology, 2 preferred *Topology",
    "Volume": "1 capacity_bytes int64, 2 volume_id string, 3 volume_context %, 4 content_source VolumeContentSource,"
    " 5 accessible_topology *Topology",
    "CreateVolumeRequest": "1 name string, 2 capacity_range CapacityRange, 3 volume_capabilities *VolumeCapability,"
    " 4 parameters %, 5 secrets %, 6 volume_content_source VolumeContentSource,"
    " 7 accessibility_requirements TopologyRequirement, 8 mutable_parameters %",
    "CreateVolumeResponse": "1 volume Volume",
    "DeleteVolumeRequest": "1 volume_id string, 2 secrets %",
    "DeleteVolumeResponse": "",
    "ControllerPublishVolumeRequest": "1 volume_id string, 2 node_id string, 3 volume_capability VolumeCapability,"
    " 4 readonly bool, 5 secrets %, 6 volume_context %",
    "ControllerPublishVolumeResponse": "1 publish_context %",
    "ControllerUnpublishVolumeRequest": "1 volume_id string, 2 node_id string, 3 secrets %",
    "ControllerUnpublishVolumeResponse": "",
    "ValidateVolumeCapabilitiesRequest": "1 volume_id string, 2 volume_context %, 3 volume_capabilities *VolumeCapability,"
    " 4 parameters %, 5 secrets %, 6 mutable_parameters %",
    "ValidateVolumeCapabilitiesResponse.Confirmed": "1 volume_context %, 2 volume_capabilities *VolumeCapability,"
    " 3 parameters %, 4 mutable_parameters %",
    "ValidateVolumeCapabilitiesResponse": "1 confirmed ValidateVolumeCapabilitiesResponse.Confirmed, 2 message string",
    "ListVolumesRequest": "1 max_entries int32, 2 starting_token string",
    "ListVolumesResponse.VolumeStatus": "1 published_node_ids *string, 2 volume_condition VolumeCondition",
    "ListVolumesResponse.Entry": "1 volume Volume, 2 status ListVolumesResponse.VolumeStatus",
    "ListVolumesResponse": "1 entries *ListVolumesResponse.Entry, 2 next_token string",
    "ControllerGetVolumeRequest": "1 volume_id string",
    "ControllerGetVolumeResponse.VolumeStatus": "1 published_node_ids *string, 2 volume_condition VolumeCondition",
    "ControllerGetVolumeResponse": "1 volume Volume, 2 status ControllerGetVolumeResponse.VolumeStatus",
    "ControllerModifyVolumeRequest": "1 volume_id string, 2 secrets %, 3 mutable_parameters %",
    "ControllerModifyVolumeResponse": "",
    "GetCapacityRequest": "1 volume_capabilities *VolumeCapability, 2 parameters %, 3 accessible_topology Topology",
    "GetCapacityResponse": "1 available_capacity int64, 2 maximum_volume_size google.protobuf.Int64Value,"
    " 3 minimum_volume_size google.protobuf.Int64Value",
    "ControllerGetCapabilitiesRequest": "",
    "ControllerServiceCapability.RPC": "1 type int32",
    "ControllerServiceCapability": "1 rpc |ControllerServiceCapability.RPC",
    "ControllerGetCapabilitiesResponse": "1 capabilities *ControllerServiceCapability",
    "ControllerExpandVolumeRequest": "1 volume_id string, 2 capacity_range CapacityRange, 3 secrets %,"
    " 4 volume_capability VolumeCapability",
    "ControllerExpandVolumeResponse": "1 capacity_bytes int64, 2 node_expansion_required bool",
}
HEALTH = {"HealthCheckRequest": "1 service string", "HealthCheckResponse": "1 status int32"}


def _field(message, package, number, name, kind):
    """Adds a field to a message."""
    field = message.field.add(number=int(number), name=name, label=FIELD.LABEL_OPTIONAL)
    if kind == "%":
        entry = message.nested_type.add(name="".join(part.capitalize() for part in name.split("_")) + "Entry")
        entry.options.map_entry = True
        for place, part in enumerate(("key", "value"), 1):
            entry.field.add(number=place, name=part, label=FIELD.LABEL_OPTIONAL, type=FIELD.TYPE_STRING)
        field.label, field.type = FIELD.LABEL_REPEATED, FIELD.TYPE_MESSAGE
        field.type_name = f".{package}.{message.name}.{entry.name}"
        return
    if kind.startswith("*"):
        field.label, kind = FIELD.LABEL_REPEATED, kind[1:]
    if kind.startswith("|"):
        if not message.oneof_decl:
            message.oneof_decl.add(name="one")
        field.oneof_index, kind = 0, kind[1:]
    scalar = getattr(FIELD, f"TYPE_{kind.upper()}", None)
    if scalar is not None:
        field.type = scalar
    else:
        field.type = FIELD.TYPE_MESSAGE
        # A name with dots of its own is flat here: nothing on the wire tells the difference.
        name = kind if kind.startswith("google.") else f"{package}.{kind.replace('.', '_')}"
        field.type_name = f".{name}"


def _messages(package, table):
    file = descriptor_pb2.FileDescriptorProto(name=f"{package}.test", package=package, syntax="proto3")
    file.dependency.append("google/protobuf/wrappers.proto")
    for name, fields in table.items():
        message = file.message_type.add(name=name.replace(".", "_"))
        for field in filter(None, (field.strip() for field in fields.split(","))):
            _field(message, package, *field.split())
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    factory = message_factory.MessageFactory(pool)
    return {
        name: factory.GetPrototype(pool.FindMessageTypeByName(f"{package}.{name.replace('.', '_')}")) for name in table
    }


_CSI, _HEALTH = _messages("csi.v1", CSI), _messages("grpc.health.v1", HEALTH)


def method(name):
    """The full path of a method, and the types of its request and response."""
    if name == "Check":
        return "/grpc.health.v1.Health/Check", _HEALTH["HealthCheckRequest"], _HEALTH["HealthCheckResponse"]
    identity = ("GetPluginInfo", "GetPluginCapabilities", "Probe")
    service = "Node" if name.startswith("Node") else "Identity" if name in identity else "Controller"
    return f"/csi.v1.{service}/{name}", _CSI.get(f"{name}Request"), _CSI.get(f"{name}Response")
