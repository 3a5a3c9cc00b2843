/// The attachments of a volume that a daemon has made: by them the next one knows whether nobody else has had the volume since.
struct AttachmentTrail: Codable, Equatable, Sendable {
    /// The reservation key of the last one that is known to have been made.
    var attachment: UInt64
    /// Lower halves of the keys of attachments that were begun since then: one of them may have been made, and its daemon not have lived
    /// to say so.
    var attempts: [UInt32] = []

    /// More attempts than these are not remembered.
    private static let maximumAttempts = 64

    /// Whether an attachment that found the volume as `predecessor` had left it goes on where this daemon has stopped: then nobody else
    /// has written since.
    func isContinued(from predecessor: UInt64) -> Bool {
        predecessor == attachment
            || predecessor > attachment && attempts.contains(UInt32(truncatingIfNeeded: predecessor))
    }

    /// Notes an attachment that is about to be made.
    ///
    /// - Parameter nonce: the lower half that its key will have.
    mutating func noteAttempt(_ nonce: UInt32) {
        if attempts.count >= Self.maximumAttempts { attempts.removeFirst() }
        attempts.append(nonce)
    }
}
