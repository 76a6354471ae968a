//! How many entries a client's dynamic table has: what it refers to must be there (RFC 7541, 4).

use std::collections::VecDeque;

/// The lengths of the names and values of a table's entries, the newest first.
pub(crate) struct Table {
    entries: VecDeque<(usize, usize)>,
    size: usize,
    most: usize,
}

impl Default for Table {
    fn default() -> Self {
        Self {
            entries: VecDeque::new(),
            size: 0,
            most: 4096,
        }
    }
}

impl Table {
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The length of an entry's name.
    pub(crate) fn name(&self, entry: usize) -> usize {
        self.entries[entry].0
    }

    pub(crate) fn insert(&mut self, name: usize, value: usize) {
        self.entries.push_front((name, value));
        self.size += name + value + 32;
        self.evict();
    }

    pub(crate) fn resize(&mut self, most: usize) {
        self.most = most;
        self.evict();
    }

    fn evict(&mut self) {
        while self.size > self.most {
            if let Some((name, value)) = self.entries.pop_back() {
                self.size -= name + value + 32;
            }
        }
    }
}
