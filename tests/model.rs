//! The protocol as an explicit-state model: every order of steps, a kill at every step, and what must hold all the same.
//!
//! Two models stand over one small checker. `channel` is the channel itself: lanes, order, sleeping, deaths, takeover.
//! `seats` is who owns a seat while semaphore sets are removed and made anew. Each is explored whole, and must break no
//! property; then each is made wrong in one named place after the other, and every time the checker must find it, by the
//! property that the test names. `SYSRING_LONG=1` explores larger models of the same, `SYSRING_TRACE=1` prints a shortest
//! way to each violation.

#[path = "model/channel.rs"]
mod channel;
#[path = "model/checker.rs"]
mod checker;
#[path = "model/seats.rs"]
mod seats;

use std::time::Instant;

use channel::{Channel, Mutation, property::*};
use checker::{Model, Property, Step, explore};
use seats::{Seats, property::*};

/// No exploration may have more states: the memory is bounded.
const LIMIT: usize = 12_000_000;
const LONG_LIMIT: usize = 100_000_000;

fn is_long() -> bool {
    std::env::var_os("SYSRING_LONG").is_some_and(|value| value == "1")
}

/// Explores the whole of a model, which must be right.
fn holds(name: &str, model: &impl Model) -> usize {
    let begun = Instant::now();
    let report = explore(model, if is_long() { LONG_LIMIT } else { LIMIT });
    println!("{name}: {} states, depth {}, {:.1?}", report.states, report.depth, begun.elapsed());
    if let Some((property, trace)) = &report.violation {
        panic!("{name}: not so: {property}\n{}", trace.join("\n"));
    }
    report.states
}

/// Explores a model that is wrong in one place until that is found, which must be by this property.
fn breaks(name: &str, model: &impl Model, expected: Property) {
    let report = explore(model, LIMIT);
    let Some((property, trace)) = report.violation else {
        panic!("{name}: not found in {} states", report.states);
    };
    println!("{name}: caught after {} states, {} steps: {property}", report.states, trace.len());
    if std::env::var_os("SYSRING_TRACE").is_some() {
        println!("    {}", trace.join("\n    "));
    }
    assert_eq!(property, expected, "{name}\n{}", trace.join("\n"));
}

/// Two senders with stamped lanes, in their places; the next receiver always comes.
const TWO: Channel = Channel {
    lanes: 2,
    messages: [1, 1],
    stay: 2,
    sender_kills: 0,
    receiver_kills: 0,
    kills: 0,
    seated: true,
    receiver_returns: true,
    persistent: true,
    mutation: None,
};

/// One sender; the lane is full with two messages, and the third goes round its end.
const ONE: Channel = Channel { lanes: 1, messages: [4, 0], stay: 4, ..TWO };

/// Anybody may be killed.
const fn with_kills(model: Channel, senders: u8, receivers: u8, kills: u8) -> Channel {
    Channel { sender_kills: senders, receiver_kills: receivers, kills, ..model }
}

/// The first processes come step by step too.
const fn from_nothing(model: Channel) -> Channel {
    Channel { seated: false, ..model }
}

const fn wrong(model: Channel, mutation: Mutation) -> Channel {
    Channel { mutation: Some(mutation), ..model }
}

const SEATS: Seats = Seats { removals: 2, kills: 1, leaves: 1, mutation: None };

const fn wrong_seats(mutation: seats::Mutation) -> Seats {
    Seats { mutation: Some(mutation), ..SEATS }
}

#[test]
fn two_senders_a_receiver_and_a_kill_anywhere() {
    let states = holds("two senders, two kills", &with_kills(TWO, 1, 1, 2));
    assert!(states > 1_000_000, "{states} states: too small a model");
}

#[test]
fn two_senders_come_and_are_in_order() {
    holds("two senders come", &from_nothing(TWO));
}

#[test]
fn two_senders_come_and_go() {
    holds("two senders come and go", &Channel { messages: [2, 1], stay: 1, ..TWO });
}

#[test]
fn a_full_lane_and_two_kills() {
    holds("a full lane, two kills", &with_kills(ONE, 2, 1, 2));
}

