//! Schedules by hand: one for each defect that the simulation has found, and for cases that it must always try.

use std::time::Duration;

use dekhand::envelope::policy::Policy;
use dekhand::envelope::policy::Reuse;

use crate::operator::Command;
use crate::plan::Plan;
use crate::plan::Setup;
use crate::plan::Step;
use crate::store::Flavour;
use crate::store::Mood;
use crate::store::Topology;

const MINUTE: u64 = 60;

/// All of them, by the promise that they test.
pub(crate) fn all() -> Vec<(&'static str, Plan)> {
    vec![
        (
            "without_reuse_a_refused_wrap_shows_in_status",
            wraps_refused_without_reuse(),
        ),
        (
            "a_version_that_stops_working_before_its_date_is_never_reported",
            lies_before_the_first_date(),
        ),
        ("a_switch_falls_into_an_outage", outage_around_an_activation()),
        (
            "a_switch_in_an_outage_stands_although_its_date_was_changed_meanwhile",
            date_changed_in_an_outage(),
        ),
        (
            "what_was_opened_before_an_outage_is_opened_all_through_it",
            outage_longer_than_the_ttl(),
        ),
        (
            "a_read_whose_api_server_was_killed_shows_in_status",
            killed_while_it_reads(),
        ),
        (
            "what_was_opened_before_a_refusal_is_opened_all_through_it",
            refusal_after_reads(),
        ),
        (
            "what_was_opened_again_before_an_outage_is_as_old_as_its_data_key",
            outage_after_a_late_read(),
        ),
        (
            "a_version_postponed_before_an_outage_waits_all_through_it",
            postponed_before_an_outage(),
        ),
        (
            "a_node_that_has_not_noticed_an_accepted_loss_is_still_forgiven",
            loss_accepted(),
        ),
        (
            "a_version_without_a_proven_data_key_is_not_switched_to",
            wraps_refused_before_an_activation(),
        ),
        ("a_restored_backup_turns_nothing_back", backup_restored()),
        (
            "a_backup_that_is_there_for_a_moment_may_be_believed_for_a_while",
            backup_there_for_a_moment(),
        ),
        ("a_boot_in_1970_turns_nothing_back", boot_in_1970()),
        ("two_operators_rotate_at_once", two_operators()),
        (
            "a_restored_version_of_the_same_number_turns_nothing_back",
            restored_beside_another(),
        ),
        (
            "a_restored_version_never_encrypts_where_the_clock_is_slow",
            restored_where_the_clock_is_slow(),
        ),
        (
            "a_version_is_retired_and_destroyed_in_use_of_none",
            retired_and_destroyed(),
        ),
    ]
}

fn schedule(setup: Setup, steps: Vec<(u64, Step)>) -> Plan {
    Plan { setup, steps }
}

/// Found by calls that check Status against Encrypt: each Encrypt failed, and Status was ok for ten minutes, until a
/// probe with a wrap was due.
fn wraps_refused_without_reuse() -> Plan {
    let mut setup = Setup::quiet(Topology::Shared, Flavour::Token);
    setup.policy = Policy {
        reuse: Reuse::Never,
        ..Policy::default()
    };
    let steps = vec![
        (2 * MINUTE, Step::Mood(1, Mood::NoWraps)),
        (20 * MINUTE, Step::Mood(1, Mood::Good)),
    ];
    schedule(setup, steps)
}

fn outage_around_an_activation() -> Plan {
    let setup = Setup::quiet(Topology::PerNode, Flavour::Token);
    let mut steps = vec![(5 * MINUTE, Step::Keys(0, Command::Rotate(10 * MINUTE)))];
    for node in 0..3 {
        let mood = if node == 1 { Mood::Hangs } else { Mood::Away };
        steps.push((14 * MINUTE, Step::Mood(node, mood)));
        steps.push((40 * MINUTE, Step::Mood(node, Mood::Good)));
    }
    schedule(setup, steps)
}

/// Found by nodes with slow clocks: until the first version became active there, the store was not probed, and then
/// Status was ok until the next probe.
fn lies_before_the_first_date() -> Plan {
    let mut setup = Setup::quiet(Topology::Shared, Flavour::Keyring);
    setup.skew = [0, -4000, -4005];
    setup.length = 5400;
    let steps = vec![
        (50 * MINUTE, Step::Mood(1, Mood::Lies)),
        (50 * MINUTE, Step::Mood(2, Mood::Lies)),
        (75 * MINUTE, Step::Mood(1, Mood::Good)),
        (75 * MINUTE, Step::Mood(2, Mood::Good)),
    ];
    schedule(setup, steps)
}

/// A former defect of the judge: without a reserve the node could not report in the outage that it had switched.
fn date_changed_in_an_outage() -> Plan {
    let mut setup = Setup::quiet(Topology::Shared, Flavour::Keyring);
    setup.policy.cache_ttl = Duration::ZERO;
    let steps = vec![
        (5 * MINUTE, Step::Keys(0, Command::Rotate(10 * MINUTE))),
        (8 * MINUTE, Step::Mood(2, Mood::Hangs)),
        (9 * MINUTE, Step::Keys(0, Command::Activate(20 * MINUTE))),
        (20 * MINUTE, Step::Mood(2, Mood::NoUse)),
        (24 * MINUTE, Step::Mood(2, Mood::Good)),
    ];
    schedule(setup, steps)
}

