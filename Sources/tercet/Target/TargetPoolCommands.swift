import ArgumentParser
import Base
import ControlPlane
import Foundation

/// The namespaces of a target's pools.
struct TargetPoolCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "pool", abstract: "Look at the pools of a running target; make and delete namespaces in them.",
        discussion: """
            A pool is a subsystem whose namespaces are made while the target runs. A namespace that is made is not seen by hosts \
            before it is attached. Changes are durable when the command ends: they are no part of the configuration. Hosts that \
            are the pool's managers do the same with nvme create-ns, attach-ns, detach-ns and delete-ns.
            """,
        subcommands: [
            PoolList.self, PoolCreate.self, PoolAttach.self, PoolDetach.self, PoolGrow.self, PoolDelete.self,
        ])

    struct PoolList: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "list", abstract: "List the namespaces of pools, attached or not.")
        @Argument(help: "The pool's subsystem; all of them if not given.") var nqn: String?
        @OptionGroup var target: TargetArguments

        func run() throws {
            let all = try target.call(TargetMethod.get, returning: TargetState.self).subsystems
            let pools = all.filter { $0.pool != nil && (nqn == nil || $0.nqn == nqn) }
            if let nqn, pools.isEmpty {
                let known = all.filter { $0.pool != nil }.map(\.nqn)
                throw TercetError(
                    .notFound,
                    "there is no pool '\(nqn)'; there are: \(known.isEmpty ? "none" : known.joined(separator: ", "))")
            }
            if target.json {
                return try printJSON(pools.reduce(into: [String: PoolState]()) { $0[$1.nqn] = $1.pool })
            }
            for subsystem in pools {
                guard let pool = subsystem.pool else { continue }
                print(
                    "\(subsystem.nqn): \(pool.namespaces.count) of \(pool.maxNamespaces) namespaces, "
                        + "\(ByteSize.format(pool.unallocated)) of \(ByteSize.format(pool.capacity)) not allocated, in \(pool.folder)"
                        + (pool.free.map { " (\($0 >> 20)M free)" } ?? ""))
                for namespace in pool.namespaces { print("  \(namespace.line)") }
            }
        }
    }

    struct PoolCreate: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "create", abstract: "Make a namespace in a pool.",
            discussion: "Its file takes room only where it was written to. Prints its identifier and its UUID.")
        @Argument(help: "The pool's subsystem.") var nqn: String
        @Argument(help: "Bytes, with K, M, G or T: a multiple of the pool's block size.") var size: String
        @Option(
            name: .long,
            help: "UUID that it is to have; one of this UUID and size that is there already is taken for the answer.")
        var uuid: String?
        @Flag(name: .long, help: "Let hosts see it at once.") var attach = false
        @OptionGroup var target: TargetArguments

        func run() throws {
            let bytes = try poolSize(size)
            let made = try target.call(
                PoolMethod.create, PoolCreateRequest(subsystem: nqn, size: bytes, uuid: uuid, isAttached: attach),
                returning: PoolState.Namespace.self)
            if target.json { return try printJSON(made) }
            print(made.line)
        }
    }

    struct PoolAttach: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "attach", abstract: "Let hosts see a namespace of a pool.")
        @OptionGroup var namespace: PoolNamespaceArguments
        func run() throws { try namespace.change(PoolMethod.attach) }
    }

    struct PoolDetach: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "detach", abstract: "Take a namespace of a pool from all hosts; its data stays.")
        @OptionGroup var namespace: PoolNamespaceArguments
        func run() throws { try namespace.change(PoolMethod.detach) }
    }

    struct PoolGrow: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "grow", abstract: "Make a namespace of a pool larger, while hosts use it.",
            discussion: "Hosts are told. A namespace never shrinks; the same size again changes nothing.")
        @OptionGroup var namespace: PoolNamespaceArguments
        @Option(name: .long, help: "Bytes that it is to have, with K, M, G or T: a multiple of its block size.")
        var size: String

        func run() throws {
            let given = PoolGrowRequest(
                subsystem: namespace.nqn, nsid: namespace.nsid, size: try poolSize(size))
            _ = try namespace.target.call(PoolMethod.grow, given, returning: NoParameters.self)
        }
    }

    struct PoolDelete: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "delete", abstract: "Delete a namespace of a pool, with its data, attached or not.")
        @OptionGroup var namespace: PoolNamespaceArguments
        func run() throws { try namespace.change(PoolMethod.delete) }
    }
}

/// A size as people write it, in bytes.
private func poolSize(_ text: String) throws -> UInt64 {
    guard let bytes = ByteSize.parse(text[...]) else {
        throw ValidationError("'\(text)' is no size; allowed: a number of bytes, or with K, M, G or T")
    }
    return bytes
}

/// A namespace of a pool of a running target.
struct PoolNamespaceArguments: ParsableArguments {
    @Argument(help: "The pool's subsystem.") var nqn: String
    @Argument(help: "Namespace identifier.") var nsid: UInt32
    @OptionGroup var target: TargetArguments

    func change(_ method: String) throws {
        _ = try target.call(method, PoolNamespaceRequest(subsystem: nqn, nsid: nsid), returning: NoParameters.self)
    }
}

extension PoolState.Namespace {
    fileprivate var line: String {
        "namespace \(nsid): \(ByteSize.format(size)) in blocks of \(blockSize), \(isAttached ? "attached" : "not attached"), \(uuid)"
    }
}
