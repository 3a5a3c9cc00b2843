import BlockInterface
import CAIO
import CLinux
import Glibc
import Synchronization
import SystemPackage

/// The thread of one device that does what the kernel only does while its caller waits.
final class Worker: Sendable {
    private let core: WorkerCore
    private let thread: pthread_t

    init(commands: BlockingCommands) {
        core = WorkerCore(commands: commands)
        var thread = pthread_t()
        let context = Unmanaged.passRetained(core).toOpaque()
        let result = pthread_create(&thread, nil, workerThread, context)
        if result != 0 { fatalError("pthread_create: \(Errno(rawValue: result))") }
        self.thread = thread
    }

    /// Ends the thread after the job that it is in, and waits for it.
    func stop() {
        core.stopping.store(true, ordering: .releasing)
        core.wake()
        pthread_join(thread, nil)
    }

    func add(_ queue: WorkerQueue) { core.queues.withLock { $0.append(queue) } }

    func remove(_ queue: WorkerQueue) { core.queues.withLock { $0.removeAll { $0 === queue } } }

    /// Destroys an AIO context that nothing runs on.
    func destroy(_ context: io_context_t) {
        let address = UInt(bitPattern: context)
        core.retired.withLock { $0.append(address) }
        core.wake()
    }

    /// Tells the thread that a queue has a job.
    func wake() { core.wake() }
}

/// The state that the thread shares with its owner. It is not in `Worker`, so that the thread does not keep its owner alive.
private final class WorkerCore: Sendable {
    let commands: BlockingCommands
    let queues = Mutex<[WorkerQueue]>([])
    /// AIO contexts to destroy.
    let retired = Mutex<[UInt]>([])
    let stopping = Atomic<Bool>(false)
    private let wakeDescriptor: Int32

    init(commands: BlockingCommands) {
        self.commands = commands
        wakeDescriptor = eventfd(0, Int32(EFD_CLOEXEC))
        if wakeDescriptor < 0 { fatalError("eventfd: \(Errno(rawValue: errno))") }
    }

    deinit { close(wakeDescriptor) }

    func wake() {
        var one: UInt64 = 1
        _ = write(wakeDescriptor, &one, 8)
    }

    func loop() {
        while !stopping.load(ordering: .acquiring) {
            var count: UInt64 = 0
            _ = read(wakeDescriptor, &count, 8)
            while !stopping.load(ordering: .acquiring), doOneOfEach() {}
            destroyRetired()
        }
        destroyRetired()
    }

    private func destroyRetired() {
        let addresses = retired.withLock { addresses in
            defer { addresses = [] }
            return addresses
        }
        for address in addresses {
            if let context = io_context_t(bitPattern: address) { io_destroy(context) }
        }
    }

    /// Does one job of each queue, so that no reactor waits for all of another's. False when there was none.
    private func doOneOfEach() -> Bool {
        var worked = false
        for queue in queues.withLock({ $0 }) {
            guard let job = queue.take() else { continue }
            worked = true
            let status = queue.claim(job.slot) ? commands.perform(job) : .aborted
            queue.finish(slot: job.slot, status: status)
        }
        return worked
    }
}

/// The thread's entry point: outside any type, so that no actor isolation is inferred for it.
private func workerThread(_ context: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
    guard let context else { return nil }
    let core = Unmanaged<WorkerCore>.fromOpaque(context).takeRetainedValue()
    pthread_setname_np(pthread_self(), "block-worker")
    core.loop()
    return nil
}
