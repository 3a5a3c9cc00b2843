import Glibc
import Reactor
import Synchronization
import Testing

/// A mailbox, as its owner and those who write to it see it.
@Suite struct MailboxTests {
    private final class Count: Sendable { let value = Atomic<Int>(0) }

    private func isReadable(_ descriptor: Int32) -> Bool {
        var event = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
        return poll(&event, 1, 0) == 1
    }

    @Test func anOwnerThatIsAwakeIsNotWoken() {
        let mailbox = Mailbox()
        mailbox.send {}
        #expect(!isReadable(mailbox.descriptor))
        #expect(!mailbox.isEmpty)
    }

    @Test func anOwnerThatIsAboutToSleepIsWokenOnce() {
        let mailbox = Mailbox()
        mailbox.arm()
        #expect(mailbox.drain() == 0)
        mailbox.send {}
        mailbox.send {}
        #expect(isReadable(mailbox.descriptor))
        mailbox.acknowledge()
        #expect(!isReadable(mailbox.descriptor))
        #expect(mailbox.drain() == 2)
        mailbox.send {}
        #expect(!isReadable(mailbox.descriptor))
    }

    @Test func aLetterFromBeforeIsFoundByTheLastLook() {
        let mailbox = Mailbox()
        mailbox.send {}
        mailbox.arm()
        #expect(mailbox.drain() == 1)
    }

    @Test func anOwnerWithOtherWorkTakesSomeLettersAtATime() {
        let mailbox = Mailbox()
        let opened = Mutex<[Int]>([])
        for letter in 0..<9 { mailbox.send { opened.withLock { $0.append(letter) } } }
        #expect(mailbox.drainSome() == 4)
        #expect(!mailbox.isEmpty)
        // A letter that comes meanwhile is behind those that are left.
        mailbox.send { opened.withLock { $0.append(9) } }
        #expect(mailbox.drainSome() == 4)
        #expect(mailbox.drainSome() == 2)
        #expect(mailbox.isEmpty && mailbox.drainSome() == 0)
        mailbox.send { opened.withLock { $0.append(10) } }
        #expect(mailbox.drain() == 1 && mailbox.isEmpty)
        #expect(opened.withLock { $0 } == Array(0...10))
    }

    @Test func aLetterThatTakesLongIsOpenedAlone() {
        let mailbox = Mailbox()
        let opened = Mutex<[Int]>([])
        for letter in 0..<6 {
            mailbox.send(alone: letter == 2 || letter == 3) { opened.withLock { $0.append(letter) } }
        }
        #expect((0..<5).map { _ in mailbox.drainSome() } == [2, 1, 1, 2, 0])
        #expect(opened.withLock { $0 } == Array(0...5))
    }

    /// Letters of several threads to an owner that sleeps whenever it finds nothing: it hears of all of them.
    @Test func noWakeUpIsMissed() async {
        let mailbox = Mailbox()
        let opened = Count()
        let (writers, letters) = (2, 100_000)
        async let isSound = Task.detached { () -> Bool in
            while opened.value.load(ordering: .relaxed) < writers * letters {
                if mailbox.drain() > 0 { continue }
                mailbox.arm()
                if mailbox.drain() > 0 { continue }
                var watched = pollfd(fd: mailbox.descriptor, events: Int16(POLLIN), revents: 0)
                guard poll(&watched, 1, 20_000) == 1 else { return false }
                mailbox.acknowledge()
            }
            return true
        }.value
        await withTaskGroup(of: Void.self) { tasks in
            for _ in 0..<writers {
                tasks.addTask { for _ in 0..<letters { mailbox.send { opened.value.add(1, ordering: .relaxed) } } }
            }
        }
        #expect(await isSound)
    }
}
