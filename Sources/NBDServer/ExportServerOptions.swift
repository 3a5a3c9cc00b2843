/// Limits of a server.
public struct ExportServerOptions: Sendable {
    /// Memory for data on its way, in bytes.
    public var memoryBytes = 64 << 20
    /// A client that keeps the server waiting, with half of a message or by not taking answers, loses its connection after
    /// so long.
    public var patienceMilliseconds: UInt64 = 30_000
    /// Connections at once; further ones wait to be accepted.
    public var maximumConnections = 1024

    public init() {}
}

/// Events of a server, told on its reactor's thread.
public enum ExportServerEvent: Sendable {
    /// A client has begun a session.
    case sessionBegan(export: String, session: UInt64)
    case sessionEnded(export: String, session: UInt64, reason: String)
    /// A client's handshake led to no session.
    case clientRefused(reason: String)
    /// A connection could not be accepted; it is tried again.
    case acceptFailed(reason: String)
}