fn outage_longer_than_the_ttl() -> Plan {
    let mut setup = Setup::quiet(Topology::PerNode, Flavour::Token);
    setup.policy.cache_ttl = Duration::from_secs(20 * MINUTE);
    let steps = vec![
        (10 * MINUTE, Step::RestartApi(0)),
        (12 * MINUTE, Step::Mood(0, Mood::Away)),
        (40 * MINUTE, Step::ReloadApi(0)),
        (45 * MINUTE, Step::List(0)),
        (55 * MINUTE, Step::Mood(0, Mood::Good)),
    ];
    schedule(setup, steps)
}

/// A former defect of the judge: it ignored reads whose API server was killed meanwhile. The call to the token
/// continues, so Status fails for a minute after that call fails, as after every read that only the token could serve.
/// Node 1 has never opened values that the others write under the second version. A refused read shortly before or
/// after the kill also excuses the node: there are three kills, so that at least one has no such read near it.
fn killed_while_it_reads() -> Plan {
    let setup = Setup::quiet(Topology::PerNode, Flavour::Token);
    let mut steps = vec![
        (5 * MINUTE, Step::Keys(0, Command::Rotate(10 * MINUTE))),
        (12 * MINUTE, Step::Mood(1, Mood::Hangs)),
        (20 * MINUTE, Step::Migrate(0)),
    ];
    for minute in [25, 32, 39] {
        steps.push((minute * MINUTE, Step::List(1)));
        steps.push((minute * MINUTE + 2, Step::RestartApi(1)));
    }
    steps.push((50 * MINUTE, Step::Mood(1, Mood::Good)));
    schedule(setup, steps)
}

/// The API server has read everything, has just lost its cache, and reads again while the store refuses.
fn refusal_after_reads() -> Plan {
    let setup = Setup::quiet(Topology::PerNode, Flavour::Token);
    let steps = vec![
        (10 * MINUTE, Step::RestartApi(0)),
        (10 * MINUTE + 30, Step::List(0)),
        (12 * MINUTE - 1, Step::ReloadApi(0)),
        (12 * MINUTE, Step::Mood(0, Mood::NoUse)),
        (20 * MINUTE, Step::List(0)),
        (30 * MINUTE, Step::Mood(0, Mood::Good)),
    ];
    schedule(setup, steps)
}

/// A former defect of the judge: the second seed of node 0's API server is under the data key of its first one, which
/// node 2 unwrapped an hour earlier, so its TTL began earlier.
fn outage_after_a_late_read() -> Plan {
    let mut setup = Setup::quiet(Topology::PerNode, Flavour::Token);
    setup.policy.cache_ttl = Duration::from_secs(60 * MINUTE);
    setup.length = 100 * MINUTE;
    let steps = vec![
        (10 * MINUTE, Step::List(2)),
        (50 * MINUTE, Step::RestartApi(0)),
        (58 * MINUTE, Step::List(2)),
        (75 * MINUTE, Step::Mood(2, Mood::Away)),
        (80 * MINUTE, Step::RestartApi(2)),
        (90 * MINUTE, Step::Mood(2, Mood::Good)),
    ];
    schedule(setup, steps)
}

/// A former defect of the judge: it checked no switch in an outage, however long ago the node had seen the version's
/// date.
fn postponed_before_an_outage() -> Plan {
    let mut setup = Setup::quiet(Topology::Shared, Flavour::Keyring);
    setup.length = 5400;
    let steps = vec![
        (5 * MINUTE, Step::Keys(0, Command::Rotate(10 * MINUTE))),
        (8 * MINUTE, Step::Keys(0, Command::Activate(60 * MINUTE))),
        (20 * MINUTE, Step::Mood(2, Mood::Away)),
        (50 * MINUTE, Step::Mood(2, Mood::Good)),
    ];
    schedule(setup, steps)
}

fn wraps_refused_before_an_activation() -> Plan {
    let setup = Setup::quiet(Topology::Shared, Flavour::Token);
    let steps = vec![
        (4 * MINUTE, Step::Mood(2, Mood::NoWraps)),
        (5 * MINUTE, Step::Keys(0, Command::Rotate(6 * MINUTE))),
        (30 * MINUTE, Step::Mood(2, Mood::Good)),
    ];
    schedule(setup, steps)
}

/// A former defect of the judge: it excused the node from the command on, and not from when the node saw the loss, a
/// probe later.
fn loss_accepted() -> Plan {
    let setup = Setup::quiet(Topology::Shared, Flavour::Keyring);
    let mut steps = vec![
        (2 * MINUTE, Step::BackUp(0)),
        (5 * MINUTE, Step::Keys(0, Command::Rotate(5 * MINUTE))),
        (20 * MINUTE, Step::Restore(0, 0)),
    ];
    for node in 0..3 {
        steps.push((20 * MINUTE + 3, Step::Keys(node, Command::AcceptLoss)));
    }
    schedule(setup, steps)
}

