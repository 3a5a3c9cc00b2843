import AIOBlock
import Base
import BlockInterface
import MemoryBlock

extension BlockSpecification {
    /// Opens the device.
    public func open() throws(TercetError) -> any BlockDevice {
        switch backing {
        case .path(let path):
            try AIODevice(
                path: path, options: AIODeviceOptions(blockSize: blockSize, readOnly: readOnly, buffered: buffered))
        case .ram(let byteCount):
            try RAMDevice(
                byteCount: byteCount, blockSize: blockSize ?? 512, isPopulated: isPopulated,
                latencyMicroseconds: latencyMicroseconds, name: "ram:\(ByteSize.format(byteCount))")
        case .null(let byteCount):
            try NullDevice(
                byteCount: byteCount, blockSize: blockSize ?? 512, name: "null:\(ByteSize.format(byteCount))")
        }
    }
}
