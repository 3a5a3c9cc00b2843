import Base
import CVerbs
import FabricInterface
import Testing
import VerbsFabric

// Events that no device shows at will: unlucky queue pair numbers, and completions that wait.
@Suite struct TableTests {
    /// Numbers from a small range, so that they collide, come back, and the table grows.
    @Test(arguments: [1, 2, 3, 4] as [UInt64], [16, 1 << 24] as [UInt32])
    func queuePairsAreFoundByTheirNumbers(seed: UInt64, numbers: UInt32) {
        var random = SeededRandom(seed: seed)
        var table = QueuePairTable(capacity: 2)
        var model: [UInt32: UInt32] = [:]
        let pairs = UnsafeMutablePointer<ibv_qp>.allocate(capacity: 1)
        defer { pairs.deallocate() }
        pairs.initialize(to: ibv_qp())
        for step in 0..<5000 {
            let number = UInt32.random(in: 0..<numbers, using: &random)
            if let index = model[number] {
                table.remove(index)
                model[number] = nil
            } else if model.count < 64 {
                pairs.pointee.qp_num = number
                let index = table.insert(pairs, inlineDataLimit: number)
                #expect(!model.values.contains(index), "seed \(seed), step \(step): an index is given once")
                model[number] = index
            } else if let victim = model.first {
                table.remove(victim.value)
                model[victim.key] = nil
            }
            #expect(table.count == model.count)
            if step % 50 == 0 {
                for (number, index) in model {
                    #expect(table.index(ofNumber: number) == index, "seed \(seed), step \(step)")
                    #expect(table.slots[Int(index)].inlineDataLimit == number)
                }
            }
            #expect(table.index(ofNumber: number) == model[number], "seed \(seed), step \(step)")
        }
    }

    @Test func waitingCompletionsComeInOrderWithoutThoseOfGoneQueuePairs() {
        func completion(_ id: UInt64, _ queuePair: UInt32) -> WorkCompletion {
            WorkCompletion(id: id, queuePair: QueuePairHandle(index: queuePair), status: .flushed, kind: .send)
        }
        var list = CompletionList(capacity: 2)
        for id in UInt64(0)..<10 { list.append(completion(id, UInt32(id % 3))) }
        #expect(list.takeFirst()?.id == 0)
        #expect(list.takeFirst()?.id == 1)
        var removed: [UInt64] = []
        list.removeAll(of: QueuePairHandle(index: 1)) { removed.append($0.id) }
        #expect(removed == [4, 7])
        list.append(completion(10, 2))
        var taken: [UInt64] = []
        while let next = list.takeFirst() { taken.append(next.id) }
        #expect(taken == [2, 3, 5, 6, 8, 9, 10])
        #expect(list.count == 0)
    }

    @Test func withoutADeviceTheReasonSaysWhatToDo() {
        do throws(TercetError) {
            let fabric = try VerbsFabric.open()
            fabric.close()
        } catch {
            #expect(error.message.hasPrefix("rdma_create_event_channel: "))
            #expect(error.message.contains("rdma_ucm") || error.message.contains("not permitted"), "\(error)")
        }
    }
}
