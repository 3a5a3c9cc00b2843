import SystemPackage

/// The storage in which the targets keep their data.
struct Backing {
    /// For each target, as `tercetd --export` takes it.
    let stores: [String]
    /// Whether data is still there after a target was killed.
    let persists: Bool

    /// - Parameters:
    ///   - given: `ram`, `ram:SIZE`, `file` or `file:SIZE` for all targets, or a path for each; nothing: what the faults allow.
    init(_ given: [String], targets: Int, folder: String, mustPersist: Bool) throws(Failure) {
        let all = given.isEmpty ? [mustPersist ? "file" : "ram"] : given
        let kind = all[0].prefix { $0 != ":" }
        let size = all[0].contains(":") ? String(all[0].drop { $0 != ":" }.dropFirst()) : "256M"
        switch kind {
        case "ram" where all.count == 1:
            stores = Array(repeating: "ram:\(size)", count: targets)
            persists = false
        case "null" where all.count == 1:
            stores = Array(repeating: "null:\(size)", count: targets)
            persists = false
        case "file" where all.count == 1:
            guard let bytes = Backing.bytes(size) else { throw Failure("--backing \(all[0]): no size", exitStatus: 2) }
            stores = try (1...targets).map { number throws(Failure) in
                let path = "\(folder)/disk\(number).img"
                do {
                    let file = try FileDescriptor.open(
                        FilePath(path), .writeOnly, options: [.create, .closeOnExec], permissions: .ownerReadWrite)
                    try file.closeAfter { try file.resize(to: Int64(bytes)) }
                } catch { throw Failure("\(path): \(error)") }
                return "\(path),buffered"
            }
            persists = true
        default:
            guard all.count == targets else {
                throw Failure(
                    "--backing: \(all.count) given for \(targets) targets; allowed: ram[:SIZE], file[:SIZE] or null[:SIZE] "
                        + "once, or a path for each target", exitStatus: 2)
            }
            stores = all
            persists = true
        }
        if mustPersist, !persists {
            throw Failure("a killed target forgets its memory: --backing file, or paths", exitStatus: 2)
        }
    }

    /// A size with K, M, G or T behind it, in powers of 1024.
    private static func bytes(_ text: String) -> Int? {
        let units: [Character: Int] = ["K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40]
        let unit = text.last.flatMap { units[Character($0.uppercased())] }
        guard let number = Int(unit == nil ? text : String(text.dropLast())), number > 0 else { return nil }
        let (bytes, overflow) = number.multipliedReportingOverflow(by: unit ?? 1)
        return overflow ? nil : bytes
    }
}
