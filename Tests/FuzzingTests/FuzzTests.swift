import Base
import DaemonFuzz
import DocumentFuzz
import EngineFuzz
import Fuzzing
import Glibc
import NBDProtocolFuzz
import NVMeSpecFuzz
import Testing

extension FuzzTarget: CustomTestStringConvertible {
    public var testDescription: String { name }
}

@Suite("Parsers take any bytes")
struct FuzzTests {
    private static let targets =
        FuzzTarget.nvme + FuzzTarget.nbd + FuzzTarget.documents + FuzzTarget.engines + FuzzTarget.daemons

    /// A tenth of the inputs where the code is not optimised, which is ten times slower.
    #if DEBUG
        private static let share = 10
    #else
        private static let share = 1
    #endif
    /// Of this run; `TERCET_FUZZ_SEED` repeats one.
    static let seed = getenv("TERCET_FUZZ_SEED").flatMap { UInt64(String(cString: $0)) } ?? .random(in: 0...UInt64.max)

    /// In a process of its own, which a parser that traps ends.
    @Test("Seeded random bytes", arguments: targets)
    func random(target: FuzzTarget) async {
        await #expect(
            processExitsWith: .success, "\(target.name): repeat with TERCET_FUZZ_SEED=\(FuzzTests.seed)"
        ) { [name = target.name as String, seed = FuzzTests.seed as UInt64] in
            // Why it trapped is said on the standard error, which for a process of a test leads nowhere.
            dup2(open("/proc/\(getppid())/fd/2", O_WRONLY), STDERR_FILENO)
            let target = try #require(FuzzTests.targets.first { $0.name == name })
            FuzzTests.feed(target, seed: seed)
        }
    }

    private static func feed(_ target: FuzzTarget, seed: UInt64) {
        var random = SeededRandom(seed: seed)
        for seed in target.seeds { seed.withUnsafeBytes(target.run) }
        var input = target.seeds[0]
        for round in 0..<target.inputs / share {
            if round % 16 == 0 { input = target.seeds[round / 16 % target.seeds.count] }
            mutate(&input, longest: target.seeds[0].count * 2, &random)
            input.withUnsafeBytes(target.run)
        }
    }

    /// Changes a few bytes, mostly near the front where the fields are, and now and then the length.
    private static func mutate(_ input: inout [UInt8], longest: Int, _ random: inout SeededRandom) {
        let dice = random.next()
        if dice % 8 == 0 {
            let count = Int(dice >> 32) % (longest + 1)
            if count < input.count { input.removeLast(input.count - count) }
            while input.count < count { input.append(UInt8(truncatingIfNeeded: random.next())) }
        }
        guard !input.isEmpty else { return }
        for _ in 0...(dice >> 8 & 3) {
            let place = random.next()
            let span = place & 1 == 0 ? min(input.count, 64) : input.count
            let index = Int(place >> 32) % span
            switch place >> 8 & 3 {
            case 0: input[index] = 0xFF
            case 1: input[index] ^= 1 << UInt8(place >> 16 & 7)
            default: input[index] = UInt8(truncatingIfNeeded: place >> 16)
            }
        }
    }
}
