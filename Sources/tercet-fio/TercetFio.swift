import ArgumentParser
import Foundation
import Terminal

@main
struct TercetFio: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "tercet-fio",
        abstract:
            "Runs fio's jobs on a namespace or on a replicated volume, breaks targets meanwhile, compares them afterwards.",
        discussion: """
            Jobs that say filename=tercet run on targets that are started for them: on a namespace with --targets 1, on a \
            volume with three. All else is fio's own: every other option and job goes to it untouched, and its output comes \
            as it is on the standard output. What this program finds is on the standard error, behind "tercet-fio:".

              tercet-fio Tools/fio/randread.fio --output-format=json
              tercet-fio --check --fault 'at 2s kill target 1' --fault 'at 4s restart target 1' Tools/fio/verify.fio
              tercet-fio --targets 1 --name=x --filename=tercet --rw=randwrite --size=64m

            The exit status is fio's; 3 where the check fails or the run ended before a fault was due; 2 for wrong usage. \
            That the schedule killed the initiator is no failure.

            Faults: \(Fault.grammar).

            TIME is 500ms, 2s or 1m, counted from the first I/O; targets are counted from 1, the members that the \
            check names, with their addresses, from 0, as by tercet volume. A slow target delays each request by up to \
            the time given; on a device it is stopped for that time again and again, and its link is cut by a library \
            that is preloaded into it.
            """)

    @Option(help: "Targets to start: 1 for a namespace, 3 for a volume.")
    var targets = 3

    @Option(
        help: ArgumentHelp(
            "A namespace that is there already, instead of targets to start: once, or three times for a volume.",
            valueName: "ADDRESS:PORT/NQN/NSID"))
    var member: [String] = []

    @Option(
        help: ArgumentHelp(
            "ram[:SIZE], file[:SIZE] or null[:SIZE] for all targets, or a path for each, as tercetd --export takes it "
                + "(default: ram:256M; file:256M where targets are killed). CONTENTS OF PATHS ARE LOST.",
            valueName: "BACKING"))
    var backing: [String] = []

    @Option(help: "softverbs, device, or auto: the RDMA device of this machine where it has one.")
    var substrate = Choice.auto

    @Option(help: ArgumentHelp("What to break and when. Repeatable.", valueName: "'at TIME ACTION'"))
    var fault: [String] = []

    @Flag(help: "Bring all members up to date afterwards and compare them byte for byte.")
    var check = false

    @Option(
        help: ArgumentHelp("First port of the targets (default: one made of the process number).", valueName: "PORT"))
    var port: UInt16?

    @Option(help: ArgumentHelp("The ioengine (default: the one that was built with this program).", valueName: "PATH"))
    var engine: String?

    @Argument(
        parsing: .allUnrecognized, help: ArgumentHelp("Job files and options of fio.", valueName: "fio's own"))
    var fio: [String] = []

    enum Choice: String, ExpressibleByArgument, CaseIterable {
        case auto, softverbs, device
    }

    static func main() {
        let signals = Signals(wakers: [SIGCHLD])
        let command = parseOrExit()
        do throws(Failure) {
            let run = try Run(try command.plan(), signals: signals)
            let status: Int32
            do throws(Failure) {
                status = try run.run()
            } catch {
                run.cleanUp()
                throw error
            }
            run.cleanUp()
            Foundation.exit(status)
        } catch {
            say(error.message)
            Foundation.exit(error.exitStatus)
        }
    }

    func validate() throws {
        guard targets == 1 || targets == 3 else { throw ValidationError("--targets is 1 or 3") }
        guard [0, 1, 3].contains(member.count) else { throw ValidationError("--member is given once or three times") }
        if let text = member.first(where: { Member($0) == nil }) {
            throw ValidationError("--member \(text): expected ADDRESS:PORT/NQN/NSID")
        }
        guard member.isEmpty || backing.isEmpty else {
            throw ValidationError("--backing is for targets that are started")
        }
        guard !check || (member.isEmpty ? targets : member.count) == 3 else {
            throw ValidationError("--check compares members: one target has none")
        }
        if let port, Int(port) + targets > 65536 {
            throw ValidationError("--port \(port) leaves no port for all targets")
        }
    }

    private func plan() throws(Failure) -> Run.Plan {
        var faults: [Fault] = []
        for text in fault { faults.append(try Fault(text, targets: member.isEmpty ? targets : 0)) }
        let programs = try Programs(engine: engine)
        let chosen = try chooseSubstrate(programs)
        if case .device = chosen, programs.link == nil, let cut = faults.first(where: \.isOfLink) {
            throw Failure("fault \"\(cut.text)\": what cuts links has not been built: make -C Tools/fio/link")
        }
        return Run.Plan(
            programs: programs, substrate: chosen, targets: member.isEmpty ? targets : 0,
            members: member.compactMap { Member($0) }, backing: backing, faults: faults, isChecked: check,
            fio: fio, firstPort: port.map(Int.init) ?? 20000 + Int(getpid()) % 20000)
    }

    private func chooseSubstrate(_ programs: Programs) throws(Failure) -> Substrate {
        let address = substrate == .softverbs ? nil : Substrate.deviceAddress()
        if let address { return .device(address: address) }
        guard substrate != .device else { throw Failure("no RDMA device of this machine has an IPv4 address") }
        guard let library = programs.softverbs else {
            throw Failure("softverbs has not been built: make -C Tools/softverbs")
        }
        return .softverbs(library)
    }
}
