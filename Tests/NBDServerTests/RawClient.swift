import Base
import BlockInterface
import Glibc
import NBDProtocol
import NBDServer
import Testing

/// A server in this thread, driven by hand, and clients that speak bytes.
final class ServerWorld {
    let exports = ExportList()
    let server: ExportServer
    var now = MonotonicTime(nanoseconds: 1_000_000_000)

    init(_ device: any BlockDevice, options: ExportServerOptions = ExportServerOptions()) throws {
        server = try ExportServer(index: 0, exports: exports, options: options, send: { $0() })
        try exports.add(Export(name: "disk", device: device))
    }

    deinit { server.part() }

    /// Rounds until one has nothing to do.
    func settle() { for _ in 0..<10_000 where server.poll(now: now) == 0 { return } }

    func advance(milliseconds: UInt64) {
        now = now.advanced(byMilliseconds: milliseconds)
        settle()
    }
}

/// A client's end of a connection. It does not block: the server runs in the same thread.
final class RawClient {
    let descriptor: Int32
    private unowned let world: ServerWorld

    init(_ world: ServerWorld) throws {
        self.world = world
        var ends: [Int32] = [-1, -1]
        let kind = Int32(SOCK_STREAM.rawValue | SOCK_NONBLOCK.rawValue | SOCK_CLOEXEC.rawValue)
        try #require(socketpair(AF_UNIX, kind, 0, &ends) == 0)
        descriptor = ends[0]
        world.server.adopt(ends[1])
    }

    /// - Parameter descriptor: the client's end of a connection that the server has.
    init(_ world: ServerWorld, descriptor: Int32) {
        self.world = world
        self.descriptor = descriptor
    }

    deinit { close(descriptor) }

    /// Asks for the session (NBD_OPT_GO).
    func go() {
        let name = Array("disk".utf8)
        send(
            bytes(NBDMagic.option) + bytes(UInt32(7)) + bytes(UInt32(10)) + bytes(UInt32(4)) + name + bytes(UInt16(0)))
    }

    /// Shakes hands; afterwards the session runs.
    func begin(structured: Bool = false) {
        send(bytes(UInt32(3)))
        if structured { send(bytes(NBDMagic.option) + bytes(UInt32(8)) + bytes(UInt32(0))) }
        go()
        world.settle()
        _ = received()
    }

    func bytes<Number: FixedWidthInteger>(_ number: Number) -> [UInt8] {
        withUnsafeBytes(of: number.bigEndian) { Array($0) }
    }

    func request(
        _ type: UInt16, cookie: UInt64, offset: UInt64 = 0, length: UInt32 = 0, flags: UInt16 = 0
    ) -> [UInt8] {
        bytes(NBDMagic.request) + bytes(flags) + bytes(type) + bytes(cookie) + bytes(offset) + bytes(length)
    }

    /// Sends all of it; the server runs where the socket is full.
    func send(_ data: [UInt8]) {
        var sent = 0
        while sent < data.count {
            let count = data[sent...].withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) }
            if count > 0 { sent += count } else { world.settle() }
            if count < 0, errno != EAGAIN { return }
        }
    }

    /// Everything that has arrived so far.
    func received() -> [UInt8] {
        var all: [UInt8] = []
        var part = [UInt8](repeating: 0, count: 1 << 16)
        while true {
            let count = read(descriptor, &part, part.count)
            if count > 0 {
                all += part[..<count]
                continue
            }
            return all
        }
    }

    /// Receives so much; the server runs meanwhile.
    func receive(_ count: Int) -> [UInt8] {
        var all: [UInt8] = []
        for _ in 0..<100_000 where all.count < count {
            world.settle()
            all += received()
        }
        return all
    }

    /// The server has closed the connection.
    var isClosed: Bool {
        var byte: UInt8 = 0
        return recv(descriptor, &byte, 1, Int32(MSG_PEEK)) == 0
    }

    /// Reads a range by a simple reply.
    func contents(_ offset: UInt64, _ length: Int) -> [UInt8] {
        send(request(0, cookie: 77, offset: offset, length: UInt32(length)))
        return Array(receive(16 + length).dropFirst(16))
    }
}
