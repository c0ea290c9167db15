//! Who sends to the broker.

/// Which of the broker's two port ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Endpoint {
    /// Takes publishes, sends events.
    Publish,
    /// Takes and answers requests.
    Request,
}

/// Who sent a datagram, and to which endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sender {
    pub(super) port: u32,
    pub(super) pid: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) to: Endpoint,
}
