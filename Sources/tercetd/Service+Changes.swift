import Base
import ControlPlane
import Glibc
import Logging
import NVMeTarget
import TargetConfiguration
import TargetInterface
import Trace

/// Changes of what the target is to be.
extension Service {
    /// Applies what the daemon was started with.
    func begin() async throws(TercetError) {
        await takeTurn()
        defer { giveTurn() }
        _ = try await apply(written.configuration)
    }

    /// Tries what is missing again; says what has been added since, and what is missing for another reason than before.
    func retry() async {
        await takeTurn()
        defer { giveTurn() }
        let before = missing
        if before.isEmpty || isStopping { return }
        do {
            for line in try await apply(written.configuration) { logger.notice("tried again: \(line)") }
        } catch {
            logger.error("tried again: \(error)")
        }
        for missing in missing where !before.contains(missing) {
            logger.error("\(missing.part) is missing: \(missing.reason)")
        }
    }

    /// Reads the configuration file again; one with an error changes nothing. Namespaces whose devices had vanished or
    /// fail are opened anew. What has been done is told when it is done, and then that the reload is over. Changes that were not
    /// saved are lost, and the log says so.
    func reload() async throws(TercetError) -> ChangeReport {
        await takeTurn()
        defer { giveTurn() }
        let (start, number) = (ContinuousClock.now, nextReload())
        do throws(TercetError) {
            if isStopping { throw TercetError(.unavailable, "the daemon is stopping") }
            let new = try written.readAgain()
            if new.file != nil, !written.isSaved {
                logger.warning("reload: changes that were made since the last save are replaced by what the file says")
            }
            for remark in new.configuration.remarks { logger.warning("reload: \(remark)") }
            let returned = returnedNamespaces(await filled(new.configuration.definition).definition)
            let lines = try await apply(new.configuration, reopening: returned)
            written = new
            let reopened = returned.map { "\($0): its device had vanished or failed, and has been opened anew" }
            for line in reopened + lines { logger.notice("reload: \(line)") }
            if lines.isEmpty && returned.isEmpty { logger.notice("reload: nothing has changed") }
            for missing in missing {
                logger.error("reload: \(missing.part) is missing; it is tried again: \(missing.reason)")
            }
            let milliseconds = (ContinuousClock.now - start) / .milliseconds(1)
            logger.log(
                level: missing.isEmpty ? .notice : .error, "reload over",
                metadata: [
                    "number": "\(number)", "changes": "\(lines.count + returned.count)",
                    "failed": "\(missing.count)",
                    "missing": "\(missing.map(\.part.description).joined(separator: ", "))",
                    "milliseconds": "\(Int(milliseconds))",
                ])
            return ChangeReport(done: reopened + lines, missing: missing.map { MissingReport($0) })
        } catch {
            logger.error("reload: \(error); nothing was changed")
            logger.error(
                "reload over", metadata: ["number": "\(number)", "changes": "0", "failed": "1", "missing": "all of it"])
            throw error
        }
    }

    /// Makes one change of the configuration. One that fails is undone, and the error says what was done and undone.
    func change(_ edit: ConfigurationEdit, _ given: ConfigurationValue) async throws(TercetError) -> ChangeReport {
        await takeTurn()
        defer { giveTurn() }
        if isStopping { throw TercetError(.unavailable, "the daemon is stopping") }
        let new = try written.changed(edit, given)
        let (former, before) = (written.configuration, missing)
        let lines = try await apply(new.configuration)
        let fresh = missing.filter { part in !before.contains { $0.part == part.part } }
        guard let first = fresh.first else {
            written = new
            for remark in new.configuration.remarks where !former.remarks.contains(remark) {
                logger.warning("control: \(remark)")
            }
            for line in lines { logger.notice("control: \(line)") }
            return ChangeReport(done: lines, missing: missing.map { MissingReport($0) })
        }
        var failure = "\(first.part): \(first.reason)"
        if lines.isEmpty {
            // The part is not wanted any more.
            _ = try await apply(former)
            failure += "; nothing was changed"
        } else {
            let undone = try await apply(former)
            let lost = missing.filter { part in !before.contains { $0.part == part.part } }
            failure += "; done before: \(lines.joined(separator: "; ")); undone: \(undone.joined(separator: "; "))"
            for part in lost { failure += "; MISSING now, and tried again: \(part.part): \(part.reason)" }
        }
        logger.error("control: \(edit.method): \(failure)")
        throw TercetError(.failed, failure)
    }

