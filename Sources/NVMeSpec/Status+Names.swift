/// The names that the specifications give to status codes.
extension Status {
    /// The specification's name, or `nil` for a code without one here. Codes 80h to BFh of the command specific type are
    /// those of NVM commands, unless `isFabrics`.
    func name(isFabrics: Bool) -> StaticString? {
        switch type {
        case .generic: genericName
        case .commandSpecific: isFabrics ? fabricsName ?? commandSpecificName : commandSpecificName
        case .mediaAndDataIntegrity: mediaName
        case .path: pathName
        default: nil
        }
    }

    private var genericName: StaticString? {
        switch statusCode {
        case 0x00: "Successful Completion"
        case 0x01: "Invalid Command Opcode"
        case 0x02: "Invalid Field in Command"
        case 0x03: "Command ID Conflict"
        case 0x04: "Data Transfer Error"
        case 0x05: "Commands Aborted due to Power Loss Notification"
        case 0x06: "Internal Error"
        case 0x07: "Command Abort Requested"
        case 0x08: "Command Aborted due to SQ Deletion"
        case 0x09: "Command Aborted due to Failed Fused Command"
        case 0x0A: "Command Aborted due to Missing Fused Command"
        case 0x0B: "Invalid Namespace or Format"
        case 0x0C: "Command Sequence Error"
        case 0x0D: "Invalid SGL Segment Descriptor"
        case 0x0E: "Invalid Number of SGL Descriptors"
        case 0x0F: "Data SGL Length Invalid"
        case 0x10: "Metadata SGL Length Invalid"
        case 0x11: "SGL Descriptor Type Invalid"
        case 0x12: "Invalid Use of Controller Memory Buffer"
        case 0x13: "PRP Offset Invalid"
        case 0x14: "Atomic Write Unit Exceeded"
        case 0x15: "Operation Denied"
        case 0x16: "SGL Offset Invalid"
        case 0x18: "Host Identifier Inconsistent Format"
        case 0x19: "Keep Alive Timer Expired"
        case 0x1A: "Keep Alive Timeout Invalid"
        case 0x1B: "Command Aborted due to Preempt and Abort"
        case 0x1C: "Sanitize Failed"
        case 0x1D: "Sanitize In Progress"
        case 0x1E: "SGL Data Block Granularity Invalid"
        case 0x1F: "Command Not Supported for Queue in CMB"
        case 0x20: "Namespace is Write Protected"
        case 0x21: "Command Interrupted"
        case 0x22: "Transient Transport Error"
        case 0x23: "Command Prohibited by Command and Feature Lockdown"
        case 0x24: "Admin Command Media Not Ready"
        case 0x80: "LBA Out of Range"
        case 0x81: "Capacity Exceeded"
        case 0x82: "Namespace Not Ready"
        case 0x83: "Reservation Conflict"
        case 0x84: "Format In Progress"
        default: nil
        }
    }

    private var commandSpecificName: StaticString? {
        switch statusCode {
        case 0x00: "Completion Queue Invalid"
        case 0x01: "Invalid Queue Identifier"
        case 0x02: "Invalid Queue Size"
        case 0x03: "Abort Command Limit Exceeded"
        case 0x05: "Asynchronous Event Request Limit Exceeded"
        case 0x06: "Invalid Firmware Slot"
        case 0x07: "Invalid Firmware Image"
        case 0x08: "Invalid Interrupt Vector"
        case 0x09: "Invalid Log Page"
        case 0x0A: "Invalid Format"
        case 0x0B: "Firmware Activation Requires Conventional Reset"
        case 0x0C: "Invalid Queue Deletion"
        case 0x0D: "Feature Identifier Not Saveable"
        case 0x0E: "Feature Not Changeable"
        case 0x0F: "Feature Not Namespace Specific"
        case 0x10: "Firmware Activation Requires NVM Subsystem Reset"
        case 0x11: "Firmware Activation Requires Controller Level Reset"
        case 0x12: "Firmware Activation Requires Maximum Time Violation"
        case 0x13: "Firmware Activation Prohibited"
        case 0x14: "Overlapping Range"
        case 0x15: "Namespace Insufficient Capacity"
        case 0x16: "Namespace Identifier Unavailable"
        case 0x18: "Namespace Already Attached"
        case 0x19: "Namespace Is Private"
        case 0x1A: "Namespace Not Attached"
        case 0x1B: "Thin Provisioning Not Supported"
        case 0x1C: "Controller List Invalid"
        case 0x1D: "Device Self-test In Progress"
        case 0x1E: "Boot Partition Write Prohibited"
        case 0x1F: "Invalid Controller Identifier"
        case 0x20: "Invalid Secondary Controller State"
        case 0x21: "Invalid Number of Controller Resources"
        case 0x22: "Invalid Resource Identifier"
        case 0x23: "Sanitize Prohibited While Persistent Memory Region is Enabled"
        case 0x24: "ANA Group Identifier Invalid"
        case 0x25: "ANA Attach Failed"
        case 0x26: "Insufficient Capacity"
        case 0x27: "Namespace Attachment Limit Exceeded"
        case 0x28: "Prohibition of Command Execution Not Supported"
        case 0x29: "I/O Command Set Not Supported"
        case 0x2A: "I/O Command Set Not Enabled"
        case 0x2B: "I/O Command Set Combination Rejected"
        case 0x2C: "Invalid I/O Command Set"
        case 0x2D: "Identifier Unavailable"
        case 0x80: "Conflicting Attributes"
        case 0x81: "Invalid Protection Information"
        case 0x82: "Attempted Write to Read Only Range"
        case 0x83: "Command Size Limit Exceeded"
        default: nil
        }
    }

    private var fabricsName: StaticString? {
        switch statusCode {
        case 0x80: "Connect Incompatible Format"
        case 0x81: "Connect Controller Busy"
        case 0x82: "Connect Invalid Parameters"
        case 0x83: "Connect Restart Discovery"
        case 0x84: "Connect Invalid Host"
        case 0x85: "Invalid Queue Type"
        case 0x90: "Discover Restart"
        case 0x91: "Authentication Required"
        default: nil
        }
    }

    private var mediaName: StaticString? {
        switch statusCode {
        case 0x80: "Write Fault"
        case 0x81: "Unrecovered Read Error"
        case 0x82: "End-to-end Guard Check Error"
        case 0x83: "End-to-end Application Tag Check Error"
        case 0x84: "End-to-end Reference Tag Check Error"
        case 0x85: "Compare Failure"
        case 0x86: "Access Denied"
        case 0x87: "Deallocated or Unwritten Logical Block"
        case 0x88: "End-to-End Storage Tag Check Error"
        default: nil
        }
    }

    private var pathName: StaticString? {
        switch statusCode {
        case 0x00: "Internal Path Error"
        case 0x01: "Asymmetric Access Persistent Loss"
        case 0x02: "Asymmetric Access Inaccessible"
        case 0x03: "Asymmetric Access Transition"
        case 0x60: "Controller Pathing Error"
        case 0x70: "Host Pathing Error"
        case 0x71: "Command Aborted By Host"
        default: nil
        }
    }
}
