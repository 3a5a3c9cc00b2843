import Base
import CLinux
import CVerbs
import FabricInterface
import Glibc

/// Takes the asynchronous events of one device, on a thread of its own that nearly always sleeps.
///
/// Three kinds matter. Data may arrive before the message that establishes a connection, which then may have been lost:
/// RDMA CM has to be told. And a queue pair may fail while no work of it is running that could say so: its connection is
/// disconnected, which its owner hears from RDMA CM. Where a completion queue has overflowed, completions are lost, and
/// nothing else may tell: its connections are disconnected. The rest either shows in completions or is followed by the removal
/// of the device.
final class AsyncEventWatch {
    private var thread = pthread_t()
    private let task: UnsafeMutablePointer<Task>

    private struct Task {
        var verbs: UnsafeMutablePointer<ibv_context>
        /// An eventfd that ends the thread.
        var stop: Int32
    }

    init(_ verbs: UnsafeMutablePointer<ibv_context>, name: String) throws(TercetError) {
        // An event is withdrawn with its queue pair, also between the wait for it and the reading: that must not wait.
        let code = tercet_set_nonblocking(verbs.pointee.async_fd)
        if code != 0 { throw verbsError("fcntl O_NONBLOCK on the events of \(name)", code) }
        let stop = eventfd(0, Int32(EFD_CLOEXEC))
        if stop < 0 { throw verbsError("eventfd for \(name)", errno) }
        task = .allocate(capacity: 1)
        task.initialize(to: Task(verbs: verbs, stop: stop))
        let started = pthread_create(
            &thread, nil,
            { context in
                AsyncEventWatch.run(context!.assumingMemoryBound(to: Task.self).pointee)
                return nil
            }, task)
        if started != 0 {
            _ = close(stop)
            task.deallocate()
            throw verbsError("pthread_create for \(name)", started)
        }
    }

    deinit {
        _ = eventfd_write(task.pointee.stop, 1)
        pthread_join(thread, nil)
        _ = close(task.pointee.stop)
        task.deallocate()
    }

    private static func run(_ task: Task) {
        withUnsafeTemporaryAllocation(of: pollfd.self, capacity: 2) { entries in
            entries[0] = pollfd(fd: task.stop, events: Int16(POLLIN), revents: 0)
            entries[1] = pollfd(fd: task.verbs.pointee.async_fd, events: Int16(POLLIN), revents: 0)
            while true {
                guard poll(entries.baseAddress, 2, -1) > 0 else { continue }
                if entries[0].revents != 0 { return }
                if entries[1].revents & Int16(POLLIN) == 0 || (!takeEvent(task.verbs) && errno != EAGAIN) {
                    // A device that is gone has nothing more to tell; poll passes over negative descriptors.
                    entries[1].fd = -1
                }
            }
        }
    }

    private static func takeEvent(_ verbs: UnsafeMutablePointer<ibv_context>) -> Bool {
        var event = ibv_async_event()
        guard ibv_get_async_event(verbs, &event) == 0 else { return false }
        // Until it is acknowledged, the queue pair cannot be destroyed, nor then its identifier.
        defer { ibv_ack_async_event(&event) }
        switch event.event_type {
        case IBV_EVENT_COMM_EST:
            if let id = identifier(event.element.qp) { rdma_notify(id, IBV_EVENT_COMM_EST) }
        case IBV_EVENT_QP_FATAL, IBV_EVENT_QP_REQ_ERR, IBV_EVENT_QP_ACCESS_ERR:
            if let id = identifier(event.element.qp) { rdma_disconnect(id) }
        case IBV_EVENT_CQ_ERR:
            // Until the event is acknowledged, the completion queue, and with it its context, cannot be destroyed.
            if let context = event.element.cq?.pointee.cq_context {
                Unmanaged<LiveIdentifiers>.fromOpaque(context).takeUnretainedValue().disconnectAll()
            }
        default: break
        }
        return true
    }

    private static func identifier(_ queuePair: UnsafeMutablePointer<ibv_qp>?) -> UnsafeMutablePointer<rdma_cm_id>? {
        queuePair?.pointee.qp_context?.assumingMemoryBound(to: rdma_cm_id.self)
    }
}
