import ControlPlane
import Testing

/// The words of an explanation.
@Suite struct ExplanationTests {
    private static let addresses = (0..<3).map { "192.0.2.\($0):4420/nqn.2026-11.io.example:\($0)/1" }

    private static func explanation(
        _ cause: String, state: String = "not attached", needs: [String] = []
    ) -> VolumeExplanation {
        VolumeExplanation(
            name: "db", uuid: "", phase: "waiting", since: "T", cause: cause,
            members: addresses.enumerated().map { number, address in
                .init(number: number, address: address, state: state, since: "S", cause: "told to attach it")
            }, needs: needs, risks: [], events: [])
    }

    @Test func eachMembersReasonIsOnItsLine() {
        let reasons = ["nobody accepts connections", "its record is damaged; see the log", "refused: no such host"]
        let cause =
            "not attached: no member can be read: "
            + zip(0..<3, reasons).map { "member \($0) (\(Self.addresses[$0])): \($1)" }.joined(separator: "; ")
        #expect(
            Self.explanation(cause).lines
                == ["volume db: waiting since T: not attached: no member can be read"]
                + zip(0..<3, reasons).map { "member \($0) (\(Self.addresses[$0])): not attached since S: \($1)" })
    }

    @Test func aCauseOfOneMemberLeavesTheOthers() {
        let lines = Self.explanation("not attached: member 1 (\(Self.addresses[1])): it holds another volume").lines
        #expect(lines[0] == "volume db: waiting since T: not attached")
        #expect(lines[1].hasSuffix(": told to attach it") && lines[3].hasSuffix(": told to attach it"))
        #expect(lines[2].hasSuffix(": not attached since S: it holds another volume"))
    }

    @Test func whatServesKeepsItsWords() {
        let cause = "lost: member 1 (\(Self.addresses[1])): disconnected"
        #expect(Self.explanation(cause, state: "in sync").lines[0] == "volume db: waiting since T: \(cause)")
    }

    @Test func aLongLineHasALineForEachPart() {
        let (first, second) = (String(repeating: "a", count: 100), String(repeating: "b", count: 100))
        let lines = Self.explanation("x", needs: ["\(first); \(second); c", "d; e"]).lines
        #expect(lines.suffix(4) == ["needed: \(first);", "  \(second);", "  c", "needed: d; e"])
    }
}
