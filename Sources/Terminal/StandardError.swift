import Foundation

/// Writes a text to the standard error as it is.
///
/// What cannot be written, to a full disk or a closed pipe, is lost: no program of ours ends because of what it has to say.
public func writeToStandardError(_ text: String) {
    try? FileHandle.standardError.write(contentsOf: Data(text.utf8))
}
