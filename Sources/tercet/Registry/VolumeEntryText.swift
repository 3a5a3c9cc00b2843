import ArgumentParser
import Base
import Foundation
import Terminal
import VolumeDriver
import VolumeRegistry

/// Prints all entries of a registry. Entries that cannot be read are named on the standard error, and are an error then.
func showRegistry(_ registry: any Registry, json: Bool) async throws {
    let listing = try await callRegistry { () async throws(RegistryError) in try await registry.list() }
    if json {
        try printJSON(listing.volumes.map(\.entry))
    } else {
        for volume in listing.volumes {
            let entry = volume.entry
            print(
                "\(entry.name): \(entry.state), \(entry.size.map { "\($0) bytes" } ?? "size not known"), \(entry.uuid), "
                    + entry.members.map(\.address.description).joined(separator: " "))
        }
    }
    try listing.refuseUnreadable()
}

extension RegistryListing {
    /// Names entries that cannot be read, on the standard error; throws if there are any.
    func refuseUnreadable() throws {
        guard !unreadable.isEmpty else { return }
        for entry in unreadable { writeToStandardError("\(entry.error)\n") }
        throw TercetError(.damaged, "\(unreadable.count) entries of the registry cannot be read; the others are shown")
    }
}

/// One entry of a registry.
struct VolumeShowCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "show", abstract: "Show what the registry says of a volume.",
        discussion: "Asks no member: tercet volume status NAME does.")

    @Argument(help: "The volume's name.") var name: String
    @OptionGroup var registry: RegistryArguments
    @Flag(help: "Print JSON.") var json = false

    func run() async throws {
        let registration = try await Registration.find(name, in: try await registry.open())
        let entry = registration.entry
        if json { return try printJSON(entry) }
        print("volume \(entry.name): \(entry.uuid), \(entry.state), revision \(registration.present.revision)")
        print(
            "\(entry.size.map { "\($0) bytes" } ?? "size not known"), regions of \(entry.regionSize) bytes, fencing: "
                + "\(entry.fencing), minimum of copies: \(entry.minimumCopies)")
        for (place, member) in entry.members.enumerated() {
            print(
                "member \(place): \(member.address)" + (member.identity.map { ", \($0)" } ?? "")
                    + (member.pool.map { ", in pool \($0)" } ?? ""))
        }
        for member in entry.replaced {
            print("former member: \(member.address), to be deleted in pool \(member.pool ?? "")")
        }
        if !entry.exports.isEmpty { print("exports: " + entry.exports.joined(separator: ", ")) }
        if let contents = entry.contents { print("contents as last seen: \(contents)") }
        for (key, value) in entry.labels.sorted(by: { $0.key < $1.key }) { print("label \(key): \(value)") }
        if let operation = entry.operation { print("under way: \(operation.words), by \(operation.worker.words)") }
    }
}