#[test]
fn a_full_lane_without_a_next_receiver() {
    let once = Channel { persistent: false, receiver_returns: false, ..with_kills(ONE, 1, 1, 2) };
    holds("a full lane, no next receiver", &from_nothing(once));
}

#[test]
fn seats_in_sets_that_go() {
    holds("seats, a set goes, two kills", &Seats { removals: 1, kills: 2, ..SEATS });
    holds("seats, two sets go", &Seats { kills: 0, leaves: 0, ..SEATS });
}

/// Two deaths: a sender between its header and its `tail`, and the receiver between clearing a bit and setting it back.
/// The next receiver finds `tail` = `read` and a free seat. It must look at that lane all the same.
#[test]
fn a_message_in_a_lane_that_was_left_out() {
    let model = with_kills(Channel { messages: [2, 1], stay: 1, ..TWO }, 1, 1, 2);
    assert_eq!(two_deaths(&model), None);
    assert!(two_deaths(&wrong(model, Mutation::BitsByTail)).is_some());
}

/// Plays that one history. Returns the property that it breaks.
fn two_deaths(model: &Channel) -> Option<&'static str> {
    // Who goes on, and before which step it stops; actions 3 and 5 are kills.
    let plan = [
        (0, "Off"),
        (2, "RetireClear"),
        (0, "FirstPayload"),
        (2, "RetireSeatAgain"),
        (0, "CommitTail"),
        (3, ""),
        (5, ""),
        (1, "Off"),
        (2, "Gone"),
    ];
    let mut state = model.start();
    for (action, stop) in plan {
        // Where nothing is lost the receiver waits for the next sender and never comes to an end.
        for _ in 0..500 {
            if model.describe(&state, action).contains(&format!(": {stop} ")) {
                break;
            }
            state = match model.step(&state, action) {
                Step::Next(next) => next,
                Step::Blocked => break,
                Step::Wrong(property) => return Some(property),
            };
            if stop.is_empty() {
                break;
            }
        }
    }
    None
}

#[test]
fn larger_models() {
    if !is_long() {
        println!("larger models: SYSRING_LONG=1");
        return;
    }
    holds(
        "long: two senders, three messages, a kill",
        &with_kills(Channel { messages: [2, 1], ..TWO }, 1, 1, 1),
    );
    holds("long: two senders come, a kill", &from_nothing(with_kills(TWO, 1, 1, 1)));
    holds("long: seats, two sets go, two kills", &Seats { kills: 2, ..SEATS });
}

// ------------------------------------------------------------------------------------ wrong in one place

#[test]
fn wrong_no_terminator() {
    breaks("NoTerminator", &wrong(ONE, Mutation::NoTerminator), COMMITTED);
}

#[test]
fn wrong_no_room_for_terminator() {
    breaks("NoRoomForTerminator", &wrong(ONE, Mutation::NoRoomForTerminator), NO_OVERWRITE);
}

#[test]
fn wrong_header_before_payload() {
    breaks("HeaderBeforePayload", &wrong(ONE, Mutation::HeaderBeforePayload), WHOLE);
}

#[test]
fn wrong_padding_before_record() {
    breaks("PaddingBeforeRecord", &wrong(ONE, Mutation::PaddingBeforeRecord), COMMITTED);
}

#[test]
fn wrong_no_walk_at_takeover() {
    breaks("NoWalkAtTakeover", &wrong(with_kills(ONE, 1, 0, 1), Mutation::NoWalkAtTakeover), NO_OVERWRITE);
}

#[test]
fn wrong_stamp_in_two_steps() {
    breaks(
        "StampInTwoSteps",
        &wrong(Channel { messages: [1, 2], ..TWO }, Mutation::StampInTwoSteps),
        NO_DAMAGE,
    );
}

#[test]
fn wrong_stamp_taken_ahead() {
    breaks("StampTakenAhead", &wrong(TWO, Mutation::StampTakenAhead), CAUSAL);
}

#[test]
fn wrong_horizon_after_look() {
    breaks("HorizonAfterLook", &wrong(TWO, Mutation::HorizonAfterLook), CAUSAL);
}

#[test]
fn wrong_single_lane_without_bitmap() {
    breaks("SingleLaneWithoutBitmap", &wrong(from_nothing(TWO), Mutation::SingleLaneWithoutBitmap), CAUSAL);
}

