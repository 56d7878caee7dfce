//! kubectl against the embedded API server: what a person types works as on a real cluster.
//!
//! Every test runs with each kubectl there is: the one on the PATH (Debian's is 1.20), the one that `MAINSTAY_KUBECTL`
//! names, and the recent one that `scripts/recent-kubectl.sh` puts into target/tools.

#![expect(clippy::unwrap_used, reason = "a test's helper that cannot go on fails the test")]

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use mainstay_lab::apiserver::{Cluster, FrontEndHandle, LEASE, StoreOptions, UserInfo};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use tokio::time::timeout;

/// Long enough for anything that is to happen at all on a busy machine.
const SOON: Duration = Duration::from_secs(60);

/// One kubectl, with a cluster of its own and a directory for its files.
struct Bench {
    program: PathBuf,
    cluster: Cluster,
    front: FrontEndHandle,
    directory: PathBuf,
}

/// The kubectls there are; says which are not.
fn programs() -> Vec<PathBuf> {
    // The test is at target/PROFILE/deps/NAME.
    let target = std::env::current_exe().unwrap().ancestors().nth(3).unwrap().to_owned();
    let named = std::env::var_os("MAINSTAY_KUBECTL").map(PathBuf::from);
    let candidates = [Some(PathBuf::from("kubectl")), named, Some(target.join("tools/kubectl"))];
    let mut found = Vec::new();
    for program in candidates.into_iter().flatten() {
        let mut version = std::process::Command::new(&program);
        let version =
            version.args(["version", "--client"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
        if version.is_ok_and(|status| status.success()) {
            found.push(program);
        } else {
            eprintln!(
                "skipped: no kubectl at {} (Debian: apt-get install kubernetes-client; a recent one: scripts/recent-kubectl.sh)",
                program.display()
            );
        }
    }
    found
}

/// A bench for each kubectl.
fn benches() -> impl Iterator<Item = Bench> {
    programs().into_iter().map(Bench::new)
}

impl Bench {
    fn new(program: PathBuf) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let directory =
            std::env::temp_dir().join(format!("mainstay-lab-kubectl-{}-{count}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let cluster = Cluster::new(StoreOptions::default()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let front = cluster.serve_https("one", listener, &[]).unwrap();
        let bench = Self { program, cluster, front, directory };
        bench.file("config", &bench.cluster.kubeconfig(&bench.front.url()));
        bench
    }

    /// Writes a file and gives its path.
    fn file(&self, name: &str, content: &str) -> String {
        let path = self.directory.join(name);
        std::fs::write(&path, content).unwrap();
        path.display().to_string()
    }

    fn kubectl(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        // kubectl keeps what it discovered: in our directory, not in the user's.
        command.arg("--cache-dir").arg(self.directory.join("cache")).args(arguments);
        command.env("KUBECONFIG", self.directory.join("config")).env("HOME", &self.directory);
        command.env("KUBE_EDITOR", self.directory.join("editor")).stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    async fn run(&self, arguments: &[&str]) -> Output {
        let run = self.kubectl(arguments).output();
        timeout(SOON, run).await.unwrap_or_else(|_| panic!("kubectl {arguments:?} does not end")).unwrap()
    }

    /// What kubectl prints, which must succeed.
    async fn ok(&self, line: &str) -> String {
        self.ok_with(&line.split_whitespace().collect::<Vec<_>>()).await
    }

    async fn ok_with(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments).await;
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{} {arguments:?}: {told}", self.program.display());
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// What kubectl says when it must fail.
    async fn fails(&self, line: &str) -> String {
        let output = self.run(&line.split_whitespace().collect::<Vec<_>>()).await;
        assert!(!output.status.success(), "{} {line} succeeded", self.program.display());
        String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout)
    }

    /// Checks that what kubectl prints has all of this in it.
    async fn shows(&self, line: &str, parts: &[&str]) {
        let shown = self.ok(line).await;
        for part in parts {
            assert!(shown.contains(part), "{} {line}: no {part:?} in:\n{shown}", self.program.display());
        }
    }

    async fn json(&self, line: &str) -> Value {
        serde_json::from_str(&self.ok(&format!("{line} -o json")).await).unwrap()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.directory));
    }
}

/// A Service with these ports, `NAME:NUMBER`.
fn service(ports: &[&str]) -> String {
    let ports = ports.iter().map(|port| {
        let (name, number) = port.split_once(':').unwrap();
        format!("  - {{name: {name}, port: {number}}}\n")
    });
    let head = "apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: default, labels: {app: web}}\n\
                spec:\n  type: LoadBalancer\n  selector: {app: web}\n  ports:\n";
    head.to_owned() + &ports.collect::<String>()
}

const EVERYTHING: &str = r#"
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: Node, metadata: {name: n1}}
- {apiVersion: v1, kind: ConfigMap, metadata: {name: conf, namespace: default}, data: {a: b}}
- {apiVersion: v1, kind: Endpoints, metadata: {name: web, namespace: default}, subsets: [{addresses: [{ip: 192.0.2.1}], ports: [{port: 80}]}]}
- {apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: web, namespace: default}, addressType: IPv4, endpoints: [{addresses: [192.0.2.1]}], ports: [{port: 80}]}
- {apiVersion: v1, kind: Event, metadata: {name: e, namespace: default}, involvedObject: {kind: Node, name: n1}, reason: Held, message: holds the VIP, type: Normal, count: 1}
- {apiVersion: coordination.k8s.io/v1, kind: Lease, metadata: {name: plndr-cp-lock, namespace: default}, spec: {holderIdentity: n1, leaseDurationSeconds: 5}}
- {apiVersion: networking.k8s.io/v1, kind: ServiceCIDR, metadata: {name: kubernetes}, spec: {cidrs: [10.96.0.0/12]}}
- {apiVersion: v1, kind: Pod, metadata: {name: p, namespace: default}, spec: {containers: [{name: c, image: "i:1", env: [{name: X, value: "1"}], ports: [{containerPort: 80}]}]}}
"#;

