import CTercet
import Glibc

// The functions of tercet.h. The compiler checks each against its declaration there.

@c @implementation
public func tercet_open(
    _ options: UnsafePointer<tercet_options>?, _ handle: UnsafeMutablePointer<OpaquePointer?>?,
    _ message: UnsafeMutablePointer<CChar>?, _ message_size: Int
) -> Int32 {
    guard let options, let handle else { return -EINVAL }
    do throws(OpenFailure) {
        let opened = try NamespaceHandle(OpenOptions(options))
        handle.pointee = OpaquePointer(Unmanaged.passRetained(opened).toOpaque())
        return 0
    } catch {
        if let message, message_size > 0 {
            error.message.withCString { text in
                let length = min(strlen(text), message_size - 1)
                memcpy(message, text, length)
                message[length] = 0
            }
        }
        return error.code
    }
}

@c @implementation
public func tercet_close(_ handle: OpaquePointer?) {
    guard let handle else { return }
    Unmanaged<NamespaceHandle>.fromOpaque(UnsafeRawPointer(handle)).takeRetainedValue().close()
}

@c @implementation
public func tercet_block_size(_ handle: OpaquePointer?) -> UInt32 {
    with(handle, 0) { UInt32($0.blockSize) }
}

@c @implementation
public func tercet_block_count(_ handle: OpaquePointer?) -> UInt64 { with(handle, 0) { $0.blockCount } }

@c @implementation
public func tercet_alloc(_ handle: OpaquePointer?, _ bytes: Int) -> UnsafeMutableRawPointer? {
    with(handle, nil) { $0.allocate(bytes) }
}

@c @implementation
public func tercet_free(_ handle: OpaquePointer?, _ memory: UnsafeMutableRawPointer?) {
    with(handle, ()) { if let memory { $0.free(memory) } }
}

@c @implementation
public func tercet_invalidate(_ handle: OpaquePointer?, _ memory: UnsafeMutableRawPointer?, _ bytes: Int) {
    with(handle, ()) { $0.invalidate(UnsafeRawBufferPointer(start: memory, count: bytes)) }
}

@c @implementation
public func tercet_submit(_ handle: OpaquePointer?, _ io: UnsafePointer<tercet_io>?) -> Int32 {
    guard let io else { return -EINVAL }
    return with(handle, -EINVAL) { $0.submit(io) }
}

@c @implementation
public func tercet_poll(
    _ handle: OpaquePointer?, _ completions: UnsafeMutablePointer<tercet_completion>?, _ max: Int32
) -> Int32 {
    with(handle, 0) {
        $0.poll(UnsafeMutableBufferPointer(start: completions, count: completions == nil ? 0 : Int(max)))
    }
}

/// Calls `body` with the object behind a handle, without counting a reference.
@inline(__always)
private func with<Result>(_ handle: OpaquePointer?, _ none: Result, _ body: (NamespaceHandle) -> Result) -> Result {
    guard let handle else { return none }
    return Unmanaged<NamespaceHandle>.fromOpaque(UnsafeRawPointer(handle))._withUnsafeGuaranteedRef { body($0) }
}
