//! Promises of `keys accept-loss`.

use super::*;
use crate::root_key::fake::active_from;
use crate::root_key::fake::id;
use crate::root_key::fake_admin::version;
use crate::root_key::rotation::tests::name;
use crate::root_key::rotation::tests::refusal;
use crate::root_key::rotation::tests::retired_since;
use crate::root_key::version::Number;

const CONFIRMED: Option<&str> = Some("kube-root.v2");

fn reported() -> (tempfile::TempDir, HighWaterFile, HighWater) {
    let state = tempfile::tempdir().unwrap();
    let file = HighWaterFile::of(state.path());
    let mark = HighWater {
        number: Number::try_from(2).unwrap(),
        id: id(2),
    };
    file.write(&name(), mark.clone()).unwrap();
    (state, file, mark)
}

#[test]
fn only_accept_loss_goes_on_without_the_reported_version() {
    let (_state, file, mark) = reported();
    let left = [version(1, 1, active_from(5))];
    assert_eq!(accept_loss(&file, &name(), &left, &id(2), CONFIRMED).unwrap(), mark);
    assert_eq!(file.read(&name()).unwrap(), None);
    let again = accept_loss(&file, &name(), &left, &id(2), CONFIRMED);
    assert!(matches!(refusal(again), Refusal::NothingRecorded { .. }));
}

#[test]
fn a_loss_is_accepted_only_of_what_is_reported_and_lost_and_confirmed() {
    let (_state, file, mark) = reported();
    let refused = |versions: &[Version], lost: u8, confirmed: Option<&str>| {
        refusal(accept_loss(&file, &name(), versions, &id(lost), confirmed))
    };
    assert!(matches!(refused(&[], 1, CONFIRMED), Refusal::OtherRecorded { .. }));
    assert!(matches!(
        refused(&[version(2, 2, active_from(5))], 2, CONFIRMED),
        Refusal::NotLost { .. }
    ));
    let said = refused(&[version(2, 2, retired_since(5))], 2, CONFIRMED).to_string();
    assert!(said.contains("dekhand keys restore v2"), "{said}");
    for wrong in [None, Some("kube-root.v1"), Some("kube-root")] {
        assert!(matches!(refused(&[], 2, wrong), Refusal::NotConfirmed { .. }));
    }
    assert_eq!(file.read(&name()).unwrap(), Some(mark));
}
