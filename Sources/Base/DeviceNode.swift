import Glibc

/// NUMA nodes of devices, as the kernel tells them in /sys.
public enum DeviceNode {
    /// The node of an RDMA device; `nil` where the machine has one only, or does not tell. A device in software, such as Soft-RoCE's, is
    /// where its network interface is.
    ///
    /// - Parameter sysfs: the folder in which the kernel tells of its devices.
    public static func ofRDMADevice(_ name: String, sysfs: String = "/sys") -> Int? {
        let folder = "\(sysfs)/class/infiniband/\(name)"
        if let path = resolved("\(folder)/device") { return firstNode(from: path) }
        guard let interface = line("\(folder)/parent") ?? line("\(folder)/ports/1/gid_attrs/ndevs/0"),
            let path = resolved("\(sysfs)/class/net/\(interface)/device")
        else { return nil }
        return firstNode(from: path)
    }

    /// The node that a device's folder tells, or that of the device which it is attached to: a virtio device has a PCI device's.
    private static func firstNode(from path: String) -> Int? {
        var path = Substring(path)
        while path.contains("/") {
            // -1 is said where there is one node, or none is known.
            if let text = line("\(path)/numa_node") { return Int(text).flatMap { $0 < 0 ? nil : $0 } }
            path = path[..<path.lastIndex(of: "/")!]
        }
        return nil
    }

    private static func resolved(_ path: String) -> String? {
        guard let real = realpath(path, nil) else { return nil }
        defer { free(real) }
        return String(cString: real)
    }

    /// The first line of a small file.
    private static func line(_ path: String) -> String? {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        var bytes = [UInt8](repeating: 0, count: 256)
        let count = read(descriptor, &bytes, bytes.count)
        guard count > 0 else { return nil }
        return String(decoding: bytes[..<count].prefix { $0 != UInt8(ascii: "\n") }, as: UTF8.self)
    }
}
