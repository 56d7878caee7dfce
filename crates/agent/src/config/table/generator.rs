//! Flags of kube-vip's generator of manifests, which a running agent is not given.

use super::{Key, Kind, Setting};

const GENERATOR: &str = "manifests are not generated yet";

pub(super) const SETTINGS: &[Setting] = &[
    Setting::new(Key::InCluster, &[], &["inCluster"], Kind::Switch)
        .not_yet("Use a service account in place of a kubeconfig", GENERATOR),
    Setting::new(Key::Image, &[], &["image"], Kind::Text("IMAGE")).not_yet("The image", GENERATOR),
    Setting::new(Key::Taint, &[], &["taint"], Kind::Switch)
        .not_yet("Run on control-plane nodes only, and in spite of their taints", GENERATOR),
    Setting::new(Key::Role, &[], &["role"], Kind::Switch)
        .not_yet("A Role in place of a ClusterRole", GENERATOR),
    Setting::new(Key::RoleBinding, &[], &["rolebinding"], Kind::Switch)
        .not_yet("A RoleBinding in place of a ClusterRoleBinding", GENERATOR),
];
