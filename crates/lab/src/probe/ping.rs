//! A single question: does this address answer that host now?

use std::net::IpAddr;
use std::time::Duration;

use anyhow::Result;
use mainstay_core::names::Mac;

use super::echo;
use crate::netns::Host;

/// Sends one echo request from `client` to `target`; who answered within `limit` (by MAC), or `None`.
///
/// # Errors
/// If the client's sockets cannot be made.
pub fn ping(client: &Host, target: IpAddr, limit: Duration) -> Result<Option<Mac>> {
    client.enter(|| echo::ask_once(client, target, limit))?
}
