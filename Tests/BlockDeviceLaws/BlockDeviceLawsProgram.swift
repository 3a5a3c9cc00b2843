import AIOBlock
import Base
import BlockInterface
import BlockLaws
import Glibc

/// Checks what block devices and files promise on those that are named, which are overwritten, and reports in TAP.
/// With `--remove` the last one, which must be a PCI device, is removed under the open device at the end, and brought
/// back.
@main
enum BlockDeviceLawsProgram {
    static func main() {
        var arguments = Array(CommandLine.arguments.dropFirst())
        let removes = arguments.first == "--remove"
        if removes { arguments.removeFirst() }
        guard let last = arguments.last else {
            print("Bail out! usage: block-device-laws [--remove] PATH..., which are overwritten")
            exit(2)
        }
        let report = Report(count: arguments.count + (removes ? 5 : 0))
        for path in arguments { checkLaws(path, report) }
        if removes { checkRemoval(last, report) }
        exit(report.failures == 0 ? 0 : 1)
    }

    private static func checkLaws(_ path: String, _ report: Report) {
        do throws(TercetError) {
            let device = try AIODevice(path: path)
            let geometry = device.geometry
            for remark in device.remarks { print("# \(remark)") }
            let seed = UInt64.random(in: .min ... .max)
            print("# \(path): \(geometry.blockCount) blocks of \(geometry.blockSize), O_DIRECT \(device.isDirect)")
            let violations = checkBlockDeviceLaws(device, seed: seed)
            for violation in violations { print("# \(violation) (seed \(seed))") }
            report.add(violations.isEmpty, "\(path) keeps the laws of a block device")
        } catch {
            print("# \(error)")
            report.add(false, "\(path) opens")
        }
    }

    private static func checkRemoval(_ path: String, _ report: Report) {
        do throws(TercetError) {
            let device = try AIODevice(path: path)
            let driver = ChannelDriver(try device.openChannel(depth: 4), byteCount: 65536)
            let block = Int(device.geometry.blockSize)
            report.add(driver.run(.read, length: block) == .success, "a drive that is there can be read")
            let name = path.split(separator: "/").last.map { String($0) } ?? ""
            order("/sys/block/\(name)/device/device/remove")
            let isGone = wait { driver.run(.read, length: block) == .deviceGone }
            report.add(isGone, "reading a drive that has been removed ends in deviceGone")
            report.add(device.refresh() == .vanished, "the removal is noticed")
            let statuses = ([.read, .write, .flush, .writeZeroes, .deallocate, .compare, .verify] as [BlockOperation])
                .map { driver.run($0, length: block) }
            print("# \(statuses)")
            report.add(statuses.allSatisfy { $0 == .deviceGone }, "and every operation ends in deviceGone")
        } catch {
            print("# \(error)")
            report.add(false, "\(path) opens")
        }
        order("/sys/bus/pci/rescan")
        report.add(wait { (try? AIODevice(path: path)) != nil }, "the drive can be opened when it is back")
    }

    /// Writes `1` to a file of sysfs.
    private static func order(_ path: String) {
        guard let file = fopen(path, "w") else {
            print("# \(path): \(String(cString: strerror(errno)))")
            return
        }
        fputs("1", file)
        fclose(file)
    }

    /// Waits up to 20 s for a condition.
    private static func wait(until condition: () -> Bool) -> Bool {
        for _ in 0..<200 {
            if condition() { return true }
            usleep(100_000)
        }
        return false
    }
}

/// The lines of TAP.
private final class Report {
    private var number = 0
    private(set) var failures = 0

    init(count: Int) { print("1..\(count)") }

    func add(_ holds: Bool, _ name: String) {
        number += 1
        if !holds { failures += 1 }
        print("\(holds ? "ok" : "not ok") \(number) - \(name)")
        fflush(nil)
    }
}
