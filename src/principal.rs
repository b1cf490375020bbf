//! Called by whoever shares something out, serves in turn, or weighs evidence: who a caller is, as the kernel says.
//! What a program says of itself never counts here.

use crate::key::CallerKey;

/// Who a caller is: a user, and a process of that user. Where the kernel does not tell the process, each connection is a
/// principal of its own. All connections of one process are the same principal, so that more of them bring nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Principal {
    user: u32,
    process: Process,
}

/// What of a user it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Process {
    /// mcpool itself, which calls servers for nobody in particular.
    Own,
    /// By its number, which is another process's only after all connections of this one are closed.
    Known(i32),
    /// The kernel did not say: the connection alone.
    Unknown(CallerKey),
}

impl Principal {
    /// mcpool itself, when it asks something for nobody in particular.
    pub const MCPOOL: Principal = Principal { user: u32::MAX, process: Process::Own };

    /// The principal behind a connection: its user, its process if the kernel tells it, and the connection.
    pub fn of(user: u32, process: Option<i32>, connection: CallerKey) -> Principal {
        // A process outside of this process's namespace has the number 0.
        let known = process.filter(|process| *process > 0).map(Process::Known);
        Principal { user, process: known.unwrap_or(Process::Unknown(connection)) }
    }

    /// The user. Shares go by it first: a thousand processes of another user have together what one user has.
    pub fn user(&self) -> u32 {
        self.user
    }

    /// The number of its process, if that is known.
    pub fn process(&self) -> Option<i32> {
        match self.process {
            Process::Known(number) => Some(number),
            Process::Own | Process::Unknown(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use slotmap::SlotMap;

    #[test]
    fn a_process_is_one_principal_however_often_it_connects() {
        let mut callers = SlotMap::<CallerKey, ()>::with_key();
        let (one, other) = (callers.insert(()), callers.insert(()));
        assert_eq!(Principal::of(7, Some(1), one), Principal::of(7, Some(1), other));
        assert_ne!(Principal::of(7, Some(1), one), Principal::of(7, Some(2), one));
        assert_ne!(Principal::of(7, Some(1), one), Principal::of(8, Some(1), one));
        for unknown in [None, Some(0), Some(-1)] {
            assert_eq!(Principal::of(7, unknown, one), Principal::of(7, None, one));
            assert_ne!(Principal::of(7, unknown, one), Principal::of(7, unknown, other));
        }
    }
}