fn backup_restored() -> Plan {
    let setup = Setup::quiet(Topology::Shared, Flavour::Keyring);
    let steps = vec![
        (2 * MINUTE, Step::BackUp(0)),
        (5 * MINUTE, Step::Keys(0, Command::Rotate(5 * MINUTE))),
        (20 * MINUTE, Step::Restore(0, 0)),
        (22 * MINUTE, Step::Stop(2)),
        (
            23 * MINUTE,
            Step::Start {
                node: 2,
                keeps_state: true,
            },
        ),
        (24 * MINUTE, Step::RestartApi(2)),
        (35 * MINUTE, Step::BringBack(0)),
    ];
    schedule(setup, steps)
}

/// A former defect of the judge: it took two losses within seconds for one, and gave the node no time to notice the
/// second one.
fn backup_there_for_a_moment() -> Plan {
    let setup = Setup::quiet(Topology::PerNode, Flavour::Keyring);
    let steps = vec![
        (2 * MINUTE, Step::BackUp(2)),
        (5 * MINUTE, Step::Keys(0, Command::Rotate(5 * MINUTE))),
        (20 * MINUTE, Step::Restore(2, 0)),
        // The replaced state of then, and that of now.
        (30 * MINUTE, Step::Restore(2, 0)),
        (30 * MINUTE + 5, Step::Restore(2, 0)),
        (40 * MINUTE, Step::BringBack(2)),
    ];
    schedule(setup, steps)
}

fn boot_in_1970() -> Plan {
    let setup = Setup::quiet(Topology::Late, Flavour::Keyring);
    let steps = vec![
        (5 * MINUTE, Step::Keys(0, Command::Rotate(5 * MINUTE))),
        (20 * MINUTE, Step::Reboot { node: 1, in_1970: true }),
        (30 * MINUTE, Step::SetClock(1, 0)),
    ];
    schedule(setup, steps)
}

fn two_operators() -> Plan {
    let mut setup = Setup::quiet(Topology::Late, Flavour::Token);
    setup.lag = (20, 200);
    let steps = vec![
        (5 * MINUTE, Step::Keys(0, Command::Rotate(10 * MINUTE))),
        (5 * MINUTE + 1, Step::Keys(1, Command::Rotate(10 * MINUTE))),
        (5 * MINUTE + 2, Step::Keys(2, Command::Rotate(11 * MINUTE))),
        (30 * MINUTE, Step::Keys(1, Command::Rotate(10 * MINUTE))),
    ];
    schedule(setup, steps)
}

/// Found by two operators who rotate at once: node 2, which sees no changes meanwhile, reports both versions, one after
/// the other. The second version, put aside elsewhere, was then restored to a date before the first one's, and node 2
/// went back.
fn restored_beside_another() -> Plan {
    let mut setup = Setup::quiet(Topology::Late, Flavour::Token);
    setup.lag = (30, 40);
    let steps = vec![
        (5 * MINUTE, Step::Keys(0, Command::Rotate(10 * MINUTE))),
        (5 * MINUTE + 1, Step::Keys(1, Command::Rotate(12 * MINUTE))),
        (7 * MINUTE, Step::Part(2)),
        (8 * MINUTE, Step::Keys(0, Command::PutAside)),
        (25 * MINUTE, Step::Keys(0, Command::Restore)),
        (30 * MINUTE, Step::Join(2)),
    ];
    schedule(setup, steps)
}

/// Found by a node with a slow clock: a version below the primary was restored to a date before the primary's. By the
/// clock of node 1 that date had passed and the primary's had not, so node 1 encrypted under the restored version.
fn restored_where_the_clock_is_slow() -> Plan {
    let mut setup = Setup::quiet(Topology::Shared, Flavour::Keyring);
    // Node 1 reports the first version 10 minutes after the others.
    setup.skew = [0, -600, 0];
    let steps = vec![
        (15 * MINUTE, Step::Keys(0, Command::Rotate(10 * MINUTE))),
        (17 * MINUTE, Step::Keys(0, Command::PutAside)),
        (18 * MINUTE, Step::Keys(0, Command::Rotate(10 * MINUTE))),
        (30 * MINUTE, Step::Keys(0, Command::Restore)),
    ];
    schedule(setup, steps)
}

fn retired_and_destroyed() -> Plan {
    let mut setup = Setup::quiet(Topology::PerNode, Flavour::Keyring);
    setup.length = 3 * 60 * MINUTE;
    setup.policy.cache_ttl = Duration::from_secs(20 * MINUTE);
    let steps = vec![
        (5 * MINUTE, Step::Keys(0, Command::Rotate(10 * MINUTE))),
        (30 * MINUTE, Step::Migrate(1)),
        (80 * MINUTE, Step::Keys(0, Command::Retire(false))),
        (90 * MINUTE, Step::Keys(0, Command::Restore)),
        (100 * MINUTE, Step::Keys(0, Command::Retire(false))),
        (140 * MINUTE, Step::Keys(0, Command::Destroy(20 * MINUTE))),
        (150 * MINUTE, Step::RestartApi(2)),
    ];
    schedule(setup, steps)
}
