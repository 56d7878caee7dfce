//! The two servers to talk to.

use std::path::Path;

use anyhow::Result;

use super::{Server, User};
use crate::apiserver::client::ApiClient;
use crate::apiserver::real::{Account, Place, RealServer};
use crate::apiserver::{Cluster, Controllers, FrontEndHandle, StoreOptions, UserInfo};

const NOBODYS_TOKEN: &str = "nobody-gave-this-out";

fn reader() -> UserInfo {
    UserInfo::authenticated("reader", &["readers"])
}

fn as_user(client: &ApiClient, reader: &str, user: User) -> ApiClient {
    match user {
        User::Admin => client.clone(),
        User::Reader => client.clone().with_token(Some(reader)),
        User::Stranger => client.clone().with_token(Some(NOBODYS_TOKEN)),
        User::Anonymous => client.clone().with_token(None),
    }
}

/// A real one, on loopback.
#[derive(Debug)]
pub struct OnReal {
    server: RealServer,
    client: ApiClient,
    reader: Account,
}

impl OnReal {
    /// Starts it from the binaries in this directory.
    ///
    /// # Errors
    /// As [`RealServer::start`].
    pub fn start(assets: &Path) -> Result<Self> {
        let reader = Account::new(reader());
        let accounts = std::slice::from_ref(&reader);
        let server = RealServer::start(assets, Place::Loopback, &std::env::temp_dir(), accounts)?;
        let client = server.client()?;
        Ok(Self { server, client, reader })
    }
}

impl Server for OnReal {
    fn client(&self, user: User) -> ApiClient {
        as_user(&self.client, self.reader.token(), user)
    }

    async fn forget(&mut self) -> Result<()> {
        self.server.compact().await?;
        // What its watches remember goes with the process.
        self.server.kill_api()?;
        self.server.start_api()
    }
}

/// The embedded one, on loopback.
#[derive(Debug)]
pub struct OnEmbedded {
    cluster: Cluster,
    _front: FrontEndHandle,
    client: ApiClient,
    reader: String,
}

impl OnEmbedded {
    /// Starts it, in a tokio runtime.
    ///
    /// # Errors
    /// When it cannot be served.
    pub fn start() -> Result<Self> {
        // As the recorded one: an API server alone.
        let options = StoreOptions { controllers: Controllers::Absent, ..StoreOptions::default() };
        let cluster = Cluster::new(options)?;
        let front = cluster.serve_https("transcript", std::net::TcpListener::bind("127.0.0.1:0")?, &[])?;
        let client = ApiClient::new(&front.url(), Some(cluster.authority().pem()), Some(cluster.token()))?;
        let reader = cluster.new_token(reader());
        Ok(Self { cluster, _front: front, client, reader })
    }
}

impl Server for OnEmbedded {
    fn client(&self, user: User) -> ApiClient {
        as_user(&self.client, &self.reader, user)
    }

    async fn forget(&mut self) -> Result<()> {
        self.cluster.store().compact();
        Ok(())
    }
}
