//! `dekhand keys` through the life of a version: created, listed, rotated, verified, retired, destroyed.

use dekhand::cli::keys::error::FailureKind;
use dekhand::cli::output::Format;
use serde_json::Value;

use crate::node::DAY;
use crate::node::NOW;
use crate::node::Node;
use crate::node::state;

#[test]
fn a_first_version_is_made_once_active_at_once() {
    let node = Node::new(true);
    assert!(
        node.text("list")
            .failed(FailureKind::Unreachable)
            .contains("dekhand keys create")
    );
    let made = node.json("create");
    assert_eq!(made["root_key"], "kube-root");
    assert_eq!(made["version"]["version"], "v1");
    assert_eq!(made["version"]["since"], "2026-03-01T12:00:00Z");
    assert_eq!(node.list(), [state("v1", "active", true)]);
    let before = std::fs::read(node.keyring()).unwrap();
    assert!(node.text("create").refused().contains("dekhand keys rotate"));
    assert_eq!(std::fs::read(node.keyring()).unwrap(), before);
}

#[test]
fn the_list_for_programs_has_the_promised_fields() {
    let node = Node::new(true);
    node.json("create");
    node.json("rotate");
    let list = node.json("list");
    let root_key = &list["root_keys"][0];
    assert_eq!(
        (&root_key["name"], &root_key["backend"], &root_key["shared"]),
        (&"kube-root".into(), &"keyring".into(), &true.into())
    );
    let [v1, v2] = root_key["versions"].as_array().unwrap().as_slice() else {
        panic!("{list}");
    };
    assert_eq!(
        (&v1["version"], &v1["number"], &v1["state"]),
        (&"v1".into(), &1.into(), &"active".into())
    );
    assert_eq!(
        (&v1["since"], &v1["primary"]),
        (&"2026-03-01T12:00:00Z".into(), &true.into())
    );
    assert_eq!(v1["id"].as_str().unwrap().len(), 32);
    assert_eq!(
        (&v2["state"], &v2["since"], &v2["primary"]),
        (&"pending".into(), &Value::Null, &false.into())
    );
    let text = node.text("list").good().data;
    assert!(
        text.contains("v1     active since 2026-03-01T12:00:00Z") && text.contains("primary"),
        "{text}"
    );
}

#[test]
fn with_one_store_for_all_nodes_a_rotation_is_one_step() {
    let mut node = Node::new(true);
    node.json("create");
    let made = node.json("rotate --activate-in 10m");
    assert_eq!(
        (&made["version"]["state"], &made["version"]["since"]),
        (&"pending".into(), &"2026-03-01T12:10:00Z".into())
    );
    assert_eq!(
        node.list(),
        [state("v1", "active", true), state("v2", "pending", false)]
    );
    assert!(node.text("rotate").refused().contains("rotate after that"));
    node.now += 600;
    assert_eq!(node.list(), [state("v1", "active", false), state("v2", "active", true)]);
    node.json("rotate");
    assert!(node.text("rotate").refused().contains("still pending"));
}

#[test]
fn with_a_copy_on_each_node_a_rotation_is_three_steps() {
    let mut nodes = [Node::new(false), Node::new(false), Node::new(false)];
    let [one, others @ ..] = &nodes;
    one.json("create");
    assert!(one.text("rotate --activate-in 10m").refused().contains("of its own"));
    // 1: a pending version, on every node.
    let talk = one.text("rotate").good().talk;
    assert!(talk.contains("copy") && talk.contains("keys verify"), "{talk}");
    for other in others {
        one.copy_to(other);
    }
    // 2: the proof that all nodes hold the same key.
    let record = one.text("verify --record").good().data;
    for other in others {
        std::fs::write(other.file("record"), &record).unwrap();
        let proof = other.json(&format!("verify --against {}", other.file("record").display()));
        assert_eq!((&proof["ok"], &proof["version"]), (&true.into(), &"v2".into()));
    }
    // 3: one date for all nodes.
    let dated = one.json("activate --in 10m");
    let at = dated["version"]["since"].as_str().unwrap();
    for other in others {
        other.json(&format!("activate --at {at}"));
    }
    for node in &mut nodes {
        node.now += 600;
        assert_eq!(node.list(), [state("v1", "active", false), state("v2", "active", true)]);
    }
}

