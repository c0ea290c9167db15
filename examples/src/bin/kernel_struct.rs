//! Structs of kernel code as Rust types: a packed C struct of `__le` fields is a value, decoded by a struct with the same
//! fields in the same order. Integers, floats, bool, arrays and nested structs have C's bytes; usize, char, Option,
//! String, Vec and enums don't.

use nlbus::{Bus, TypedDelivery};
use serde::Deserialize;

/// `$SYS/heartbeat`, which the broker publishes once a second: the kernel, where it is the module.
///
/// ```c
/// struct nlbus_sys_heartbeat {
///     __le64 epoch, uptime_ns, published, overruns, change;
///     __le32 last_id;
///     __le64 moved;
/// } __packed;
/// ```
#[derive(Debug, Deserialize)]
struct Heartbeat {
    epoch: u64,
    uptime_ns: u64,
    published: u64,
    _overruns: u64,
    _change: u64,
    _last_id: u32,
    _moved: u64,
}

/// ```c
/// struct disk_event {
///     __le32 major_minor[2];
///     struct { __le64 sector; __le16 count; } __packed extent;
///     __u8   writable;
///     __s8   temperature;
/// } __packed;
/// ```
#[derive(Debug, PartialEq, Deserialize)]
struct DiskEvent {
    major_minor: [u32; 2],
    extent: Extent,
    writable: bool,
    temperature: i8,
}

#[derive(Debug, PartialEq, Deserialize)]
struct Extent {
    sector: u64,
    count: u16,
}

fn main() -> anyhow::Result<()> {
    let bus = Bus::connect()?;
    let mut disks = bus.subscribe_as::<DiskEvent>("kernel_struct/disk")?;
    // The bytes as the C compiler lays them out.
    let mut bytes = Vec::new();
    bytes.extend_from_slice(&8u32.to_le_bytes());
    bytes.extend_from_slice(&1u32.to_le_bytes());
    bytes.extend_from_slice(&123_456_789u64.to_le_bytes());
    bytes.extend_from_slice(&64u16.to_le_bytes());
    bytes.extend_from_slice(&[1, -3i8 as u8]);
    bus.publish("kernel_struct/disk", &bytes)?;
    println!("{:?}", disks.recv()?);

    let mut beats = bus.subscribe_as::<Heartbeat>("$SYS/heartbeat")?;
    loop {
        if let TypedDelivery::Value(beat, _) = beats.recv()? {
            let Heartbeat { epoch, uptime_ns, published, .. } = beat;
            println!("the broker of epoch {epoch:x} is up for {} ms: {published} events", uptime_ns / 1_000_000);
            return Ok(());
        }
    }
}
