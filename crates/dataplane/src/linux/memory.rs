//! Memory that the process does not use, and has not given back.

/// Heaps that the threads share. By default each thread gets its own, up to eight for each core, and keeps what is
/// free in it for itself.
#[cfg(target_env = "gnu")]
const HEAPS: libc::c_int = 1;
/// From so many bytes on, a piece of memory is mapped for itself, and unmapped when it is freed. The allocator would move
/// that up to 32 MiB by itself, with the first long answer of an API server, and such pieces would lie about in the heaps.
#[cfg(target_env = "gnu")]
const MAPPED_FROM: libc::c_int = 128 * 1024;

/// Has the allocator keep little to itself: this process reads much at times, and keeps little of it. To be called before
/// other threads are. Does nothing where the C library is not GNU's.
pub fn be_frugal() {
    #[cfg(target_env = "gnu")]
    // SAFETY: two numbers are passed, and parameters that the allocator refuses change nothing (mallopt(3)).
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, HEAPS);
        libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED_FROM);
    }
}

/// Gives the kernel back what was freed. The allocator keeps what lies between two pieces in use: after thousands of
/// objects were read, which takes a multiple of what is kept of them, that is megabytes. Others who allocate meanwhile may
/// wait for a few milliseconds: not to be called often. Does nothing where the C library is not GNU's.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: no memory is passed, and what is in use stays where it is (malloc_trim(3)).
    unsafe {
        libc::malloc_trim(0);
    }
}
