//! The kinds of object the server knows: one line each, and the little that differs between them.
//!
//! What differs was read in the strategies of kubernetes `pkg/registry/*/*/strategy.go`: whether a PUT may create,
//! whether an update may come without a resource version, and what counts for `metadata.generation`.

/// Whether objects of a kind live in a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Keyed by namespace and name.
    Namespaced,
    /// Keyed by name alone.
    Cluster,
}

/// One kind of object.
#[derive(Clone, Copy, Debug)]
pub struct Resource {
    /// API group, empty for the core group.
    pub group: &'static str,
    /// Version within the group.
    pub version: &'static str,
    /// Plural, as in the URL.
    pub plural: &'static str,
    /// Singular kind, as in the object.
    pub kind: &'static str,
    /// Namespaced or not.
    pub scope: Scope,
    /// What kubectl lets a person type.
    pub short_names: &'static [&'static str],
    /// Has a `status` subresource: the main resource then ignores changes of `status`.
    pub has_status: bool,
    /// A PUT of an absent object creates it.
    pub create_on_update: bool,
    /// An update without `metadata.resourceVersion` is accepted.
    pub unconditional_update: bool,
    /// Counts `metadata.generation`.
    pub has_generation: bool,
    /// Field selectors allowed beside `metadata.name` and `metadata.namespace`.
    pub fields: &'static [&'static str],
}

impl Resource {
    const fn new(group: &'static str, plural: &'static str, kind: &'static str, scope: Scope) -> Self {
        Self {
            group,
            version: "v1",
            plural,
            kind,
            scope,
            short_names: &[],
            has_status: false,
            create_on_update: false,
            unconditional_update: true,
            has_generation: false,
            fields: &[],
        }
    }

    const fn short(mut self, names: &'static [&'static str]) -> Self {
        self.short_names = names;
        self
    }

    const fn status(mut self) -> Self {
        self.has_status = true;
        self
    }

    const fn generation(mut self) -> Self {
        self.has_generation = true;
        self
    }

    const fn create_on_update(mut self) -> Self {
        self.create_on_update = true;
        self
    }

    const fn version_required(mut self) -> Self {
        self.unconditional_update = false;
        self
    }

    const fn fields(mut self, fields: &'static [&'static str]) -> Self {
        self.fields = fields;
        self
    }

    /// `v1` or `group/version`, as in an object's `apiVersion`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_owned()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// `nodes` or `leases.coordination.k8s.io`, as error messages name a resource.
    pub fn qualified(&self) -> String {
        if self.group.is_empty() { self.plural.to_owned() } else { format!("{}.{}", self.plural, self.group) }
    }

    /// `Node` or `Lease.coordination.k8s.io`, as messages about invalid objects name a kind.
    pub fn qualified_kind(&self) -> String {
        if self.group.is_empty() { self.kind.to_owned() } else { format!("{}.{}", self.kind, self.group) }
    }

    /// The URL path of the collection, in `namespace` where the kind has one and one is given.
    pub fn path(&self, namespace: &str) -> String {
        let root = if self.group.is_empty() { "/api" } else { "/apis" };
        let version = self.api_version();
        match (self.scope, namespace) {
            (Scope::Namespaced, namespace) if !namespace.is_empty() => {
                format!("{root}/{version}/namespaces/{namespace}/{}", self.plural)
            }
            _ => format!("{root}/{version}/{}", self.plural),
        }
    }
}

const EVENT_FIELDS: &[&str] = &[
    "involvedObject.kind",
    "involvedObject.namespace",
    "involvedObject.name",
    "involvedObject.uid",
    "reason",
    "type",
    "reportingComponent",
];

/// The group of the access control's kinds.
pub(super) const RBAC: &str = "rbac.authorization.k8s.io";

use Scope::{Cluster, Namespaced};

/// Leases: the election's record.
pub static LEASE: &Resource = &RESOURCES[0];
/// Nodes.
pub static NODE: &Resource = &RESOURCES[1];
/// Namespaces.
pub static NAMESPACE: &Resource = &RESOURCES[2];
/// Endpoint slices.
pub static ENDPOINT_SLICE: &Resource = &RESOURCES[3];
/// Core events.
pub static EVENT: &Resource = &RESOURCES[4];
/// Services.
pub static SERVICE: &Resource = &RESOURCES[5];
/// Config maps.
pub static CONFIG_MAP: &Resource = &RESOURCES[6];
/// Pods.
pub static POD: &Resource = &RESOURCES[7];
/// Endpoints, the older form of endpoint slices.
pub static ENDPOINTS: &Resource = &RESOURCES[8];
/// Service accounts.
pub static SERVICE_ACCOUNT: &Resource = &RESOURCES[9];
/// Roles, in a namespace.
pub static ROLE: &Resource = &RESOURCES[10];
/// Role bindings, in a namespace.
pub static ROLE_BINDING: &Resource = &RESOURCES[11];
/// Cluster roles.
pub static CLUSTER_ROLE: &Resource = &RESOURCES[12];
/// Cluster role bindings.
pub static CLUSTER_ROLE_BINDING: &Resource = &RESOURCES[13];
/// Service CIDRs.
pub static SERVICE_CIDR: &Resource = &RESOURCES[14];

/// Every kind the server knows. Another is one more line.
#[rustfmt::skip]
pub static RESOURCES: &[Resource] = &[
    Resource::new("coordination.k8s.io", "leases", "Lease", Namespaced).create_on_update().version_required(),
    Resource::new("", "nodes", "Node", Cluster).short(&["no"]).status().fields(&["spec.unschedulable"]),
    Resource::new("", "namespaces", "Namespace", Cluster).short(&["ns"]).status().fields(&["status.phase"]),
    Resource::new("discovery.k8s.io", "endpointslices", "EndpointSlice", Namespaced).generation(),
    Resource::new("", "events", "Event", Namespaced).short(&["ev"]).create_on_update().fields(EVENT_FIELDS),
    Resource::new("", "services", "Service", Namespaced).short(&["svc"]).status().create_on_update().fields(&["spec.clusterIP", "spec.type"]),
    Resource::new("", "configmaps", "ConfigMap", Namespaced).short(&["cm"]),
    Resource::new("", "pods", "Pod", Namespaced).short(&["po"]).status().fields(&["spec.nodeName", "status.phase", "status.podIP"]),
    Resource::new("", "endpoints", "Endpoints", Namespaced).short(&["ep"]),
    Resource::new("", "serviceaccounts", "ServiceAccount", Namespaced).short(&["sa"]),
    Resource::new(RBAC, "roles", "Role", Namespaced).create_on_update(),
    Resource::new(RBAC, "rolebindings", "RoleBinding", Namespaced).create_on_update(),
    Resource::new(RBAC, "clusterroles", "ClusterRole", Cluster).create_on_update(),
    Resource::new(RBAC, "clusterrolebindings", "ClusterRoleBinding", Cluster).create_on_update(),
    Resource::new("networking.k8s.io", "servicecidrs", "ServiceCIDR", Cluster).status(),
];

/// The resource of this URL, with its index in [`RESOURCES`].
pub(crate) fn find(group: &str, version: &str, plural: &str) -> Option<&'static Resource> {
    RESOURCES.iter().find(|known| known.group == group && known.version == version && known.plural == plural)
}

/// The resource of an object with this `apiVersion` and `kind`.
pub(crate) fn of_kind(api_version: &str, kind: &str) -> Option<&'static Resource> {
    RESOURCES.iter().find(|known| known.kind == kind && known.api_version() == api_version)
}
