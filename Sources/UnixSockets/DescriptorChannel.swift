import Base
import CLinux
import Glibc

/// Messages with open descriptors between two processes of a machine, over a Unix socket that blocks: four bytes of length, and so
/// many bytes; the descriptors come with the length.
public struct DescriptorChannel {
    private let descriptor: Int32

    /// A longer message is none of ours.
    private static let longestMessage = 1 << 20

    public init(_ descriptor: Int32) { self.descriptor = descriptor }

    /// Sends a message with at most two descriptors, which stay open here. Returns whether it went out.
    public func send(_ bytes: [UInt8], descriptors: [Int32]) -> Bool {
        var length = UInt32(bytes.count).bigEndian
        guard tercet_send_descriptors(descriptor, &length, 4, descriptors, Int32(descriptors.count)) == 0 else {
            return false
        }
        var sent = 0
        while sent < bytes.count {
            let count = bytes[sent...].withUnsafeBytes {
                Glibc.send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
            }
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { return false }
            sent += count
        }
        return true
    }

    /// The next message with its descriptors, which are the caller's; `nil` where the other side has gone.
    public func receive() -> (bytes: [UInt8], descriptors: [Int32])? {
        var length: UInt32 = 0
        var descriptors: [Int32] = [-1, -1]
        guard tercet_receive_descriptors(descriptor, &length, 4, &descriptors, 2) == 0 else { return nil }
        let found = descriptors.filter { $0 >= 0 }
        let count = Int(UInt32(bigEndian: length))
        guard count <= Self.longestMessage else {
            for descriptor in found { close(descriptor) }
            return nil
        }
        var bytes = [UInt8](repeating: 0, count: count)
        var received = 0
        while received < count {
            let part = bytes[received...].withUnsafeMutableBytes { read(descriptor, $0.baseAddress, $0.count) }
            if part < 0, errno == EINTR { continue }
            guard part > 0 else {
                for descriptor in found { close(descriptor) }
                return nil
            }
            received += part
        }
        return (bytes, found)
    }
}
