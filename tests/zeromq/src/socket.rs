//! ZeroMQ's sockets, as far as they are needed here, by libzmq's own interface (zmq.h): the crates for it compile all of
//! libzmq. Whatever fails ends the program with libzmq's word for it.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr::NonNull;

#[link(name = "libzmq.so.5", kind = "dylib", modifiers = "+verbatim")]
unsafe extern "C" {
    safe fn zmq_ctx_new() -> *mut c_void;
    fn zmq_ctx_term(context: *mut c_void) -> c_int;
    fn zmq_socket(context: *mut c_void, kind: c_int) -> *mut c_void;
    fn zmq_close(socket: *mut c_void) -> c_int;
    fn zmq_setsockopt(socket: *mut c_void, option: c_int, value: *const c_void, len: usize) -> c_int;
    fn zmq_bind(socket: *mut c_void, address: *const c_char) -> c_int;
    fn zmq_connect(socket: *mut c_void, address: *const c_char) -> c_int;
    fn zmq_send(socket: *mut c_void, bytes: *const c_void, len: usize, flags: c_int) -> c_int;
    fn zmq_recv(socket: *mut c_void, bytes: *mut c_void, len: usize, flags: c_int) -> c_int;
    safe fn zmq_errno() -> c_int;
    safe fn zmq_strerror(errno: c_int) -> *const c_char;
}

const ZMQ_SUB: c_int = 2;
const ZMQ_XPUB: c_int = 9;
const ZMQ_SUBSCRIBE: c_int = 6;
const ZMQ_LINGER: c_int = 17;
const ZMQ_SNDHWM: c_int = 23;
const ZMQ_RCVHWM: c_int = 24;
const ZMQ_XPUB_VERBOSE: c_int = 40;

/// What a socket is for.
pub enum Kind {
    /// PUB that can be asked for the subscriptions that reached it.
    Publisher,
    /// SUB to everything.
    Subscriber,
}

/// A socket with a context, and so an I/O thread, of its own. It keeps every message until it is taken: at its defaults it
/// drops beyond 1000 that it doesn't know to be taken.
pub struct Socket {
    context: NonNull<c_void>,
    socket: NonNull<c_void>,
}

// SAFETY: libzmq lets a socket go from thread to thread with a full fence in between (zmq_socket(3)), which whatever moves
// a value between threads is; no method takes it by a shared reference.
unsafe impl Send for Socket {}

impl Socket {
    pub fn new(kind: Kind) -> Socket {
        let context = NonNull::new(zmq_ctx_new()).unwrap_or_else(|| fail("a context"));
        let number = match kind {
            Kind::Publisher => ZMQ_XPUB,
            Kind::Subscriber => ZMQ_SUB,
        };
        // SAFETY: the context was just made.
        let socket = NonNull::new(unsafe { zmq_socket(context.as_ptr(), number) }).unwrap_or_else(|| fail("a socket"));
        let mut socket = Socket { context, socket };
        for (option, value) in [(ZMQ_SNDHWM, 0i32), (ZMQ_RCVHWM, 0), (ZMQ_LINGER, 0)] {
            socket.set(option, &value.to_ne_bytes());
        }
        match kind {
            // Also of those that ask for what another one has asked for.
            Kind::Publisher => socket.set(ZMQ_XPUB_VERBOSE, &1i32.to_ne_bytes()),
            Kind::Subscriber => socket.set(ZMQ_SUBSCRIBE, b""),
        }
        socket
    }

    fn set(&mut self, option: c_int, value: &[u8]) {
        // SAFETY: the socket is open until dropped, and `value` has as many bytes as it says.
        check("an option", unsafe { zmq_setsockopt(self.socket.as_ptr(), option, value.as_ptr().cast(), value.len()) });
    }

    pub fn bind(&mut self, address: &str) {
        let address = CString::new(address).expect("an address without a 0");
        // SAFETY: the socket is open until dropped, and the address ends with a 0.
        check("bind", unsafe { zmq_bind(self.socket.as_ptr(), address.as_ptr()) });
    }

    pub fn connect(&mut self, address: &str) {
        let address = CString::new(address).expect("an address without a 0");
        // SAFETY: as for `bind`.
        check("connect", unsafe { zmq_connect(self.socket.as_ptr(), address.as_ptr()) });
    }

    pub fn send(&mut self, bytes: &[u8]) {
        // SAFETY: the socket is open until dropped, and `bytes` has as many bytes as it says.
        check("send", unsafe { zmq_send(self.socket.as_ptr(), bytes.as_ptr().cast(), bytes.len(), 0) });
    }

    /// Waits for a message and takes it; what doesn't fit is cut off.
    pub fn receive(&mut self, bytes: &mut [u8]) {
        // SAFETY: the socket is open until dropped, and libzmq writes at most as many bytes as it is told there are.
        check("receive", unsafe { zmq_recv(self.socket.as_ptr(), bytes.as_mut_ptr().cast(), bytes.len(), 0) });
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // SAFETY: both are open, and used by nobody else; the context has this socket alone.
        unsafe {
            check("close", zmq_close(self.socket.as_ptr()));
            check("end the context", zmq_ctx_term(self.context.as_ptr()));
        }
    }
}

fn check(what: &str, result: c_int) {
    if result < 0 {
        fail(what)
    }
}

fn fail(what: &str) -> ! {
    // SAFETY: it is a string that is never freed.
    let why = unsafe { CStr::from_ptr(zmq_strerror(zmq_errno())) };
    panic!("libzmq: {what}: {}", why.to_string_lossy())
}
