import CSQLite
import Glibc
import VolumeRegistry

/// One connection to a SQLite database. One thread uses it at a time.
final class Database {
    let path: String
    private let handle: OpaquePointer

    /// Opens a file that is there.
    init(path: String, busyMilliseconds: Int32) throws(RegistryError) {
        self.path = path
        var opened: OpaquePointer?
        let flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE
        let result = sqlite3_open_v2(path, &opened, flags, nil)
        guard result == SQLITE_OK, let handle = opened else {
            let error = Self.error(result, opened, path)
            sqlite3_close_v2(opened)
            throw error
        }
        self.handle = handle
        sqlite3_busy_timeout(handle, busyMilliseconds)
        _ = tercet_sqlite_be_careful(handle)
    }

    deinit { sqlite3_close_v2(handle) }

    /// Leaves the log as it is when the last connection is closed, so that the file is not touched.
    func keepLogOnClose(_ keeps: Bool) { _ = tercet_sqlite_keep_log_on_close(handle, keeps ? 1 : 0) }

    /// A value of a column, or of a parameter.
    enum Value: Equatable {
        case null
        case integer(Int64)
        case text(String)
    }

    /// Runs one statement.
    ///
    /// - Parameter row: gets each row; what it returns is returned, in order.
    @discardableResult
    func run<Row>(
        _ sql: String, _ parameters: [Value] = [], row: (Columns) -> Row
    ) throws(RegistryError) -> [Row] {
        var statement: OpaquePointer?
        try check(sqlite3_prepare_v2(handle, sql, -1, &statement, nil))
        defer { sqlite3_finalize(statement) }
        for (place, value) in parameters.enumerated() {
            let place = Int32(place + 1)
            let result =
                switch value {
                case .null: sqlite3_bind_null(statement, place)
                case .integer(let number): sqlite3_bind_int64(statement, place, number)
                case .text(let text): tercet_sqlite_bind_text(statement, place, text, Int32(text.utf8.count))
                }
            try check(result)
        }
        var rows: [Row] = []
        while true {
            let result = sqlite3_step(statement)
            guard result == SQLITE_ROW else {
                guard result == SQLITE_DONE else { throw Self.error(result, handle, path) }
                return rows
            }
            rows.append(row(Columns(statement: statement)))
        }
    }

    /// Runs one statement whose rows, if there are any, are of no interest.
    func run(_ sql: String, _ parameters: [Value] = []) throws(RegistryError) { try run(sql, parameters) { _ in () } }

    /// The integer that a statement gives in its only row; `nil` if it gives none.
    func integer(_ sql: String, _ parameters: [Value] = []) throws(RegistryError) -> Int64? {
        try run(sql, parameters) { $0.integer(0) }.first
    }

    /// Does all that `body` does, or nothing, with all others kept from writing.
    func transaction<Result>(
        _ kind: String = "IMMEDIATE", _ body: () throws(RegistryError) -> Result
    ) throws(RegistryError) -> Result {
        try run("BEGIN \(kind)")
        let result: Result
        do throws(RegistryError) {
            result = try body()
            try run("COMMIT")
        } catch {
            // The database may have rolled back by itself.
            try? run("ROLLBACK")
            throw error
        }
        return result
    }

    /// The columns of a row.
    struct Columns {
        fileprivate let statement: OpaquePointer?

        func integer(_ column: Int32) -> Int64 { sqlite3_column_int64(statement, column) }

        func bytes(_ column: Int32) -> [UInt8]? {
            guard let start = sqlite3_column_text(statement, column) else { return nil }
            return Array(UnsafeBufferPointer(start: start, count: Int(sqlite3_column_bytes(statement, column))))
        }

        func text(_ column: Int32) -> String { String(decoding: bytes(column) ?? [], as: UTF8.self) }
    }

    private func check(_ result: Int32) throws(RegistryError) {
        guard result == SQLITE_OK else { throw Self.error(result, handle, path) }
    }

    // MARK: Errors

    /// A result in the operator's words.
    private static func error(_ result: Int32, _ handle: OpaquePointer?, _ path: String) -> RegistryError {
        let text = handle.map { String(cString: sqlite3_errmsg($0)) } ?? String(cString: sqlite3_errstr(result))
        switch result & 0xFF {
        case SQLITE_NOTADB:
            return RegistryError(
                .damaged, "\(path): is no registry, or its first page is damaged; \(remedy); nothing was changed")
        case SQLITE_CORRUPT:
            return RegistryError(.damaged, "\(path): the registry is damaged (\(text)); \(remedy); nothing was changed")
        case SQLITE_BUSY, SQLITE_LOCKED:
            let holders = LockHolders.writing(path)
            return RegistryError(
                .inUse,
                "\(path): the registry is locked by "
                    + (holders.isEmpty ? "another program" : holders.joined(separator: ", "))
                    + "; try again when that has ended")
        case SQLITE_READONLY, SQLITE_PERM, SQLITE_AUTH:
            return RegistryError(.notPermitted, "\(path): the registry cannot be written: \(text)")
        case SQLITE_CANTOPEN:
            let code = handle.map { sqlite3_system_errno($0) } ?? 0
            let reason = code == 0 ? text : String(cString: strerror(code))
            return RegistryError(
                code == EACCES || code == EPERM ? .notPermitted : .failed,
                "\(path): the registry cannot be opened: \(reason)")
        case SQLITE_FULL: return noRoom(path)
        case SQLITE_IOERR:
            // A reader needs room too, for the index of the log.
            let code = handle.map { sqlite3_system_errno($0) } ?? 0
            if code == ENOSPC || code == EDQUOT { return noRoom(path) }
            let reason = code == 0 ? text : String(cString: strerror(code))
            return RegistryError(.failed, "\(path): the registry cannot be read or written: \(reason)")
        default: return RegistryError(.failed, "\(path): the registry failed: \(text)")
        }
    }

    private static func noRoom(_ path: String) -> RegistryError {
        RegistryError(.failed, "\(path): there is no room for the registry, or for its files beside it: free some")
    }

    static let remedy =
        "take a copy of it away, and put a backup back: a copy of the file, or an export by tercet registry import"
}
