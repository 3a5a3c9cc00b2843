import Base
import Foundation
import Glibc
import Testing
import UnixSockets

/// Ownership of a socket's path.
@Suite struct UnixListenerTests {
    private let path = "\(NSTemporaryDirectory())/tercet-\(getpid())-\(UInt32.random(in: 0...UInt32.max)).sock"

    @Test func aSecondCloseLeavesTheNextSocketAlone() throws {
        let first = try UnixListener(path: path)
        first.close()
        // Its file often has the inode of the one that was removed, and its descriptors have the same numbers.
        let second = try UnixListener(path: path)
        defer { second.close() }
        first.close()
        first.leave()
        close(try UnixListener.connect(to: path))
    }

    @Test func aSocketThatIsServedIsNotTaken() throws {
        let first = try UnixListener(path: path)
        defer { first.close() }
        let refusal = #expect(throws: TercetError.self) { try UnixListener(path: path) }
        #expect(refusal?.code == .inUse)
        close(try UnixListener.connect(to: path))
    }

    @Test func aSocketThatNobodyServesIsReplaced() throws {
        // The listener's end without its path's removal, as after a crash.
        try UnixListener(path: path).leave()
        let next = try UnixListener(path: path)
        close(try UnixListener.connect(to: path))
        next.close()
        #expect(access(path, F_OK) != 0)
    }
}