const KINDS: [&str; 10] = [
    "node/n1",
    "configmap/conf",
    "endpoints/web",
    "endpointslice/web",
    "event/e",
    "lease/plndr-cp-lock",
    "servicecidr/kubernetes",
    "pod/p",
    "service/web",
    "namespace/default",
];

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_is_created_printed_described_and_deleted() {
    for bench in benches() {
        let (all, web) = (bench.file("all.yaml", EVERYTHING), bench.file("web.yaml", &service(&["http:80"])));
        // A client older than a kind knows its shape from the server's OpenAPI alone.
        bench.ok(&format!("create -f {all} -f {web}")).await;
        bench.shows("get lease", &["NAME", "HOLDER", "AGE", "plndr-cp-lock", "n1"]).await;
        bench
            .shows(
                "get svc",
                &["TYPE", "CLUSTER-IP", "LoadBalancer", "10.96.1.0", "<pending>", "80:30000/TCP"],
            )
            .await;
        bench.shows("get nodes -o wide", &["STATUS", "ROLES", "INTERNAL-IP", "n1", "Unknown"]).await;
        bench.shows("get pods -o wide", &["READY", "RESTARTS", "0/1", "Pending"]).await;
        bench.shows("get endpointslices,ep", &["ADDRESSTYPE", "IPv4", "192.0.2.1:80"]).await;
        bench.shows("get events", &["LAST SEEN", "REASON", "node/n1", "holds the VIP"]).await;
        bench.shows("get servicecidrs", &["CIDRS", "10.96.0.0/12"]).await;
        bench.shows("get ns -A --sort-by=.metadata.name", &["Active", "kube-system"]).await;
        bench.shows("get all", &["pod/p", "service/web"]).await;
        for kind in KINDS {
            bench.shows(&format!("get {kind} -o name"), &["/"]).await;
            // kubectl 1.20 asks for EndpointSlices of v1beta1, which Kubernetes no longer serves since 1.25.
            if kind != "endpointslice/web" {
                bench.shows(&format!("describe {kind}"), &["Name:"]).await;
            }
        }
        bench.shows("describe svc web", &["Selector:", "app=web", "NodePort:", "30000/TCP"]).await;
        bench.ok(&format!("delete -f {all} -f {web}")).await;
        assert!(bench.fails("get lease plndr-cp-lock").await.contains("NotFound"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_tells_what_it_knows() {
    for bench in benches() {
        bench
            .shows("api-resources", &["leases", "servicecidrs", "selfsubjectaccessreviews", "endpointslices"])
            .await;
        bench.shows("api-versions", &["coordination.k8s.io/v1", "networking.k8s.io/v1"]).await;
        bench.shows("explain lease.spec", &["holderIdentity", "Who holds the lease"]).await;
        bench.shows("explain service.spec.ports", &["nodePort", "targetPort"]).await;
        bench.shows("explain pods --recursive", &["ephemeralContainers", "schedulingGates"]).await;
        bench.shows("version", &["v1.33.0"]).await;
        assert!(bench.fails("explain lease.spec.colour").await.contains("colour"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_field_that_is_not_known_is_refused() {
    for bench in benches() {
        let bad = "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {prots: []}\n";
        let told = bench.fails(&format!("apply -f {}", bench.file("bad.yaml", bad))).await;
        assert!(told.contains("unknown field") && told.contains("prots"), "{told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn apply_merges_on_the_client() {
    for bench in benches() {
        let file = bench.file("web.yaml", &service(&["http:80", "tls:443"]));
        let apply = format!("apply -f {file}");
        bench.shows(&apply, &["created"]).await;
        bench.shows(&apply, &["unchanged"]).await;
        let given = bench.json("get svc web").await["spec"]["clusterIP"].clone();
        // Another writer adds a port; the next apply takes away its own one alone, by the key of the list.
        bench
            .ok_with(&["patch", "svc", "web", "-p", r#"{"spec":{"ports":[{"port":22,"name":"ssh"}]}}"#])
            .await;
        bench.file("web.yaml", &service(&["tls:443", "dns:53"]));
        bench.shows(&apply, &["configured"]).await;
        let spec = bench.json("get svc web").await["spec"].clone();
        let mut ports: Vec<_> =
            spec["ports"].as_array().unwrap().iter().map(|port| port["port"].as_u64().unwrap()).collect();
        ports.sort_unstable();
        assert_eq!((ports, &spec["clusterIP"]), (vec![22, 53, 443], &given));
        bench
            .shows(
                &format!("apply --dry-run=server -f {}", bench.file("dry.yaml", &service(&["a:1"]))),
                &["dry run"],
            )
            .await;
        assert_eq!(bench.json("get svc web").await["spec"], spec);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn apply_on_the_server_knows_who_owns_what() {
    for bench in benches() {
        let map = |value: &str| {
            format!(
                "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: a, namespace: default}}\ndata: {value}\n"
            )
        };
        let (one, two) =
            (bench.file("one.yaml", &map("{x: '1', y: '1'}")), bench.file("two.yaml", &map("{x: '2'}")));
        bench
            .shows(&format!("apply --server-side --field-manager=one -f {one}"), &["serverside-applied"])
            .await;
        let told = bench.fails(&format!("apply --server-side --field-manager=two -f {two}")).await;
        assert!(told.contains("conflict with \"one\"") && told.contains(".data.x"), "{told}");
        bench.ok(&format!("apply --server-side --force-conflicts --field-manager=two -f {two}")).await;
        bench
            .ok(&format!(
                "apply --server-side --field-manager=one -f {}",
                bench.file("less.yaml", &map("{}"))
            ))
            .await;
        assert_eq!(bench.json("get cm a").await["data"], json!({ "x": "2" }));
        let raw: Value =
            serde_json::from_str(&bench.ok("get --raw /api/v1/namespaces/default/configmaps/a").await)
                .unwrap();
        let fields = &raw["metadata"]["managedFields"];
        assert_eq!(
            (&fields[0]["manager"], &fields[0]["operation"]),
            (&json!("two"), &json!("Apply")),
            "{fields}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_are_edited_patched_labelled_and_replaced() {
    for bench in benches() {
        bench.ok(&format!("create -f {}", bench.file("web.yaml", &service(&["http:80", "tls:443"])))).await;
        let editor = bench.file("editor", "#!/bin/sh\nexec sed -i 's/name: tls/name: secure/' \"$1\"\n");
        std::fs::set_permissions(&editor, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        bench.shows("edit svc web", &["edited"]).await;
        for (kind, patch) in [
            ("merge", r#"{"metadata":{"labels":{"m":"1"}}}"#),
            ("strategic", r#"{"spec":{"ports":[{"port":80,"name":"plain"}]}}"#),
            ("json", r#"[{"op":"add","path":"/metadata/labels/j","value":"1"}]"#),
        ] {
            bench.ok_with(&["patch", "svc", "web", "--type", kind, "-p", patch]).await;
        }
        bench.ok("label svc web l=1 app-").await;
        bench.ok("annotate svc web example.com/a=b").await;
        let web = bench.json("get svc web").await;
        assert_eq!(web["metadata"]["labels"], json!({ "m": "1", "j": "1", "l": "1" }));
        assert_eq!(
            (&web["spec"]["ports"][0]["name"], &web["spec"]["ports"][1]["name"]),
            (&json!("plain"), &json!("secure"))
        );
        bench.shows("get svc -l l=1,m!=2 -o name", &["service/web"]).await;
        bench.shows("get svc --field-selector metadata.name=web -o name", &["service/web"]).await;
        let mut next = web.clone();
        next["spec"]["externalTrafficPolicy"] = json!("Local");
        bench
            .shows(&format!("replace -f {}", bench.file("web.json", &next.to_string())), &["replaced"])
            .await;
        let stale = bench.fails(&format!("replace -f {}", bench.file("web.json", &web.to_string()))).await;
        assert!(stale.contains("Conflict"), "{stale}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_are_watched_and_waited_for() {
    for bench in benches() {
        let lease = |name: &str| json!({ "metadata": { "name": name }, "spec": { "holderIdentity": "n1" } });
        let store = bench.cluster.store();
        store.create(LEASE, "default", lease("first")).unwrap();
        let mut child = bench.kubectl(&["get", "leases", "-w"]).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        for expected in ["NAME", "first", "second"] {
            let line = timeout(SOON, lines.next_line()).await.expect("a line").unwrap().unwrap();
            assert!(line.starts_with(expected), "{line}");
            if expected == "first" {
                store.create(LEASE, "default", lease("second")).unwrap();
            }
        }
        child.kill().await.unwrap();
        let waiting =
            tokio::spawn(bench.kubectl(&["wait", "--for=delete", "lease/second", "--timeout=50s"]).output());
        let arrived = || bench.front.account().count(mainstay_lab::apiserver::Verb::Watch, "leases") > 1;
        timeout(SOON, async {
            while !arrived() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await
        .expect("kubectl wait watches");
        bench.ok("delete lease second").await;
        assert!(waiting.await.unwrap().unwrap().status.success());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rights_are_asked_for_granted_and_enforced() {
    for bench in benches() {
        let namespace = ["-n", "kube-system"].join(" ");
        bench
            .ok(&format!("apply -f {}", concat!(env!("CARGO_MANIFEST_DIR"), "/../../manifests/rbac.yaml")))
            .await;
        let account = "--as system:serviceaccount:kube-system:mainstay";
        bench.shows(&format!("auth can-i create leases {namespace} {account}"), &["yes"]).await;
        assert!(bench.fails(&format!("auth can-i delete leases {namespace} {account}")).await.contains("no"));
        bench
            .shows(&format!("auth can-i --list {namespace} {account}"), &["leases.coordination.k8s.io"])
            .await;
        let token = bench.cluster.new_token(UserInfo::service_account("kube-system", "mainstay"));
        bench.file("config", &bench.cluster.kubeconfig_with_token(&bench.front.url(), &token));
        let told = bench.fails("get nodes").await;
        let expected = "nodes is forbidden: User \"system:serviceaccount:kube-system:mainstay\" cannot list resource \"nodes\" in API group \"\" at the cluster scope";
        assert!(told.contains(expected), "{told}");
        bench.shows("get endpointslices -n default -o name", &[]).await;
        let told = bench.fails("create role more --verb=delete --resource=leases -n kube-system").await;
        assert!(told.contains("cannot create resource \"roles\""), "{told}");
        bench.file("config", &bench.cluster.kubeconfig_with_token(&bench.front.url(), "guessed"));
        assert!(bench.fails("get nodes").await.contains("Unauthorized"));
        let certified = bench.cluster.kubeconfig_with_certificate(&bench.front.url(), "admin").unwrap();
        bench.file("config", &certified);
        bench.shows("auth can-i delete nodes", &["yes"]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn deletion_heeds_finalizers_owners_and_namespaces() {
    for bench in benches() {
        bench.ok("create namespace other").await;
        bench.ok("create configmap owner -n other").await;
        let uid = bench.json("get cm owner -n other").await["metadata"]["uid"].clone();
        let owned = json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": { "name": "owned", "namespace": "other", "finalizers": ["example.com/hold"],
                          "ownerReferences": [{ "apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": uid }] },
        });
        bench.ok(&format!("create -f {}", bench.file("owned.json", &owned.to_string()))).await;
        bench.ok("delete cm owner -n other").await;
        let held = bench.json("get cm owned -n other").await;
        assert!(held["metadata"]["deletionTimestamp"].is_string(), "{held}");
        bench.ok("delete namespace other --wait=false").await;
        bench.shows("get ns other", &["Terminating"]).await;
        let told = bench.fails("create configmap late -n other").await;
        assert!(told.contains("because it is being terminated"), "{told}");
        bench
            .ok_with(&[
                "patch",
                "cm",
                "owned",
                "-n",
                "other",
                "--type=merge",
                "-p",
                r#"{"metadata":{"finalizers":null}}"#,
            ])
            .await;
        assert!(bench.fails("get ns other").await.contains("NotFound"));
    }
}
