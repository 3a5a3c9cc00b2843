import Foundation
import Terminal

/// Why the run cannot go on, for the user. It has the exit status, which fio's own may be, and which `TercetError` has not.
struct Failure: Error {
    var message: String
    /// 1: something went wrong. 2: wrong usage. 128 and more: a signal ended the run.
    var exitStatus: Int32

    init(_ message: String, exitStatus: Int32 = 1) {
        self.message = message
        self.exitStatus = exitStatus
    }
}

/// Says something of this program's own, apart from fio's output.
func say(_ message: String) {
    writeToStandardError("tercet-fio: \(message)\n")
}

/// Seconds since some fixed moment.
func now() -> Double {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
}

/// A number with so many digits behind the point.
func text(_ value: Double, digits: Int) -> String { String(format: "%.\(digits)f", value) }
