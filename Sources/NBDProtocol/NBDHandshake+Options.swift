extension NBDHandshake {
    /// Answers an option.
    mutating func perform(_ number: UInt32, _ data: UnsafeRawBufferPointer) -> Outcome {
        guard let option = NBDOption(rawValue: number) else {
            reply(.unsupported, to: number)
            return .unfinished
        }
        switch option {
        case .exportName: return exportName(data)
        case .abort:
            reply(.ack, to: number)
            return .over("the client ended the handshake")
        case .list: list(data)
        case .startTLS: reply(data.isEmpty ? .policy : .invalid, to: number, text: "TLS is not offered here")
        case .info, .go: return describe(option, data)
        case .structuredReply:
            if !data.isEmpty {
                reply(.invalid, to: number)
            } else if form == .extended {
                reply(.extendedHeadersRequired, to: number)
            } else {
                form = .structured
                reply(.ack, to: number)
            }
        case .extendedHeaders:
            if data.isEmpty { form = .extended }
            reply(data.isEmpty ? .ack : .invalid, to: number)
        case .listMetaContext, .setMetaContext: chooseContexts(option, data)
        }
        return .unfinished
    }

    /// The export that a client means: an empty name is the only export there is.
    private func find(_ name: String) -> Int? {
        if let found = exports.firstIndex(where: { $0.name == name }) { return found }
        return name.isEmpty && exports.count == 1 ? 0 : nil
    }

    private func session(_ export: Int) -> Outcome {
        let description = exports[export]
        var flags = description.flags
        // Only structured answers can be in several pieces.
        if form == .simple { flags.remove(.sendDF) }
        return .ready(
            NBDSession(
                form: form, size: description.size, flags: flags,
                contexts: form != .simple && contextExport == export ? contexts : []), export: export)
    }

    private mutating func exportName(_ data: UnsafeRawBufferPointer) -> Outcome {
        var reader = BigEndianReader(data)
        guard data.count <= NBDSize.longestString, let name = reader.text(data.count), let export = find(name) else {
            return .over("the client asks for an export that is not there")
        }
        let outcome = session(export)
        guard case .ready(let session, _) = outcome else { return outcome }
        output.append(bigEndian: session.size)
        output.append(bigEndian: session.flags.rawValue)
        if sendsZeroes { output += [UInt8](repeating: 0, count: 124) }
        return outcome
    }

    private mutating func list(_ data: UnsafeRawBufferPointer) {
        guard data.isEmpty else { return reply(.invalid, to: NBDOption.list.rawValue) }
        for export in exports {
            var body: [UInt8] = []
            body.append(bigEndian: UInt32(export.name.utf8.count))
            body += Array(export.name.utf8) + Array(export.text.utf8)
            reply(.server, to: NBDOption.list.rawValue, body)
        }
        reply(.ack, to: NBDOption.list.rawValue)
    }

    // MARK: NBD_OPT_INFO, NBD_OPT_GO

    private mutating func describe(_ option: NBDOption, _ data: UnsafeRawBufferPointer) -> Outcome {
        let number = option.rawValue
        guard let (name, wanted) = Self.parseDescribe(data) else {
            reply(.invalid, to: number)
            return .unfinished
        }
        guard let export = find(name) else {
            reply(.unknown, to: number, text: "there is no export \"\(name)\"")
            return .unfinished
        }
        let outcome = session(export)
        guard case .ready(let session, _) = outcome else { return outcome }
        let description = exports[export]
        var body: [UInt8] = []
        body.append(bigEndian: NBDInformation.export.rawValue)
        body.append(bigEndian: session.size)
        body.append(bigEndian: session.flags.rawValue)
        reply(.info, to: number, body)
        if wanted.contains(NBDInformation.name.rawValue) { information(.name, description.name, to: number) }
        if wanted.contains(NBDInformation.description.rawValue), !description.text.isEmpty {
            information(.description, description.text, to: number)
        }
        if wanted.contains(NBDInformation.blockSize.rawValue) {
            body = []
            body.append(bigEndian: NBDInformation.blockSize.rawValue)
            body.append(bigEndian: description.minimumBlock)
            body.append(bigEndian: description.preferredBlock)
            body.append(bigEndian: description.maximumPayload)
            reply(.info, to: number, body)
        }
        reply(.ack, to: number)
        return option == .go ? outcome : .unfinished
    }

    private static func parseDescribe(_ data: UnsafeRawBufferPointer) -> (name: String, wanted: Set<UInt16>)? {
        var reader = BigEndianReader(data)
        guard let length = reader.number(UInt32.self), length <= NBDSize.longestString,
            let name = reader.text(Int(length)), let count = reader.number(UInt16.self), reader.left == 2 * Int(count)
        else { return nil }
        var wanted: Set<UInt16> = []
        while let request = reader.number(UInt16.self) { wanted.insert(request) }
        return (name, wanted)
    }

    private mutating func information(_ kind: NBDInformation, _ text: String, to option: UInt32) {
        var body: [UInt8] = []
        body.append(bigEndian: kind.rawValue)
        reply(.info, to: option, body + Array(text.utf8))
    }

    // MARK: Meta contexts

    private mutating func chooseContexts(_ option: NBDOption, _ data: UnsafeRawBufferPointer) {
        let number = option.rawValue
        // A new choice ends the one before, also where it fails.
        if option == .setMetaContext { (contextExport, contexts) = (nil, []) }
        guard form != .simple, let (name, queries) = Self.parseContexts(data) else {
            return reply(.invalid, to: number)
        }
        guard let export = find(name) else {
            return reply(.unknown, to: number, text: "there is no export \"\(name)\"")
        }
        for (context, name) in NBDContexts.all {
            // A list may be asked for whole, or by a namespace: "base:".
            let isListed = queries.isEmpty || queries.contains { $0.hasSuffix(":") && name.hasPrefix($0) }
            guard queries.contains(name) || option == .listMetaContext && isListed else { continue }
            if option == .setMetaContext {
                contextExport = export
                contexts.insert(context)
            }
            var body: [UInt8] = []
            body.append(bigEndian: option == .setMetaContext ? context.number : 0)
            reply(.metaContext, to: number, body + Array(name.utf8))
        }
        reply(.ack, to: number)
    }

    private static func parseContexts(_ data: UnsafeRawBufferPointer) -> (name: String, queries: Set<String>)? {
        var reader = BigEndianReader(data)
        guard let length = reader.number(UInt32.self), length <= NBDSize.longestString,
            let name = reader.text(Int(length)), let count = reader.number(UInt32.self)
        else { return nil }
        var queries: Set<String> = []
        for _ in 0..<count {
            guard let length = reader.number(UInt32.self), length <= NBDSize.longestString,
                let query = reader.text(Int(length))
            else { return nil }
            queries.insert(query)
        }
        return reader.left == 0 ? (name, queries) : nil
    }

    // MARK: Answers

    mutating func reply(_ type: NBDOptionReply, to option: UInt32, _ body: [UInt8] = []) {
        output.append(bigEndian: NBDMagic.optionReply)
        output.append(bigEndian: option)
        output.append(bigEndian: type.rawValue)
        output.append(bigEndian: UInt32(body.count))
        output += body
    }

    /// - Parameter text: for the client's user.
    mutating func reply(_ type: NBDOptionReply, to option: UInt32, text: String) {
        reply(type, to: option, Array(text.utf8.prefix(NBDSize.longestString)))
    }
}
