/// Values for the driver to take, in order. Grows when it must, which in steady state it never does.
struct OutputQueue<Value: BitwiseCopyable>: ~Copyable {
    private(set) var values: UnsafeMutablePointer<Value>
    private(set) var count = 0
    private var capacity: Int

    init(capacity: Int) {
        self.capacity = capacity
        values = .allocate(capacity: capacity)
    }

    deinit { values.deallocate() }

    @inline(__always)
    mutating func append(_ value: Value) {
        if count == capacity { grow() }
        (values + count).initialize(to: value)
        count += 1
    }

    @inline(never)
    private mutating func grow() {
        let larger = UnsafeMutablePointer<Value>.allocate(capacity: capacity * 2)
        larger.update(from: values, count: count)
        values.deallocate()
        values = larger
        capacity *= 2
    }

    mutating func removeAll() { count = 0 }
}
