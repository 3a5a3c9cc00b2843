import Base
import ControllerCalls
import DurableFiles

/// A mount of this process's mount namespace.
struct Mount: Equatable, Sendable {
    var path: String
    /// The device of the file system.
    var device: DeviceNumber
    /// The folder or file of that file system that is mounted: `/` for all of it.
    var root: String
    var type: String
    var source: String
    var options: [String]

    var isReadOnly: Bool { options.contains("ro") }
    /// It may be a device's node, mounted on a file: nodes lie in a file system of devices.
    var isOfNode: Bool { ["devtmpfs", "tmpfs"].contains(type) && root != "/" }
}

/// The mounts of this process (proc(5), "/proc/pid/mountinfo").
struct MountTable: Sendable {
    var mounts: [Mount]

    /// The table as it is now.
    static func current() throws(NodeError) -> MountTable {
        let bytes: [UInt8]?
        do throws(TercetError) { bytes = try FileContents.read("/proc/self/mountinfo") } catch {
            throw NodeError(error)
        }
        guard let bytes else { throw NodeError(.internal, "/proc/self/mountinfo is not there: is /proc mounted?") }
        return MountTable(String(decoding: bytes, as: UTF8.self))
    }

    /// - Parameter text: the file; lines that are none of the form are left out.
    init(_ text: String) {
        mounts = text.split(separator: "\n").compactMap { line in
            let fields = line.split(separator: " ").map(String.init)
            guard let dash = fields.firstIndex(of: "-"), dash >= 6, fields.count >= dash + 3 else { return nil }
            let number = fields[2].split(separator: ":").compactMap { UInt32($0) }
            guard number.count == 2 else { return nil }
            return Mount(
                path: Self.unescaped(fields[4]), device: DeviceNumber(major: number[0], minor: number[1]),
                root: Self.unescaped(fields[3]), type: fields[dash + 1], source: Self.unescaped(fields[dash + 2]),
                options: fields[5].split(separator: ",").map(String.init))
        }
    }

    /// Space, tab, line feed and backslash are written as a backslash and three octal digits.
    private static func unescaped(_ text: String) -> String {
        guard text.utf8.contains(UInt8(ascii: "\\")) else { return text }
        let bytes = Array(text.utf8)
        var result: [UInt8] = []
        var place = 0
        while place < bytes.count {
            if bytes[place] == UInt8(ascii: "\\"), place + 3 < bytes.count,
                let value = UInt8(String(decoding: bytes[place + 1...place + 3], as: UTF8.self), radix: 8)
            {
                result.append(value)
                place += 4
            } else {
                result.append(bytes[place])
                place += 1
            }
        }
        return String(decoding: result, as: UTF8.self)
    }

    /// The mount at a path; the last one if several lie over each other.
    func mount(at path: String) -> Mount? { mounts.last { $0.path == path } }

    /// The paths at which a device is in use: mounts of its file system, and of its node.
    func uses(of number: DeviceNumber) -> [String] { (mounts(of: number) + nodes(of: number)).map(\.path) }

    /// All mounts of a device's file system.
    func mounts(of device: DeviceNumber) -> [Mount] { mounts.filter { $0.device == device } }

    /// Mounts of a device's node on files. Nodes lie in a file system of devices; others are not looked at, for one that hangs would
    /// hang the look.
    func nodes(of number: DeviceNumber) -> [Mount] {
        mounts.filter {
            $0.isOfNode && HostPath.deviceNumber($0.path) == number
        }
    }
}
