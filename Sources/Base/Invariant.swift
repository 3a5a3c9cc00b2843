/// Traps with `message` when `condition` is false, in release builds too.
///
/// For our own bugs only: what a peer, a file or a device may cause is an error or a status, never an invariant. Unlike
/// `precondition`, which traps without a word in optimised builds, the message and the place are printed.
@inlinable
@inline(__always)
public func invariant(
    _ condition: @autoclosure () -> Bool, _ message: StaticString, file: StaticString = #fileID, line: UInt = #line
) {
    if _slowPath(!condition()) { invariantViolated(message, file: file, line: line) }
}

/// Prints which invariant does not hold and ends the process.
@inline(never)
public func invariantViolated(_ message: StaticString, file: StaticString = #fileID, line: UInt = #line) -> Never {
    fatalError("invariant violated: \(message)", file: file, line: line)
}

/// The body of a method that each subclass must override.
package func invariantAbstract(_ function: StaticString = #function) -> Never {
    invariantViolated(function)
}
