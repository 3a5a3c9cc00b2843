import Dispatch
import Foundation
import Synchronization
import VolumeRegistry

extension EtcdRegistry {
    /// The changes after a revision. While it waits it goes from one member to another where one ends, hangs or loses its leader,
    /// and goes on behind the revision.
    public func changes(after revision: Revision) async throws(RegistryError) -> [RegistryChange] {
        guard revision.number >= 0, revision.number < .max else { throw .compacted(after: revision) }
        let client = watchClients.withLock { $0.popLast() } ?? EtcdClient(place, milliseconds: milliseconds)
        let watch = EtcdWatch(client, after: revision)
        let result = await withTaskCancellationHandler {
            await withCheckedContinuation {
                (continuation: CheckedContinuation<Result<[RegistryChange], RegistryError>, Never>) in
                DispatchQueue(label: "tercet registry watch").async {
                    do throws(RegistryError) {
                        continuation.resume(returning: .success(try watch.next()))
                    } catch {
                        continuation.resume(returning: .failure(error))
                    }
                }
            }
        } onCancel: {
            watch.cancel()
        }
        watchClients.withLock { $0.append(client) }
        return try result.get()
    }
}
