/// Firmware Slot Information log page: 512 bytes (NVMe Base, "Firmware Slot Information (Log Page Identifier 03h)").
public struct FirmwareSlotLog: FixedStructure, Hashable {
    public static let byteCount = 512
    /// Slots of the page.
    public static let slotCount = 7

    /// Active Firmware Info (AFI): active slot in bits 2:0, slot at the next reset in 6:4.
    public var activeFirmware: UInt8 = 0
    /// Firmware Revision for Slots 1 to 7 (FRS): up to 8 ASCII characters; empty for a slot without firmware.
    public var revisions = [String](repeating: "", count: FirmwareSlotLog.slotCount)

    public init() {}

    /// One slot, and that one active.
    public init(revision: String) {
        activeFirmware = 1
        revisions[0] = revision
    }

    public mutating func layout(_ fields: FieldCoder) {
        fields.field(&activeFirmware, at: 0)
        for slot in 0..<FirmwareSlotLog.slotCount {
            // An empty slot is zeroes (NVMe Base: "cleared to 0h"), a revision is an ASCII string.
            let padding: TextPadding = revisions[slot].isEmpty ? .zeroes : .spaces
            fields.text(&revisions[slot], at: 8 + 8 * slot, count: 8, padding: padding)
        }
    }
}
