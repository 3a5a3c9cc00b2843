import Base
import Fuzzing
import NVMeSpec

extension FuzzTarget {
    /// Structures that are exchanged before a queue works: RDMA CM private data, Connect, reservation keys.
    static var handshakes: [FuzzTarget] {
        [
            list(
                "RDMAConnectRequest",
                RDMAConnectRequest(queueID: 1, hostReceiveQueueSize: 128, hostSendQueueSize: 127),
                encode: \.privateData, decode: { try RDMAConnectRequest(decoding: Array($0)) }),
            list(
                "RDMAConnectReply", RDMAConnectReply(controllerReceiveQueueSize: 128), encode: \.privateData,
                decode: { try RDMAConnectReply(decoding: Array($0)) }),
            list(
                "RDMARejectStatus", RDMARejectStatus.noResources, encode: \.privateData,
                decode: { bytes in
                    guard let status = RDMARejectStatus(decoding: Array(bytes)) else {
                        throw RDMARejectStatus.invalidRecordFormat
                    }
                    invariant(!status.description.isEmpty, "a status can be described")
                    return status
                }),
            list(
                "ConnectData",
                ConnectData(
                    hostID: UUIDBytes(high: 1, low: 2), subsystemNQN: "nqn.2014-08.org.example:a",
                    hostNQN: "nqn.2014-08.org.example:host"), encode: \.encoded,
                decode: { bytes throws in
                    do throws(ConnectFailure) {
                        return try ConnectData(decoding: bytes)
                    } catch {
                        invariant(!error.status.isSuccess && !error.description.isEmpty, "a refusal has a status")
                        throw error
                    }
                }),
            structure(ReservationRegisterData(currentKey: 1, newKey: 2)),
            structure(ReservationAcquireData(currentKey: 1, preemptKey: 2)),
            structure(ReservationReleaseData(currentKey: 1)),
            structure(HostBehaviorSupport()),
        ]
    }

    /// Identify data.
    static var identify: [FuzzTarget] {
        var controller = IdentifyController()
        controller.serialNumber = "1"
        controller.modelNumber = "model"
        controller.subsystemNQN = "nqn.2014-08.org.example:a"
        return [
            structure(controller),
            structure(IdentifyNamespace(blockCount: 1 << 20, blockSize: 512)),
            structure(IdentifyIndependentNamespace()),
            structure(IdentifyNVMNamespace()),
            structure(IdentifyNVMController()),
            structure(IdentifyCommandSets()),
            list(
                "NamespaceDescriptors",
                NamespaceDescriptors(
                    eui64: 1, nguid: UUIDBytes(high: 1, low: 2), uuid: UUIDBytes(high: 3, low: 4), commandSet: .nvm),
                encode: \.encoded, decode: { try NamespaceDescriptors(decoding: $0) }),
            structure(NamespaceCreationData(blockCount: 0x1_0000_0001)),
            list(
                "NamespaceList", NamespaceList([1, 2, 9]), encode: \.encoded,
                decode: { try NamespaceList(decoding: $0) }),
            list(
                "ControllerList", ControllerList([1, 2, 9]), encode: \.encoded,
                decode: { try ControllerList(decoding: $0) }),
        ]
    }

    /// Log pages and the reservation report.
    static var logs: [FuzzTarget] {
        let groups = [
            ANALog.Group(id: 1, changeCount: 2, state: .optimized, namespaces: [1, 2]),
            ANALog.Group(id: 2, changeCount: 3, state: .inaccessible, namespaces: [3]),
        ]
        let registrants = [
            ReservationStatus.Registrant(
                controllerID: 1, holdsReservation: true, hostID: UUIDBytes(high: 1, low: 0), key: 1),
            ReservationStatus.Registrant(
                controllerID: 0xFFFF, holdsReservation: false, hostID: UUIDBytes(high: 2, low: 0), key: 2),
        ]
        let status = ReservationStatus(
            generation: 1, type: .writeExclusive, persistsThroughPowerLoss: true, registrants: registrants)
        return [
            structure(ErrorLogEntry(errorCount: 1, submissionQueueID: 1, commandID: 1, status: .internalError)),
            structure(SMARTLog()),
            structure(FirmwareSlotLog(revision: "1.0")),
            structure(CommandEffectsLog()),
            structure(SupportedLogPages([.smart])),
            structure(ReservationNotificationLog(count: 1, kind: .reservationReleased, available: 0, nsid: 1)),
            structure(DiscoveryLogHeader(generation: 1, recordCount: 1)),
            structure(DiscoveryLogEntry()),
            FuzzTarget(
                name: "DiscoveryLog", seeds: [DiscoveryLog(generation: 1, entries: [DiscoveryLogEntry()]).encoded]
            ) { bytes in
                guard let log = try? DiscoveryLog(decoding: bytes) else { return }
                invariant(log.entries.count <= bytes.count / 1024 - 1, "entries are made of bytes")
                invariant(UInt64(log.entries.count) <= log.header.recordCount, "and are no more than there are")
            },
            list(
                "ANALog", ANALog(changeCount: 1, groups: groups), encode: { $0.encoded() },
                decode: { try ANALog(decoding: $0) }),
            reservationStatus(status, isExtended: false),
            reservationStatus(status, isExtended: true),
        ]
    }

    private static func reservationStatus(_ status: ReservationStatus, isExtended: Bool) -> FuzzTarget {
        FuzzTarget(
            name: isExtended ? "ReservationStatusExtended" : "ReservationStatus",
            seeds: [status.encoded(isExtended: isExtended)]
        ) { bytes in
            guard let first = try? ReservationStatus(decoding: bytes, isExtended: isExtended) else { return }
            let second = try? first.encoded(isExtended: isExtended).withUnsafeBytes {
                try ReservationStatus(decoding: $0, isExtended: isExtended)
            }
            invariant(second?.registrants == first.registrants, "encoding and decoding keep registrants")
            invariant(first.registrants.count <= first.registrantCount, "no more registrants than there are")
        }
    }

    /// Names and identifiers as text.
    static var texts: [FuzzTarget] {
        [
            FuzzTarget(
                name: "NQN",
                seeds: [
                    NQN.discovery, "nqn.2014-08.org.example:a",
                    "\(NQN.uuidPrefix)f81d4fae-7dec-11d0-a765-00a0c91e6bf6",
                ].map { Array($0.utf8) }
            ) { bytes in
                let name = String(decoding: bytes, as: UTF8.self)
                do throws(InvalidNQN) {
                    try NQN.validate(name)
                    invariant(name.utf8.count <= NQN.maxByteCount && name.hasPrefix("nqn."), "a valid name")
                } catch {
                    invariant(!error.description.isEmpty, "a refusal has a reason")
                }
            },
            FuzzTarget(name: "UUIDBytes", seeds: [Array("f81d4fae-7dec-11d0-a765-00a0c91e6bf6".utf8)]) { bytes in
                let text = String(decoding: bytes, as: UTF8.self)
                if let uuid = UUIDBytes(text) {
                    invariant(uuid.description == text.lowercased(), "a UUID keeps its text")
                    invariant(UUIDBytes(hexadecimal: uuid.hexadecimal) == uuid, "in both forms")
                }
            },
        ]
    }
}
