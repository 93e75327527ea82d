//! Memory for numbers, aligned for vectors.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

/// A vector that crosses the border of a cache line costs two accesses.
const CACHE_LINE: usize = 64;
/// Memory of this size is asked for as a huge page: the network walks over more small pages than processors keep addresses of.
const HUGE_PAGE: usize = 2 << 20;

/// Numbers of which the first lies at the beginning of a cache line.
pub(super) struct Buffer {
    pointer: NonNull<f32>,
    layout: Layout,
    len: usize,
}

impl Buffer {
    /// `len` zeros.
    pub fn zeros(len: usize) -> Self {
        let bytes = (len * size_of::<f32>()).max(CACHE_LINE);
        let is_huge = bytes >= HUGE_PAGE / 2;
        let (unit, align) = if is_huge {
            (HUGE_PAGE, HUGE_PAGE)
        } else {
            (CACHE_LINE, CACHE_LINE)
        };
        let layout =
            Layout::from_size_align(bytes.next_multiple_of(unit), align).expect("sizes are those of a network");
        // SAFETY: the size is not zero.
        let memory = unsafe { alloc(layout) };
        let Some(pointer) = NonNull::new(memory.cast::<f32>()) else {
            handle_alloc_error(layout);
        };
        #[cfg(target_os = "linux")]
        if is_huge {
            // SAFETY: the range was just allocated, and the advice does not change what it holds. Without huge pages it is only slower.
            unsafe { libc::madvise(memory.cast(), layout.size(), libc::MADV_HUGEPAGE) };
        }
        // SAFETY: the range was just allocated, and `f32` is a number for all bits.
        unsafe { memory.write_bytes(0, layout.size()) };
        Buffer { pointer, layout, len }
    }
}

impl From<&[f32]> for Buffer {
    fn from(numbers: &[f32]) -> Self {
        let mut buffer = Buffer::zeros(numbers.len());
        buffer.copy_from_slice(numbers);
        buffer
    }
}

impl Deref for Buffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        // SAFETY: `zeros` has allocated and filled so many numbers.
        unsafe { std::slice::from_raw_parts(self.pointer.as_ptr(), self.len) }
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        // SAFETY: as above, and `self` is borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.pointer.as_ptr(), self.len) }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout.
        unsafe { dealloc(self.pointer.as_ptr().cast(), self.layout) };
    }
}

// SAFETY: it owns its memory, as a `Vec<f32>` does.
unsafe impl Send for Buffer {}
// SAFETY: as above.
unsafe impl Sync for Buffer {}