    /// Writes the configuration to its file, or to another one.
    func save(_ path: String?) async throws(TercetError) -> String {
        await takeTurn()
        defer { giveTurn() }
        let path = try written.save(to: path)
        logger.notice("configuration saved", metadata: ["path": "\(path)"])
        return path
    }

    /// Writes what each thread did last to a file; its path.
    func dumpTrace() throws(TercetError) -> String {
        var path = ""
        let failure = TraceDump.write { path = String(cString: $0) }
        guard failure == 0 else {
            let problem = "the trace cannot be written: \(String(cString: strerror(failure)))"
            logger.error("\(problem)")
            throw TercetError(.failed, problem)
        }
        logger.notice("trace written", metadata: ["path": "\(path)"])
        return path
    }

    /// Lets hosts of subsystems go to other paths, or come back, and waits until no read or write succeeds any more. Not part of the
    /// configuration: the next daemon begins without.
    func drain(_ given: DrainRequest) async throws(TercetError) -> DrainReport {
        let seconds = given.seconds ?? 30
        guard seconds >= 0, seconds <= 3600 else {
            throw TercetError(.invalid, "seconds: \(seconds) is out of range; allowed: 0 to 3600")
        }
        let wanted = try await mark(given)
        let start = ContinuousClock.now
        func elapsed() -> Double { (ContinuousClock.now - start) / .seconds(1) }
        guard given.isDrained ?? true else {
            return DrainReport(drained: drained.sorted(), isQuiet: false, seconds: elapsed())
        }
        var (last, since) = (count(of: wanted), ContinuousClock.now)
        while elapsed() < seconds, !isStopping {
            if ContinuousClock.now - since >= .seconds(1) {
                return DrainReport(drained: drained.sorted(), isQuiet: true, seconds: elapsed())
            }
            try? await Task.sleep(for: .milliseconds(50))
            let now = count(of: wanted)
            if now != last { (last, since) = (now, ContinuousClock.now) }
        }
        return DrainReport(drained: drained.sorted(), isQuiet: false, seconds: elapsed())
    }

    private func mark(_ given: DrainRequest) async throws(TercetError) -> Set<String> {
        await takeTurn()
        defer { giveTurn() }
        if isStopping { throw TercetError(.unavailable, "the daemon is stopping") }
        let all = Set(written.configuration.definition.subsystems.map(\.nqn))
        if let nqn = given.subsystem, !all.contains(nqn) {
            throw TercetError(
                .notFound, "there is no subsystem '\(nqn)'; there are: \(all.sorted().joined(separator: ", "))")
        }
        let wanted = given.subsystem.map { [$0] } ?? all
        let former = drained
        if given.isDrained ?? true { drained.formUnion(wanted) } else { drained.subtract(wanted) }
        do throws(TercetError) {
            for line in try await apply(written.configuration) { logger.notice("drain: \(line)") }
        } catch {
            drained = former
            throw error
        }
        return wanted
    }

    /// Reads and writes of subsystems that have succeeded.
    private func count(of subsystems: Set<String>) -> UInt64 {
        target.subsystems.filter { subsystems.contains($0.nqn) }.map(\.statistics)
            .reduce(0) { $0 &+ $1.readCommands &+ $1.writeCommands }
    }
}

extension MissingReport {
    init(_ missing: MissingPart) { self.init(part: missing.part.description, reason: missing.reason) }
}
