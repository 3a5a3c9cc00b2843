import Glibc
import NBDProtocolFuzz
import NVMeSpecFuzz

/// libFuzzer's entry points. Which parser to feed is in the environment, because libFuzzer owns the arguments.
/// Not part of the package: Tools/fuzz compiles this with libFuzzer.

private struct Parser {
    let name: String
    let seeds: [[UInt8]]
    let run: @Sendable (UnsafeRawBufferPointer) -> Void

    static let all =
        FuzzTarget.all.map { Parser(name: $0.name, seeds: $0.seeds, run: $0.run) }
        + NBDFuzzTarget.all.map { Parser(name: $0.name, seeds: $0.seeds, run: $0.run) }
}

private let target: Parser = {
    let name = getenv("TERCET_FUZZ_TARGET").map { String(cString: $0) } ?? ""
    guard let target = Parser.all.first(where: { $0.name == name }) else {
        fatalError("TERCET_FUZZ_TARGET names no parser: \(name)")
    }
    return target
}()

/// Lists the parsers, or writes a parser's seeds to a folder, where the environment asks for it.
@c(LLVMFuzzerInitialize)
public func initialize(
    _ count: UnsafeMutablePointer<Int32>, _ arguments: UnsafeMutablePointer<UnsafeMutablePointer<CChar>>
) -> Int32 {
    if getenv("TERCET_FUZZ_LIST") != nil {
        for target in Parser.all { print(target.name) }
        exit(0)
    }
    if let folder = getenv("TERCET_FUZZ_SEEDS").map({ String(cString: $0) }) {
        for (index, seed) in target.seeds.enumerated() {
            guard let file = fopen("\(folder)/seed\(index)", "w") else { fatalError("cannot write to \(folder)") }
            fwrite(seed, 1, seed.count, file)
            fclose(file)
        }
    }
    return 0
}

@c(LLVMFuzzerTestOneInput)
public func testOneInput(_ bytes: UnsafeRawPointer?, _ count: Int) -> Int32 {
    target.run(UnsafeRawBufferPointer(start: bytes, count: bytes == nil ? 0 : count))
    return 0
}
