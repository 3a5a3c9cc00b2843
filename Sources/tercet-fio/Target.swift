import Glibc
import SystemPackage

/// One `tercetd` with one namespace, and what is being done to it.
final class Target {
    /// From 0; people count from 1.
    let index: Int
    let member: Member
    private let program: String
    private let store: String
    private let substrate: Substrate
    /// Preloaded where the substrate is a device and the link is to be cut.
    private let link: String?
    private let folder: String
    private var process: ChildProcess?
    private var starts = 0
    private(set) var isStopped = false
    private var delayMilliseconds = 0
    private var isCut = false
    /// The time of the next change, if a device's target is made slow by stopping it again and again.
    private var nextPulse = 0.0

    init(
        index: Int, port: Int, store: String, program: String, substrate: Substrate, link: String?, folder: String
    ) {
        self.index = index
        self.store = store
        self.program = program
        self.substrate = substrate
        self.link = link
        self.folder = folder
        member = Member(
            address: substrate.address, port: port, nqn: "nqn.2026-11.io.tercet:fio\(index + 1)", nsid: 1)
    }

    private var log: String { "\(folder)/target\(index + 1)-\(starts).log" }
    private var faultFile: String { "\(folder)/target\(index + 1).fault" }

    /// Starts it, without waiting.
    func launch() throws(Failure) {
        starts += 1
        var environment = substrate.environment
        switch substrate {
        case .softverbs: environment["SOFTVERBS_FAULT_FILE"] = faultFile
        case .device:
            if let link { environment.merge(["LD_PRELOAD": link, "TERCET_LINK_FILE": faultFile]) { $1 } }
        }
        process = try ChildProcess(
            program,
            [
                "--reactors", "1", "--require-all", "--listen", "\(member.address):\(member.port)", "--export",
                "\(member.nqn)=\(store)",
                "--state-directory",
                "\(folder)/state\(index + 1)",
            ], environment: environment, log: log)
        isStopped = false
    }

    /// Whether it serves. Throws when it has ended instead.
    func isServing() throws(Failure) -> Bool {
        let text = readFile(log) ?? ""
        if text.contains("serving") { return true }
        guard process?.isRunning == true else {
            throw Failure("target \(index + 1) did not start:\n" + text.trimmed)
        }
        return false
    }

    var isRunning: Bool { process?.isRunning == true }

    func kill() { process?.send(SIGKILL) }

    func stop() {
        process?.send(SIGSTOP)
        isStopped = true
    }

    func resume() {
        process?.send(SIGCONT)
        isStopped = false
    }

    /// Asks it to end in good order.
    func terminate() {
        process?.send(SIGTERM)
        process?.send(SIGCONT)
    }

    func slow(milliseconds: Int) {
        delayMilliseconds = milliseconds
        if case .softverbs = substrate { return writeFaults() }
        if milliseconds == 0, !isStopped { process?.send(SIGCONT) }
        isPulseStopped = false
        nextPulse = 0
    }

    func setLink(cut: Bool) {
        isCut = cut
        writeFaults()
    }

    /// All that was done to it is undone; it runs unless it is dead.
    func mend() {
        delayMilliseconds = 0
        isCut = false
        writeFaults()
        resume()
    }

    /// Stops and continues a target that a device carries and that is to be slow: stopped for the delay, running for a
    /// quarter of it.
    func pulse(_ moment: Double) {
        guard case .device = substrate, delayMilliseconds > 0, !isStopped, moment >= nextPulse else { return }
        let delay = Double(delayMilliseconds) / 1000
        isPulseStopped.toggle()
        process?.send(isPulseStopped ? SIGSTOP : SIGCONT)
        nextPulse = moment + (isPulseStopped ? delay : max(delay / 4, 0.005))
    }
    private var isPulseStopped = false

    /// Tells softverbs how to treat this target's requests, or the link library whether the link is cut. Either reads the file
    /// again whenever it is written.
    private func writeFaults() {
        var words: [String]
        switch substrate {
        case .softverbs:
            words = ["seed=\(index + 1)"]
            if delayMilliseconds > 0 { words.append("delay_us=\(delayMilliseconds * 1000)") }
            if isCut { words += ["drop_after=0", "lose=1000000"] }
        case .device: words = [isCut ? "cut" : "whole"]
        }
        let text = words.joined(separator: " ") + "\n"
        guard
            let file = try? FileDescriptor.open(
                FilePath(faultFile), .writeOnly, options: [.create, .truncate, .closeOnExec],
                permissions: FilePermissions(rawValue: 0o644))
        else { return }
        _ = try? file.closeAfter { try file.writeAll(text.utf8) }
    }
}
