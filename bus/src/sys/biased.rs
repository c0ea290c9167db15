//! A lock that is nearly always taken by one thread, and costs that one no locked instruction: who else wants it has the kernel
//! stop all threads of the process for a moment (membarrier(2)), which orders what this one didn't.

use std::cell::UnsafeCell;
use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering, compiler_fence};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError, TryLockError};
use std::thread;
use std::time::Duration;

/// It belongs to nobody yet, and to nobody any more.
const FREE: usize = 0;
const SHARED: usize = 1;

/// A mutex that belongs to the first thread that [locks it often](Self::lock_often), until a second one does. From then on, and
/// where membarrier(2) can't be had, it is one like any other.
pub struct Biased<T> {
    /// The thread that owns it, [`FREE`] or [`SHARED`]. It changes under `others`.
    owner: AtomicUsize,
    /// By its owner, without `others`.
    held: AtomicBool,
    /// The owner is to go by `others`, too, because somebody has the value by them: another one or itself. It changes under
    /// `others`, and stays once there is no owner any more: who took himself for it would else come in long after.
    stop: AtomicBool,
    /// Of those who aren't the owner, and of the owner where it is stopped.
    others: Mutex<()>,
    value: UnsafeCell<T>,
}

// SAFETY: the value is reached through a guard only, of which there is one at a time: see `hold`. So it goes from thread to
// thread, and is never shared.
unsafe impl<T: Send> Sync for Biased<T> {}

/// Whoever has it has the value.
#[derive(Debug)]
pub struct BiasedGuard<'a, T> {
    lock: &'a Biased<T>,
    /// Of `others`, while `held` is false and stays it because of `stop`; `None` where this is `held`.
    others: Option<MutexGuard<'a, ()>>,
    /// It stays where it is: it would be shared between threads as `Biased` is, which doesn't need a value that can be.
    _here: PhantomData<*const T>,
}

/// What tells this thread from all others that there are. One that comes when it has ended may be told the same, and go on in
/// its place: all that this one did it did before.
fn this_thread() -> usize {
    thread_local!(static HERE: u64 = const { 0 });
    // The address of something of 8 bytes, so neither of the two numbers that stand for no thread.
    HERE.with(|here| std::ptr::from_ref(here) as usize)
}

/// Whether the kernel has all threads of this process pass a memory barrier when it is asked for.
fn has_barrier() -> bool {
    static REGISTERED: OnceLock<bool> = OnceLock::new();
    *REGISTERED.get_or_init(|| membarrier(libc::MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED))
}

fn membarrier(command: libc::membarrier_cmd) -> bool {
    // SAFETY: these commands take no memory, and change none.
    unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) == 0 }
}

impl<T> Biased<T> {
    pub fn new(value: T) -> Biased<T> {
        let owner = AtomicUsize::new(if has_barrier() { FREE } else { SHARED });
        let (held, stop) = (AtomicBool::new(false), AtomicBool::new(false));
        Biased { owner, held, stop, others: Mutex::new(()), value: UnsafeCell::new(value) }
    }

