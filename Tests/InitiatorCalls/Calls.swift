import Glibc

/// The failure of a call.
struct Wrong: Error, CustomStringConvertible {
    var description: String
    init(_ description: String) { self.description = description }
}

/// Reports calls in TAP.
final class Calls {
    private var count = 0
    private var failures = 0

    /// Makes a call; it fails where the body throws.
    func check(_ name: String, _ body: () async throws -> Void) async {
        count += 1
        do {
            try await body()
            print("ok \(count) - \(name)")
        } catch {
            failures += 1
            print("not ok \(count) - \(name)\n# \(error)")
        }
        fflush(nil)
    }

    /// Closes the report; the exit status.
    func end() -> Int32 {
        print("1..\(count)")
        return failures > 0 ? 1 : 0
    }
}

/// Throws unless what a peer or a caller was to see is there.
func expect(_ isTrue: Bool, _ what: @autoclosure () -> String) throws { if !isTrue { throw Wrong(what()) } }
