//! Who is charged for what topics keep: each user for those that he created, and all ordinary users together. Who is exempt
//! has no limit but the common one.

use super::shelves::{NONE, Shelves};
use std::ops::{Index, IndexMut};

/// The account of the topics whose users are exempt.
pub const EXEMPT: usize = 0;
/// The account of all other users' topics together. Those of single users follow.
pub const TOGETHER: usize = 1;

/// The exempt find this part of the common limit, whatever all others keep.
const RESERVED: u64 = 8;

/// What a user's newest records may take in any case: sixteen of the largest. A bus without history is none without events.
const OVERDRAFT_MIN: u64 = 1 << 20;

/// Some topics, and what they keep.
#[derive(Debug)]
pub(super) struct Account {
    pub(super) topics: u32,
    pub(super) bytes: u64,
    pub(super) limit: u64,
    pub(super) shelves: Shelves,
    /// When history was settled last, it kept too much, although all that can give had given.
    was_overdrawn: bool,
}

/// Why nothing more is kept for a user: the newest records of his topics, or of all ordinary users' topics, which nobody else
/// pays for, take too much alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overdraft {
    /// Bytes that they take.
    pub bytes: u64,
    /// Bytes that they would be held to.
    pub limit: u64,
    /// They are all ordinary users'.
    pub together: bool,
}

#[derive(Debug)]
pub(super) struct Accounts {
    accounts: Vec<Account>,
    /// All accounts' bytes.
    pub(super) bytes: u64,
    pub(super) limit: u64,
    /// Those that [were overdrawn](Account::was_overdrawn).
    overdrawn: Vec<usize>,
    /// Those to be looked at: kept for its room.
    large: Vec<usize>,
}

/// What ordinary users may have together of what a bus has.
pub fn together_of(limit: u64) -> u64 {
    limit - limit / RESERVED
}

/// The accounts that a topic of an account counts in.
pub(super) fn charged(account: usize) -> impl Iterator<Item = usize> {
    let (class, own) = if account == EXEMPT { (EXEMPT, None) } else { (TOGETHER, Some(account)) };
    std::iter::once(class).chain(own)
}

impl Account {
    fn new(limit: u64) -> Account {
        Account { topics: 0, bytes: 0, limit, shelves: Shelves::default(), was_overdrawn: false }
    }

    fn is_overdrawn(&self) -> bool {
        self.bytes > self.limit.saturating_mul(2).max(OVERDRAFT_MIN)
    }
}

impl Accounts {
    pub(super) fn new(limit: u64) -> Accounts {
        let accounts = vec![Account::new(u64::MAX), Account::new(together_of(limit))];
        Accounts { accounts, bytes: 0, limit, overdrawn: Vec::new(), large: Vec::new() }
    }

    /// Opens an account. Returns its number.
    pub(super) fn open(&mut self, limit: u64) -> usize {
        self.accounts.push(Account::new(limit));
        self.accounts.len() - 1
    }

    /// Topics of ordinary users.
    pub(super) fn topics_together(&self) -> u32 {
        self[TOGETHER].topics
    }

    pub(super) fn begin_topic(&mut self, account: usize) {
        charged(account).for_each(|account| self[account].topics += 1);
    }

    pub(super) fn end_topic(&mut self, account: usize) {
        charged(account).for_each(|account| self[account].topics -= 1);
    }

    pub(super) fn grow(&mut self, account: usize, bytes: u64) {
        self.bytes += bytes;
        charged(account).for_each(|account| self[account].bytes += bytes);
    }

    pub(super) fn shrink(&mut self, account: usize, bytes: u64) {
        self.bytes -= bytes;
        charged(account).for_each(|account| self[account].bytes -= bytes);
    }

    /// Has an account looked at that may be over its limit now.
    pub(super) fn look_at(&mut self, account: usize) {
        if self[account].bytes > self[account].limit {
            self.large.push(account);
        }
    }

    /// The accounts to be held to their limits, those of single users first, and to be [judged](Self::judge) then.
    pub(super) fn take_large(&mut self) -> Vec<usize> {
        self.look_at(TOGETHER);
        std::mem::take(&mut self.large)
    }

    /// Notes who is overdrawn, of those that were held to their limits.
    pub(super) fn judge(&mut self, mut large: Vec<usize>) {
        large.append(&mut self.overdrawn);
        large.iter().for_each(|account| self[*account].was_overdrawn = false);
        for account in large.drain(..) {
            let account_of = &mut self.accounts[account];
            if account_of.is_overdrawn() && !account_of.was_overdrawn {
                account_of.was_overdrawn = true;
                self.overdrawn.push(account);
            }
        }
        self.large = large;
    }

    #[inline]
    pub(super) fn is_any_overdrawn(&self) -> bool {
        !self.overdrawn.is_empty()
    }

    /// Why a topic of an account keeps nothing more. What was deleted since then counts, what was kept doesn't: that may give yet.
    pub(super) fn overdraft(&self, account: usize) -> Option<Overdraft> {
        let is_overdrawn = |account: &usize| self[*account].was_overdrawn && self[*account].is_overdrawn();
        charged(account).filter(is_overdrawn).last().map(|account| {
            let Account { bytes, limit, .. } = self[account];
            Overdraft { bytes, limit, together: account == TOGETHER }
        })
    }

    /// Who gives when all together keep too much: whoever has the topic that keeps the most, but the exempt only beyond what is
    /// reserved for them.
    pub(super) fn payer(&mut self) -> usize {
        let reserved = self.limit - self[TOGETHER].limit;
        let exempt = &mut self[EXEMPT];
        let highest = if exempt.bytes > reserved { exempt.shelves.highest() } else { NONE };
        if highest > self[TOGETHER].shelves.highest() { EXEMPT } else { TOGETHER }
    }
}

impl Index<usize> for Accounts {
    type Output = Account;

    fn index(&self, account: usize) -> &Account {
        &self.accounts[account]
    }
}

impl IndexMut<usize> for Accounts {
    fn index_mut(&mut self, account: usize) -> &mut Account {
        &mut self.accounts[account]
    }
}
