import CTercet
import Glibc

// The functions of tercet.h. The compiler checks each against its declaration there.

@c @implementation
public func tercet_open(
    _ options: UnsafePointer<tercet_options>?, _ handle: UnsafeMutablePointer<OpaquePointer?>?,
    _ message: UnsafeMutablePointer<CChar>?, _ message_size: Int
) -> Int32 {
    guard let options else { return -EINVAL }
    return open(handle, UnsafeMutableRawBufferPointer(start: message, count: message == nil ? 0 : message_size)) {
        () throws(OpenFailure) in try NamespaceHandle(OpenOptions(options))
    }
}

@c @implementation
public func tercet_open_volume(
    _ options: UnsafePointer<tercet_volume_options>?, _ handle: UnsafeMutablePointer<OpaquePointer?>?,
    _ message: UnsafeMutablePointer<CChar>?, _ message_size: Int
) -> Int32 {
    guard let options else { return -EINVAL }
    return open(handle, UnsafeMutableRawBufferPointer(start: message, count: message == nil ? 0 : message_size)) {
        () throws(OpenFailure) in try VolumeHandle(VolumeOpenOptions(options))
    }
}

private func open(
    _ handle: UnsafeMutablePointer<OpaquePointer?>?, _ message: UnsafeMutableRawBufferPointer,
    _ make: () throws(OpenFailure) -> Handle
) -> Int32 {
    guard let handle else { return -EINVAL }
    do throws(OpenFailure) {
        handle.pointee = OpaquePointer(Unmanaged.passRetained(try make()).toOpaque())
        return 0
    } catch {
        copy(error.message, to: message)
        return error.code
    }
}

@c @implementation
public func tercet_close(_ handle: OpaquePointer?) -> Int32 {
    guard let handle else { return 0 }
    return Unmanaged<Handle>.fromOpaque(UnsafeRawPointer(handle)).takeRetainedValue().close()
}

@c @implementation
public func tercet_get_status(_ handle: OpaquePointer?, _ status: UnsafeMutablePointer<tercet_status>?) -> Int32 {
    guard let status else { return -EINVAL }
    let size = status.pointee.size
    guard size >= MemoryLayout<Int>.size else { return -EINVAL }
    return with(handle, -EINVAL) { handle in
        var filled = handle.status
        filled.size = size
        // A caller that was built with an older header has room for fewer fields.
        withUnsafeBytes(of: &filled) {
            UnsafeMutableRawPointer(status).copyMemory(from: $0.baseAddress!, byteCount: min(size, $0.count))
        }
        return 0
    }
}

@c @implementation
public func tercet_describe(
    _ completion: UnsafePointer<tercet_completion>?, _ text: UnsafeMutablePointer<CChar>?, _ text_size: Int
) -> UnsafePointer<CChar>? {
    guard let text else { return nil }
    copy(completion?.pointee.text ?? "", to: UnsafeMutableRawBufferPointer(start: text, count: text_size))
    return UnsafePointer(text)
}

@c @implementation
public func tercet_block_size(_ handle: OpaquePointer?) -> UInt32 {
    with(handle, 0) { UInt32($0.blockSize) }
}

@c @implementation
public func tercet_block_count(_ handle: OpaquePointer?) -> UInt64 { with(handle, 0) { $0.blockCount } }

@c @implementation
public func tercet_alloc(_ handle: OpaquePointer?, _ bytes: Int) -> UnsafeMutableRawPointer? {
    with(handle, nil) { $0.memory.allocate(bytes) }
}

@c @implementation
public func tercet_free(_ handle: OpaquePointer?, _ memory: UnsafeMutableRawPointer?) {
    with(handle, ()) { if let memory { $0.memory.free(memory) } }
}

@c @implementation
public func tercet_invalidate(_ handle: OpaquePointer?, _ memory: UnsafeMutableRawPointer?, _ bytes: Int) {
    with(handle, ()) { $0.memory.invalidate(UnsafeRawBufferPointer(start: memory, count: bytes)) }
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
    guard max >= 0 else { return -EINVAL }
    return with(handle, 0) {
        $0.poll(UnsafeMutableBufferPointer(start: completions, count: completions == nil ? 0 : Int(max)))
    }
}

/// Calls `body` with the object behind a handle, without counting a reference.
@inline(__always)
private func with<Result>(_ handle: OpaquePointer?, _ none: Result, _ body: (Handle) -> Result) -> Result {
    guard let handle else { return none }
    return Unmanaged<Handle>.fromOpaque(UnsafeRawPointer(handle))._withUnsafeGuaranteedRef { body($0) }
}