    /// Waits until nobody has it. The thread that is the first to do so owns it.
    #[inline]
    pub fn lock_often(&self) -> BiasedGuard<'_, T> {
        match self.hold() {
            Some(guard) => guard,
            None => self.lock_slowly(true),
        }
    }

    /// Waits until nobody has it. Whoever owns it goes on to.
    pub fn lock(&self) -> BiasedGuard<'_, T> {
        match self.hold() {
            Some(guard) => guard,
            None => self.lock_slowly(false),
        }
    }

    /// The owner's way, if this is it. Either the other one, once all threads have passed a barrier, sees that it is held, or
    /// this one sees that it is to stop: the processor does the two in this order as far as this thread can tell, and the barrier
    /// has it be so for the other.
    #[inline]
    fn hold(&self) -> Option<BiasedGuard<'_, T>> {
        // Whoever has it already waits for himself, as with any mutex.
        if self.owner.load(Ordering::Relaxed) != this_thread() || self.held.load(Ordering::Relaxed) {
            return None;
        }
        self.held.store(true, Ordering::Relaxed);
        compiler_fence(Ordering::SeqCst);
        if self.stop.load(Ordering::Acquire) {
            self.held.store(false, Ordering::Release);
            return None;
        }
        Some(self.guard(None))
    }

    #[cold]
    fn lock_slowly(&self, often: bool) -> BiasedGuard<'_, T> {
        let others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
        let owner = self.owner.load(Ordering::Relaxed);
        if often && owner == FREE {
            // From the next time on.
            self.owner.store(this_thread(), Ordering::Relaxed);
        } else if often && owner != this_thread() {
            // Two that both come back would stop each other all the time.
            self.owner.store(SHARED, Ordering::Relaxed);
        }
        self.stop(owner);
        while self.held.load(Ordering::Acquire) {
            // Whoever has it may sleep meanwhile.
            thread::sleep(Duration::from_micros(100));
        }
        self.guard(Some(others))
    }

    /// Takes it if nobody has it. Whoever owns it goes on to.
    pub fn try_lock(&self) -> Option<BiasedGuard<'_, T>> {
        let others = match self.others.try_lock() {
            Ok(others) => others,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        self.stop(self.owner.load(Ordering::Relaxed));
        // Whether it has the value or not, its end is that of the stop.
        let guard = self.guard(Some(others));
        if self.held.load(Ordering::Acquire) { None } else { Some(guard) }
    }

    /// From now on this owner, if it doesn't hold it, can't.
    fn stop(&self, owner: usize) {
        if owner == SHARED {
            return;
        }
        self.stop.store(true, Ordering::Relaxed);
        if owner == FREE || owner == this_thread() || membarrier(libc::MEMBARRIER_CMD_PRIVATE_EXPEDITED) {
            return;
        }
        // There is no memory for it, or it was forbidden since (seccomp(2)). No processor keeps a store to itself for as long as
        // this, and nobody shall have to wait for it again.
        self.owner.store(SHARED, Ordering::Relaxed);
        thread::sleep(Duration::from_millis(1));
    }

    fn guard<'a>(&'a self, others: Option<MutexGuard<'a, ()>>) -> BiasedGuard<'a, T> {
        BiasedGuard { lock: self, others, _here: PhantomData }
    }
}

