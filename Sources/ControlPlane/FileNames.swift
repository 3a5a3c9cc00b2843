/// Names after which daemons and agents call files: those of volumes, and of their block devices.
public enum FileNames {
    /// Letters, digits, dots, underscores and hyphens, not beginning with a dot; 1 to 128 bytes.
    public static func allow(_ name: String) -> Bool {
        !name.isEmpty && name.utf8.count <= 128 && !name.hasPrefix(".")
            && name.utf8.allSatisfy {
                (UInt8(ascii: "a")...UInt8(ascii: "z")).contains($0)
                    || (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains($0)
                    || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) || "._-".utf8.contains($0)
            }
    }
}
