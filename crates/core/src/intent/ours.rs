//! Which Services are ours.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::name::ObjectName;
use super::service::{Service, ServiceType};
use crate::vip::Vip;

/// What the agent's settings say of Services, as far as decisions depend on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rules {
    /// `svc_namespace`; `None` is all.
    pub namespace: Option<String>,
    /// `lb_class_*`.
    pub class: ClassRule,
    /// Addresses that are held already by a claim of another sort: the control plane's.
    pub reserved: BTreeSet<Vip>,
    /// What the label `node.kubernetes.io/exclude-from-external-load-balancers` means.
    pub exclude_label: ExcludeLabel,
}

/// What the label `node.kubernetes.io/exclude-from-external-load-balancers` means: the setting
/// `MAINSTAY_SVC_EXCLUDE_LABEL`.
///
/// kubeadm puts the label on every control-plane node. kube-vip does not look at it; MetalLB does unless it is told
/// otherwise, and so do we: whoever sets it says that nothing for Services belongs there. Where the agent runs on such
/// nodes alone, nobody is left, and it has to be `ignored`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExcludeLabel {
    /// A node that has it holds nothing for Services.
    #[default]
    Honoured,
    /// Nothing.
    Ignored,
}

/// Which Services are ours, by `spec.loadBalancerClass`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClassRule {
    /// `lb_class_only`: those without a class are not ours. Without effect unless `legacy`.
    pub only: bool,
    /// `lb_class_name`.
    pub name: String,
    /// `lb_class_legacy_handling`.
    pub legacy: bool,
}

impl Default for ClassRule {
    /// kube-vip's.
    fn default() -> Self {
        Self { only: false, name: "kube-vip.io/kube-vip-class".to_owned(), legacy: true }
    }
}

impl Default for Rules {
    /// All namespaces, kube-vip's class, nothing reserved.
    fn default() -> Self {
        Self {
            namespace: None,
            class: ClassRule::default(),
            reserved: BTreeSet::new(),
            exclude_label: ExcludeLabel::Honoured,
        }
    }
}

/// Why a Service is not ours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
pub enum NotOurs {
    /// `spec.type` is another.
    #[error("its type is {0:?}: only Services of type LoadBalancer are held")]
    Type(ServiceType),
    /// Nothing else of it was understood, ever.
    #[error("it cannot be read, and nothing was known of it before: correct what is told of it")]
    Unreadable,
    /// `svc_namespace` names another namespace.
    #[error("only Services in namespace {0:?} are held (svc_namespace)")]
    Namespace(String),
    /// `kube-vip.io/ignore` is `true`.
    #[error("its annotation kube-vip.io/ignore says so")]
    Ignored,
    /// It has no class, and has to have one.
    #[error("it has no spec.loadBalancerClass, and {0:?} is asked for (lb_class_only, lb_class_name)")]
    NoClass(String),
    /// It is for another load balancer.
    #[error("its spec.loadBalancerClass is {class:?}, and {ours:?} is ours (lb_class_name)")]
    Class {
        /// Its class.
        class: String,
        /// Ours.
        ours: String,
    },
}

/// Whether a Service is ours.
///
/// # Errors
/// Why it is not: the first reason in the order of [`NotOurs`].
pub fn is_ours(name: &ObjectName, service: &Service, rules: &Rules) -> Result<(), NotOurs> {
    if service.service_type != ServiceType::LoadBalancer {
        return Err(NotOurs::Type(service.service_type));
    }
    if let Some(only) = rules.namespace.as_ref().filter(|only| *only != name.namespace()) {
        return Err(NotOurs::Namespace(only.clone()));
    }
    if service.unreadable {
        return Err(NotOurs::Unreadable);
    }
    if service.ignore {
        return Err(NotOurs::Ignored);
    }
    rules.class.admits(service.class.as_deref())
}

impl ClassRule {
    /// Whether a Service of this class is ours, as kube-vip's two filters have it (`pkg/services`). Legacy
    /// handling takes those without a class unless `lb_class_only` is set. Without it the class has to be ours, and an
    /// empty name is that of Services without a class.
    fn admits(&self, class: Option<&str>) -> Result<(), NotOurs> {
        let ours = || self.name.clone();
        match class {
            Some(class) if class == self.name => Ok(()),
            Some(class) => Err(NotOurs::Class { class: class.to_owned(), ours: ours() }),
            None if self.legacy && !self.only => Ok(()),
            None if !self.legacy && self.name.is_empty() => Ok(()),
            None => Err(NotOurs::NoClass(ours())),
        }
    }
}
