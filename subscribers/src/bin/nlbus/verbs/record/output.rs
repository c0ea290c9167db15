//! Where events are recorded: a file or standard output, as a recording or as a packet capture.

use super::Args;
use super::pcapng::Capture;
use nlbus::Event;
use nlbus_subscribers::end::{End, say};
use nlbus_subscribers::pipe;
use nlbus_subscribers::recording::{Note, OpenError, Writer};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process;

/// What is written, and to where.
pub struct Output {
    form: Form,
    /// How errors name it.
    name: String,
    is_resumed: bool,
    is_pipe: bool,
}

enum Form {
    Recording(Writer<File>),
    Capture(Box<Capture>),
}

impl Output {
    /// Opens what the arguments name.
    pub fn open(args: &Args) -> Result<Output, End> {
        let is_pipe = args.output == Path::new("-");
        let name = if is_pipe { "standard output".into() } else { format!("'{}'", args.output.display()) };
        let failed = |error: io::Error| wrong(&name, is_pipe, &error);
        if is_pipe {
            // What is collected then has nowhere to go.
            pipe::when_closed(|| process::exit(0))?;
        }
        let (file, is_resumed) = match is_pipe {
            true => (standard_output().map_err(failed)?, false),
            false => open_file(&args.output, args.append).map_err(failed)?,
        };
        let form = if args.pcapng {
            Form::Capture(Box::new(Capture::begin(file).map_err(failed)?))
        } else if is_resumed {
            let (writer, cut) = Writer::resume(file).map_err(|error| match error {
                OpenError::Io(error) => failed(error),
                other => End::Failed(format!("can't go on with {name}: {other}")),
            })?;
            if cut > 0 {
                say(&format!("cut {cut} bytes behind the last whole record of {name}"));
            }
            Form::Recording(writer)
        } else {
            Form::Recording(Writer::begin(file).map_err(failed)?)
        };
        Ok(Output { form, name, is_resumed, is_pipe })
    }

    /// Whether a recording that was there goes on.
    pub fn is_resumed(&self) -> bool {
        self.is_resumed
    }

    /// Bytes written this time.
    pub fn bytes(&self) -> u64 {
        match &self.form {
            Form::Recording(writer) => writer.bytes(),
            Form::Capture(capture) => capture.bytes(),
        }
    }

    pub fn event(&mut self, event: &Event) -> Result<(), End> {
        let written = match &mut self.form {
            Form::Recording(writer) => writer.event(event),
            Form::Capture(capture) => capture.event(event),
        };
        self.checked(written)
    }

    pub fn note(&mut self, note: &Note) -> Result<(), End> {
        let written = match &mut self.form {
            Form::Recording(writer) => writer.note(note),
            Form::Capture(capture) => capture.note(note),
        };
        self.checked(written)
    }

    pub fn flush(&mut self) -> Result<(), End> {
        let written = match &mut self.form {
            Form::Recording(writer) => writer.flush(),
            Form::Capture(capture) => capture.flush(),
        };
        self.checked(written)
    }

    /// Has all of it on the disk, where there is one.
    pub fn sync(&mut self) -> Result<(), End> {
        if self.is_pipe {
            return self.flush();
        }
        let written = match &mut self.form {
            Form::Recording(writer) => writer.sync(),
            Form::Capture(capture) => capture.flush(),
        };
        self.checked(written)
    }

    fn checked(&self, written: io::Result<()>) -> Result<(), End> {
        written.map_err(|error| wrong(&self.name, self.is_pipe, &error))
    }
}

fn wrong(name: &str, is_pipe: bool, error: &io::Error) -> End {
    match error.kind() {
        io::ErrorKind::BrokenPipe if is_pipe => End::PipeClosed,
        io::ErrorKind::AlreadyExists => {
            End::Failed(format!("{name} exists; give another name, or --append to go on with that recording"))
        }
        io::ErrorKind::StorageFull | io::ErrorKind::FileTooLarge | io::ErrorKind::QuotaExceeded => End::Failed(
            format!("can't write to {name}: {error}; what was recorded before is whole; make room, and --append"),
        ),
        _ => End::Failed(format!("can't write to {name}: {error}")),
    }
}

/// Standard output as a file, without the buffer that `Stdout` has.
fn standard_output() -> io::Result<File> {
    let mut stdout = io::stdout();
    stdout.flush()?;
    let own: OwnedFd = stdout.as_fd().try_clone_to_owned()?;
    Ok(File::from(own))
}

/// Returns whether there was one that is to go on.
fn open_file(path: &Path, append: bool) -> io::Result<(File, bool)> {
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    match options.clone().create_new(true).open(path) {
        Err(error) if append && error.kind() == io::ErrorKind::AlreadyExists => {
            let file = options.open(path)?;
            // One that was made and never written to.
            let is_there = file.metadata()?.len() > 0;
            Ok((file, is_there))
        }
        opened => Ok((opened?, false)),
    }
}