impl<T> Deref for BiasedGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: of guards there is one at a time, and the value is reached through it only.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T> DerefMut for BiasedGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`.
        unsafe { &mut *self.lock.value.get() }
    }
}

impl<T> Drop for BiasedGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        let Biased { owner, held, stop, .. } = self.lock;
        if self.others.is_none() {
            held.store(false, Ordering::Release);
        } else if owner.load(Ordering::Relaxed) != SHARED {
            // The owner may come in from here on, before the others.
            stop.store(false, Ordering::Release);
        }
    }
}

impl<T> fmt::Debug for Biased<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Biased").field("owner", &self.owner).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU64;

    /// Adds to both halves, apart: who comes in between sees that they differ.
    fn add(halves: &mut (u64, u64), at_most_us: u64) {
        halves.0 += 1;
        if at_most_us > 0 {
            thread::sleep(Duration::from_micros(at_most_us));
        }
        halves.1 += 1;
        assert_eq!(halves.0, halves.1);
    }

    /// Says that it is over, also where something panics.
    struct End<'a>(&'a AtomicBool);

    impl Drop for End<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    fn owner(lock: &Biased<(u64, u64)>) -> usize {
        lock.owner.load(Ordering::Relaxed)
    }

    /// One that locks all the time, and others that come now and then, by each of their ways.
    #[test]
    fn nobody_is_in_there_with_another() {
        let (lock, others, end) = (Biased::new((0, 0)), AtomicU64::new(0), AtomicBool::new(false));
        const ROUNDS: u64 = 1_000_000;
        thread::scope(|scope| {
            scope.spawn(|| {
                let _end = End(&end);
                for round in 0..ROUNDS {
                    add(&mut lock.lock_often(), u64::from(round % 100_000 == 0));
                }
            });
            for seldom in [100, 10] {
                let (lock, others, end) = (&lock, &others, &end);
                scope.spawn(move || {
                    for round in 0.. {
                        let guard = if round % seldom == 0 { Some(lock.lock()) } else { lock.try_lock() };
                        if let Some(mut halves) = guard {
                            add(&mut halves, u64::from(round % 1000 == 0));
                            others.fetch_add(1, Ordering::Relaxed);
                        }
                        if end.load(Ordering::Relaxed) {
                            break;
                        }
                    }
                });
            }
        });
        let done = ROUNDS + others.load(Ordering::Relaxed);
        assert_eq!(*lock.lock(), (done, done), "{others:?} times it was another");
        assert_eq!(owner(&lock) == SHARED, !has_barrier());
    }

    #[test]
    fn two_that_lock_it_often_share_it() {
        let lock = Biased::new((0, 0));
        let often = || (0..100_000).for_each(|_| add(&mut lock.lock_often(), 0));
        add(&mut lock.lock(), 0);
        assert_eq!(owner(&lock), if has_barrier() { FREE } else { SHARED }, "who locks it once is no owner");
        often();
        assert_eq!(owner(&lock), if has_barrier() { this_thread() } else { SHARED });
        thread::scope(|scope| {
            scope.spawn(often);
            scope.spawn(often);
            often();
        });
        assert_eq!((owner(&lock), *lock.lock()), (SHARED, (400_001, 400_001)));
        if has_barrier() {
            // Who had found that it is the owner, and slept since.
            lock.owner.store(this_thread(), Ordering::Relaxed);
            assert!(lock.hold().is_none());
        }
    }

    /// Two at once would be two that have the value.
    #[test]
    fn who_has_it_cannot_take_it_again() {
        let lock = Biased::new((0, 0));
        for _ in 0..2 {
            // The owner's two ways.
            let guard = lock.lock_often();
            assert!(lock.hold().is_none() && lock.try_lock().is_none());
            drop(guard);
        }
        let guard = lock.try_lock().unwrap();
        assert!(lock.hold().is_none() && lock.try_lock().is_none());
        drop(guard);
        assert_eq!(lock.hold().is_some(), has_barrier());
    }

    /// Has the kernel refuse this thread a system call from now on, as a process may do to itself at any time.
    fn forbid(call: libc::c_long) {
        let op = |code: u32, k: u32, jt: u8, jf: u8| libc::sock_filter { code: code as u16, jt, jf, k };
        let mut filter = [
            op(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
            op(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, call as u32, 0, 1),
            op(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ERRNO | libc::EPERM as u32, 0, 0),
            op(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW, 0, 0),
        ];
        let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
        // SAFETY: the kernel copies the program, which is there as long as the calls take, and this thread alone is bound by it.
        let done = unsafe {
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
                && libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) == 0
        };
        assert!(done, "{}", std::io::Error::last_os_error());
    }

    /// Also where the one who comes can't have the kernel order memory: forbidden since, or for want of memory.
    #[test]
    fn nobody_is_in_there_with_another_without_a_barrier() {
        for often in [true, false] {
            let (lock, end) = (Biased::new((0, 0)), AtomicBool::new(false));
            let mut done = 0;
            thread::scope(|scope| {
                let other = scope.spawn(|| {
                    let _end = End(&end);
                    forbid(libc::SYS_membarrier);
                    while owner(&lock) == FREE {
                        thread::yield_now();
                    }
                    let mut tried = 0;
                    for _ in 0..10_000 {
                        if let Some(mut halves) = lock.try_lock() {
                            add(&mut halves, 0);
                            tried += 1;
                        }
                        let mut halves = if often { lock.lock_often() } else { lock.lock() };
                        add(&mut halves, 0);
                    }
                    tried
                });
                while !end.load(Ordering::Relaxed) {
                    add(&mut lock.lock_often(), 0);
                    done += 1;
                }
                done += 10_000 + other.join().unwrap();
            });
            assert_eq!((owner(&lock), *lock.lock()), (SHARED, (done, done)));
        }
    }

    #[test]
    fn who_holds_it_is_waited_for_or_not() {
        let lock = Biased::new((0, 0));
        for _ in 0..2 {
            // The owner's two ways.
            let guard = lock.lock_often();
            thread::scope(|scope| {
                assert!(scope.spawn(|| lock.try_lock().is_none()).join().unwrap());
                let waiting = scope.spawn(|| add(&mut lock.lock(), 0));
                thread::sleep(Duration::from_millis(5));
                assert!(!waiting.is_finished());
                drop(guard);
                waiting.join().unwrap();
            });
            assert!(thread::scope(|scope| scope.spawn(|| lock.try_lock().is_some()).join().unwrap()));
        }
        assert_eq!(*lock.lock(), (2, 2));
    }
}
