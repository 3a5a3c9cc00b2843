import Base
import FabricInterface

/// A statement that holds for every `Fabric`, with the check that shows it.
public struct FabricLaw: Sendable {
    public let name: String
    let body: @Sendable (FabricLawWorld) throws -> Void

    /// Checks the law; throws `LawViolation`, or the fabric's own error.
    public func check(in world: FabricLawWorld) throws { try body(world) }
}

/// The world in which laws are checked: a kind of fabric, and the passing of time there.
open class FabricLawWorld {
    public init() {}

    /// A new connection manager, as one reactor has it.
    open func makeFabric() throws -> Fabric { throw LawViolation("the world makes fabrics") }

    /// An address of a device of this world, with port 0.
    open var address: SocketAddress { SocketAddress(host: "127.0.0.1", port: 0)! }

    /// Lets a little time pass: a fraction of a millisecond, or an event of the simulation.
    open func progress() {}

    /// How often `progress` is called before something that does not happen is a violation.
    open var patience: Int { 50_000 }

    /// Checks the laws of every fabric.
    public func checkFabricLaws(_ report: (FabricLaw, (any Error)?) -> Void) { check(FabricLaw.all, report) }

    /// Checks laws, one after the other; `report` gets each with what was wrong, or `nil`.
    public func check(_ laws: [FabricLaw], _ report: (FabricLaw, (any Error)?) -> Void) {
        for law in laws {
            do {
                try law.check(in: self)
                report(law, nil)
            } catch {
                report(law, error)
            }
        }
    }
}

/// A breach of a law.
public struct LawViolation: Error, CustomStringConvertible {
    public let description: String
    init(_ description: String) { self.description = description }
}

/// Throws where a law does not hold.
func require(_ condition: Bool, _ message: @autoclosure () -> String) throws {
    if !condition { throw LawViolation(message()) }
}

extension FabricLaw {
    /// The laws that every fabric keeps, a simulated one too.
    public static let all: [FabricLaw] = connectionLaws + workLaws + endingLaws
}
