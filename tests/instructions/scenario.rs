//! The scenarios, as data: an operation, the state in which it finds its lane, and who else is there.

use std::fmt;

/// What the victim does between the marks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Send,
    TrySend,
    /// `reserve`, two writes, `commit`.
    Slot,
    /// `reserve`, a write, and the slot is dropped.
    Abort,
    /// Three messages in one batch.
    SendBatch,
    /// A slot written where it lies.
    SendInPlace,
    /// `send` on a full lane, until somebody makes room.
    SendAsleep,
    AttachSender,
    /// The sender's drop.
    LeaveSender,
    /// A seat on the lane of a sender that was killed at some instruction of a send, and a send.
    TakeOverLane,

    /// A guard, read and dropped.
    Recv,
    TryRecv,
    RecvInto,
    RecvVec,
    /// Up to three messages as one guard.
    RecvBatch,
    /// A guard read where it lies.
    RecvInPlace,
    /// `recv` on an empty channel, until somebody sends.
    RecvAsleep,
    AttachReceiver,
    /// The receiver's drop.
    LeaveReceiver,
    /// The seat of a receiver that was killed with a guard in its hand, and a guard.
    TakeOverSeat,

    /// A channel that can be found.
    Create,
    /// `open_or_create` where a creator was killed at some system call.
    Repair,
    Open,
    Remove,
    /// A call that finds the mark of a remover that was killed at some system call.
    FinishRemoval,
    /// An anonymous channel.
    Pair,
}

/// Whose operation it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Victim {
    Sender,
    Receiver,
    Keeper,
}

impl Operation {
    pub(crate) fn victim(self) -> Victim {
        use Operation::*;
        match self {
            Send | TrySend | Slot | Abort | SendBatch | SendInPlace | SendAsleep | AttachSender
            | LeaveSender | TakeOverLane => Victim::Sender,
            Recv | TryRecv | RecvInto | RecvVec | RecvBatch | RecvInPlace | RecvAsleep | AttachReceiver
            | LeaveReceiver | TakeOverSeat => Victim::Receiver,
            Create | Repair | Open | Remove | FinishRemoval | Pair => Victim::Keeper,
        }
    }

    /// Whether a message is copied before the call returns, and released with that.
    pub(crate) fn is_copying(self) -> bool {
        matches!(self, Operation::RecvInto | Operation::RecvVec)
    }
}

/// What kind of channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    Spsc,
    Total,
    PerSender,
}

/// The victim's lane before the operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Empty,
    /// One message waits.
    One,
    /// The record does not fit before the lane's end.
    Wrapping,
    /// The record ends where the lane ends.
    LastWord,
    /// A sender finds room for this record and not for a byte more; a receiver finds a full lane.
    Fits,
    /// A byte too little.
    Full,
}

/// The largest message of the channel.
pub(crate) const MAX: usize = usize::MAX;

/// Bytes of the message that warms a victim.
pub(crate) const WARM: usize = 8;

/// Bytes of a lane.
pub(crate) const CAPACITY: u64 = 4096;

/// One scenario.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scenario {
    pub(crate) operation: Operation,
    pub(crate) shape: Shape,
    pub(crate) size: usize,
    pub(crate) state: State,
    /// Lanes in use: the victim's, or what the victim receives from, and others.
    pub(crate) lanes: u32,
    /// A peer sleeps when the operation begins: the receiver, or the sender of lane 0.
    pub(crate) asleep: bool,
    pub(crate) persistent: bool,
    pub(crate) anonymous: bool,
    /// The victim has sent, or received, a message with its handle before: the quick ways are open to it.
    pub(crate) warm: bool,
    /// Where the predecessor of [`Operation::Repair`] and [`Operation::FinishRemoval`] was killed: entries to and
    /// returns from system calls since it began, or since it set the removed mark.
    pub(crate) stage: u32,
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {:?}", self.operation, self.shape)?;
        match self.size {
            MAX => write!(f, " max")?,
            size => write!(f, " {size}")?,
        }
        write!(f, " {:?} {} lanes", self.state, self.lanes)?;
        for (is_so, word) in [
            (self.asleep, "asleep"),
            (self.persistent, "persistent"),
            (self.anonymous, "anonymous"),
            (self.warm, "warm"),
        ] {
            if is_so {
                write!(f, " {word}")?;
            }
        }
        if self.stage > 0 {
            write!(f, " stage {}", self.stage)?;
        }
        Ok(())
    }
}

impl Scenario {
    pub(crate) fn capacity(&self) -> u64 {
        if self.size == 4096 { 4 * CAPACITY } else { CAPACITY }
    }

    /// Bytes of the message.
    pub(crate) fn length(&self) -> usize {
        self.size.min(self.capacity() as usize / 2 - 16)
    }

    /// Bytes of a record in this kind of lane.
    pub(crate) fn record(&self, length: usize) -> u64 {
        let stamp = if self.shape == Shape::Total { 8 } else { 0 };
        8 + stamp + length.next_multiple_of(8) as u64
    }

