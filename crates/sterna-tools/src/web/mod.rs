//! What the tools for the web share: addresses that are judged before they are connected to, one request, pages as text.

pub(crate) mod cache;
pub(crate) mod focus;
pub(crate) mod get;
pub(crate) mod guard;
pub(crate) mod page;
mod post;
pub(crate) mod search;

pub use post::{Posted, Poster};
pub use search::{Backend, SearchSettings};
use sterna_shell::sandbox::DomainRule;
pub use sterna_shell::sandbox::net::Resolver;

/// How the tools for the web are set up.
#[derive(Clone, Default)]
pub struct WebSettings {
    /// Hosts with a port (`localhost:3000`) that may be fetched although their address is not of the public network.
    /// Addresses where clouds hand out credentials stay refused.
    pub allow_private: Vec<DomainRule>,
    /// Makes addresses of names; `None`: the system's own resolver.
    pub resolver: Option<Resolver>,
    /// Without it there is no `web_search`.
    pub search: Option<SearchSettings>,
}
