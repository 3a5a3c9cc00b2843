import DaemonFuzz
import DocumentFuzz
import EngineFuzz
import Foundation
import Fuzzing
import Glibc
import NBDProtocolFuzz
import NVMeSpecFuzz

/// Feeds a parser: from files, and where it is built for that, as Tools/fuzz does, from libFuzzer.
@main struct Driver {
    private static let all =
        FuzzTarget.nvme + FuzzTarget.nbd + FuzzTarget.documents + FuzzTarget.engines + FuzzTarget.daemons

    static func main() {
        let arguments = CommandLine.arguments.dropFirst()
        guard let verb = arguments.first, let target = all.first(where: { $0.name == arguments.dropFirst().first })
        else {
            // Without a parser it names those that there are.
            for target in all { print(target.name) }
            return
        }
        let rest = Array(arguments.dropFirst(2))
        switch verb {
        case "seeds": write(target.seeds, to: rest.first ?? ".")
        case "repeat":
            for path in rest {
                guard let bytes = FileManager.default.contents(atPath: path) else {
                    print("\(path): cannot be read")
                    exit(2)
                }
                bytes.withUnsafeBytes(target.run)
            }
        default: fuzz(target, rest)
        }
    }

    private static func write(_ seeds: [[UInt8]], to folder: String) {
        for (number, seed) in seeds.enumerated() {
            guard FileManager.default.createFile(atPath: "\(folder)/seed\(number)", contents: Data(seed)) else {
                print("\(folder): cannot be written to")
                exit(2)
            }
        }
    }

    #if FUZZING
        /// The parser that libFuzzer feeds: its callback is a C function and keeps nothing.
        private nonisolated(unsafe) static var chosen = all[0]

        /// Has libFuzzer feed the parser, with libFuzzer's own options.
        private static func fuzz(_ target: FuzzTarget, _ options: [String]) {
            chosen = target
            var words: [UnsafeMutablePointer<CChar>?] = (["fuzz"] + options).map { strdup($0) } + [nil]
            var count = Int32(words.count - 1)
            words.withUnsafeMutableBufferPointer { words in
                var first = words.baseAddress
                exit(
                    runLibFuzzer(&count, &first) { bytes, count in
                        Driver.chosen.run(UnsafeRawBufferPointer(start: bytes, count: bytes == nil ? 0 : count))
                        return 0
                    })
            }
        }
    #else
        private static func fuzz(_ target: FuzzTarget, _ options: [String]) {
            print("this program was built without libFuzzer: Tools/fuzz builds one that has it")
            exit(2)
        }
    #endif
}

#if FUZZING
    /// `LLVMFuzzerRunDriver` of libFuzzer, "Using libFuzzer as a library".
    @_silgen_name("LLVMFuzzerRunDriver")
    private func runLibFuzzer(
        _ count: UnsafeMutablePointer<Int32>,
        _ arguments: UnsafeMutablePointer<UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>?>,
        _ run: @convention(c) (UnsafeRawPointer?, Int) -> Int32
    ) -> Int32
#endif
