//! The order in which calls begin, whichever callers make many.

use std::time::Duration;

use super::*;
use crate::caller::Caller;
use crate::root_key::waiters::Waiter;

/// The caller's end of a waiting call.
type Waiting = (Waiters, Waiter, oneshot::Receiver<Result<Outcome, Error>>);

fn caller(connection: u64) -> Caller {
    Caller {
        deadline: Instant::now() + Duration::from_secs(60),
        connection: Some(ConnectionId(connection)),
    }
}

fn request(connection: u64) -> (Request, Waiting) {
    let (waiters, waiter) = Waiters::of_caller(caller(connection));
    let (request, answer) = Request::new(Call::Find { expected: Vec::new() }, waiters.clone());
    (request, (waiters, waiter, answer))
}

fn push(queue: &mut CallQueue, connection: u64) -> Waiting {
    let (request, waiting) = request(connection);
    queue.push(request);
    waiting
}

fn storm(queue: &mut CallQueue, connection: u64, calls: usize) -> Vec<Waiting> {
    (0..calls).map(|_| push(queue, connection)).collect()
}

/// The connections of the next calls.
fn begin(queue: &mut CallQueue, calls: usize) -> Vec<Vec<Option<ConnectionId>>> {
    (0..calls)
        .map_while(|_| queue.next())
        .map(|request| request.connections())
        .collect()
}

fn of(connections: &[u64]) -> Vec<Vec<Option<ConnectionId>>> {
    connections
        .iter()
        .map(|connection| vec![Some(ConnectionId(*connection))])
        .collect()
}

#[tokio::test]
async fn a_call_begins_after_at_most_one_of_a_connection_that_has_hundreds() {
    let mut queue = CallQueue::default();
    let _storm = storm(&mut queue, 1, 500);
    let (other, _waiting) = request(2);
    assert_eq!(queue.before(&other), 1);
    queue.push(other);
    assert_eq!(begin(&mut queue, 4), of(&[1, 2, 1, 1]));
    let (other, _waiting) = request(2);
    assert!(queue.before(&other) <= 1, "its turn has come again");
    queue.push(other);
    assert!(begin(&mut queue, 2).contains(&vec![Some(ConnectionId(2))]));
    let (more, _waiting) = request(1);
    assert!(queue.before(&more) >= 495, "it waits behind its own");
}

#[tokio::test]
async fn connections_take_turns_and_within_one_the_first_call_is_the_first() {
    let mut queue = CallQueue::default();
    let waiting: Vec<_> = [1, 1, 1, 2, 2, 3].map(|connection| push(&mut queue, connection)).into();
    let (last, _waiting) = request(3);
    assert_eq!(queue.before(&last), 5, "two of each other, and its own");
    let mut order = Vec::new();
    while let Some(request) = queue.next() {
        request.begin();
        let begun = |place: &usize| waiting[*place].1.has_begun() && !order.contains(place);
        order.extend((0..waiting.len()).find(begun));
    }
    assert_eq!(order, [0, 3, 5, 1, 4, 2]);
}

#[tokio::test]
async fn connections_that_come_and_go_do_not_go_before_who_waits() {
    let mut queue = CallQueue::default();
    let mut kept = storm(&mut queue, 1, 2);
    assert_eq!(begin(&mut queue, 1), of(&[1]));
    kept.push(push(&mut queue, 2));
    // While the second call of 1 waits for its turn, a new connection calls before each call that begins.
    let mut order = Vec::new();
    for newcomer in 10..15 {
        kept.push(push(&mut queue, newcomer));
        order.extend(begin(&mut queue, 1));
    }
    assert_eq!(order, of(&[1, 2, 10, 11, 12]));
}

#[tokio::test]
async fn a_caller_who_joins_a_call_in_a_storm_lends_it_its_turn() {
    let mut queue = CallQueue::default();
    let storm = storm(&mut queue, 1, 500);
    assert_eq!(begin(&mut queue, 1), of(&[1]));
    let (last, ..) = storm.last().unwrap();
    let joined = last.join(caller(2));
    let both = vec![Some(ConnectionId(1)), Some(ConnectionId(2))];
    assert!(begin(&mut queue, 2).contains(&both));
    drop(joined);
    // It got one turn only: the rest of the storm is as slow as before.
    let _others: Vec<_> = (0..2).map(|_| push(&mut queue, 3)).collect();
    assert_eq!(begin(&mut queue, 4), of(&[1, 3, 1, 3]));
}

#[tokio::test]
async fn a_connection_has_its_assured_places_in_a_queue_that_is_full() {
    let mut queue = CallQueue::default();
    let _storm = storm(&mut queue, 1, LONGEST);
    let refused = |calls: &mut Vec<Waiting>| {
        calls
            .iter_mut()
            .filter_map(|(.., answer)| answer.try_recv().ok())
            .count()
    };
    let mut others = storm(&mut queue, 2, ASSURED_CALLS + 4);
    assert_eq!(refused(&mut others), 4);
    let mut more = storm(&mut queue, 1, 4);
    assert_eq!(refused(&mut more), 4);
}

#[tokio::test]
async fn a_call_whose_callers_left_when_it_had_begun_is_repeated() {
    let mut queue = CallQueue::default();
    let (waiters, waiter, _answer) = push(&mut queue, 1);
    let begun = queue.next().unwrap();
    begun.begin();
    drop(waiter);
    queue.put_back(vec![begun]);
    assert!(waiters.include(None) && queue.next().is_some());
}
