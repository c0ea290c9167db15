//! The constants of `kmod/include/uapi/linux/nlbus.h` and those of the kernel's netlink headers that
//! the frames need, under the same names. `tests/abi.rs` compares each of them with what the C
//! compiler makes of the headers; their meaning is documented there.

#![expect(missing_docs, reason = "the header documents them")]

/// Declares constants and, from the same list, the table that the ABI test compares.
macro_rules! constants {
    ($($name:ident: $type:ty = $value:expr;)*) => {
        $(pub const $name: $type = $value;)*
        /// Every constant of this file with its value, for comparison with the C header.
        pub const ALL: &[(&str, u64)] = &[$((stringify!($name), $value as u64)),*];
    };
}

constants! {
    NLBUS_VERSION: u32 = 1;
    NLBUS_GENL_VERSION: u8 = 1;
    NLBUS_CMD_INFO: u8 = 1;
    NLBUS_CMD_RETIRE: u8 = 2;
    NLBUS_PROTOCOL: u32 = 25;
    NLBUS_GROUPS: u32 = 1024;
    NLBUS_USER_PORT: u32 = 0x6e6c_6274;
    NLBUS_USER_GROUPS: u32 = 32;
    NLBUS_BRIDGE_PORT_FIRST: u32 = 0x6e6c_4200;
    NLBUS_BRIDGE_PORT_LAST: u32 = 0x6e6c_42ff;
    NLBUS_GROUP_SYS: u32 = 1;
    NLBUS_GROUP_CLIENTS: u32 = 2;
    NLBUS_GROUP_FIRST: u32 = 3;
    NLBUS_TOPIC_MAX: usize = 255;
    NLBUS_TYPE_MAX: usize = 63;
    NLBUS_PAYLOAD_MAX: usize = 64512;
    NLBUS_DATAGRAM_MAX: usize = 65216;
    NLBUS_TOPIC_ALIGNTO: usize = 8;

    NLBUS_MSG_PUBLISH: u16 = 0x10;
    NLBUS_MSG_EVENT: u16 = 0x11;
    NLBUS_MSG_INFO: u16 = 0x12;
    NLBUS_MSG_TOPIC: u16 = 0x13;
    NLBUS_MSG_REPLAY: u16 = 0x14;
    NLBUS_MSG_WILL: u16 = 0x15;

    NLBUS_EVENT_F_KERNEL: u16 = 0x1;
    NLBUS_EVENT_F_REPLAYED: u16 = 0x2;
    NLBUS_EVENT_F_WILL: u16 = 0x4;
    NLBUS_EVENT_F_NO_WAIT: u16 = 0x8;
    NLBUS_EVENT_F_LOST: u16 = 0x10;
    NLBUS_EVENT_F_PUBLISH: u16 = NLBUS_EVENT_F_NO_WAIT | NLBUS_EVENT_F_LOST;
    NLBUS_LOST_MAX: u64 = 0xffff_ffff;
    NLBUS_LOST_HEAD_MAX: u64 = 0x4_0000_0000_0000;

    NLBUS_CONTENT_OPAQUE: u16 = 0;
    NLBUS_CONTENT_TEXT: u16 = 1;
    NLBUS_CONTENT_BINCODE: u16 = 2;
    NLBUS_CONTENT_JSON: u16 = 3;
    NLBUS_CONTENT_MAX: u16 = 3;

    NLBUS_INFO_A_PAD: u16 = 1;
    NLBUS_INFO_A_VERSION: u16 = 2;
    NLBUS_INFO_A_BROKER: u16 = 3;
    NLBUS_INFO_A_EPOCH: u16 = 4;
    NLBUS_INFO_A_PROTOCOL: u16 = 5;
    NLBUS_INFO_A_PUBLISH_PORT: u16 = 6;
    NLBUS_INFO_A_REQUEST_PORT: u16 = 7;
    NLBUS_INFO_A_GROUPS: u16 = 8;
    NLBUS_INFO_A_UPTIME_NS: u16 = 9;
    NLBUS_INFO_A_CLOCK_OFFSET_NS: u16 = 10;
    NLBUS_INFO_A_HEARTBEAT_MS: u16 = 11;
    NLBUS_INFO_A_LIMITS: u16 = 12;
    NLBUS_INFO_A_COUNTERS: u16 = 13;
    NLBUS_INFO_A_MAX: u16 = 13;

    NLBUS_BROKER_MODULE: u32 = 0;
    NLBUS_BROKER_USER: u32 = 1;

    NLBUS_LIMIT_A_PAD: u16 = 1;
    NLBUS_LIMIT_A_TOPICS: u16 = 2;
    NLBUS_LIMIT_A_PAYLOAD: u16 = 3;
    NLBUS_LIMIT_A_DATAGRAM: u16 = 4;
    NLBUS_LIMIT_A_PACK: u16 = 5;
    NLBUS_LIMIT_A_QUEUE: u16 = 6;
    NLBUS_LIMIT_A_HISTORY: u16 = 7;
    NLBUS_LIMIT_A_TOPIC_HISTORY: u16 = 8;
    NLBUS_LIMIT_A_PRIVATE_GROUPS: u16 = 9;
    NLBUS_LIMIT_A_TOPIC_MODE: u16 = 10;
    NLBUS_LIMIT_A_USER_TOPICS: u16 = 11;
    NLBUS_LIMIT_A_USER_QUEUE: u16 = 12;
    NLBUS_LIMIT_A_USER_HISTORY: u16 = 13;
    NLBUS_LIMIT_A_USER_PRIVATE_GROUPS: u16 = 14;
    NLBUS_LIMIT_A_WILLS: u16 = 15;
    NLBUS_LIMIT_A_USER_WILLS: u16 = 16;
    NLBUS_LIMIT_A_MAX: u16 = 16;

    NLBUS_COUNTER_A_PAD: u16 = 1;
    NLBUS_COUNTER_A_PUBLISHED: u16 = 2;
    NLBUS_COUNTER_A_REFUSED: u16 = 3;
    NLBUS_COUNTER_A_BROADCASTS: u16 = 4;
    NLBUS_COUNTER_A_OVERRUNS: u16 = 5;
    NLBUS_COUNTER_A_REPLAYED: u16 = 6;
    NLBUS_COUNTER_A_EVICTED: u16 = 7;
    NLBUS_COUNTER_A_TOPICS: u16 = 8;
    NLBUS_COUNTER_A_QUEUE: u16 = 9;
    NLBUS_COUNTER_A_HISTORY: u16 = 10;
    NLBUS_COUNTER_A_MOVED: u16 = 11;
    NLBUS_COUNTER_A_PRIVATE_GROUPS: u16 = 12;
    NLBUS_COUNTER_A_KERNEL_DROPPED: u16 = 13;
    NLBUS_COUNTER_A_CLIENTS: u16 = 14;
    NLBUS_COUNTER_A_WILLS: u16 = 15;
    NLBUS_COUNTER_A_LOST: u16 = 16;
    NLBUS_COUNTER_A_MAX: u16 = 16;

    NLBUS_TOPIC_OP_GET: u32 = 0;
    NLBUS_TOPIC_OP_LIST: u32 = 1;
    NLBUS_TOPIC_OP_DELETE: u32 = 2;
    NLBUS_TOPIC_OP_MAX: u32 = 2;

    NLBUS_TOPIC_A_PAD: u16 = 1;
    NLBUS_TOPIC_A_OP: u16 = 2;
    NLBUS_TOPIC_A_CURSOR: u16 = 3;
    NLBUS_TOPIC_A_SINCE: u16 = 4;
    NLBUS_TOPIC_A_LAST_ID: u16 = 5;
    NLBUS_TOPIC_A_ID: u16 = 6;
    NLBUS_TOPIC_A_NAME: u16 = 7;
    NLBUS_TOPIC_A_GROUP: u16 = 8;
    NLBUS_TOPIC_A_HEAD: u16 = 9;
    NLBUS_TOPIC_A_FIRST: u16 = 10;
    NLBUS_TOPIC_A_BYTES: u16 = 11;
    NLBUS_TOPIC_A_CHANGE: u16 = 12;
    NLBUS_TOPIC_A_MODE: u16 = 13;
    NLBUS_TOPIC_A_UID: u16 = 14;
    NLBUS_TOPIC_A_GID: u16 = 15;
    NLBUS_TOPIC_A_HISTORY: u16 = 16;
    NLBUS_TOPIC_A_BROADCAST: u16 = 17;
    NLBUS_TOPIC_A_DROPPED: u16 = 18;
    NLBUS_TOPIC_A_REPLAYED: u16 = 19;
    NLBUS_TOPIC_A_MOVED: u16 = 20;
    NLBUS_TOPIC_A_TYPE: u16 = 21;
    NLBUS_TOPIC_A_MAX: u16 = 21;

    NLBUS_TOPIC_MODE_MASK: u32 = 0o666;

    NLBUS_REPLAY_A_PAD: u16 = 1;
    NLBUS_REPLAY_A_EPOCH: u16 = 2;
    NLBUS_REPLAY_A_TOPIC: u16 = 3;
    NLBUS_REPLAY_A_FROM: u16 = 4;
    NLBUS_REPLAY_A_LIMIT: u16 = 5;
    NLBUS_REPLAY_A_FIRST: u16 = 6;
    NLBUS_REPLAY_A_NEXT: u16 = 7;
    NLBUS_REPLAY_A_HEAD: u16 = 8;
    NLBUS_REPLAY_A_MAX: u16 = 8;

    NLBUS_WILL_A_PAD: u16 = 1;
    NLBUS_WILL_A_TOPIC: u16 = 2;
    NLBUS_WILL_A_CONTENT: u16 = 3;
    NLBUS_WILL_A_PAYLOAD: u16 = 4;
    NLBUS_WILL_A_MAX: u16 = 4;

    NETLINK_USERSOCK: u32 = 2;
    NETLINK_GENERIC: u32 = 16;
    NLMSG_ALIGNTO: usize = 4;
    NLMSG_HDRLEN: usize = 16;
    NLMSG_ERROR: u16 = 2;
    NLMSG_DONE: u16 = 3;
    NLM_F_REQUEST: u16 = 0x1;
    NLM_F_MULTI: u16 = 0x2;
    NLM_F_ACK: u16 = 0x4;
    NLM_F_DUMP: u16 = 0x300;
    NLM_F_REPLACE: u16 = 0x100;
    NLM_F_EXCL: u16 = 0x200;
    NLM_F_CREATE: u16 = 0x400;
    NLM_F_CAPPED: u16 = 0x100;
    NLM_F_ACK_TLVS: u16 = 0x200;
    NLMSGERR_ATTR_MSG: u16 = 1;
    NLMSGERR_ATTR_OFFS: u16 = 2;
    NLMSGERR_ATTR_COOKIE: u16 = 3;
    NLA_HDRLEN: usize = 4;
    NLA_F_NESTED: u16 = 0x8000;
    NLA_TYPE_MASK: u16 = 0x3fff;
    GENL_ID_CTRL: u16 = 0x10;
    GENL_HDRLEN: usize = 4;
    CTRL_CMD_NEWFAMILY: u8 = 1;
    CTRL_CMD_GETFAMILY: u8 = 3;
    CTRL_ATTR_FAMILY_ID: u16 = 1;
    CTRL_ATTR_FAMILY_NAME: u16 = 2;
}

pub const NLBUS_GENL_NAME: &str = "nlbus";
pub const NLBUS_SYS_HEARTBEAT: &str = "$SYS/heartbeat";
pub const NLBUS_SYS_TOPICS: &str = "$SYS/topics";
pub const NLBUS_SYS_CLOSING: &str = "$SYS/closing";
pub const NLBUS_SYS_CLIENTS: &str = "$SYS/clients";

/// Every string constant with its value, for comparison with the C header.
pub const STRINGS: &[(&str, &str)] = &[
    ("NLBUS_GENL_NAME", NLBUS_GENL_NAME),
    ("NLBUS_SYS_HEARTBEAT", NLBUS_SYS_HEARTBEAT),
    ("NLBUS_SYS_TOPICS", NLBUS_SYS_TOPICS),
    ("NLBUS_SYS_CLOSING", NLBUS_SYS_CLOSING),
    ("NLBUS_SYS_CLIENTS", NLBUS_SYS_CLIENTS),
];
