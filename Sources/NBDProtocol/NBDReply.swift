/// Encodes the headers of answers into memory of `longestHeader` bytes. Nothing is allocated.
public enum NBDReply {
    /// No header of an answer is longer, with what precedes its data.
    public static let longestHeader = 64

    /// An answer without data, the last one of its request. Returns its length.
    public static func end(
        _ request: NBDRequest, _ error: NBDError, form: NBDHeaderForm, into memory: UnsafeMutableRawPointer
    ) -> Int {
        let isChunk =
            form == .extended
            || form == .structured
                && (request.type == NBDCommand.read.rawValue || request.type == NBDCommand.blockStatus.rawValue)
        guard isChunk else {
            memory.store(NBDMagic.simpleReply, at: 0)
            memory.store(error.rawValue, at: 4)
            memory.store(request.cookie, at: 8)
            return NBDSize.simpleReply
        }
        if error == .none { return chunk(request, .none, isLast: true, length: 0, form: form, into: memory) }
        // The number and the length of a text that is not there.
        let header = chunk(request, .error, isLast: true, length: 6, form: form, into: memory)
        memory.store(error.rawValue, at: header)
        memory.store(UInt16(0), at: header + 4)
        return header + 6
    }

    /// The header of data that was read, which follows it on the wire. Returns its length.
    ///
    /// - Parameters:
    ///   - offset: of the data, in the export.
    ///   - length: bytes of data. For `simple` sessions all that was asked for, as there is one header.
    public static func data(
        _ request: NBDRequest, offset: UInt64, length: Int, isLast: Bool, form: NBDHeaderForm,
        into memory: UnsafeMutableRawPointer
    ) -> Int {
        if form == .simple {
            memory.store(NBDMagic.simpleReply, at: 0)
            memory.store(NBDError.none.rawValue, at: 4)
            memory.store(request.cookie, at: 8)
            return NBDSize.simpleReply
        }
        let header = chunk(request, .offsetData, isLast: isLast, length: 8 + length, form: form, into: memory)
        memory.store(offset, at: header)
        return header + 8
    }

    /// One extent of a context, which begins where the request does. Returns the length of the answer.
    ///
    /// - Parameters:
    ///   - context: one alone.
    ///   - state: as the context has it.
    public static func blockStatus(
        _ request: NBDRequest, _ context: NBDContexts = .allocation, length: UInt64, state: UInt32,
        isLast: Bool = true, form: NBDHeaderForm, into memory: UnsafeMutableRawPointer
    ) -> Int {
        if form == .extended {
            let header = chunk(request, .extendedBlockStatus, isLast: isLast, length: 24, form: form, into: memory)
            memory.store(context.number, at: header)
            memory.store(UInt32(1), at: header + 4)
            memory.store(length, at: header + 8)
            memory.store(UInt64(state), at: header + 16)
            return header + 24
        }
        let header = chunk(request, .blockStatus, isLast: isLast, length: 12, form: form, into: memory)
        memory.store(context.number, at: header)
        memory.store(UInt32(clamping: length), at: header + 4)
        memory.store(state, at: header + 8)
        return header + 12
    }

    private static func chunk(
        _ request: NBDRequest, _ type: NBDReplyType, isLast: Bool, length: Int, form: NBDHeaderForm,
        into memory: UnsafeMutableRawPointer
    ) -> Int {
        let isExtended = form == .extended
        memory.store(isExtended ? NBDMagic.extendedReply : NBDMagic.structuredReply, at: 0)
        memory.store(UInt16(isLast ? 1 : 0), at: 4)
        memory.store(type.rawValue, at: 6)
        memory.store(request.cookie, at: 8)
        if isExtended {
            memory.store(request.offset, at: 16)
            memory.store(UInt64(length), at: 24)
            return NBDSize.extendedReply
        }
        memory.store(UInt32(length), at: 16)
        return NBDSize.structuredReply
    }
}
