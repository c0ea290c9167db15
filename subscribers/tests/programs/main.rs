//! The real programs on a real broker, a file for each of them.

mod bench;
mod capture;
mod command;
mod doctor;
mod exec;
mod exec_end;
mod exporter;
mod host;
mod hz;
mod journal;
mod links;
mod log;
mod log_files;
mod log_state;
mod pages;
mod proc;
mod promised;
mod publish;
mod recording;
mod terminal;
mod top;
mod topics;
mod uevent;
mod units;
