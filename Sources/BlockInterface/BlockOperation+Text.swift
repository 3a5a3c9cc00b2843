extension BlockOperation {
    /// For people, behind an article.
    public var text: String {
        switch self {
        case .read: "read"
        case .write: "write"
        case .flush: "flush"
        case .writeZeroes: "zeroing"
        case .deallocate: "trim"
        case .compare, .verify: "comparison"
        case .compareAndWrite: "comparison and write"
        }
    }
}
