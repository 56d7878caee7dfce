//! Every way a kubeconfig can say who we are and whom we trust, against a server that speaks TLS and checks.
#![expect(clippy::unwrap_used, reason = "a test that cannot be set up should fail")]

mod common;

use std::fs;
use std::sync::Arc;

use common::{ConfigFile, Double, Rig, eventually, lease, timing};
use mainstay_core::effect::LeaseRequest;
use mainstay_core::input::LeaseOutcome;
use mainstay_kube::{ErrorClass, ServerState, Source, Trouble};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use serde_json::{Value, json};
use tokio_rustls::TlsAcceptor;

/// A certificate authority.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    pem: String,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let (pem, der) = (certificate.pem(), certificate.der().clone());
        Self { issuer: Issuer::new(params, key), certificate: der, pem }
    }

    /// A server whose certificate carries these names (addresses among them).
    async fn server(&self, names: &[&str]) -> Double {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.subject_alt_names = names
            .iter()
            .map(|name| match name.parse() {
                Ok(address) => SanType::IpAddress(address),
                Err(_) => SanType::DnsName((*name).try_into().unwrap()),
            })
            .collect();
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .allow_unauthenticated()
            .build()
            .unwrap();
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        let double = Double::secure(TlsAcceptor::from(Arc::new(config))).await;
        double.store.lock().unwrap().put(lease("node-a"));
        double
    }

    /// A client's certificate and key, PEM.
    fn client(&self) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["node-b".to_owned()]).unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }
}

fn base64(text: &str) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let encode = |three: &[u8]| {
        let bits = three
            .iter()
            .enumerate()
            .fold(0_usize, |bits, (at, byte)| bits | usize::from(*byte) << (16 - 8 * at));
        let digit =
            |at: usize| if at > three.len() { '=' } else { char::from(DIGITS[bits >> (18 - 6 * at) & 63]) };
        [digit(0), digit(1), digit(2), digit(3)]
    };
    text.as_bytes().chunks(3).flat_map(encode).collect()
}

/// Writes a kubeconfig with this cluster and user.
fn write(file: &ConfigFile, cluster: &Value, user: &Value) {
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "contexts": [{"name": "other", "context": {"cluster": "none", "user": "none"}},
            {"name": "c", "context": {"cluster": "k", "user": "u"}}],
        "clusters": [{"name": "k", "cluster": cluster}], "users": [{"name": "u", "user": user}],
    });
    fs::write(&file.0, config.to_string()).unwrap();
}

async fn read(file: ConfigFile, learned: &[&str]) -> (Rig, LeaseOutcome) {
    let mut rig = Rig::with(file, learned, timing());
    let outcome = rig.ask(LeaseRequest::Read).await;
    (rig, outcome)
}

#[tokio::test]
async fn every_way_to_trust_and_to_be_trusted_works() {
    let authority = Authority::new();
    let server = authority.server(&["127.0.0.1"]).await;
    let (certificate, key) = authority.client();
    let inline = json!({"server": server.url, "certificate-authority-data": base64(&authority.pem)});
    let file = json!({"server": server.url, "certificate-authority": "ca.crt"});
    let insecure = json!({"server": server.url, "insecure-skip-tls-verify": true});
    let pair = json!({"client-certificate": "me.crt", "client-key": "me.key"});
    let pair_inline =
        json!({"client-certificate-data": base64(&certificate), "client-key-data": base64(&key)});
    for (cluster, user, by_certificate) in [
        (&inline, json!({"token": "t1"}), false),
        (&file, json!({"token": "t1"}), false),
        (&insecure, json!({"token": "t1"}), false),
        (&file, json!({"tokenFile": "token"}), false),
        (&inline, pair, true),
        (&inline, pair_inline, true),
    ] {
        let config = ConfigFile::reserve();
        let beside = |name: &str| config.0.with_file_name(name);
        fs::write(beside("ca.crt"), &authority.pem).unwrap();
        fs::write(beside("token"), "t1\n").unwrap();
        fs::write(beside("me.crt"), &certificate).unwrap();
        fs::write(beside("me.key"), &key).unwrap();
        write(&config, cluster, &user);
        {
            let mut store = server.store.lock().unwrap();
            store.client_certificates = 0;
            store.token = if by_certificate { String::new() } else { "t1".to_owned() };
        }
        let (_rig, outcome) = read(config, &[]).await;
        assert!(matches!(outcome, LeaseOutcome::Record(_)), "{cluster} {user}: {outcome:?}");
        assert_eq!(server.store.lock().unwrap().client_certificates > 0, by_certificate, "{user}");
    }
}

