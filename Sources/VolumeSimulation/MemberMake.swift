/// In what a member differs from a target of ours.
struct MemberMake: Sendable {
    /// It tells which run of its daemon, and which opening of its namespace, somebody speaks with.
    var tellsInstances = true
    /// It ends another association of the same host when it is asked to.
    var quiesces = true
    /// It takes any command for a sign of life, as Keep Alive Support with TBKAS does.
    var countsTraffic = true
    /// Its reservations outlive its daemon.
    var keepsReservations = true
    /// It knows reservations.
    var offersReservations = true
    /// Threads that serve it.
    var reactors = 1
    /// Blocks that its namespace has more than others.
    var extraBlocks: UInt64 = 0
    /// Parts per million by which its clock is faster than the world's.
    var drift: Int64 = 0
}
