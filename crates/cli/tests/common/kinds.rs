//! Tests that run on either kind of API server: the embedded one, and a real one with relays before it, which take the
//! faults. The real ones run where `KUBEBUILDER_ASSETS` names a directory with `kube-apiserver` and `etcd`, and of those
//! that start a server for a question that another has asked already, only where `MAINSTAY_LONG` is set (`make test-long`).

use mainstay_lab::apiserver::real::assets;
use mainstay_lab::cluster::Backend;
use mainstay_lab::netns;

use crate::common::Scratch;

/// Which of the runs with a real API server this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    Always,
    Long,
}

/// What a test begins with.
pub(crate) struct Bed {
    pub(crate) backend: Backend,
    pub(crate) scratch: Scratch,
}

pub(crate) fn embedded(name: &str, test: fn(Bed)) {
    begin(name, Ok(Backend::Embedded), test);
}

pub(crate) fn real(name: &str, when: When, test: fn(Bed)) {
    let short = when == When::Long && std::env::var_os("MAINSTAY_LONG").is_none();
    let skipped = "a part of the long tests: set MAINSTAY_LONG=1, or run `make test-long`";
    let backend = if short { Err(skipped.to_owned()) } else { assets().map(Backend::Relayed) };
    begin(&format!("real-{name}"), backend, test);
}

fn begin(name: &str, backend: Result<Backend, String>, test: fn(Bed)) {
    let privileged = netns::ensure_privilege().map_err(|reason| reason.to_string());
    match privileged.and(backend) {
        Ok(backend) => test(Bed { backend, scratch: Scratch::new(&name[..name.len().min(48)]) }),
        Err(reason) => eprintln!("skipped: {reason}"),
    }
}

/// Names each test, and which runs of those with a real API server it belongs to.
macro_rules! on_either_kind {
    ($($test:ident: $when:ident),* $(,)?) => {
        mod on_the_embedded_api_server {
            $(#[test] fn $test() { crate::kinds::embedded(stringify!($test), super::$test); })*
        }
        mod on_a_real_api_server {
            $(#[test] fn $test() {
                crate::kinds::real(stringify!($test), crate::kinds::When::$when, super::$test);
            })*
        }
    };
}
