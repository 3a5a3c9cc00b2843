/// How the engine's own memory for I/O is divided. The driver allocates it, registers it once, and passes it in.
struct ArenaLayout: BitwiseCopyable {
    /// Pages read at once while a member's maps are read.
    static let joinPages = 16
    /// Bitmap pages that may be on their way at once.
    static let stagingPages = 32

    let pageSize: Int
    let chunkSize: Int
    let copyCount: Int

    init(_ configuration: VolumeConfiguration) {
        pageSize = max(4096, Int(configuration.blockSize))
        chunkSize = max(pageSize, configuration.maximumTransfer)
        copyCount = configuration.copyConcurrency
    }

    /// One page per member, for its superblock.
    func superblock(_ member: MemberIndex) -> Int { member.number * pageSize }
    func join(_ member: MemberIndex) -> Int { (memberCount + member.number * Self.joinPages) * pageSize }
    func staging(_ index: Int) -> Int { (memberCount * (1 + Self.joinPages) + index) * pageSize }
    func copy(_ index: Int) -> Int { staging(Self.stagingPages) + index * chunkSize }
    func scrub(_ member: MemberIndex) -> Int { scrub + member.number * chunkSize }
    var byteCount: Int { scrub + memberCount * chunkSize }

    private var scrub: Int { copy(copyCount) }
}

/// The engine's own memory for I/O.
struct Arena: BitwiseCopyable {
    let base: UnsafeMutableRawPointer
    let layout: ArenaLayout

    /// A page of metadata, by its offset.
    func page(at offset: Int) -> UnsafeMutableRawBufferPointer {
        UnsafeMutableRawBufferPointer(start: base + offset, count: layout.pageSize)
    }

    /// The bits of a bitmap page, by its offset.
    func bits(at offset: Int) -> UnsafeMutablePointer<UInt64> {
        (base + offset + BitmapPage.headerSize).assumingMemoryBound(to: UInt64.self)
    }
}
