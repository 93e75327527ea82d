//! Memory for numbers, aligned for vectors.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

use half::bf16;

/// A vector that crosses the border of a cache line costs two accesses.
pub(super) const CACHE_LINE: usize = 64;
/// Larger memory is asked for in pages of this size: the network walks over more small pages than processors keep the addresses of.
const HUGE_PAGE: usize = 2 << 20;

/// A number that is zero if all its bits are.
///
/// # Safety
/// All bits must make a number, and no bits zero.
pub(super) unsafe trait Number: Copy + Send + Sync + 'static {}

// SAFETY: as IEEE 754 says.
unsafe impl Number for f32 {}
// SAFETY: the upper half of an `f32`.
unsafe impl Number for bf16 {}

/// Numbers of which the first lies at the beginning of a cache line.
pub(super) struct Buffer<T: Number> {
    pointer: NonNull<T>,
    layout: Layout,
    len: usize,
}

impl<T: Number> Buffer<T> {
    /// `len` zeros.
    pub fn zeros(len: usize) -> Self {
        let bytes = (len * size_of::<T>()).max(CACHE_LINE);
        let is_huge = bytes >= HUGE_PAGE / 8;
        let unit = if is_huge { HUGE_PAGE } else { CACHE_LINE };
        let layout = Layout::from_size_align(bytes.next_multiple_of(unit), unit).expect("sizes are those of a network");
        // SAFETY: the size is not zero.
        let memory = unsafe { alloc(layout) };
        let Some(pointer) = NonNull::new(memory.cast::<T>()) else {
            handle_alloc_error(layout);
        };
        #[cfg(target_os = "linux")]
        if is_huge {
            // SAFETY: the range was just allocated, and the advice does not change what it holds. Without huge pages it is only slower.
            unsafe { libc::madvise(memory.cast(), layout.size(), libc::MADV_HUGEPAGE) };
        }
        // SAFETY: the range was just allocated.
        unsafe { memory.write_bytes(0, layout.size()) };
        Buffer { pointer, layout, len }
    }
}

impl<T: Number> From<&[T]> for Buffer<T> {
    fn from(numbers: &[T]) -> Self {
        let mut buffer = Buffer::zeros(numbers.len());
        buffer.copy_from_slice(numbers);
        buffer
    }
}

impl<T: Number> Deref for Buffer<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: `zeros` has allocated and filled so many numbers.
        unsafe { std::slice::from_raw_parts(self.pointer.as_ptr(), self.len) }
    }
}

impl<T: Number> DerefMut for Buffer<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as above, and `self` is borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.pointer.as_ptr(), self.len) }
    }
}

impl<T: Number> Drop for Buffer<T> {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout.
        unsafe { dealloc(self.pointer.as_ptr().cast(), self.layout) };
    }
}

// SAFETY: it owns its memory, as a `Vec<T>` does.
unsafe impl<T: Number> Send for Buffer<T> {}
// SAFETY: as above.
unsafe impl<T: Number> Sync for Buffer<T> {}
