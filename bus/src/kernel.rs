//! What the kernel publishes of the host, with the module `nlbus_events` loaded (kmod/samples/): each event of these topics
//! is one of these values. `kmod/include/uapi/linux/nlbus_events.h` has the same as C structures, packed and little-endian.
//!
//! ```no_run
//! use nlbus::kernel::{self, Link};
//!
//! let bus = nlbus::Bus::connect()?;
//! let mut links = bus.subscribe_as::<Link>(kernel::LINK)?;
//! for delivery in links.iter() {
//!     if let nlbus::TypedDelivery::Value(link, _) = delivery {
//!         println!("{}: {:?}", link.name, link.action);
//!     }
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use serde::de::{Error, SeqAccess, Visitor};
use serde::ser::SerializeTuple;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// Topic of [`Link`] events; on the bus of the network namespace that the device is in.
pub const LINK: &str = "kernel/link";
/// Topic of [`Module`] events; as all that follow on the bus of the initial network namespace.
pub const MODULE: &str = "kernel/module";
/// Topic of [`Cpu`] events.
pub const CPU: &str = "kernel/cpu";
/// Topic of [`Reboot`] events.
pub const REBOOT: &str = "kernel/reboot";
/// Topic of [`OutOfMemory`] events.
pub const OOM: &str = "kernel/oom";

/// A network device appeared, changed or is gone (`struct nlbus_link_event`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// Its index, which it keeps while it is in this namespace.
    pub ifindex: u32,
    /// `IFF_*` of `linux/if.h`, behind the change.
    pub flags: u32,
    /// Bytes of the largest packet.
    pub mtu: u32,
    /// What happened.
    pub action: LinkAction,
    /// Its name.
    pub name: Name<16>,
}

/// A kernel module was loaded or is unloaded (`struct nlbus_module_event`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Module {
    /// What happened.
    pub action: ModuleAction,
    /// Its name.
    pub name: Name<64>,
}

/// A CPU goes online or offline (`struct nlbus_cpu_event`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cpu {
    /// Its number.
    pub cpu: u32,
    /// Whether it goes online.
    pub online: bool,
}

/// The host is about to go down (`struct nlbus_reboot_event`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reboot {
    /// In which way.
    pub action: RebootAction,
}

/// The kernel is out of memory and is about to kill a process (`struct nlbus_oom_event`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutOfMemory {
    /// Bytes of memory that is free, of all zones.
    pub free_bytes: u64,
    /// Bytes of memory that the kernel manages.
    pub total_bytes: u64,
}

/// Declares an enum of a C enum's values, and one for what a newer kernel module may say.
macro_rules! actions {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $value:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(from = "u32", into = "u32")]
        #[non_exhaustive]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)*
            /// One that this library doesn't know.
            Other(u32),
        }

        impl From<u32> for $name {
            fn from(value: u32) -> Self {
                match value {
                    $($value => $name::$variant,)*
                    other => $name::Other(other),
                }
            }
        }

        impl From<$name> for u32 {
            fn from(action: $name) -> u32 {
                match action {
                    $($name::$variant => $value,)*
                    $name::Other(other) => other,
                }
            }
        }
    };
}

actions! {
    /// What happened to a network device (`enum nlbus_link_action`).
    LinkAction {
        /// It appeared in the namespace.
        Added = 1,
        /// It left the namespace.
        Removed = 2,
        /// It was set up (`ip link set ... up`).
        Up = 3,
        /// It was set down.
        Down = 4,
        /// It has another name: the one in the event.
        Renamed = 5,
    }
}

actions! {
    /// What happened to a kernel module (`enum nlbus_module_action`).
    ModuleAction {
        /// It was loaded: its init function has returned.
        Loaded = 1,
        /// It is unloaded: its exit function is done.
        Unloading = 2,
    }
}

actions! {
    /// How the host goes down (`enum nlbus_reboot_action`).
    RebootAction {
        /// It starts again.
        Restart = 1,
        /// It stops.
        Halt = 2,
        /// It stops, and its power is switched off.
        PowerOff = 3,
    }
}

/// A name of at most `N` bytes, padded with zeros.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Name<const N: usize>([u8; N]);

impl<const N: usize> Name<N> {
    /// The bytes of the name, without padding; mostly ASCII, but the kernel promises nothing.
    ///
    /// ```
    /// let name = nlbus::kernel::Name::from(*b"eth0\0\0\0\0");
    /// assert_eq!(name.as_bytes(), b"eth0");
    /// assert_eq!(name.to_string(), "eth0");
    /// ```
    pub fn as_bytes(&self) -> &[u8] {
        let end = self.0.iter().position(|byte| *byte == 0).unwrap_or(N);
        &self.0[..end]
    }
}

impl<const N: usize> From<[u8; N]> for Name<N> {
    fn from(bytes: [u8; N]) -> Self {
        Name(bytes)
    }
}

/// What isn't UTF-8 as U+FFFD.
impl<const N: usize> fmt::Display for Name<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&String::from_utf8_lossy(self.as_bytes()))
    }
}

impl<const N: usize> fmt::Debug for Name<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", String::from_utf8_lossy(self.as_bytes()))
    }
}

// serde has no arrays of more than 32; as a tuple they are the bytes and nothing else.
impl<const N: usize> Serialize for Name<N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut tuple = serializer.serialize_tuple(N)?;
        for byte in &self.0 {
            tuple.serialize_element(byte)?;
        }
        tuple.end()
    }
}

impl<'de, const N: usize> Deserialize<'de> for Name<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes<const N: usize>;

        impl<'de, const N: usize> Visitor<'de> for Bytes<N> {
            type Value = Name<N>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{N} bytes")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut bytes: A) -> Result<Name<N>, A::Error> {
                let mut name = [0; N];
                for (at, byte) in name.iter_mut().enumerate() {
                    *byte = bytes.next_element()?.ok_or_else(|| A::Error::invalid_length(at, &self))?;
                }
                Ok(Name(name))
            }
        }

        deserializer.deserialize_tuple(N, Bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec;
    use crate::wire::Content;

    #[test]
    fn what_a_newer_kernel_says_is_kept() {
        for value in [0, 1, 3, 5, 6, u32::MAX] {
            let action = LinkAction::from(value);
            assert_eq!(u32::from(action), value);
            assert_eq!(codec::decode::<LinkAction>(Content::Bincode, &value.to_le_bytes()).unwrap(), action);
        }
    }

    #[test]
    fn a_cut_name_is_refused() {
        assert!(codec::decode::<Name<16>>(Content::Bincode, &[b'a'; 15]).is_err());
        let name = codec::decode::<Name<16>>(Content::Bincode, &[b'a'; 16]).unwrap();
        assert_eq!(name.to_string(), "a".repeat(16));
    }
}
