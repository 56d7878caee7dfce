//! A backend: a process of its own, so that it can be killed. It answers a byte with its number, or with a stream.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};

use anyhow::Result;

/// What a client asks for: the backend's number, or bytes without end.
pub(crate) const NUMBER: u8 = b'n';
pub(crate) const STREAM: u8 = b's';
/// Threads that accept: as many clients ask at once.
const THREADS: usize = 8;
/// What is written of a stream at once.
const CHUNK: usize = 64 * 1024;

/// Serves until it is killed.
pub(crate) fn serve(number: u8, port: u16) -> Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))?;
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| accept(&listener, number));
        }
    });
    Ok(())
}

fn accept(listener: &TcpListener, number: u8) {
    for stream in listener.incoming().flatten() {
        // A client that goes is no matter.
        let _ = answer(stream, number);
    }
}

fn answer(mut stream: TcpStream, number: u8) -> Result<()> {
    let mut asked = [0];
    stream.read_exact(&mut asked)?;
    if asked[0] == STREAM {
        std::thread::spawn(move || while stream.write_all(&[number; CHUNK]).is_ok() {});
        return Ok(());
    }
    stream.write_all(&[number])?;
    // The client ends it.
    let _ = stream.read(&mut asked);
    Ok(())
}
