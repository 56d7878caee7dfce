//! Flags of kube-vip's generator of manifests, which a running agent is not given.

use super::{Key, Kind, Setting};

const ALWAYS: &str = "permissions are always a Role's, for single objects: `mainstay manifest rbac`";

pub(super) const SETTINGS: &[Setting] = &[
    Setting::new(Key::InCluster, &[], &["inCluster"], Kind::Switch)
        .works("For `mainstay manifest`: use a service account in place of a kubeconfig"),
    Setting::new(Key::Image, &[], &["image"], Kind::Text("IMAGE"))
        .works("For `mainstay manifest`: the image"),
    Setting::new(Key::Taint, &[], &["taint"], Kind::Switch).works(
        "For `mainstay manifest daemonset`: run on control-plane nodes only, and in spite of their taints",
    ),
    Setting::new(Key::Role, &[], &["role"], Kind::Switch)
        .accepted("A Role in place of a ClusterRole", ALWAYS),
    Setting::new(Key::RoleBinding, &[], &["rolebinding"], Kind::Switch)
        .accepted("A RoleBinding in place of a ClusterRoleBinding", ALWAYS),
];