#[tokio::test]
async fn a_renewed_token_file_counts_at_once() {
    let authority = Authority::new();
    let server = authority.server(&["127.0.0.1"]).await;
    let config = ConfigFile::reserve();
    let token = config.0.with_file_name("token");
    fs::write(&token, "t1").unwrap();
    let cluster = json!({"server": server.url, "certificate-authority-data": base64(&authority.pem)});
    write(&config, &cluster, &json!({"tokenFile": token}));
    server.store.lock().unwrap().token = "t1".to_owned();
    let (mut rig, outcome) = read(config, &[]).await;
    assert!(matches!(outcome, LeaseOutcome::Record(_)), "{outcome:?}");
    fs::write(&token, "t2").unwrap();
    server.store.lock().unwrap().token = "t2".to_owned();
    let outcome = rig.ask(LeaseRequest::Read).await;
    assert!(matches!(outcome, LeaseOutcome::Record(_)), "{outcome:?}");
}

#[tokio::test]
async fn a_server_must_prove_the_name_it_is_asked_by() {
    let authority = Authority::new();
    let stranger = Authority::new();
    let ca = base64(&authority.pem);
    for (what, issuer, names, tls_server_name, trusted) in [
        ("its address", &authority, &["127.0.0.1"][..], None, true),
        ("the cluster's name alone, asked by address", &authority, &["kubernetes.default.svc"], None, false),
        ("tls-server-name", &authority, &["api.example"], Some("api.example"), true),
        ("another name", &authority, &["127.0.0.1"], Some("api.example"), false),
        ("another authority", &stranger, &["127.0.0.1"], None, false),
    ] {
        let server = issuer.server(names).await;
        let mut cluster = json!({"server": server.url, "certificate-authority-data": ca});
        if let Some(name) = tls_server_name {
            cluster["tls-server-name"] = name.into();
        }
        let config = ConfigFile::reserve();
        write(&config, &cluster, &json!({"token": "t1"}));
        let (rig, outcome) = read(config, &[]).await;
        if trusted {
            assert!(matches!(outcome, LeaseOutcome::Record(_)), "{what}: {outcome:?}");
            continue;
        }
        assert_eq!(outcome, LeaseOutcome::Unreachable, "{what}");
        eventually("the certificate is blamed", || {
            let servers = rig.handles.servers.borrow();
            let told =
                |error: &Trouble| error.class == ErrorClass::Connect && error.text.contains("certificate");
            servers.iter().any(|server| server.last_error.as_ref().is_some_and(told))
        })
        .await;
    }
}

#[tokio::test]
async fn a_learned_server_may_prove_the_clusters_name() {
    let authority = Authority::new();
    let stranger = Authority::new();
    for (issuer, names, trusted) in [
        (&authority, ["kubernetes.default.svc"], true),
        (&authority, ["web.example"], false),
        (&stranger, ["kubernetes.default.svc"], false),
    ] {
        let learned = issuer.server(&names).await;
        let config = ConfigFile::reserve();
        let nobody = common::nobody().await.replace("http:", "https:");
        let cluster = json!({"server": nobody, "certificate-authority-data": base64(&authority.pem)});
        write(&config, &cluster, &json!({"token": "t1"}));
        let (rig, outcome) = read(config, &[&learned.url]).await;
        assert_eq!(matches!(outcome, LeaseOutcome::Record(_)), trusted, "{names:?}: {outcome:?}");
        let servers = rig.handles.servers.borrow();
        let answering = servers.iter().any(|server| server.state == ServerState::Answering);
        assert_eq!(answering, trusted, "{names:?}");
    }
}

#[tokio::test]
async fn a_broken_kubeconfig_is_named_with_its_cause_and_remedy() {
    let file = ConfigFile::reserve();
    let ca = base64(&Authority::new().pem);
    let good = json!({"server": "https://127.0.0.1:6443", "certificate-authority-data": ca});
    for (cluster, user, cause) in [
        (json!({}), json!({}), "cluster url is missing"),
        (json!({"server": "not a url"}), json!({}), "parse cluster url"),
        (
            json!({"server": "https://127.0.0.1", "certificate-authority": "no-such-file"}),
            json!({}),
            "no-such-file",
        ),
        (json!({"server": "https://127.0.0.1", "certificate-authority-data": "%"}), json!({}), "base64"),
        (good.clone(), json!({"tokenFile": "/no/such/token"}), "/no/such/token"),
        (
            good.clone(),
            json!({"client-certificate": "/no/such/crt", "client-key": "/no/such/key"}),
            "/no/such/crt",
        ),
    ] {
        write(&file, &cluster, &user);
        let error = Source::Kubeconfig(file.0.clone()).check().await.unwrap_err().to_string();
        assert!(error.starts_with(&format!("k8s_config_file={}: ", file.0.display())), "{error}");
        assert!(error.contains(cause), "{cause}: {error}");
        assert!(
            error.contains("; give the path of a readable kubeconfig") && !error.contains('\n'),
            "{error}"
        );
    }
    fs::remove_file(&file.0).unwrap();
    let error = Source::Kubeconfig(file.0.clone()).check().await.unwrap_err().to_string();
    assert!(error.contains("No such file"), "{error}");
    write(&file, &json!({"server": "http://127.0.0.1:1"}), &json!({}));
    Source::Kubeconfig(file.0.clone()).check().await.expect("plain HTTP needs neither trust nor token");
}
