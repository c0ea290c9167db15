//! Whether this process is a child of the one that opened something. After fork(2) the child has copies of memory and
//! descriptors, but the thread that serves them stayed with the parent, and what the descriptors refer to is shared:
//! a child that used them would steal the parent's events, and one that dropped them could wait for ever for a thread
//! that was in the middle of something when it was copied.

use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mmap_anonymous, munmap};
use std::ffi::c_void;
use std::fmt;
use std::mem::ManuallyDrop;
use std::num::NonZeroUsize;
use std::ops::{Deref, DerefMut};
use std::process;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Marks the process that made it. A look costs one load from memory.
#[derive(Debug)]
pub struct ForkMark {
    /// A page that a child finds zeroed (`MADV_WIPEONFORK`, since Linux 4.14); `None` where that can't be had.
    page: Option<NonNull<c_void>>,
    /// In its place, and not as good: in another PID namespace a child can have the same one.
    pid: u32,
}

/// One page on every architecture that has pages of 4 KiB; the kernel rounds up on the others.
const PAGE: NonZeroUsize = NonZeroUsize::new(4096).unwrap();

impl ForkMark {
    /// The mark of this process.
    pub fn new() -> ForkMark {
        ForkMark { page: wiped_page(), pid: process::id() }
    }

    /// Whether this process is a child of the one that made the mark.
    pub fn is_child(&self) -> bool {
        match self.page {
            // SAFETY: the page is mapped, readable and writable until `self` is dropped, aligned for any type, and
            // accessed as this atomic alone.
            Some(page) => unsafe { page.cast::<AtomicU32>().as_ref() }.load(Ordering::Relaxed) == 0,
            None => process::id() != self.pid,
        }
    }
}

/// A page of its own that holds a 1 here and, after fork, a 0.
fn wiped_page() -> Option<NonNull<c_void>> {
    // SAFETY: a new private mapping, at an address of the kernel's choice, touches no memory that anybody has.
    let page =
        unsafe { mmap_anonymous(None, PAGE, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE, MapFlags::MAP_PRIVATE) };
    let page = page.ok()?;
    // SAFETY: the page is the one mapped above. The advice changes what a child sees, and nothing here.
    if unsafe { madvise(page, PAGE.get(), MmapAdvise::MADV_WIPEONFORK) }.is_err() {
        // SAFETY: mapped above with this length, and nobody has a reference into it.
        let _ = unsafe { munmap(page, PAGE.get()) };
        return None;
    }
    // SAFETY: as in `is_child`.
    unsafe { page.cast::<AtomicU32>().as_ref() }.store(1, Ordering::Relaxed);
    Some(page)
}

impl Drop for ForkMark {
    fn drop(&mut self) {
        if let Some(page) = self.page {
            // SAFETY: mapped by `wiped_page` with this length; references into it live no longer than `is_child`.
            let _ = unsafe { munmap(page, PAGE.get()) };
        }
    }
}

// SAFETY: the page belongs to the mark and is accessed atomically.
unsafe impl Send for ForkMark {}
// SAFETY: as above.
unsafe impl Sync for ForkMark {}

/// Something that only the process that made it drops; a child leaks it. Channels and locks in it may have been copied
/// while another thread was at them, and dropping such a channel waits for that thread, which the child doesn't have.
pub struct Parental<T> {
    value: ManuallyDrop<T>,
    mark: Arc<ForkMark>,
}

impl<T> Parental<T> {
    /// A value of the process that made the mark.
    pub fn new(value: T, mark: &Arc<ForkMark>) -> Parental<T> {
        Parental { value: ManuallyDrop::new(value), mark: Arc::clone(mark) }
    }
}

impl<T> Drop for Parental<T> {
    fn drop(&mut self) {
        if !self.mark.is_child() {
            // SAFETY: dropped here alone, and never used again: `self` is being dropped.
            unsafe { ManuallyDrop::drop(&mut self.value) };
        }
    }
}

impl<T> Deref for Parental<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> DerefMut for Parental<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}

impl<T: Clone> Clone for Parental<T> {
    fn clone(&self) -> Parental<T> {
        Parental { value: self.value.clone(), mark: Arc::clone(&self.mark) }
    }
}

impl<T: fmt::Debug> fmt::Debug for Parental<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
