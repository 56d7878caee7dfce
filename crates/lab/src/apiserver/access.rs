//! Who is let in: bearer tokens, and client certificates of the cluster's own authority. What they may do then is
//! [`super::rbac`]'s to say.

use std::sync::{PoisonError, RwLock};

use http::HeaderMap;
use http::header::AUTHORIZATION;

use super::status::ApiStatus;
use super::user::UserInfo;

/// The tokens that are accepted, each with whom it stands for. Without any, everyone is an administrator: the open
/// mode, for tests of other things.
#[derive(Debug, Default)]
pub struct Access {
    tokens: RwLock<Vec<(String, UserInfo)>>,
}

impl Access {
    /// Administrators' tokens; an empty list lets everyone in.
    pub fn of(tokens: Vec<String>) -> Self {
        let access = Self::default();
        access.set_tokens(tokens);
        access
    }

    /// Replaces all tokens by these administrators' ones, as when they are rotated.
    pub fn set_tokens(&self, tokens: Vec<String>) {
        let administrator = |token| (token, UserInfo::administrator("kubernetes-admin"));
        *self.tokens.write().unwrap_or_else(PoisonError::into_inner) =
            tokens.into_iter().map(administrator).collect();
    }

    /// Lets `user` in by this token too.
    pub fn add_token(&self, token: String, user: UserInfo) {
        self.tokens.write().unwrap_or_else(PoisonError::into_inner).push((token, user));
    }

    /// Who asks. `peer` is the user whom a client certificate proved.
    ///
    /// # Errors
    /// 401 for a token that is not known.
    pub(super) fn authenticate(
        &self,
        peer: Option<&UserInfo>,
        headers: &HeaderMap,
    ) -> Result<UserInfo, ApiStatus> {
        if let Some(user) = peer {
            return Ok(user.clone());
        }
        if self.tokens.read().unwrap_or_else(PoisonError::into_inner).is_empty() {
            return Ok(UserInfo::administrator("system:open"));
        }
        let given = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let Some(given) = given.and_then(|value| value.strip_prefix("Bearer ")) else {
            return Ok(UserInfo::anonymous());
        };
        self.user_of(given).ok_or_else(ApiStatus::unauthorized)
    }

    /// Whom a token stands for.
    pub(super) fn user_of(&self, token: &str) -> Option<UserInfo> {
        let tokens = self.tokens.read().unwrap_or_else(PoisonError::into_inner);
        tokens.iter().find(|(known, _)| known == token).map(|(_, user)| user.clone())
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_static(value))])
    }

    #[test]
    fn a_token_stands_for_its_user_and_no_token_for_nobody() {
        let access = Access::of(vec!["root".to_owned()]);
        access.add_token("agent".to_owned(), UserInfo::service_account("kube-system", "mainstay"));
        let who = |headers| access.authenticate(None, &headers);
        assert!(who(headers("Bearer root")).unwrap().is_administrator());
        assert_eq!(who(headers("Bearer agent")).unwrap().name, "system:serviceaccount:kube-system:mainstay");
        assert_eq!(who(headers("Bearer other")).unwrap_err().code, 401);
        assert_eq!(who(HeaderMap::new()).unwrap(), UserInfo::anonymous());
        assert_eq!(who(headers("Basic cm9vdA==")).unwrap(), UserInfo::anonymous());
    }

    #[test]
    fn a_certificate_comes_before_a_token() {
        let access = Access::of(vec!["root".to_owned()]);
        let jane = UserInfo::authenticated("jane", &[]);
        assert_eq!(access.authenticate(Some(&jane), &headers("Bearer root")).unwrap(), jane);
    }

    #[test]
    fn without_tokens_the_server_is_open() {
        assert!(Access::default().authenticate(None, &HeaderMap::new()).unwrap().is_administrator());
    }
}
