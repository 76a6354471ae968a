//! Panics are violations. Nothing awaits the tasks of a schedule, so a panic would otherwise go unnoticed.

use std::cell::RefCell;
use std::rc::Rc;

use tokio::sync::Notify;

thread_local! {
    /// The first panic of the schedule that this thread runs.
    static FIRST: RefCell<Option<String>> = const { RefCell::new(None) };
    static NEWS: Rc<Notify> = Rc::default();
}

/// Remembers every panic from now on, and prints it as before.
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

/// Returns the message of this thread's first panic, and forgets it.
pub(crate) fn take() -> Option<String> {
    FIRST.take()
}

/// Ends at the first panic of this thread, even one before the call.
pub(crate) async fn one() -> String {
    let news = NEWS.with(Rc::clone);
    loop {
        if let Some(panic) = take() {
            return panic;
        }
        news.notified().await;
    }
}
