/// A job file, rewritten so that its jobs on `filename=tercet` use the engine. All else stays as it is.
struct JobFile {
    let text: String
    /// Whether any job was mapped.
    let usesTarget: Bool

    /// - Parameters:
    ///   - inherits: `filename=tercet` was given on the command line, for all jobs.
    init(path: String, mapping: Mapping, inherits: Bool) throws(Failure) {
        var rewriter = Rewriter(mapping: mapping, isGlobal: inherits)
        for line in try JobFile.lines(of: path, depth: 0) { rewriter.take(line) }
        rewriter.endSection()
        text = rewriter.output.joined(separator: "\n") + "\n"
        usesTarget = rewriter.usesTarget
    }

    /// The lines of a file, with those of the files that it includes in their places.
    private static func lines(of path: String, depth: Int) throws(Failure) -> [String] {
        guard depth <= 16 else { throw Failure("\(path): files include each other") }
        guard let content = readFile(path == "-" ? "/dev/stdin" : path) else {
            throw Failure("unable to open '\(path)' job file")
        }
        var lines: [String] = []
        for line in content.split(separator: "\n", omittingEmptySubsequences: false).map(String.init) {
            guard line.hasPrefix("include "), depth < 16 else {
                lines.append(line)
                continue
            }
            let name = line.dropFirst("include ".count).trimmed
            let folder = path.lastIndex(of: "/").map { String(path[...$0]) } ?? ""
            let beside = name.hasPrefix("/") ? name : folder + name
            lines += try JobFile.lines(of: readFile(beside) == nil ? name : beside, depth: depth + 1)
        }
        return lines
    }

    private struct Rewriter {
        let mapping: Mapping
        /// The global sections so far name the target.
        var isGlobal: Bool
        var globalSaysThread = false
        var usesTarget = false
        var output: [String] = []
        /// The section that is being read: its heading and its lines.
        private var section: (isGlobal: Bool, heading: String, lines: [String])?

        init(mapping: Mapping, isGlobal: Bool) {
            self.mapping = mapping
            self.isGlobal = isGlobal
        }

        mutating func take(_ line: String) {
            let text = line.trimmed
            if text.hasPrefix("["), let end = text.lastIndex(of: "]") {
                endSection()
                let name = text[text.index(after: text.startIndex)..<end]
                section = (name.hasPrefix("global"), line, [])
            } else if section != nil {
                section?.lines.append(line)
            } else {
                output.append(line)
            }
        }

        mutating func endSection() {
            guard let section else { return }
            self.section = nil
            output.append(section.heading)
            let options = section.lines.filter { !JobFile.isComment($0) }.map { JobOption(line: $0) }
            let saysThread = options.contains { $0.name == "thread" }
            let file = options.last { $0.name == "filename" }
            if section.isGlobal {
                if let file { isGlobal = file.namesTarget }
                globalSaysThread = globalSaysThread || saysThread
                output += section.lines
                return
            }
            guard file?.namesTarget ?? isGlobal else {
                output += section.lines
                return
            }
            usesTarget = true
            // The last of two engines does not reliably win: options are sorted before they are taken.
            var lines = section.lines.filter { JobFile.isComment($0) || JobOption(line: $0).name != "ioengine" }
            var blank = 0
            while let last = lines.last, last.trimmed.isEmpty {
                lines.removeLast()
                blank += 1
            }
            output += lines
            output += mapping.options(saysThread: saysThread || globalSaysThread).map { "\($0.name)=\($0.value)" }
            output += Array(repeating: "", count: blank)
        }
    }

    private static func isComment(_ line: String) -> Bool {
        let text = line.trimmed
        return text.isEmpty || text.hasPrefix("#") || text.hasPrefix(";")
    }
}
