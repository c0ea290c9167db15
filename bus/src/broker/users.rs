//! Users who created topics: which account of the history is whose.

use crate::history::{EXEMPT, History, TOGETHER};
use std::collections::HashMap;

/// Who is charged for a topic: a user, or nobody where he is exempt.
pub(super) type Charged = Option<u32>;

#[derive(Debug)]
pub(super) struct Users {
    /// Of those who have topics.
    accounts: HashMap<u32, usize>,
    /// Whose an account is, or was.
    uids: Vec<u32>,
    /// Accounts of nobody.
    free: Vec<usize>,
    /// Bytes that the histories of one user's topics may keep.
    history: u64,
}

impl Users {
    pub(super) fn new(history: u64) -> Users {
        Users { accounts: HashMap::new(), uids: Vec::new(), free: Vec::new(), history }
    }

    /// The account that a topic would be charged to; of a user who has none yet, what is so for all users.
    pub(super) fn account(&self, charged: Charged) -> usize {
        charged.map_or(EXEMPT, |uid| self.accounts.get(&uid).copied().unwrap_or(TOGETHER))
    }

    /// How many topics a user has.
    pub(super) fn topics(&self, uid: u32, history: &History) -> u32 {
        self.accounts.get(&uid).map_or(0, |account| history.topics_of(*account))
    }

    /// Whose an account is.
    pub(super) fn uid(&self, account: usize) -> u32 {
        self.uids.get(account).copied().unwrap_or_default()
    }

    /// The account for a topic that is created.
    pub(super) fn open(&mut self, charged: Charged, history: &mut History) -> usize {
        let Some(uid) = charged else { return EXEMPT };
        let Users { accounts, uids, free, history: limit } = self;
        *accounts.entry(uid).or_insert_with(|| {
            let account = free.pop().unwrap_or_else(|| history.open_account(*limit));
            uids.resize(uids.len().max(account + 1), 0);
            uids[account] = uid;
            account
        })
    }

    /// After a topic of an account was deleted: without any it is nobody's.
    pub(super) fn close(&mut self, account: usize, history: &History) {
        if account != EXEMPT && history.topics_of(account) == 0 {
            self.accounts.remove(&self.uid(account));
            self.free.push(account);
        }
    }
}
