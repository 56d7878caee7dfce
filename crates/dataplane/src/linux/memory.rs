//! Memory that the process does not use, and has not given back.

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
