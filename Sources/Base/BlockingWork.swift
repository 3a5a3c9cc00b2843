import Dispatch

extension DispatchQueue {
    /// Does work that blocks, on this queue: its caller is suspended meanwhile, and keeps no thread of Swift's pool from others.
    public func run<Value: Sendable, Failure: Error>(
        _ body: @escaping @Sendable () throws(Failure) -> Value
    ) async throws(Failure) -> Value {
        let result: Result<Value, Failure> = await withCheckedContinuation { continuation in
            self.async { continuation.resume(returning: Result { () throws(Failure) in try body() }) }
        }
        return try result.get()
    }
}