    /// Bytes of the record that warms the victim.
    pub(crate) fn warmth(&self) -> u64 {
        if self.warm { self.record(WARM) } else { 0 }
    }

    /// Whether one order holds for all lanes.
    pub(crate) fn is_ordered(&self) -> bool {
        self.shape != Shape::PerSender
    }

    fn asleep(self) -> Scenario {
        Scenario { asleep: true, ..self }
    }

    fn persistent(self) -> Scenario {
        Scenario { persistent: true, ..self }
    }

    fn anonymous(self) -> Scenario {
        Scenario { anonymous: true, ..self }
    }

    fn warm(self) -> Scenario {
        Scenario { warm: true, ..self }
    }

    fn stage(self, stage: u32) -> Scenario {
        Scenario { stage, ..self }
    }

    fn lanes(self, lanes: u32) -> Scenario {
        Scenario { lanes, ..self }
    }
}

fn of(operation: Operation, shape: Shape, size: usize, state: State) -> Scenario {
    Scenario {
        operation,
        shape,
        size,
        state,
        lanes: 1,
        asleep: false,
        persistent: false,
        anonymous: false,
        warm: false,
        stage: 0,
    }
}

/// All of them.
pub(crate) fn all() -> Vec<Scenario> {
    let mut all = senders();
    all.extend(receivers());
    all.extend(keepers());
    all
}

fn senders() -> Vec<Scenario> {
    use Operation::*;
    use Shape::*;
    use State::*;
    let mut all = Vec::new();
    for size in [0, 1, 8, 48, 4096, MAX] {
        for state in [Empty, One, Wrapping] {
            all.push(of(Send, Spsc, size, state));
        }
        // Two of the largest do not fit with their stamps.
        all.push(of(Send, Total, size, if size == MAX { Empty } else { One }).lanes(3));
    }
    for shape in [Spsc, Total, PerSender] {
        all.push(of(Send, shape, 48, LastWord));
        all.push(of(Send, shape, 48, Fits));
        all.push(of(TrySend, shape, 48, Fits));
        all.push(of(TrySend, shape, 48, Full));
        all.push(of(Slot, shape, 48, Wrapping));
        all.push(of(Send, shape, 48, Empty).asleep());
        all.push(of(SendBatch, shape, 48, One));
        all.push(of(SendAsleep, shape, 48, Full));
        all.push(of(LeaveSender, shape, 48, One));
        all.push(of(TakeOverLane, shape, 48, One));
    }
    all.extend([
        of(Send, PerSender, 48, One).lanes(2),
        of(Send, Total, MAX, Fits).lanes(2),
        of(Send, Total, 8, Wrapping).lanes(2).asleep(),
        of(Send, PerSender, 0, Empty).lanes(3).asleep(),
        of(Send, Spsc, 4096, Empty).asleep(),
        of(Send, Spsc, 48, One).anonymous(),
        of(Send, Total, 1, Wrapping).lanes(2).anonymous(),
        of(TrySend, Total, MAX, Empty).lanes(2),
        of(TrySend, Spsc, 0, Empty).asleep(),
        of(Slot, Total, MAX, Empty).lanes(2),
        of(Slot, Spsc, 8, Empty).asleep(),
        of(Abort, Spsc, 48, One),
        of(Abort, Total, 4096, Wrapping).lanes(2),
        of(SendBatch, Total, 8, Wrapping).lanes(3),
        of(SendBatch, Spsc, 1, Empty).asleep(),
        of(SendInPlace, Spsc, 48, Empty),
        of(SendInPlace, Total, MAX, Wrapping).lanes(2),
        of(SendInPlace, Total, 8, Empty).lanes(2).asleep(),
        of(SendAsleep, Total, MAX, Full).lanes(2).persistent(),
        of(AttachSender, Spsc, 48, Empty),
        of(AttachSender, Total, 48, One).lanes(3),
        of(AttachSender, PerSender, 48, One).lanes(2).asleep(),
        of(AttachSender, Total, 48, One).lanes(2).anonymous(),
        of(LeaveSender, Total, 48, One).lanes(2).persistent(),
        of(LeaveSender, Spsc, 48, Empty).asleep(),
        of(LeaveSender, Total, 48, Empty).lanes(2).asleep(),
        of(TakeOverLane, Total, 48, Wrapping).lanes(2),
        of(TakeOverLane, Spsc, 1, Wrapping),
    ]);
    for size in [0, 1, 8, 48, 4096, MAX] {
        all.push(of(Send, Spsc, size, Empty).warm());
        all.push(of(Send, Total, size, Empty).lanes(3).warm());
    }
    for shape in [Spsc, Total, PerSender] {
        for state in [LastWord, Fits, Wrapping] {
            all.push(of(Send, shape, 48, state).warm());
        }
        all.push(of(TrySend, shape, 48, One).warm());
        all.push(of(TrySend, shape, 48, Full).warm());
        all.push(of(SendBatch, shape, 48, One).warm());
        // Persistent: else the first ring makes the next send ask for the receiver, the slow way.
        all.push(of(Send, shape, 48, Empty).asleep().persistent().warm());
        all.push(of(SendAsleep, shape, 48, Full).warm());
    }
    all
}

