//! Events as packets, for Wireshark and tshark: what a capture at a netlink monitor (`nlmon`) has, an event a packet.

use nlbus::Event;
use nlbus_subscribers::recording::{Note, message};
use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
use pcap_file::pcapng::blocks::interface_description::{InterfaceDescriptionBlock, InterfaceDescriptionOption};
use pcap_file::{DataLink, PcapError};
use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Write};
use std::time::Duration;

/// `ARPHRD_NETLINK` of linux/if_arp.h.
const ARPHRD_NETLINK: u16 = 824;

/// `PACKET_MULTICAST` of linux/if_packet.h.
const PACKET_MULTICAST: u16 = 2;

/// Nanoseconds, as powers of ten are given (`if_tsresol`).
const NANOSECONDS: u8 = 9;

/// How much is collected before it is written.
const BUFFER: usize = 1 << 18;

/// A capture that is being written.
pub struct Capture {
    out: PcapNgWriter<Counted>,
    clock_offset_ns: i64,
    protocol: u32,
    /// What is to be said with the next packet, and how many are missing before it.
    comment: String,
    lost: u64,
}

/// Writes through a buffer, and counts.
struct Counted {
    out: io::BufWriter<File>,
    bytes: u64,
}

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

fn plain(error: PcapError) -> io::Error {
    match error {
        PcapError::IoError(error) => error,
        other => io::Error::other(other),
    }
}

impl Capture {
    /// Begins a capture with one interface, the bus.
    ///
    /// # Errors
    /// Of writing, as all that follow.
    pub fn begin(file: File) -> io::Result<Capture> {
        let counted = Counted { out: io::BufWriter::with_capacity(BUFFER, file), bytes: 0 };
        let mut out = PcapNgWriter::new(counted).map_err(plain)?;
        let options = vec![
            InterfaceDescriptionOption::IfName(Cow::Borrowed("nlbus")),
            InterfaceDescriptionOption::IfTsResol(NANOSECONDS),
        ];
        let interface = InterfaceDescriptionBlock { linktype: DataLink::NETLINK, snaplen: 0, options };
        out.write_pcapng_block(interface).map_err(plain)?;
        Ok(Capture { out, clock_offset_ns: 0, protocol: 0, comment: String::new(), lost: 0 })
    }

    /// Appends an event, with what was to be said before it.
    pub fn event(&mut self, event: &Event) -> io::Result<()> {
        let mut packet = cooked(self.protocol);
        message(event, &mut packet);
        let ns = event.time_ns().saturating_add_signed(self.clock_offset_ns);
        let mut options = Vec::new();
        if !self.comment.is_empty() {
            options.push(EnhancedPacketOption::Comment(Cow::Owned(std::mem::take(&mut self.comment))));
        }
        if self.lost > 0 {
            options.push(EnhancedPacketOption::DropCount(std::mem::take(&mut self.lost)));
        }
        let packet = EnhancedPacketBlock {
            interface_id: 0,
            timestamp: Duration::from_nanos(ns),
            original_len: packet.len() as u32,
            data: Cow::Owned(packet),
            options,
        };
        self.out.write_pcapng_block(packet).map_err(plain)?;
        Ok(())
    }

    /// Keeps what is to be said with the next event.
    pub fn note(&mut self, note: &Note) -> io::Result<()> {
        match note {
            Note::Bus { clock_offset_ns, protocol, .. } => {
                (self.clock_offset_ns, self.protocol) = (*clock_offset_ns, *protocol);
            }
            Note::Lost { from, to, .. } => self.lost = self.lost.saturating_add(to - from + 1),
            Note::Ended { .. } | Note::End { .. } => {}
        }
        if !self.comment.is_empty() {
            self.comment.push('\n');
        }
        self.comment.push_str(&note.to_string());
        Ok(())
    }

    /// Writes what was collected.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.get_mut().flush()
    }

    /// Bytes written.
    pub fn bytes(&self) -> u64 {
        self.out.get_ref().bytes
    }
}

/// What a netlink message is behind in a capture (LINKTYPE_NETLINK): all of it big-endian.
fn cooked(protocol: u32) -> Vec<u8> {
    let mut header = Vec::with_capacity(256);
    header.extend(PACKET_MULTICAST.to_be_bytes());
    header.extend(ARPHRD_NETLINK.to_be_bytes());
    header.extend([0; 10]);
    // Netlink protocols are numbers below 32.
    header.extend((protocol as u16).to_be_bytes());
    header
}