#[test]
fn wrong_bit_after_message() {
    breaks("BitAfterMessage", &wrong(from_nothing(TWO), Mutation::BitAfterMessage), RECEIVER_WAKES);
}

#[test]
fn wrong_post_after_swap() {
    breaks("PostAfterSwap", &wrong(TWO, Mutation::PostAfterSwap), RECEIVER_WAKES);
}

#[test]
fn wrong_receiver_sleeps_unseen() {
    breaks("ReceiverSleepsUnseen", &wrong(TWO, Mutation::ReceiverSleepsUnseen), RECEIVER_WAKES);
}

#[test]
fn wrong_sender_sleeps_unseen() {
    breaks("SenderSleepsUnseen", &wrong(ONE, Mutation::SenderSleepsUnseen), SENDER_WAKES);
}

#[test]
fn wrong_no_senders_will() {
    breaks("NoSendersWill", &wrong(with_kills(TWO, 1, 0, 1), Mutation::NoSendersWill), RECEIVER_WAKES);
}

#[test]
fn wrong_no_receivers_will() {
    breaks(
        "NoReceiversWill",
        &wrong(
            Channel { persistent: false, receiver_returns: false, ..with_kills(ONE, 0, 1, 1) },
            Mutation::NoReceiversWill,
        ),
        LOSS_IS_SEEN,
    );
}

#[test]
fn wrong_every_wake_is_a_ring() {
    breaks("EveryWakeIsARing", &wrong(ONE, Mutation::EveryWakeIsARing), END_IS_SEEN);
}

#[test]
fn wrong_want_too_much() {
    breaks("WantTooMuch", &wrong(ONE, Mutation::WantTooMuch), SENDER_WAKES);
}

#[test]
fn wrong_end_without_second_look() {
    breaks("EndWithoutSecondLook", &wrong(ONE, Mutation::EndWithoutSecondLook), END_IS_TRUE);
}

#[test]
fn wrong_release_before_use() {
    breaks("ReleaseBeforeUse", &wrong(with_kills(ONE, 0, 1, 1), Mutation::ReleaseBeforeUse), NEVER_LOST);
}

#[test]
fn wrong_no_given() {
    breaks("NoGiven", &wrong(with_kills(ONE, 0, 1, 1), Mutation::NoGiven), ONCE);
}

#[test]
fn wrong_retire_without_second_look() {
    breaks(
        "RetireWithoutSecondLook",
        &wrong(Channel { messages: [2, 1], stay: 1, ..TWO }, Mutation::RetireWithoutSecondLook),
        CAUSAL,
    );
}

#[test]
fn wrong_no_bits_at_takeover() {
    breaks(
        "NoBitsAtTakeover",
        &wrong(with_kills(Channel { messages: [2, 1], stay: 1, ..TWO }, 0, 1, 1), Mutation::NoBitsAtTakeover),
        CAUSAL,
    );
}

#[test]
fn wrong_seats_doubt_ignored() {
    breaks("seats: DoubtIgnored", &wrong_seats(seats::Mutation::DoubtIgnored), ONE_OWNER);
}

#[test]
fn wrong_seats_claim_by_store() {
    breaks("seats: ClaimByStore", &wrong_seats(seats::Mutation::ClaimByStore), ONE_OWNER);
}

#[test]
fn wrong_seats_no_second_look_at_set() {
    breaks("seats: NoSecondLookAtSet", &wrong_seats(seats::Mutation::NoSecondLookAtSet), WILL_STANDS);
}

#[test]
fn wrong_seats_losers_set_stays() {
    breaks("seats: LosersSetStays", &wrong_seats(seats::Mutation::LosersSetStays), NO_LEAK);
}

#[test]
fn wrong_seats_doubt_for_ever() {
    breaks("seats: DoubtForEver", &wrong_seats(seats::Mutation::DoubtForEver), NOT_LOST);
}

#[test]
fn wrong_seats_leave_semaphore_first() {
    breaks("seats: LeaveSemaphoreFirst", &wrong_seats(seats::Mutation::LeaveSemaphoreFirst), ONE_OWNER);
}