fn receivers() -> Vec<Scenario> {
    use Operation::*;
    use Shape::*;
    use State::*;
    let mut all = Vec::new();
    for size in [0, 1, 8, 48, 4096, MAX] {
        all.push(of(Recv, Spsc, size, One));
        all.push(of(RecvInto, Spsc, size, Wrapping));
        all.push(of(Recv, Total, size, Wrapping).lanes(2));
    }
    for shape in [Spsc, Total, PerSender] {
        all.push(of(Recv, shape, 48, Fits).asleep());
        all.push(of(RecvInto, shape, 48, Fits).asleep().persistent());
        all.push(of(RecvBatch, shape, 48, Fits).asleep());
        all.push(of(RecvVec, shape, 48, One));
        all.push(of(RecvBatch, shape, 8, Wrapping));
        all.push(of(RecvAsleep, shape, 48, Empty));
        all.push(of(AttachReceiver, shape, 48, One));
        all.push(of(LeaveReceiver, shape, 48, One));
        all.push(of(TakeOverSeat, shape, 48, One));
    }
    all.extend([
        of(Recv, Total, 48, One).lanes(3).persistent(),
        of(Recv, PerSender, 48, One).lanes(3),
        of(Recv, Spsc, 48, LastWord),
        of(Recv, Spsc, 48, One).anonymous(),
        of(TryRecv, Spsc, 48, Empty),
        of(TryRecv, Total, 48, Empty).lanes(3),
        of(TryRecv, PerSender, 48, One).lanes(2),
        of(RecvVec, Total, MAX, One).lanes(3),
        of(RecvVec, Spsc, MAX, Fits).asleep(),
        of(RecvBatch, Total, 48, One).lanes(3),
        of(RecvBatch, PerSender, 48, One).lanes(3),
        of(RecvInPlace, Spsc, 48, One),
        of(RecvInPlace, Total, MAX, Wrapping).lanes(2),
        of(RecvInPlace, Spsc, 48, Fits).asleep(),
        of(RecvAsleep, Total, MAX, Empty).lanes(3),
        of(AttachReceiver, Total, 48, Fits).lanes(3).asleep(),
        of(AttachReceiver, Spsc, 48, One).anonymous(),
        of(LeaveReceiver, Spsc, 48, Fits).asleep(),
        of(LeaveReceiver, Total, 48, Fits).lanes(2).asleep().persistent(),
        of(TakeOverSeat, Total, 48, Wrapping).lanes(3),
        of(TakeOverSeat, Spsc, MAX, One).persistent(),
    ]);
    for size in [0, 1, 8, 48, 4096] {
        all.push(of(RecvInto, Spsc, size, One).warm());
        all.push(of(RecvInto, Total, size, One).lanes(3).warm());
    }
    for shape in [Spsc, Total, PerSender] {
        for state in [LastWord, Wrapping, Fits] {
            all.push(of(RecvInto, shape, 48, state).warm());
        }
        // Of that size, what the first message leaves is no room for the sender that sleeps.
        all.push(of(RecvInto, shape, 56, Fits).asleep().warm());
        all.push(of(Recv, shape, 56, Fits).asleep().warm());
        all.push(of(RecvBatch, shape, 48, Fits).warm());
        all.push(of(RecvVec, shape, 48, One).warm());
        all.push(of(TryRecv, shape, 48, One).warm());
        all.push(of(TryRecv, shape, 48, Empty).warm());
        all.push(of(RecvAsleep, shape, 48, Empty).warm());
    }
    all.extend([
        of(Recv, Spsc, 48, LastWord).warm(),
        of(Recv, Spsc, 48, Wrapping).warm(),
        of(RecvInto, PerSender, 48, One).lanes(3).warm(),
        of(RecvBatch, Total, 48, Wrapping).lanes(3).warm(),
        of(RecvBatch, PerSender, 48, One).lanes(3).warm(),
    ]);
    all
}

fn keepers() -> Vec<Scenario> {
    use Operation::*;
    use Shape::*;
    let mut all = Vec::new();
    for operation in [Create, Open, Remove, FinishRemoval] {
        for shape in [Spsc, Total] {
            all.push(of(operation, shape, 48, State::Empty).persistent());
        }
    }
    for stage in [2, 4, 6, 8, 10, 12, 14, 16, 20, 24] {
        all.push(of(Repair, if stage % 4 == 0 { Spsc } else { Total }, 48, State::Empty).stage(stage));
    }
    for stage in 1..8 {
        all.push(of(FinishRemoval, Total, 48, State::Empty).stage(stage));
    }
    all.push(of(Remove, Total, 48, State::One).asleep());
    all.push(of(Pair, Spsc, 48, State::Empty).anonymous());
    all.push(of(Pair, Total, 48, State::Empty).anonymous());
    all
}