#[test]
fn verify_finds_another_key_under_the_same_number_and_id() {
    let (one, other) = (Node::new(false), Node::new(false));
    one.json("create");
    other.json("create");
    let mut record: Value = serde_json::from_str(&one.text("verify --record v1").good().data).unwrap();
    let file = other.file("record");
    let against = format!("verify --against {}", file.display());
    std::fs::write(&file, record.to_string()).unwrap();
    let lacks = other.text(&against).failed(FailureKind::Failed);
    assert!(lacks.contains("does not have v1"), "{lacks}");
    record["id"] = other.json("list")["root_keys"][0]["versions"][0]["id"].clone();
    std::fs::write(&file, record.to_string()).unwrap();
    let wrong = other.text(&against).failed(FailureKind::Failed);
    assert!(wrong.contains("ANOTHER KEY"), "{wrong}");
    std::fs::write(&file, "{}").unwrap();
    other.text(&against).failed(FailureKind::Failed);
}

#[test]
fn a_record_comes_through_a_pipe_as_well() {
    let mut node = Node::new(false);
    node.json("create");
    node.stdin = node.text("verify --record").good().data.into_bytes();
    assert_eq!(node.json("verify --against -")["ok"], true);
}

#[test]
fn a_version_is_retired_restored_and_destroyed_in_good_time() {
    let mut node = Node::new(true);
    node.json("create");
    node.json("rotate --activate-in 0s");
    assert!(
        node.text("retire v2 --unaudited")
            .refused()
            .contains("v2 is the primary")
    );
    assert!(
        node.text("retire v1 --unaudited")
            .refused()
            .contains("was the primary until")
    );
    node.now += 3600;
    assert!(node.text("retire v1").refused().contains("--unaudited"));
    let retired = node.run("retire v1 --unaudited", Format::Json);
    assert!(retired.talk.contains("dekhand keys restore v1"), "{}", retired.talk);
    assert_eq!(retired.json()["version"]["state"], "retired");
    assert_eq!(node.json("restore v1")["version"]["state"], "active");
    assert_eq!(node.list(), [state("v1", "active", false), state("v2", "active", true)]);
    node.json("retire v1 --unaudited");
    assert!(
        node.text("destroy v1 --unaudited --confirm kube-root.v1")
            .refused()
            .contains("--retention")
    );
    node.now += 90 * DAY;
    assert!(
        node.text("destroy v1 --confirm kube-root.v1")
            .refused()
            .contains("--unaudited")
    );
    assert!(
        node.text("destroy v1 --unaudited")
            .refused()
            .contains("--confirm kube-root.v1")
    );
    assert!(
        node.text("destroy v1 --unaudited --confirm kube-root.v2")
            .refused()
            .contains("--confirm kube-root.v1")
    );
    assert_eq!(node.list().len(), 2);
    let destroyed = node.text("destroy v1 --unaudited --confirm kube-root.v1").good();
    assert!(
        destroyed
            .talk
            .contains("backups of etcd from before 2026-03-01T13:00:00Z"),
        "{}",
        destroyed.talk
    );
    assert_eq!(node.list(), [state("v2", "active", true)]);
}

#[test]
fn of_two_rotations_at_once_one_is_told_of_the_other() {
    let node = Node::new(true);
    node.json("create");
    let results: Vec<bool> = std::thread::scope(|scope| {
        let run = || scope.spawn(|| node.text("rotate").failure.is_none());
        let threads = [run(), run(), run()];
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(
        results.iter().filter(|good| **good).count(),
        1,
        "the others are refused: one is pending"
    );
    assert_eq!(
        node.list(),
        [state("v1", "active", true), state("v2", "pending", false)]
    );
}

#[test]
fn a_clock_far_off_dates_nothing_by_itself() {
    let mut node = Node::new(true);
    node.json("create");
    node.json("rotate");
    node.now = 60;
    let said = node.text("activate --in 10m").refused();
    assert!(said.contains("1970-01-01T00:01:00Z"), "{said}");
    node.now = NOW;
    assert!(
        node.text("activate --at 2026-03-01T11:59:59Z")
            .refused()
            .contains("has passed")
    );
    let talk = node.text("activate v2 --in 10m").good().talk;
    assert!(
        talk.contains("from 2026-03-01T12:10:00Z on; this node's clock says 2026-03-01T12:00:00Z"),
        "{talk}"
    );
}
