/// How jobs whose file is named `tercet` are given to the engine: what is added to each.
struct Mapping {
    /// The name that stands for the target, in `filename=`.
    static let fileName = "tercet"

    /// Options of fio and of the engine, in order: `ioengine` first.
    var options: [(name: String, value: String)]
    /// Jobs are threads, unless they say otherwise: the only way in which several can share a volume.
    var wantsThreads: Bool

    /// The options that a job gets, which says so much itself.
    func options(saysThread: Bool) -> [(name: String, value: String)] {
        options + (wantsThreads && !saysThread ? [(name: "thread", value: "1")] : [])
    }
}

/// An option of a job, as fio reads it.
struct JobOption {
    var name: String
    var value: String

    /// A line of a job file: what is behind a semicolon or a hash is a comment.
    init(line: String) { self.init(line.prefix { $0 != ";" && $0 != "#" }) }

    /// `name=value`, or a name alone.
    init(_ text: some StringProtocol) {
        let parts = text.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
        name = parts[0].trimmed
        value = parts.count > 1 ? parts[1].trimmed : ""
    }

    var namesTarget: Bool { name == "filename" && value == Mapping.fileName }
}

extension StringProtocol {
    /// Without blanks at either end.
    var trimmed: String {
        let isBlank = { (character: Character) in character == " " || character == "\t" || character == "\r" }
        return String(String(drop(while: isBlank).reversed().drop(while: isBlank).reversed()))
    }
}
