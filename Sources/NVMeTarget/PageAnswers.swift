import Base
import NVMeSpec

/// Answers with data for hosts that are longer than what is written in one round, or wait for memory: the oldest first.
///
/// A host may ask for a mebibyte at once, and as often as it likes, on the reactor that does others' I/O: in one round one
/// piece of one answer is written.
final class PageAnswers {
    private let engines: EngineTable
    private var waiting: [Answer] = []
    /// The first in `waiting` that is not over: those before it are thrown away together.
    private var first = 0

    /// An answer of which a part has been written.
    private struct Answer {
        let ticket: RequestTicket
        let page: DataPage
        /// The place in the page at which the answer begins.
        let offset: Int
        let length: Int
        var written = 0

        /// Writes the next piece; `false` where there is no memory for the answer yet.
        mutating func advance(_ request: RequestReference) -> Bool {
            guard let memory = request.takeAnswerMemory() else { return false }
            let piece = UnsafeMutableRawBufferPointer(
                start: memory + written, count: min(page.bytesPerRound, length - written))
            piece.initializeMemory(as: UInt8.self, repeating: 0)
            page.write(PageWindow(offset: offset + written, piece))
            written += piece.count
            return true
        }
    }

    init(_ engines: EngineTable) { self.engines = engines }

    var isEmpty: Bool { first == waiting.count }

    /// Begins an answer with bytes of `page` from `offset` on; zeroes follow where the host has asked for more. Only what lies
    /// in that window is made. Returns the status to answer with, or `nil` where the command is answered later, or has been.
    ///
    /// - Parameter length: bytes that the command returns; the data pointer must describe as many.
    func begin(_ request: RequestReference, _ page: DataPage, offset: Int, length: Int) -> Status? {
        guard let status = request.measureAnswer(length) else { return nil }
        guard status.isSuccess, length > 0 else { return status }
        var answer = Answer(ticket: engines.ticket(of: request), page: page, offset: offset, length: length)
        let hasMemory = answer.advance(request)
        if answer.written == length { return .success }
        request.hold()
        // Others need the capsule's buffer, however long memory takes to come.
        if !hasMemory { request.setAside() }
        waiting.append(answer)
        return nil
    }

    /// Writes a piece of the answer that has waited longest. Returns how much has been done.
    func goOn() -> Int {
        guard var answer = removeFirst() else { return 0 }
        // The host has gone.
        guard let request = engines.request(of: answer.ticket) else { return 1 }
        let hasMemory = answer.advance(request)
        if answer.written < answer.length {
            waiting.append(answer)
            return hasMemory ? 1 : 0
        }
        request.answer(.success)
        return 1
    }

    private func removeFirst() -> Answer? {
        guard !isEmpty else { return nil }
        defer {
            first += 1
            if first == waiting.count || first > 1024 {
                waiting.removeFirst(first)
                first = 0
            }
        }
        return waiting[first]
    }
}
