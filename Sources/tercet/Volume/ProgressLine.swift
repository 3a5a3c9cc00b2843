import Foundation
import Terminal

/// A line on the standard error that is written over as something goes on, where that is a terminal.
struct ProgressLine {
    private let isShown = isatty(STDERR_FILENO) != 0

    func show(_ text: String) {
        if isShown { writeToStandardError("\r\u{1B}[K\(text)") }
    }

    func clear() { show("") }
}
