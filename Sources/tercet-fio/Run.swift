import Foundation
import SystemPackage
import Terminal

/// One run: targets, a volume on them, fio, the faults, and the check at the end.
final class Run {
    struct Plan {
        var programs: Programs
        var substrate: Substrate
        /// Targets to start; none where `members` names some that run.
        var targets: Int
        var members: [Member]
        var backing: [String]
        var faults: [Fault]
        var isChecked: Bool
        var fio: [String]
        var firstPort: Int
    }

    private let plan: Plan
    private let signals: Signals
    private let folder: String
    private var targets: [Target] = []
    private var fio: ChildProcess?
    private var initiatorWasKilled = false

    init(_ plan: Plan, signals: Signals) throws(Failure) {
        self.plan = plan
        self.signals = signals
        let root = ProcessInfo.processInfo.environment["TMPDIR"] ?? "/tmp"
        var template = Array("\(root)/tercet-fio.XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw Failure("\(root): \(Errno(rawValue: errno))") }
        folder = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    /// Nothing is left running and nothing is left lying, however the run ended.
    func cleanUp() {
        fio?.killTree()
        for target in targets { target.terminate() }
        let deadline = now() + 5
        while targets.contains(where: \.isRunning), now() < deadline { _ = signals.wait(milliseconds: 20) }
        for target in targets { target.kill() }
        while targets.contains(where: \.isRunning) || fio?.isRunning == true { _ = signals.wait(milliseconds: 5) }
        try? FileManager.default.removeItem(atPath: folder)
    }

    /// - Returns: the exit status.
    func run() throws(Failure) -> Int32 {
        let arguments = try prepare()
        guard let arguments else { return try runFio(plan.fio, isOnTarget: false) }
        try startTargets()
        let status = try runFio(arguments, isOnTarget: true)
        guard plan.isChecked else { return status }
        let hasPassed = try check()
        return hasPassed ? status : 3
    }

    // MARK: Preparation

    /// The command line for fio; `nil` where no job is on a target.
    private func prepare() throws(Failure) -> [String]? {
        var backing: Backing?
        if plan.targets > 0 {
            let mustPersist =
                plan.faults.contains { if case .killTarget = $0.action { true } else { false } }
                || plan.faults.contains { if case .restartTarget = $0.action { true } else { false } }
            backing = try Backing(plan.backing, targets: plan.targets, folder: folder, mustPersist: mustPersist)
        }
        targets = (0..<plan.targets).map { index in
            Target(
                index: index, port: plan.firstPort + index, store: backing?.stores[index] ?? "",
                program: plan.programs.tercetd, substrate: plan.substrate,
                link: plan.faults.contains(where: \.isOfLink) ? plan.programs.link : nil, folder: folder)
        }
        let arguments = FioArguments(plan.fio, mapping: mapping)
        var usesTarget = arguments.usesTarget
        var files: [String] = []
        for (number, place) in arguments.jobFiles.enumerated() {
            let path = arguments.words[place]
            let file = try JobFile(path: path, mapping: mapping, inherits: arguments.isGlobal)
            usesTarget = usesTarget || file.usesTarget
            let copy = "\(folder)/job\(number + 1).fio"
            guard (try? file.text.write(toFile: copy, atomically: false, encoding: .utf8)) != nil else {
                throw Failure("cannot write \(copy)")
            }
            files.append(copy)
        }
        return usesTarget ? arguments.words(withJobFiles: files) : nil
    }

    /// Those of the volume, or the one namespace.
    private var members: [Member] { targets.isEmpty ? plan.members : targets.map(\.member) }

    private var reportPath: String { "\(folder)/report" }

    private var mapping: Mapping {
        var options = [(name: "ioengine", value: "external:\(plan.programs.engine)")]
        if members.count == 1 {
            options += [
                ("traddr", members[0].address), ("trsvcid", "\(members[0].port)"), ("subnqn", members[0].nqn),
                ("nsid", "\(members[0].nsid)"),
            ]
        } else {
            options.append(("volume", members.map(\.description).joined(separator: ",")))
        }
        options.append(("report", reportPath))
        return Mapping(options: options, wantsThreads: members.count > 1)
    }

    private func startTargets() throws(Failure) {
        for target in targets { try target.launch() }
        for target in targets { try waitUntilServing(target) }
        guard targets.count > 1 else { return }
        let log = "\(folder)/create.log"
        let create = try ChildProcess(
            plan.programs.tercet, ["volume", "create"] + members.flatMap { ["--member", $0.description] },
            environment: plan.substrate.environment, log: log)
        defer { create.send(SIGKILL) }
        try signals.wait(seconds: 120, for: "the volume was not made") { !create.isRunning }
        guard create.exitStatus == 0 else { throw Failure("the volume was not made: \((readFile(log) ?? "").trimmed)") }
    }

    private func waitUntilServing(_ target: Target) throws(Failure) {
        var failure: Failure?
        try signals.wait(seconds: 60, for: "target \(target.index + 1) did not serve") {
            do throws(Failure) { return try target.isServing() } catch { failure = error }
            return true
        }
        if let failure { throw failure }
    }

    // MARK: The run

    private func runFio(_ arguments: [String], isOnTarget: Bool) throws(Failure) -> Int32 {
        let process = try ChildProcess("fio", arguments, environment: isOnTarget ? plan.substrate.environment : [:])
        fio = process
        var observer = Observer(path: reportPath, targets: members.count > 1 ? members.count : 0)
        var faults = plan.faults.sorted { $0.milliseconds < $1.milliseconds }[...]
        var interrupts = 0
        while process.isRunning {
            if let number = signals.wait(milliseconds: isOnTarget ? 10 : 200) {
                // fio ends its jobs and prints what it has; who insists gets an end at once.
                interrupts += 1
                faults = []
                for target in targets { target.mend() }
                process.send(interrupts == 1 ? number : SIGKILL)
            }
            let moment = now()
            for line in observer.look(moment) { say(line) }
            for target in targets { target.pulse(moment) }
            guard let start = observer.firstIO else { continue }
            while let fault = faults.first, moment - start >= Double(fault.milliseconds) / 1000 {
                faults.removeFirst()
                say(
                    "at \(Observer.time(moment - start)) \(fault.text.split(separator: " ").dropFirst(2).joined(separator: " "))"
                )
                try apply(fault)
            }
        }
        observer.finish(now())
        for line in observer.summary { say(line) }
        for target in targets { target.mend() }
        let status = process.exitStatus ?? 1
        if interrupts > 0 { throw Failure("interrupted", exitStatus: status) }
        if let fault = faults.first {
            throw Failure(
                "the run ended before \"\(fault.text)\": make it longer, or the schedule shorter",
                exitStatus: status == 0 ? 3 : status)
        }
        return initiatorWasKilled ? 0 : status
    }

    private func apply(_ fault: Fault) throws(Failure) {
        switch fault.action {
        case .killTarget(let index): targets[index].kill()
        case .stopTarget(let index): targets[index].stop()
        case .continueTarget(let index): targets[index].resume()
        case .slowTarget(let index, let delay): targets[index].slow(milliseconds: delay)
        case .cutLink(let index): targets[index].setLink(cut: true)
        case .restoreLink(let index): targets[index].setLink(cut: false)
        case .restartTarget(let index):
            if targets[index].isRunning {
                targets[index].terminate()
                try signals.wait(seconds: 10, for: "target \(index + 1) did not end") { !targets[index].isRunning }
            }
            try targets[index].launch()
        case .killInitiator:
            initiatorWasKilled = true
            fio?.killTree()
        }
    }

    // MARK: The check

    /// - Returns: whether the members are equal.
    private func check() throws(Failure) -> Bool {
        for target in targets where !target.isRunning {
            try target.launch()
            say("target \(target.index + 1) was dead: it is started again for the check")
        }
        for target in targets { try waitUntilServing(target) }
        do throws(Failure) {
            let result = try MemberCheck(
                tercet: plan.programs.tercet, members: members, substrate: plan.substrate, folder: folder,
                signals: signals
            ).run()
            say("after \(Observer.time(result.seconds)): \(result.healing)")
            say("members are equal: \(result.bytes) bytes each")
            return true
        } catch {
            guard error.exitStatus == 3 else { throw error }
            say(error.message)
            return false
        }
    }
}
