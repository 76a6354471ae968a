//! Panics are violations: nobody waits for the tasks of a schedule, so that one that panics would end in silence.

use std::cell::RefCell;
use std::rc::Rc;

use tokio::sync::Notify;

thread_local! {
    /// The first panic of the schedule that this thread runs.
    static FIRST: RefCell<Option<String>> = const { RefCell::new(None) };
    static NEWS: Rc<Notify> = Rc::default();
}

/// From now on every panic is remembered, and printed as before.
pub(crate) fn watch() {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        FIRST.with_borrow_mut(|first| {
            first.get_or_insert_with(|| panic.to_string().replace('\n', " "));
        });
        NEWS.with(|news| news.notify_one());
        print(panic);
    }));
}

/// What this thread's panic said, and no more of it.
pub(crate) fn take() -> Option<String> {
    FIRST.take()
}

/// Ends at the first panic of this thread, also one before the call.
pub(crate) async fn one() -> String {
    let news = NEWS.with(Rc::clone);
    loop {
        if let Some(panic) = take() {
            return panic;
        }
        news.notified().await;
    }
}
