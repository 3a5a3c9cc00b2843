import Base
import ControlPlane
import Foundation
import Fuzzing
import Glibc
import JSON
import Metrics
import NamespacePool
import TargetInterface
import UblkServer

/// Bytes that the daemons' sockets, the kernel and the folder of a pool give.
extension FuzzTarget {
    public static let daemons = [controlRequest, httpRequest, ublkRequest, poolRecord]

    // MARK: The control sockets

    /// Lines of a client. A request is taken again in its own form, and its parameters are looked at as each method would.
    private static let controlRequest = FuzzTarget(
        name: "ControlRequest",
        seeds: [
            Array(#"{"jsonrpc":"2.0","id":1,"method":"drain","params":{"isDrained":true,"seconds":1.5}}"#.utf8) + [10],
            Array(#"{"jsonrpc":"2.0","id":"a","method":"state.get"}"#.utf8) + [10]
                + Array(#"{"jsonrpc":"2.0","method":"statistics.get","params":{"queues":true}}"#.utf8) + [10],
            Array(#"{"jsonrpc":"2.0","id":null,"method":"a","params":[18446744073709551615,-1,1e99,"\u0000",{}]}"#.utf8)
                + [10],
        ], inputs: 5000
    ) { bytes in
        var lines: [[UInt8]] = []
        withPipe(of: bytes) { descriptor in
            var reader = LineReader(descriptor)
            while let line = reader.next() { lines.append(line) }
        }
        let whole = bytes.lastIndex(of: 10).map { bytes[...$0] } ?? bytes[..<0]
        invariant(
            whole.elementsEqual(lines.joined(separator: [10] as [UInt8]).map { $0 } + (lines.isEmpty ? [] : [10])),
            "lines are what stands between their ends")
        for line in lines { look(at: line) }
    }

    private static func look(at line: [UInt8]) {
        let request: ControlRequest
        do throws(ControlError) { request = try ControlRequest(line: line) } catch {
            return invariant(!error.message.isEmpty && !error.message.contains("\n"), "a refusal is a line")
        }
        guard let text = try? JSONEncoder().encode(request) else {
            invariantViolated("a request of JSON is written as JSON")
        }
        let again = try? ControlRequest(line: Array(text))
        invariant(again?.method == request.method, "a request that is written is read as it was")
        guard let parameters = request.params else { return }
        _ = try? parameters.decoded(DrainRequest.self)
        _ = try? parameters.decoded(SaveRequest.self)
        _ = try? parameters.decoded(StatisticsRequest.self)
        _ = try? parameters.decoded(TargetState.self)
    }

    /// Has the bytes come by a pipe whose other end is closed.
    private static func withPipe(of bytes: UnsafeRawBufferPointer, _ body: (Int32) -> Void) {
        var ends: [Int32] = [-1, -1]
        invariant(pipe(&ends) == 0, "there are pipes")
        // A pipe has room for 64 KiB, which is more than inputs are long.
        let count = min(bytes.count, 60_000)
        invariant(write(ends[1], bytes.baseAddress, count) == count, "a pipe takes what it has room for")
        close(ends[1])
        body(ends[0])
        close(ends[0])
    }

    // MARK: Metrics and health

    private static let httpRequest = FuzzTarget(
        name: "HTTPRequest",
        seeds: [
            Array("GET /metrics?a=b HTTP/1.1\r\nHost: x\r\nAccept: */*\r\n\r\n".utf8),
            Array("HEAD /healthz HTTP/1.0\n\n".utf8),
        ]
    ) { bytes in
        let head = Array(bytes)
        let isWhole = HTTPServer.isWhole(head)
        invariant(!isWhole || head.contains(10), "a head that is whole has lines")
        let (request, _, refusal) = HTTPServer.parse(head)
        guard let request else { return invariant(refusal.status >= 400, "what is no request is refused") }
        invariant(request.path.hasPrefix("/") && !request.path.contains("?"), "a path has no query")
        invariant(!request.path.contains("\n") && !request.query.contains("\n"), "a request is one line")
    }

    // MARK: ublk

    /// READ of eight sectors from sector 16 on: operation and flags, sectors, first sector, address.
    private static let ublkSeed: [UInt8] = [0, 0, 0, 0, 8, 0, 0, 0, 16] + [UInt8](repeating: 0, count: 15)

    private static let ublkRequest = FuzzTarget(
        name: "UblkRequest", seeds: [ublkSeed, [1] + ublkSeed.dropFirst(), [4] + ublkSeed.dropFirst()]
    ) { bytes in
        guard bytes.count >= 24, let first = bytes.baseAddress else { return }
        guard case .perform(let request) = UblkRequest.read(first) else { return }
        let (_, overflow) = request.offset.addingReportingOverflow(request.length)
        invariant(!overflow, "a range has an end")
        invariant(
            !request.hasData || request.length <= UInt64(UblkQueue.longestRequest), "there is a place for the data")
        invariant(request.offset % 512 == 0 && request.length % 512 == 0, "a range is one of sectors")
    }

    // MARK: Pools

    private static let poolRecord = FuzzTarget(
        name: "PoolRecord",
        seeds: [
            Array(
                """
                { "version": 1, "namespaces": [ { "nsid": 1, "uuid": "01234567-89ab-cdef-0123-456789abcdef", "blocks": 8,
                  "blockSize": 4096, "stage": "there", "isAttached": true }, { "nsid": 2, "blocks": 1, "blockSize": 512,
                  "uuid": "01234567-89ab-cdef-0123-456789abcdee", "stage": "removing", "isAttached": false } ] }
                """.utf8)
        ], inputs: 5000
    ) { bytes in
        guard let contents = try? PoolRecord.decode(Array(bytes), path: "fuzzed") else { return }
        guard let text = try? PoolRecord.encode(contents) else { invariantViolated("a pool has a form") }
        let again = try? PoolRecord.decode(text, path: "fuzzed")
        invariant(again == contents, "a record that is written is read as it was")
        for namespace in contents.namespaces { invariant(namespace.byteCount > 0, "a namespace has a size") }
    }
}
