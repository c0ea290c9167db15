//! D-Bus signals by systemd's own client, sd-bus: what an expert takes, being in C and without threads.

use super::dbus::{INTERFACE, MEMBER, PATH, RULE, broker, window};
use crate::system::{Cell, Go, Publisher, Server, Sink, Subscriber, System, without};
use anyhow::{Result, bail};
use std::ffi::{CString, c_char, c_int, c_void};
use std::io;
use std::ptr::{null_mut, slice_from_raw_parts};

/// `sd_bus`
#[repr(C)]
struct Raw {
    _private: [u8; 0],
}

/// `sd_bus_message`
#[repr(C)]
struct RawMessage {
    _private: [u8; 0],
}

type Handler = unsafe extern "C" fn(*mut RawMessage, *mut c_void, *mut c_void) -> c_int;

// sd-bus(3)
#[link(name = "systemd")]
unsafe extern "C" {
    fn sd_bus_new(bus: *mut *mut Raw) -> c_int;
    fn sd_bus_set_address(bus: *mut Raw, address: *const c_char) -> c_int;
    fn sd_bus_set_bus_client(bus: *mut Raw, yes: c_int) -> c_int;
    fn sd_bus_start(bus: *mut Raw) -> c_int;
    fn sd_bus_flush(bus: *mut Raw) -> c_int;
    fn sd_bus_send(bus: *mut Raw, message: *mut RawMessage, cookie: *mut u64) -> c_int;
    fn sd_bus_process(bus: *mut Raw, message: *mut *mut RawMessage) -> c_int;
    fn sd_bus_wait(bus: *mut Raw, timeout: u64) -> c_int;
    fn sd_bus_add_match(
        bus: *mut Raw,
        slot: *mut *mut c_void,
        rule: *const c_char,
        handler: Option<Handler>,
        data: *mut c_void,
    ) -> c_int;
    fn sd_bus_message_new_signal(
        bus: *mut Raw,
        message: *mut *mut RawMessage,
        path: *const c_char,
        interface: *const c_char,
        member: *const c_char,
    ) -> c_int;
    fn sd_bus_message_append_array(message: *mut RawMessage, kind: c_char, data: *const c_void, size: usize) -> c_int;
    fn sd_bus_message_read_array(
        message: *mut RawMessage,
        kind: c_char,
        data: *mut *const c_void,
        size: *mut usize,
    ) -> c_int;
    fn sd_bus_message_is_signal(message: *mut RawMessage, interface: *const c_char, member: *const c_char) -> c_int;
    fn sd_bus_message_unref(message: *mut RawMessage) -> *mut RawMessage;
}

/// A negative errno is an error.
fn check(result: c_int) -> Result<c_int> {
    if result < 0 { Err(io::Error::from_raw_os_error(-result).into()) } else { Ok(result) }
}

struct SdBus;

pub fn variants() -> Vec<Box<dyn System>> {
    vec![Box::new(SdBus)]
}

impl System for SdBus {
    fn name(&self) -> &'static str {
        "dbus-broker-tuned"
    }

    fn peer(&self) -> &'static str {
        "D-Bus"
    }

    fn about(&self) -> &'static str {
        "dbus-broker, signals by sd-bus in C"
    }

    fn absent(&self) -> Option<String> {
        without("dbus-broker")
    }

    fn window(&self, cell: &Cell) -> u64 {
        window(cell)
    }

    fn serve(&self, run: &Cell) -> Result<Vec<Server>> {
        Ok(vec![broker(run)?])
    }

    fn publisher(&self, run: &Cell) -> Result<Box<dyn Publisher>> {
        let [path, interface, member] = [PATH, INTERFACE, MEMBER].map(CString::new);
        Ok(Box::new(Sender { bus: Bus::connect(run)?, path: path?, interface: interface?, member: member? }))
    }

    fn subscriber(&self, run: &Cell) -> Result<Box<dyn Subscriber>> {
        let bus = Bus::connect(run)?;
        let rule = CString::new(RULE)?;
        // SAFETY: bus is open and rule ends with a zero; no slot is asked for, and the handler reads nothing.
        check(unsafe { sd_bus_add_match(bus.0, null_mut(), rule.as_ptr(), Some(pass), null_mut()) })?;
        Ok(Box::new(Receiver { bus, interface: CString::new(INTERFACE)?, member: CString::new(MEMBER)? }))
    }
}

