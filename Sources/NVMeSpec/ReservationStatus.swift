import Base

/// Reservation Status: what Reservation Report returns (NVMe Base, "Reservation Status Data Structure", "Reservation
/// Status Extended Data Structure").
public struct ReservationStatus: Hashable, Sendable {
    /// Generation (GEN): counts changes of registrants.
    public var generation: UInt32
    /// Reservation Type (RTYPE); `nil` if there is no reservation.
    public var type: ReservationType?
    /// Persist Through Power Loss State (PTPLS).
    public var persistsThroughPowerLoss: Bool
    /// Registered controllers. Decoded from a report that was read in part, those that were read.
    public var registrants: [Registrant]
    /// Number of Registered Controllers (REGCTL).
    public private(set) var registrantCount: Int

    public init(
        generation: UInt32, type: ReservationType?, persistsThroughPowerLoss: Bool, registrants: [Registrant]
    ) {
        self.generation = generation
        self.type = type
        self.persistsThroughPowerLoss = persistsThroughPowerLoss
        self.registrants = registrants
        registrantCount = registrants.count
    }

    /// A report without its registrants.
    public struct Head: Sendable {
        public var generation: UInt32
        public var type: ReservationType?
        public var persistsThroughPowerLoss: Bool
        public var registrantCount: Int

        public init(
            generation: UInt32, type: ReservationType?, persistsThroughPowerLoss: Bool, registrantCount: Int
        ) {
            self.generation = generation
            self.type = type
            self.persistsThroughPowerLoss = persistsThroughPowerLoss
            self.registrantCount = registrantCount
        }
    }

    /// Registered Controller.
    public struct Registrant: Hashable, Sendable {
        /// Controller ID of a registrant whose host has no controller (NVMe Base 2.1, "Registered Controller data structure").
        /// Linux's and SPDK's targets give it for every registrant.
        public static let anyController: UInt16 = 0xFFFF

        /// Controller ID (CNTLID).
        public var controllerID: UInt16
        /// Reservation Status (RCSTS) bit 0.
        public var holdsReservation: Bool
        /// Host Identifier; in the structure that is not extended, only its first 8 bytes.
        public var hostID: UUIDBytes
        /// Reservation Key (RKEY).
        public var key: UInt64

        public init(controllerID: UInt16, holdsReservation: Bool, hostID: UUIDBytes, key: UInt64) {
            self.controllerID = controllerID
            self.holdsReservation = holdsReservation
            self.hostID = hostID
            self.key = key
        }
    }

    /// Bytes before the registrants.
    public static func headerByteCount(isExtended: Bool) -> Int { isExtended ? 64 : 24 }

    /// Bytes of one registrant.
    public static func registrantByteCount(isExtended: Bool) -> Int { isExtended ? 64 : 24 }

    private var head: Head {
        Head(
            generation: generation, type: type, persistsThroughPowerLoss: persistsThroughPowerLoss,
            registrantCount: registrants.count)
    }

    /// Bytes of the report.
    public func byteCount(isExtended: Bool) -> Int { head.byteCount(isExtended: isExtended) }

    /// The report's bytes.
    public func encoded(isExtended: Bool) -> [UInt8] {
        let total = byteCount(isExtended: isExtended)
        return [UInt8](unsafeUninitializedCapacity: total) { buffer, count in
            buffer.initialize(repeating: 0)
            count = total
            let window = PageWindow(offset: 0, UnsafeMutableRawBufferPointer(buffer))
            head.write(to: window, isExtended: isExtended) { registrants[$0] }
        }
    }

    /// Decodes a report, or as many of its registrants as `bytes` holds.
    ///
    /// - Throws: when not even the header is there, or the type does not exist.
    public init(decoding bytes: UnsafeRawBufferPointer, isExtended: Bool) throws(MalformedStructure) {
        let header = ReservationStatus.headerByteCount(isExtended: isExtended)
        let stride = ReservationStatus.registrantByteCount(isExtended: isExtended)
        guard let base = bytes.baseAddress, bytes.count >= header else {
            throw MalformedStructure("Reservation Status", "\(bytes.count) bytes instead of \(header)")
        }
        generation = base.load32(at: 0)
        let rawType = base.load8(at: 4)
        type = ReservationType(rawValue: rawType)
        guard type != nil || rawType == 0 else {
            throw MalformedStructure("Reservation Status", "reservation type \(rawType)")
        }
        registrantCount = Int(base.load16(at: 5))
        persistsThroughPowerLoss = base.load8(at: 9) & 1 != 0
        let present = min(registrantCount, (bytes.count - header) / stride)
        registrants = (0..<present).map { Registrant(from: base + header + $0 * stride, isExtended: isExtended) }
    }
}

extension ReservationStatus.Head {
    /// Bytes of the report.
    public func byteCount(isExtended: Bool) -> Int {
        ReservationStatus.headerByteCount(isExtended: isExtended)
            + registrantCount * ReservationStatus.registrantByteCount(isExtended: isExtended)
    }

    /// Writes the part of the report that falls into a window.
    ///
    /// - Parameter registrant: makes the one of a place; those alone are asked for that lie in the window.
    public func write(
        to window: PageWindow, isExtended: Bool, registrant: (Int) -> ReservationStatus.Registrant
    ) {
        let stride = ReservationStatus.registrantByteCount(isExtended: isExtended)
        var header = [UInt8](repeating: 0, count: ReservationStatus.headerByteCount(isExtended: isExtended))
        let start = header.count
        header.withUnsafeMutableBytes { bytes in
            bytes.baseAddress?.store32(generation, at: 0)
            bytes.baseAddress?.store8(type?.rawValue ?? 0, at: 4)
            bytes.baseAddress?.store16(UInt16(clamping: registrantCount), at: 5)
            bytes.baseAddress?.store8(persistsThroughPowerLoss ? 1 : 0, at: 9)
        }
        window.place(header, at: 0)
        var record = [UInt8](repeating: 0, count: stride)
        for index in window.indices(from: start, stride: stride, count: registrantCount) {
            record.withUnsafeMutableBytes { bytes in
                if let base = bytes.baseAddress { registrant(index).store(to: base, isExtended: isExtended) }
            }
            window.place(record, at: start + index * stride)
        }
    }
}

extension ReservationStatus.Registrant {
    fileprivate init(from bytes: UnsafeRawPointer, isExtended: Bool) {
        controllerID = bytes.load16(at: 0)
        holdsReservation = bytes.load8(at: 2) & 1 != 0
        if isExtended {
            key = bytes.load64(at: 8)
            hostID = UUIDBytes(from: bytes + 16)
        } else {
            hostID = UUIDBytes(high: bytes.load64(at: 8).byteSwapped, low: 0)
            key = bytes.load64(at: 16)
        }
    }

    fileprivate func store(to bytes: UnsafeMutableRawPointer, isExtended: Bool) {
        bytes.store16(controllerID, at: 0)
        bytes.store8(holdsReservation ? 1 : 0, at: 2)
        if isExtended {
            bytes.store64(key, at: 8)
            hostID.store(to: bytes + 16)
        } else {
            bytes.store64(hostID.high.byteSwapped, at: 8)
            bytes.store64(key, at: 16)
        }
    }
}
