import Base

/// The body of a method that each subclass must override.
func invariantAbstract(_ function: StaticString = #function) -> Never {
    invariantViolated(function)
}
