/// The command line for fio: jobs on `filename=tercet` mapped, everything else as it came.
struct FioArguments {
    /// The arguments of fio; the caller replaces the job files, in this order.
    private(set) var words: [String] = []
    /// The places of job files in `words`.
    private(set) var jobFiles: [Int] = []
    /// `filename=tercet` holds for all jobs of job files that do not say otherwise.
    private(set) var isGlobal = false
    /// A job of the command line itself was mapped.
    private(set) var usesTarget = false

    /// Options that take no word behind them, of fio itself and of jobs.
    private static let flags: Set<String> = [
        "help", "version", "minimal", "append-terse", "parse-only", "readonly", "bandwidth-log", "merge-blktrace-only",
        "warnings-fatal", "cpuclock-test", "enghelp", "cmdhelp", "showcmd", "crctest", "server", "idle-prof",
        "thread", "time_based", "group_reporting", "stonewall", "wait_for_previous", "new_group", "exitall",
        "exitall_on_error", "norandommap", "softrandommap", "create_only", "verify_only", "allow_file_create",
    ]

    init(_ arguments: [String], mapping: Mapping) {
        var group: [(option: JobOption?, words: [String])] = []
        var isGlobalGroup = true
        var globalSaysThread = false
        func close(_ arguments: inout FioArguments) {
            let options = group.compactMap(\.option)
            let file = options.last { $0.name == "filename" }
            let saysThread = options.contains { $0.name == "thread" }
            let isMapped = file?.namesTarget ?? arguments.isGlobal
            if isGlobalGroup {
                if let file { arguments.isGlobal = file.namesTarget }
                globalSaysThread = globalSaysThread || saysThread
            }
            for item in group where isGlobalGroup || !isMapped || item.option?.name != "ioengine" {
                if item.option == nil, item.words != ["--"] { arguments.jobFiles.append(arguments.words.count) }
                arguments.words += item.words
            }
            if !isGlobalGroup, isMapped {
                arguments.usesTarget = true
                arguments.words += mapping.options(saysThread: saysThread || globalSaysThread).map {
                    "--\($0.name)=\($0.value)"
                }
            }
            group = []
        }
        var rest = arguments[...]
        while let word = rest.popFirst() {
            guard word.hasPrefix("-"), word != "-", word != "--" else {
                group.append((nil, [word]))
                continue
            }
            var option = JobOption(word.drop { $0 == "-" })
            var words = [word]
            if !word.contains("="), !FioArguments.flags.contains(option.name), let value = rest.first,
                !value.hasPrefix("-")
            {
                option.value = value
                words.append(value)
                rest.removeFirst()
            }
            if option.name == "name" {
                close(&self)
                isGlobalGroup = option.value.hasPrefix("global")
            }
            group.append((option, words))
        }
        close(&self)
    }

    /// The command line with these files in the places of the job files.
    func words(withJobFiles paths: [String]) -> [String] {
        var result = words
        for (place, path) in zip(jobFiles, paths) { result[place] = path }
        return result
    }
}