/// Leaves a message to whoever calls `sd_bus_process`.
unsafe extern "C" fn pass(_: *mut RawMessage, _: *mut c_void, _: *mut c_void) -> c_int {
    0
}

/// A connection of this thread; it ends with the process.
struct Bus(*mut Raw);

impl Bus {
    fn connect(run: &Cell) -> Result<Bus> {
        let address = CString::new(run.address("unix:path=", "bus"))?;
        let mut bus = null_mut();
        // SAFETY: sd_bus_new fills in bus or fails; the address ends with a zero and is copied.
        unsafe {
            check(sd_bus_new(&raw mut bus))?;
            check(sd_bus_set_address(bus, address.as_ptr()))?;
            check(sd_bus_set_bus_client(bus, 1))?;
            check(sd_bus_start(bus))?;
        }
        Ok(Bus(bus))
    }
}

/// A reference to a message.
struct Message(*mut RawMessage);

impl Drop for Message {
    fn drop(&mut self) {
        // SAFETY: it holds one reference, and nobody uses it hereafter.
        unsafe { sd_bus_message_unref(self.0) };
    }
}

struct Sender {
    bus: Bus,
    path: CString,
    interface: CString,
    member: CString,
}

impl Publisher for Sender {
    fn send(&mut self, payload: &[u8]) -> Result<()> {
        let mut message = null_mut();
        let (path, interface, member) = (self.path.as_ptr(), self.interface.as_ptr(), self.member.as_ptr());
        // SAFETY: the connection is open, the strings end with zeros; message is filled in or the call fails.
        check(unsafe { sd_bus_message_new_signal(self.bus.0, &raw mut message, path, interface, member) })?;
        let message = Message(message);
        // SAFETY: the message is open for writing, and payload.len() bytes are copied from payload.
        check(unsafe {
            sd_bus_message_append_array(message.0, b'y' as c_char, payload.as_ptr().cast(), payload.len())
        })?;
        // SAFETY: connection and message are valid; the cookie may be null.
        check(unsafe { sd_bus_send(self.bus.0, message.0, null_mut()) })?;
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        // SAFETY: the connection is open.
        check(unsafe { sd_bus_flush(self.bus.0) })?;
        Ok(())
    }
}

struct Receiver {
    bus: Bus,
    interface: CString,
    member: CString,
}

impl Subscriber for Receiver {
    fn receive(&mut self, mut sink: Sink) -> Result<()> {
        loop {
            let mut message = null_mut();
            // SAFETY: the connection is open; message is filled in, or left null where nothing came.
            let busy = check(unsafe { sd_bus_process(self.bus.0, &raw mut message) })?;
            if message.is_null() {
                if busy == 0 {
                    // SAFETY: the connection is open.
                    check(unsafe { sd_bus_wait(self.bus.0, u64::MAX) })?;
                }
                continue;
            }
            let message = Message(message);
            // SAFETY: message is valid, the strings end with zeros.
            let ours = unsafe { sd_bus_message_is_signal(message.0, self.interface.as_ptr(), self.member.as_ptr()) };
            if check(ours)? == 0 {
                continue;
            }
            let (mut data, mut size) = (std::ptr::null(), 0);
            // SAFETY: the message is valid; data and size are filled in or the call fails.
            check(unsafe { sd_bus_message_read_array(message.0, b'y' as c_char, &raw mut data, &raw mut size) })?;
            if data.is_null() {
                bail!("a signal without bytes came");
            }
            // SAFETY: data points to size bytes that live as long as the message, which is dropped after this.
            let payload = unsafe { &*slice_from_raw_parts(data.cast::<u8>(), size) };
            if sink(payload) == Go::End {
                return Ok(());
            }
        }
    }
}
