//! One function for each parser that reads bytes from outside: given any bytes, it asserts what holds for all of them.
//!
//! The same functions run in `cargo test` over the kept inputs and changes of them (`../main.rs`), and below libFuzzer
//! for as long as one likes (`fuzz/`, `make fuzz`). A target panics when a property does not hold, and never otherwise.

mod api_client;
mod api_server;
mod bytes;
mod core_files;
mod frames;
mod kernel;
mod machine;
mod operator;

/// One parser, or a few that read the same bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    /// Its name, and its corpus's: `fuzz/corpus/NAME.txt`.
    pub(crate) name: &'static str,
    /// Panics if a property does not hold for these bytes.
    pub(crate) check: fn(&[u8]),
}

/// Every target.
pub(crate) const TARGETS: &[Target] = &[
    Target { name: "admin", check: operator::admin },
    Target { name: "annotations", check: core_files::annotations },
    Target { name: "answer", check: api_client::answer },
    Target { name: "api-object", check: api_server::object },
    Target { name: "api-patch", check: api_server::patch },
    Target { name: "api-protobuf", check: api_server::protobuf },
    Target { name: "api-requests", check: api_server::requests },
    Target { name: "api-selector", check: api_server::selector },
    Target { name: "config-file", check: operator::config_file },
    Target { name: "endpoint-slices", check: api_client::endpoint_slices },
    Target { name: "frame", check: frames::frame },
    Target { name: "ipvs", check: kernel::ipvs },
    Target { name: "kubeconfig", check: api_client::kubeconfig },
    Target { name: "lease", check: api_client::lease },
    Target { name: "list-page", check: api_client::page },
    Target { name: "machine", check: machine::machine },
    Target { name: "netlink", check: kernel::netlink },
    Target { name: "nftables", check: kernel::nftables },
    Target { name: "recording", check: core_files::recording },
    Target { name: "settings", check: operator::settings },
    Target { name: "snapshot", check: core_files::snapshot },
    Target { name: "watch", check: api_client::watch },
];
