//! The admin API: HTTP and JSON under `/v1` on a Unix socket, for `mainstay status` and for whoever may open the
//! socket (root).

pub mod client;
pub mod reply;
pub(crate) mod server;
pub mod words;
