import Base
import NBDProtocolFuzz
import Testing

@Suite("The parsers of NBD take any bytes") struct NBDFuzzTests {
    @Test("Seeded random bytes", arguments: NBDFuzzTarget.all.map(\.name))
    func random(name: String) throws {
        let target = try #require(NBDFuzzTarget.all.first { $0.name == name })
        let seed = UInt64.random(in: 0...UInt64.max)
        var random = SeededRandom(seed: seed)
        for round in 0..<20_000 {
            var input = target.seeds[round % target.seeds.count]
            for _ in 0...Int(random.next() % 4) {
                let dice = random.next()
                input[Int(dice >> 32) % input.count] = dice & 1 == 0 ? 0xFF : UInt8(truncatingIfNeeded: dice >> 8)
            }
            if random.next() % 4 == 0 { input.removeLast(Int(random.next() >> 33) % input.count) }
            if input.isEmpty { continue }
            input.withUnsafeBytes(target.run)
        }
        // The parsers trap where something does not hold; that all inputs came this far is the result.
        #expect(seed == seed, "repeat with seed \(seed)")
    }
}
